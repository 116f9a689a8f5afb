//! Docker's options of the bridge driver, and the network that they make.
//!
//! Here live names and values of options, and the note in which a network's own are kept. What is
//! done with them stands in `plan`.

use longshore_plugin::driver::{OptionKind, OptionScope, OptionSpec, OptionValue};
use longshore_plugin::network::{CreateNetwork, Pool};
use longshore_plugin::types::{IfName, IpAddr, IpNet, Mac, Note, OwnedPrefix};
use longshore_plugin::wire::{decode, encode};
use longshore_plugin::{Error, Result};
use serde::{Deserialize, Serialize};

const NAME: &str = "com.docker.network.bridge.name";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const DEFAULT: &str = "com.docker.network.bridge.default_bridge";
const INHIBIT: &str = "com.docker.network.bridge.inhibit_ipv4";
const GATEWAY_MODE: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const GATEWAY_MODE6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
const SOURCE: &str = "com.docker.network.host_ipv4";
const SOURCE6: &str = "com.docker.network.host_ipv6";
const MTU: &str = "com.docker.network.driver.mtu";
const INTERFACE: &str = "com.docker.network.container_iface_prefix";
const ENDPOINT_INTERFACE: &str = "com.docker.network.endpoint.ifname";

/// Smallest MTU of IPv4, and of a link with IPv6.
const LEAST_MTU: u32 = 68;
const LEAST_MTU6: u32 = 1280;
const MOST_MTU: u32 = 65_535;

/// The options as the host lists them.
pub(crate) fn specs() -> Vec<OptionSpec> {
    let (text, flag) = (OptionKind::Text, OptionKind::Flag);
    [
        (
            NAME,
            OptionKind::LinkName,
            None,
            "name of the bridge on the host; one that is there is taken",
        ),
        (
            ICC,
            flag,
            Some("true"),
            "whether containers of the network reach each other",
        ),
        (
            MASQUERADE,
            flag,
            Some("true"),
            "whether what leaves has an address of the host",
        ),
        (
            BINDING,
            text,
            None,
            "host address of ports that are published without one",
        ),
        (
            DEFAULT,
            flag,
            Some("false"),
            "whether this is the network of containers that name none",
        ),
        (
            INHIBIT,
            flag,
            Some("false"),
            "whether the bridge goes without its IPv4 address",
        ),
        (
            GATEWAY_MODE,
            text,
            Some("nat"),
            "nat, or nat-unprotected to let all ports of containers be reached",
        ),
        (GATEWAY_MODE6, text, Some("nat"), "the same for IPv6"),
        (SOURCE, text, None, "the host's IPv4 address that what leaves has"),
        (SOURCE6, text, None, "the host's IPv6 address that what leaves has"),
        (
            MTU,
            OptionKind::Number,
            None,
            "largest packet; the kernel's choice when not given",
        ),
        (
            INTERFACE,
            text,
            Some("eth"),
            "how the names of links in containers begin",
        ),
        (
            ENDPOINT_INTERFACE,
            text,
            None,
            "of an endpoint: the name of its link in the container",
        ),
    ]
    .into_iter()
    .map(|(name, kind, default, help)| OptionSpec {
        name: name.into(),
        kind,
        scope: OptionScope::Object,
        required: false,
        default: default.map(Into::into),
        help: help.into(),
    })
    .collect()
}

/// A network as its note keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    /// How the names of its links on the host begin.
    pub(crate) prefix: OwnedPrefix,
    /// The bridge.
    pub(crate) bridge: IfName,
    /// A user gave its name: one that is there is taken.
    pub(crate) named: bool,
    pub(crate) mac: Mac,
    pub(crate) v4: Option<Subnet>,
    pub(crate) v6: Option<Subnet>,
    pub(crate) internal: bool,
    /// Containers reach each other.
    pub(crate) icc: bool,
    pub(crate) mtu: Option<u32>,
    /// How the names of links inside begin.
    pub(crate) interface: String,
}

/// A network's addresses of one family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subnet {
    pub(crate) net: IpNet,
    /// The bridge's address in it.
    pub(crate) gateway: Option<IpAddr>,
}

/// What only the plan of the network itself needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outside {
    pub(crate) v4: Translation,
    pub(crate) v6: Translation,
    /// The address of ports that are published without one.
    pub(crate) bind: Option<IpAddr>,
}

/// How one family is led to the outside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Translation {
    pub(crate) masquerade: bool,
    /// The host's address that what leaves gets, instead of that of the link by which it leaves.
    pub(crate) source: Option<IpAddr>,
    /// Only published ports are reached from outside.
    pub(crate) protected: bool,
}

impl Network {
    /// Reads a request for a network.
    pub(crate) fn read(request: &CreateNetwork) -> Result<(Self, Outside)> {
        let given = Given::new(&request.options)?;
        let (v4, v6) = subnets(request)?;
        let named = given
            .text(NAME)
            .map(|name| parse(NAME, name, IfName::parse))
            .transpose()?;
        let bridge = match &named {
            Some(name) => name.clone(),
            None => request.prefix.name(&format!("b{}", head(request.network.as_str())))?,
        };
        let mtu = given.mtu(v6.is_some())?;
        let interface = given.text(INTERFACE).unwrap_or("eth").to_owned();
        // The number of a link has three digits at most.
        parse(INTERFACE, &format!("{interface}999"), IfName::parse)?;
        let outside = Outside {
            v4: given.translation(true)?,
            v6: given.translation(false)?,
            bind: given.binding()?,
        };
        given.flag(DEFAULT, false)?;
        let inhibited = given.flag(INHIBIT, false)?;
        let network = Self {
            prefix: request.prefix.clone(),
            bridge,
            named: named.is_some(),
            mac: mac_of(request.network.as_str()),
            v4: v4.map(|subnet| Subnet {
                gateway: subnet.gateway.filter(|_| !inhibited),
                ..subnet
            }),
            v6,
            internal: request.internal,
            icc: given.flag(ICC, true)?,
            mtu,
            interface,
        };
        Ok((network, outside))
    }

    /// What the host keeps of it.
    pub(crate) fn note(&self) -> Result<Note> {
        Note::parse(encode(self)?)
    }

    /// Reads what the host kept.
    pub(crate) fn of_note(note: &Note) -> Result<Self> {
        decode(note.as_bytes()).map_err(|error| {
            Error::corrupt(format!(
                "the bridge driver's note on this network is not its own ({error}); remove the network and make it again"
            ))
        })
    }

    /// Its subnets, IPv4 first.
    pub(crate) fn subnets(&self) -> impl Iterator<Item = &Subnet> {
        self.v4.iter().chain(&self.v6)
    }
}

/// The options of one endpoint.
pub(crate) fn interface_of(options: &[OptionValue]) -> Result<Option<IfName>> {
    let mut found = None;
    for option in options {
        match (option.name.as_str(), option.as_text()) {
            (ENDPOINT_INTERFACE, Some(name)) => found = Some(parse(ENDPOINT_INTERFACE, name, IfName::parse)?),
            (other, _) => {
                return Err(Error::invalid(format!(
                    "an endpoint of the bridge driver has no option {other:?}; it takes {ENDPOINT_INTERFACE}"
                )));
            }
        }
    }
    if found.as_ref().is_some_and(|name| name.as_str() == "lo") {
        return Err(Error::invalid(format!(
            "{ENDPOINT_INTERFACE}: lo is every container's own"
        )));
    }
    Ok(found)
}

/// Eight digits that stand for an ID of the host's.
pub(crate) fn head(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// A hardware address that belongs to an ID: locally administered, as Docker's are.
pub(crate) fn mac_of(id: &str) -> Mac {
    let mut bytes = [0x02, 0x42, 0, 0, 0, 0];
    for (byte, at) in bytes.iter_mut().skip(2).zip((0..8).step_by(2)) {
        *byte = id
            .get(at..at + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .unwrap_or(0);
    }
    Mac::new(bytes)
}

fn parse<T>(option: &str, value: &str, with: impl FnOnce(String) -> Result<T>) -> Result<T> {
    with(value.to_owned()).map_err(|error| Error::invalid(format!("option {option}: {}", error.message)))
}

fn subnets(request: &CreateNetwork) -> Result<(Option<Subnet>, Option<Subnet>)> {
    let name = &request.name;
    let (mut v4, mut v6) = (None, None);
    for Pool { subnet, gateway, .. } in &request.pools {
        let slot = if subnet.is_ipv4() { &mut v4 } else { &mut v6 };
        if let Some(other) = slot.replace(Subnet {
            net: subnet.network(),
            gateway: *gateway,
        }) {
            return Err(Error::invalid(format!(
                "network {name}: a bridge has one subnet of each family, not both {} and {subnet}",
                other.net
            )));
        }
        if let Some(outside) = gateway.filter(|gateway| !subnet.contains(*gateway)) {
            return Err(Error::invalid(format!(
                "network {name}: gateway {outside} is not in its subnet {subnet}"
            )));
        }
    }
    match (request.ipv6, &v4, &v6) {
        (true, _, None) => Err(Error::invalid(format!(
            "network {name} shall have IPv6 and got no IPv6 subnet; give one with --subnet"
        ))),
        (false, _, Some(subnet)) => Err(Error::invalid(format!(
            "network {name} got the IPv6 subnet {} but not IPv6; add --ipv6",
            subnet.net
        ))),
        (false, None, None) => Err(Error::invalid(format!("network {name} got no subnet"))),
        _ => Ok((v4, v6)),
    }
}

/// The options that were given, each known and plain.
struct Given<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Given<'a> {
    fn new(options: &'a [OptionValue]) -> Result<Self> {
        let known = specs();
        let mut given: Vec<(&str, &str)> = Vec::new();
        for option in options {
            let name = option.name.as_str();
            if name == ENDPOINT_INTERFACE || !known.iter().any(|spec| spec.name == name) {
                return Err(Error::invalid(format!("the bridge driver has no option {name:?}")));
            }
            if given.iter().any(|(other, _)| *other == name) {
                return Err(Error::invalid(format!("option {name} is given twice")));
            }
            let text = option
                .as_text()
                .ok_or_else(|| Error::invalid(format!("option {name} is no secret")))?;
            given.push((name, text));
        }
        Ok(Self(given))
    }

    /// An empty value is none, as in Docker.
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(known, value)| *known == name && !value.is_empty())
            .map(|(_, value)| *value)
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.text(name) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Error::invalid(format!("option {name} is true or false, not {other:?}"))),
        }
    }

    fn mtu(&self, v6: bool) -> Result<Option<u32>> {
        let Some(text) = self.text(MTU) else {
            return Ok(None);
        };
        let least = if v6 { LEAST_MTU6 } else { LEAST_MTU };
        match text.parse() {
            // What Docker's clients send for "your choice".
            Ok(0) => Ok(None),
            Ok(mtu) if (least..=MOST_MTU).contains(&mtu) => Ok(Some(mtu)),
            _ => Err(Error::invalid(format!(
                "option {MTU} is a number from {least} to {MOST_MTU} here, not {text:?}"
            ))),
        }
    }

    fn translation(&self, v4: bool) -> Result<Translation> {
        let (mode, source) = if v4 {
            (GATEWAY_MODE, SOURCE)
        } else {
            (GATEWAY_MODE6, SOURCE6)
        };
        let protected = match self.text(mode) {
            None | Some("nat") => true,
            Some("nat-unprotected") => false,
            Some(other) => {
                return Err(Error::unsupported(format!(
                    "option {mode} is nat or nat-unprotected here, not {other:?}"
                )));
            }
        };
        let address = self
            .text(source)
            .map(|text| parse(source, text, IpAddr::parse))
            .transpose()?;
        if let Some(wrong) = address.filter(|address| address.is_ipv4() != v4 || address.is_unspecified()) {
            return Err(Error::invalid(format!(
                "option {source}: {wrong} is no address of that family"
            )));
        }
        Ok(Translation {
            masquerade: self.flag(MASQUERADE, true)?,
            source: address,
            protected,
        })
    }

    fn binding(&self) -> Result<Option<IpAddr>> {
        let Some(text) = self.text(BINDING) else {
            return Ok(None);
        };
        let address = parse(BINDING, text, IpAddr::parse)?;
        if !address.is_ipv4() {
            return Err(Error::invalid(format!(
                "option {BINDING}: {address} is no IPv4 address"
            )));
        }
        Ok(Some(address))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::fixture::{request, with};

    fn refusal(options: &[(&str, &str)]) -> String {
        Network::read(&with(options)).unwrap_err().message
    }

    #[test]
    fn a_network_without_options_is_dockers_default() {
        let (network, outside) = Network::read(&request()).unwrap();
        assert_eq!(network.bridge.as_str(), "ls0a1fb4f4f4f4f");
        assert_eq!(network.mac.to_string(), "02:42:4f:4f:4f:4f");
        assert!(network.icc && !network.internal && !network.named && network.mtu.is_none());
        assert!(outside.v4.masquerade && outside.v4.protected && outside.v4.source.is_none());
        assert_eq!(outside.bind, None);
    }

    #[test]
    fn each_option_does_what_it_is_called() {
        let (network, outside) = Network::read(&with(&[
            (NAME, "br-front"),
            (ICC, "false"),
            (MASQUERADE, "0"),
            (BINDING, "127.0.0.1"),
            (DEFAULT, "true"),
            (GATEWAY_MODE, "nat-unprotected"),
            (SOURCE, "192.0.2.9"),
            (MTU, "1400"),
            (INTERFACE, "net"),
        ]))
        .unwrap();
        assert_eq!((network.bridge.as_str(), network.named), ("br-front", true));
        assert!(!network.icc);
        assert_eq!((network.mtu, network.interface.as_str()), (Some(1400), "net"));
        assert_eq!(outside.bind.unwrap().to_string(), "127.0.0.1");
        assert_eq!(outside.v4.source.unwrap().to_string(), "192.0.2.9");
        assert!(!outside.v4.masquerade && !outside.v4.protected && outside.v6.protected);
    }

    #[test]
    fn a_bad_option_is_refused_and_named() {
        for (name, value) in [
            (NAME, "sixteen-letters-"),
            (NAME, "a/b"),
            (ICC, "yes"),
            (MASQUERADE, "x"),
            (BINDING, "::1"),
            (BINDING, "localhost"),
            (GATEWAY_MODE, "routed"),
            (SOURCE, "fd00::1"),
            (SOURCE6, "192.0.2.9"),
            (SOURCE, "0.0.0.0"),
            (MTU, "67"),
            (MTU, "65536"),
            (MTU, "-1"),
            (INTERFACE, "thirteen-char"),
            (ENDPOINT_INTERFACE, "eth7"),
            ("com.docker.network.bridge.nam", "x"),
        ] {
            let sentence = refusal(&[(name, value)]);
            assert!(sentence.contains(name), "{name}={value}: {sentence}");
        }
        assert!(refusal(&[(MTU, "1500"), (MTU, "1400")]).contains("twice"));
    }

    #[test]
    fn subnets_must_fit_the_network() {
        let pool = |subnet: &str, gateway: Option<&str>| Pool {
            subnet: IpNet::parse(subnet).unwrap(),
            range: None,
            gateway: gateway.map(|text| IpAddr::parse(text).unwrap()),
            reserved: vec![],
        };
        let read = |pools: Vec<Pool>, ipv6: bool| {
            let request = CreateNetwork {
                pools,
                ipv6,
                ..request()
            };
            Network::read(&request).map(|_| ()).map_err(|error| error.message)
        };
        assert!(read(vec![], false).unwrap_err().contains("no subnet"));
        assert!(
            read(vec![pool("10.1.0.0/24", None)], true)
                .unwrap_err()
                .contains("no IPv6")
        );
        assert!(
            read(vec![pool("fd00::/64", None)], false)
                .unwrap_err()
                .contains("--ipv6")
        );
        assert!(
            read(vec![pool("10.1.0.0/24", Some("10.2.0.1"))], false)
                .unwrap_err()
                .contains("10.2.0.1")
        );
        let two = vec![pool("10.1.0.0/24", None), pool("10.2.0.0/24", None)];
        assert!(read(two, false).unwrap_err().contains("10.2.0.0/24"));
        assert!(read(vec![pool("fd00::/64", Some("fd00::1"))], true).is_ok());
    }

    #[test]
    fn a_small_mtu_is_too_small_for_ipv6_only() {
        assert!(Network::read(&with(&[(MTU, "1000")])).is_ok());
        let mut both = crate::fixture::both();
        both.options = with(&[(MTU, "1000")]).options;
        assert!(Network::read(&both).unwrap_err().message.contains("1280"));
    }

    #[test]
    fn a_note_comes_back_and_a_strange_one_is_refused() {
        let mut both = crate::fixture::both();
        both.options = with(&[(NAME, "fifteen-letters"), (MTU, "65535"), (INTERFACE, "twelvelette")]).options;
        let (network, _) = Network::read(&both).unwrap();
        assert_eq!(Network::of_note(&network.note().unwrap()).unwrap(), network);
        for strange in [&b""[..], b"\x80", b"nonsense"] {
            assert!(Network::of_note(&Note::parse(strange).unwrap()).is_err());
        }
    }

    #[test]
    fn an_endpoint_has_one_option() {
        let given = |name: &str, value: &str| interface_of(&[OptionValue::text(name, value)]);
        assert_eq!(given(ENDPOINT_INTERFACE, "wan0").unwrap().unwrap().as_str(), "wan0");
        assert!(given(ENDPOINT_INTERFACE, "lo").is_err());
        assert!(given(ENDPOINT_INTERFACE, "a b").is_err());
        assert!(given(MTU, "1400").is_err());
    }
}
