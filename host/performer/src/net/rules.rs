//! A rule of a plan as expressions of the packet filter.

use longshore_core::error::{Error, Result};
use longshore_core::steps::{ConnectionState, Family, Match, Matching, PortRange, Verdict};
use longshore_core::types::{IpAddr, IpNet};
use longshore_sys::net::nftables::{Expression, Header, Meta, REGISTER, Verdict as End};

use super::filter::name_key;

const V4: u8 = 2;
const V6: u8 = 10;

/// The expressions of a rule.
pub(super) fn expressions(family: Family, matches: &[Match], verdict: &Verdict) -> Result<Vec<Expression>> {
    let mut rule = Vec::new();
    if let Some(number) = family_of(family, matches)? {
        rule.push(Expression::Meta(Meta::Family, REGISTER));
        rule.push(Expression::Compare(REGISTER, true, vec![number]));
    }
    for one in matches {
        condition(&mut rule, one)?;
    }
    end(&mut rule, verdict)?;
    Ok(rule)
}

/// The one family that a packet must have. An address tells it too; two that differ fit no packet.
fn family_of(family: Family, matches: &[Match]) -> Result<Option<u8>> {
    let mut wanted = match family {
        Family::V4 => Some(V4),
        Family::V6 => Some(V6),
        Family::Both => None,
        Family::Unknown => return Err(unknown("family")),
    };
    for one in matches {
        let net = match &one.what {
            Matching::From(net) | Matching::To(net) => net,
            _ => continue,
        };
        let own = if net.is_ipv4() { V4 } else { V6 };
        match wanted {
            Some(number) if number != own => {
                return Err(Error::invalid(format!(
                    "a rule with {net} fits no packet of its family"
                )));
            }
            _ => wanted = Some(own),
        }
    }
    Ok(wanted)
}

fn unknown(what: &str) -> Error {
    Error::unsupported(format!("the {what} of a rule is not known to this host"))
}

fn condition(rule: &mut Vec<Expression>, one: &Match) -> Result<()> {
    let fits = !one.not;
    match &one.what {
        Matching::In(link) => rule.extend(named(Meta::In, link.as_str(), fits)),
        Matching::Out(link) => rule.extend(named(Meta::Out, link.as_str(), fits)),
        Matching::From(net) => rule.extend(address(*net, false, fits)),
        Matching::To(net) => rule.extend(address(*net, true, fits)),
        Matching::Protocol(number) => rule.extend([
            Expression::Meta(Meta::Protocol, REGISTER),
            Expression::Compare(REGISTER, fits, vec![*number]),
        ]),
        Matching::SourcePorts(range) => rule.extend(ports(range, 0, fits)),
        Matching::Ports(range) => rule.extend(ports(range, 2, fits)),
        Matching::State(state) => rule.extend(connection(*state, fits)?),
        Matching::Local => rule.extend([
            Expression::Destination(REGISTER),
            Expression::Compare(REGISTER, fits, 2_u32.to_ne_bytes().to_vec()),
        ]),
        Matching::Mark { value, mask } => rule.extend([
            Expression::Meta(Meta::Mark, REGISTER),
            Expression::Mask(REGISTER, mask.to_ne_bytes().to_vec()),
            Expression::Compare(REGISTER, fits, (value & mask).to_ne_bytes().to_vec()),
        ]),
    }
    Ok(())
}

fn named(which: Meta, link: &str, fits: bool) -> [Expression; 2] {
    [
        Expression::Meta(which, REGISTER),
        Expression::Compare(REGISTER, fits, name_key(link)),
    ]
}

fn address(net: IpNet, destination: bool, fits: bool) -> Vec<Expression> {
    let (offset, length) = match (net.is_ipv4(), destination) {
        (true, false) => (12, 4),
        (true, true) => (16, 4),
        (false, false) => (8, 16),
        (false, true) => (24, 16),
    };
    let mask: Vec<u8> = (0..length)
        .map(|byte| {
            let bits = u32::from(net.prefix()).saturating_sub(byte * 8).min(8);
            u8::try_from(0xff_u32 << (8 - bits) & 0xff).unwrap_or(0)
        })
        .collect();
    let wanted = match net.network().address().get() {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    };
    vec![
        Expression::Payload(Header::Network, offset, length, REGISTER),
        Expression::Mask(REGISTER, mask),
        Expression::Compare(REGISTER, fits, wanted),
    ]
}

/// Ports of TCP and UDP alone: what has none has other things at their place.
fn ports(range: &PortRange, offset: u32, fits: bool) -> Vec<Expression> {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    vec![
        Expression::Meta(Meta::Protocol, REGISTER),
        Expression::Range(REGISTER, true, vec![TCP], vec![UDP]),
        Expression::Payload(Header::Transport, offset, 2, REGISTER),
        Expression::Range(
            REGISTER,
            fits,
            range.first.to_be_bytes().to_vec(),
            range.last.to_be_bytes().to_vec(),
        ),
    ]
}

fn connection(state: ConnectionState, fits: bool) -> Result<[Expression; 3]> {
    const DNAT: u32 = 1 << 5;
    let (load, bits) = match state {
        ConnectionState::Invalid => (Expression::State(REGISTER), 1_u32),
        ConnectionState::Established => (Expression::State(REGISTER), 2),
        ConnectionState::Related => (Expression::State(REGISTER), 4),
        ConnectionState::New => (Expression::State(REGISTER), 8),
        ConnectionState::Dnat => (Expression::Status(REGISTER), DNAT),
        ConnectionState::Unknown => return Err(unknown("state")),
    };
    Ok([
        load,
        Expression::Mask(REGISTER, bits.to_ne_bytes().to_vec()),
        // Not equal to nothing: one of the bits is set.
        Expression::Compare(REGISTER, !fits, 0_u32.to_ne_bytes().to_vec()),
    ])
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address.get() {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn end(rule: &mut Vec<Expression>, verdict: &Verdict) -> Result<()> {
    let second = REGISTER + 4;
    match verdict {
        Verdict::Accept => rule.push(Expression::Verdict(End::Accept)),
        Verdict::Drop => rule.push(Expression::Verdict(End::Drop)),
        Verdict::Return => rule.push(Expression::Verdict(End::Return)),
        Verdict::Reject => rule.push(Expression::Reject),
        Verdict::Masquerade => rule.push(Expression::Masquerade),
        Verdict::Mark(mark) => rule.extend([
            Expression::Load(REGISTER, mark.to_ne_bytes().to_vec()),
            Expression::SetMark(REGISTER),
        ]),
        Verdict::Snat(address) => rule.extend([
            Expression::Load(REGISTER, bytes(*address)),
            Expression::Nat {
                source: true,
                v6: address.is_ipv6(),
                address: REGISTER,
                port: None,
            },
        ]),
        Verdict::Dnat { address, port } => {
            rule.push(Expression::Load(REGISTER, bytes(*address)));
            if let Some(port) = port {
                rule.push(Expression::Load(second, port.to_be_bytes().to_vec()));
            }
            rule.push(Expression::Nat {
                source: false,
                v6: address.is_ipv6(),
                address: REGISTER,
                port: port.map(|_| second),
            });
        }
    }
    Ok(())
}
