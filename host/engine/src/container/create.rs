//! Making a container: checking what was asked for, merging the image's settings in, its layer, its
//! row.

use std::collections::HashMap;
use std::sync::Arc;

use bollard_stubs::models;
use longshore_core::types::ContainerId;

use super::record::{MountSource, Record};
use super::{Container, Containers, files, mounts};
use crate::drivers::{Choice, GraphSlot};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::layer::new_id;
use crate::paths::random;
use crate::time::{Laps, now};

/// Smallest memory limit that Docker takes.
const MIN_MEMORY: i64 = 6 << 20;

/// What making a container answers.
#[derive(Clone, Debug)]
pub struct CreatedContainer {
    /// Its ID.
    pub id: String,
    /// What was taken otherwise than asked for.
    pub warnings: Vec<String>,
}

impl Containers {
    /// Makes a container.
    ///
    /// # Errors
    /// `Invalid`, naming the field; `NotFound` for the image; `AlreadyExists` for the name. Nothing
    /// of it stays.
    pub(crate) fn create(
        &self,
        name: Option<&str>,
        body: models::ContainerCreateBody,
        choice: &Choice,
    ) -> Result<CreatedContainer> {
        let mut laps = Laps::begin("create");
        let id = ContainerId::from_random(random()?);
        let (mut record, slot, warnings) = self.plan(name, body, choice)?;
        // Until the row speaks for them, its layers are kept by this.
        let _pins = record.chain.iter().map(|top| self.layers.pin(top)).collect::<Vec<_>>();
        let chain = self
            .layers
            .chain(record.chain.as_deref(), &slot)
            .map_err(|e| e.context(format_args!("image {}", record.image)))?;
        let container = Container::new(id.clone(), record.clone());
        let _busy = container.begin();
        self.make_volumes(&mut record, id.as_str())?;
        if let Err(error) = self.volumes.mask(&mut record.host) {
            self.unmount_volumes(&record, id.as_str());
            self.drop_anonymous_volumes(&record, id.as_str());
            return Err(error);
        }
        // The row is the operation: one without its layer is completed by the same call again, so
        // that making a container needs this one flush.
        laps.mark("planned");
        let added = with_free_name(&mut record, name.is_none(), |record| {
            self.store.write(|tx| {
                if !tx.has_image(&record.image_id)? {
                    return Err(Error::not_found(format!("No such image: {}", record.image))
                        .hint("it was removed meanwhile: load or import it again"));
                }
                tx.add_container(&record.to_row(id.as_str())?)
            })
        });
        if let Err(error) = added {
            self.unmount_volumes(&record, id.as_str());
            self.drop_anonymous_volumes(&record, id.as_str());
            return Err(error);
        }
        laps.mark("row committed");
        let made = self
            .layers
            .create_container_layer(&slot, &record.layer_ref()?.id, &chain)
            .and_then(|layer| {
                record.note = layer.note.into_vec();
                files::write(
                    &self.paths.container(id.as_str()),
                    &record,
                    id.as_str(),
                    self.drivers.network_shares_host(&record.network)?,
                )
            });
        laps.mark("layer made, files written");
        container.note_made();
        *super::lock(&container.record) = record.clone();
        if let Err(error) = made {
            self.unmount_volumes(&record, id.as_str());
            self.remove_begun(&container, true)?;
            return Err(error);
        }
        self.insert(Arc::clone(&container));
        // From here on the table says who uses a volume.
        self.unmount_volumes(&record, id.as_str());
        Ok(CreatedContainer {
            id: id.to_string(),
            warnings,
        })
    }

    /// What a container will be: everything is checked, nothing is made.
    fn plan(
        &self,
        name: Option<&str>,
        body: models::ContainerCreateBody,
        choice: &Choice,
    ) -> Result<(Record, Arc<GraphSlot>, Vec<String>)> {
        let name = match name {
            Some(name) => checked_name(name)?.to_owned(),
            None => generated_name()?,
        };
        let word = body.image.clone().unwrap_or_default();
        if word.is_empty() {
            return Err(Error::invalid("Image: a container needs an image"));
        }
        let image = self.images.resolve(&word)?;
        let (config, host) = split(body);
        let mut warnings = Vec::new();
        check_host(&host, &mut warnings)?;
        let config = merge(config, &image);
        let args = arguments(&config)?;
        let slot = self.drivers.graph(&self.drivers.chosen("graph", choice)?)?;
        let exec_driver = self.drivers.chosen("exec", choice)?;
        self.drivers.exec_library(&exec_driver)?;
        let network = self.network_of(&host, choice)?;
        let record = Record {
            name,
            created: now(),
            boot: boot(),
            image: word,
            image_id: image.row.id.clone(),
            chain: image.row.chain.clone(),
            driver: slot.name.clone(),
            layer: new_id()?.to_string(),
            note: Vec::new(),
            exec_driver,
            network,
            args,
            mounts: mounts::of(&config, &host)?,
            config,
            host,
            ended: None,
            started: None,
            error: None,
        };
        warnings.extend(super::spec_of::check(
            &record,
            !self.drivers.network_shares_host(&record.network)?,
        )?);
        Ok((record, slot, warnings))
    }

    /// The network's name: what was asked for, or config's default.
    fn network_of(&self, host: &models::HostConfig, choice: &Choice) -> Result<String> {
        match host.network_mode.as_deref() {
            None | Some("" | "default") => self.drivers.chosen("network", choice),
            Some("bridge") => Err(Error::invalid("network bridge is not available in this version")
                .hint("use --network none or --network host")),
            Some(name) => {
                self.drivers.network_shares_host(name).map_err(|_| {
                    Error::not_found(format!("network {name} not found")).hint("there are none and host")
                })?;
                Ok(name.to_owned())
            }
        }
    }

    /// Makes the volumes that are not there yet, and names the anonymous ones.
    fn make_volumes(&self, record: &mut Record, id: &str) -> Result<()> {
        let driver = record.host.volume_driver.clone().filter(|d| !d.is_empty());
        let mut made: Vec<(String, bool)> = Vec::new();
        for mount in &mut record.mounts {
            if let MountSource::Volume { name, anonymous } = &mut mount.source {
                if *anonymous {
                    *name = hex::encode(random::<32>()?);
                }
                let mut spec = mounts::volume_spec(&record.host, &mount.target);
                spec.driver = spec.driver.or_else(|| driver.clone());
                if let Err(error) = self.volumes.ensure_held(name, id, spec, *anonymous) {
                    for (name, anonymous) in &made {
                        self.volumes.unmount(name, id);
                        if *anonymous {
                            let _ = self.volumes.remove(name, true, &Vec::new);
                        }
                    }
                    return Err(error.context(format_args!("mount at {}", mount.target)));
                }
                made.push((name.clone(), *anonymous));
            }
        }
        Ok(())
    }
}

/// This boot's ID; empty where the kernel does not tell it.
pub(super) fn boot() -> String {
    longshore_sys::process::boot().unwrap_or_default()
}

/// Docker's rule for container names.
fn checked_name(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let good = bare.len() >= 2
        && bare.len() <= 255
        && bare.as_bytes()[0].is_ascii_alphanumeric()
        && bare
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good {
        return Ok(bare);
    }
    let shown: String = name.chars().take(80).collect();
    Err(Error::invalid(format!(
        "Invalid container name ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

fn split(body: models::ContainerCreateBody) -> (models::ContainerConfig, models::HostConfig) {
    let config = models::ContainerConfig {
        hostname: body.hostname,
        domainname: body.domainname,
        user: body.user,
        attach_stdin: body.attach_stdin,
        attach_stdout: body.attach_stdout,
        attach_stderr: body.attach_stderr,
        exposed_ports: body.exposed_ports,
        tty: body.tty,
        open_stdin: body.open_stdin,
        stdin_once: body.stdin_once,
        env: body.env,
        cmd: body.cmd,
        healthcheck: body.healthcheck,
        args_escaped: body.args_escaped,
        image: body.image,
        volumes: body.volumes,
        working_dir: body.working_dir,
        entrypoint: body.entrypoint,
        network_disabled: body.network_disabled,
        on_build: None,
        labels: body.labels,
        stop_signal: body.stop_signal,
        stop_timeout: body.stop_timeout,
        shell: body.shell,
    };
    (config, body.host_config.unwrap_or_default())
}

/// Docker's merge: what the user left out is the image's; environment and labels are joined.
fn merge(mut config: models::ContainerConfig, image: &Image) -> models::ContainerConfig {
    let run = image.file.run();
    let blank = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    if blank(&config.user) {
        config.user = run.user;
    }
    if blank(&config.working_dir) {
        config.working_dir = run.working_dir;
    }
    if blank(&config.stop_signal) {
        config.stop_signal = run.stop_signal;
    }
    // A user's entry point takes the image's command away; an empty one resets both.
    match &config.entrypoint {
        Some(words) if words.iter().all(String::is_empty) => config.entrypoint = Some(Vec::new()),
        Some(_) => {}
        None => {
            if config.cmd.as_ref().is_none_or(Vec::is_empty) {
                config.cmd = run.cmd;
            }
            config.entrypoint = run.entrypoint;
        }
    }
    let mut env = config.env.take().unwrap_or_default();
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut merged: Vec<String> = run
        .env
        .unwrap_or_default()
        .into_iter()
        .filter(|theirs| !env.iter().any(|mine| key(mine) == key(theirs)))
        .collect();
    merged.append(&mut env);
    config.env = Some(merged);
    let mut labels: HashMap<String, String> = run.labels.unwrap_or_default();
    labels.extend(config.labels.take().unwrap_or_default());
    config.labels = Some(labels);
    let mut volumes = config.volumes.take().unwrap_or_default();
    volumes.extend(run.volumes.unwrap_or_default().into_keys());
    volumes.sort();
    volumes.dedup();
    config.volumes = Some(volumes);
    config
}

fn arguments(config: &models::ContainerConfig) -> Result<Vec<String>> {
    let args: Vec<String> = config
        .entrypoint
        .iter()
        .flatten()
        .chain(config.cmd.iter().flatten())
        .cloned()
        .collect();
    match args.first() {
        None => Err(Error::invalid("no command specified")
            .hint("the image names none: give one after the image, or --entrypoint")),
        Some(first) if first.is_empty() => Err(Error::invalid("Cmd: the first word is empty")),
        _ if args.iter().any(|a| a.contains('\0')) => Err(Error::invalid("Cmd: a word holds a NUL byte")),
        _ => Ok(args),
    }
}

/// Refuses what cannot be, naming the field; what this version does not have yet is said, not
/// ignored.
fn check_host(host: &models::HostConfig, warnings: &mut Vec<String>) -> Result<()> {
    let number = |name: &str, value: Option<i64>, least: i64| match value {
        Some(value) if value != 0 && value < least => Err(Error::invalid(format!(
            "{name}: {value} is less than the least possible, {least}"
        ))),
        _ => Ok(()),
    };
    number("Memory", host.memory, MIN_MEMORY)?;
    number("MemoryReservation", host.memory_reservation, 1)?;
    number("NanoCpus", host.nano_cpus, 1)?;
    number("CpuShares", host.cpu_shares, 2)?;
    number("CpuQuota", host.cpu_quota, 1000)?;
    number("CpuPeriod", host.cpu_period, 1000)?;
    number("PidsLimit", host.pids_limit, -1)?;
    number("ShmSize", host.shm_size, 1)?;
    if let (Some(memory), Some(swap)) = (host.memory, host.memory_swap)
        && swap > 0
        && (memory == 0 || swap < memory)
    {
        return Err(Error::invalid(
            "MemorySwap: must be at least Memory, which must be set with it",
        ));
    }
    if host.oom_score_adj.is_some_and(|adj| !(-1000..=1000).contains(&adj)) {
        return Err(Error::invalid("OomScoreAdj: must lie between -1000 and 1000"));
    }
    let cores = std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1));
    if host.nano_cpus.is_some_and(|nano| nano > cores * 1_000_000_000) {
        return Err(Error::invalid(format!(
            "NanoCpus: range of CPUs is from 0.01 to {cores}.00, as there are only {cores} CPUs available"
        )));
    }
    for ulimit in host.ulimits.iter().flatten() {
        let name = ulimit.name.as_deref().unwrap_or_default();
        if matches!((ulimit.soft, ulimit.hard), (Some(soft), Some(hard)) if hard >= 0 && soft > hard) {
            return Err(Error::invalid(format!(
                "Ulimits: {name}: the soft limit is above the hard limit"
            )));
        }
    }
    unavailable(host)?;
    if host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty()) {
        warnings.push("Published ports are discarded: neither none nor host network publishes any".into());
    }
    Ok(())
}

fn unavailable(host: &models::HostConfig) -> Result<()> {
    let refuse = |what: &str| Err(Error::unsupported(format!("{what} is not available in this version")));
    if let Some(policy) = &host.restart_policy
        && !matches!(
            policy.name,
            None | Some(models::RestartPolicyNameEnum::EMPTY | models::RestartPolicyNameEnum::NO)
        )
    {
        return refuse("RestartPolicy: a restart policy other than no");
    }
    if let Some(log) = &host.log_config
        && !matches!(log.typ.as_deref(), None | Some("" | "json-file"))
    {
        return refuse("LogConfig: a log driver other than json-file");
    }
    for (field, value) in [
        ("IpcMode", &host.ipc_mode),
        ("PidMode", &host.pid_mode),
        ("UTSMode", &host.uts_mode),
        ("UsernsMode", &host.userns_mode),
    ] {
        if !matches!(value.as_deref(), None | Some("" | "private")) {
            return refuse(&format!("{field}: a mode other than private"));
        }
    }
    if host.volumes_from.as_ref().is_some_and(|v| !v.is_empty()) {
        return refuse("VolumesFrom");
    }
    if host.storage_opt.as_ref().is_some_and(|v| !v.is_empty()) {
        return refuse("StorageOpt");
    }
    if host.device_requests.as_ref().is_some_and(|v| !v.is_empty()) {
        return refuse("DeviceRequests");
    }
    Ok(())
}

const ADJECTIVES: [&str; 24] = [
    "able", "brave", "bright", "calm", "clever", "eager", "fair", "fine", "gentle", "glad", "keen", "kind", "lively",
    "lucid", "merry", "nimble", "proud", "quick", "quiet", "sharp", "steady", "swift", "warm", "wise",
];
const VESSELS: [&str; 24] = [
    "barge", "brig", "canoe", "clipper", "coaster", "cutter", "dinghy", "dory", "ferry", "frigate", "galley", "junk",
    "kayak", "ketch", "launch", "lugger", "packet", "pinnace", "schooner", "skiff", "sloop", "tender", "trawler",
    "yawl",
];

/// Most names that are tried before a clash is told.
const NAMES: usize = 16;

fn generated_name() -> Result<String> {
    Ok(format!("{}_{}", word(&ADJECTIVES)?, word(&VESSELS)?))
}

/// Adds a container. A name that was generated and is taken gives way to another one.
fn with_free_name(record: &mut Record, generated: bool, mut add: impl FnMut(&Record) -> Result<()>) -> Result<()> {
    for _ in 1..NAMES {
        match add(record) {
            Err(error) if generated && error.kind == longshore_core::ErrorKind::AlreadyExists => {
                record.name = generated_name()?;
            }
            done => return done,
        }
    }
    add(record)
}

/// A word of a list; the vessels have two digits behind.
fn word(list: &[&str; 24]) -> Result<String> {
    let [byte, salt] = random::<2>()?;
    let chosen = list[usize::from(byte) % list.len()];
    Ok(if list[0] == VESSELS[0] {
        format!("{chosen}{salt:02x}")
    } else {
        chosen.to_owned()
    })
}

/// For tests of the merge.
#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["ab", "/web", "a.b-c_d", "A1"] {
            assert!(checked_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", "a/b", "a b", "..", "é1"] {
            assert!(checked_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_generated_name_that_is_taken_gives_way_and_a_given_one_does_not() {
        let mut record: Record = serde_json::from_value(serde_json::json!({
            "name": "taken", "created": "", "image": "", "image_id": "", "chain": null, "driver": "", "layer": "",
            "note": [], "exec_driver": "", "network": "", "config": {}, "host": {}, "args": [], "mounts": [],
            "ended": null, "started": null, "error": null,
        }))
        .unwrap();
        let mut tried = Vec::new();
        let mut add = |record: &Record| {
            tried.push(record.name.clone());
            if tried.len() < 3 {
                return Err(Error::already_exists("the name is in use"));
            }
            Ok(())
        };
        assert!(with_free_name(&mut record, false, &mut add).is_err());
        with_free_name(&mut record, true, &mut add).unwrap();
        assert_eq!(tried.len(), 3);
        assert_ne!(record.name, "taken");
        assert_eq!(tried[2], record.name);
    }

    #[test]
    fn numbers_out_of_range_name_their_field() {
        let host = |change: fn(&mut models::HostConfig)| {
            let mut host = models::HostConfig::default();
            change(&mut host);
            check_host(&host, &mut Vec::new()).unwrap_err().message
        };
        assert!(host(|h| h.memory = Some(-5)).starts_with("Memory:"));
        assert!(host(|h| h.memory = Some(1)).starts_with("Memory:"));
        assert!(host(|h| h.nano_cpus = Some(i64::MAX)).starts_with("NanoCpus:"));
        assert!(host(|h| h.pids_limit = Some(-2)).starts_with("PidsLimit:"));
        assert!(host(|h| h.oom_score_adj = Some(5000)).starts_with("OomScoreAdj:"));
    }
}
