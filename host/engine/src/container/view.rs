//! Containers as clients see them: `ps`, `inspect`.

use std::collections::HashMap;
use std::sync::Arc;

use bollard_stubs::models;

use super::record::{Mount, MountSource, Record};
use super::{Container, Containers, lock};
use crate::error::{Error, Result};
use crate::time::now_seconds;

/// Which containers are listed.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Those too that do not run.
    pub all: bool,
    /// At most so many, newest first.
    pub limit: Option<usize>,
    /// `name`, `id`, `status`, `label`, `ancestor`, `exited`, `volume`: any of the values of each.
    pub filters: HashMap<String, Vec<String>>,
}

impl Containers {
    /// Lists containers, newest first.
    pub(crate) fn list(&self, request: &ListRequest) -> Result<Vec<models::ContainerSummary>> {
        const KNOWN: [&str; 7] = ["name", "id", "status", "label", "ancestor", "exited", "volume"];
        if let Some(other) = request.filters.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(
                Error::invalid(format!("invalid filter '{other}'")).hint(format!("filters are {}", KNOWN.join(", ")))
            );
        }
        let by_state = request.filters.contains_key("status") || request.filters.contains_key("exited");
        let mut found = Vec::new();
        for container in self.all().into_iter().rev() {
            if !request.all && !by_state && request.limit.is_none() && !container.is_running() {
                continue;
            }
            if self.matches(&container, &request.filters) {
                found.push(self.summary(&container));
            }
            if request.limit.is_some_and(|limit| found.len() >= limit) {
                break;
            }
        }
        Ok(found)
    }

    fn matches(&self, container: &Container, filters: &HashMap<String, Vec<String>>) -> bool {
        let record = container.record();
        let state = container.state().to_string();
        let labels = record.config.labels.clone().unwrap_or_default();
        filters.iter().all(|(key, values)| {
            values.iter().any(|value| match key.as_str() {
                "name" => record.name.contains(value.trim_start_matches('/')),
                "id" => container.id.as_str().starts_with(value.as_str()),
                "status" => state == *value,
                "label" => match value.split_once('=') {
                    Some((key, wanted)) => labels.get(key).is_some_and(|has| has == wanted),
                    None => labels.contains_key(value),
                },
                "ancestor" => {
                    record.image == *value
                        || self
                            .images
                            .resolve_row(value)
                            .is_ok_and(|row| row.id == record.image_id)
                }
                "exited" => record
                    .ended
                    .as_ref()
                    .is_some_and(|ended| ended.code.to_string() == *value),
                "volume" => record.mounts.iter().any(|mount| {
                    mount.target == *value || matches!(&mount.source, MountSource::Volume { name, .. } if name == value)
                }),
                _ => false,
            })
        })
    }

    fn summary(&self, container: &Container) -> models::ContainerSummary {
        let record = container.record();
        let state = container.state();
        models::ContainerSummary {
            id: Some(container.id.to_string()),
            names: Some(vec![format!("/{}", record.name)]),
            image: Some(record.image.clone()),
            image_id: Some(record.image_id.clone()),
            command: Some(record.args.join(" ")),
            created: crate::image::parse_time(&record.created),
            ports: Some(Vec::new()),
            labels: record.config.labels.clone(),
            state: state.to_string().parse().ok(),
            status: Some(status_line(&record, state)),
            host_config: Some(models::ContainerSummaryHostConfig {
                network_mode: Some(record.network.clone()),
                ..Default::default()
            }),
            network_settings: Some(models::ContainerSummaryNetworkSettings {
                networks: Some(networks(&record)),
            }),
            mounts: Some(record.mounts.iter().map(|mount| self.mount_point(mount)).collect()),
            ..Default::default()
        }
    }

    /// Everything about a container, as Docker shows it.
    pub(crate) fn inspect(&self, container: &Arc<Container>) -> models::ContainerInspectResponse {
        let record = container.record();
        let id = container.id.to_string();
        let folder = self.paths.container(&id);
        let file = |name: &str| Some(folder.join(name).to_string_lossy().into_owned());
        let execs: Vec<String> = lock(&container.execs)
            .values()
            .filter(|session| session.is_running())
            .map(|session| session.id.clone())
            .collect();
        models::ContainerInspectResponse {
            created: Some(record.created.clone()),
            path: record.args.first().cloned(),
            args: Some(record.args.iter().skip(1).cloned().collect()),
            state: Some(container.full_state(&record)),
            image: Some(record.image_id.clone()),
            resolv_conf_path: file("resolv.conf"),
            hostname_path: file("hostname"),
            hosts_path: file("hosts"),
            log_path: file(&super::start::log_name(&id)),
            name: Some(format!("/{}", record.name)),
            restart_count: Some(0),
            driver: Some(record.driver.clone()),
            platform: Some("linux".into()),
            mount_label: Some(String::new()),
            process_label: Some(String::new()),
            app_armor_profile: Some(String::new()),
            exec_ids: (!execs.is_empty()).then_some(execs),
            graph_driver: Some(models::DriverData {
                name: record.driver.clone(),
                data: HashMap::from([("ID".to_owned(), record.layer.clone())]),
            }),
            mounts: Some(record.mounts.iter().map(|mount| self.mount_point(mount)).collect()),
            network_settings: Some(models::NetworkSettings {
                networks: Some(networks(&record)),
                ports: Some(HashMap::new()),
                ..Default::default()
            }),
            config: Some(models::ContainerConfig {
                hostname: Some(super::files::hostname(
                    &record,
                    &id,
                    self.drivers.network_shares_host(&record.network).unwrap_or(false),
                )),
                image: Some(record.image.clone()),
                ..record.config
            }),
            host_config: Some(models::HostConfig {
                network_mode: Some(record.network),
                ..record.host
            }),
            id: Some(id),
            ..Default::default()
        }
    }

    fn mount_point(&self, mount: &Mount) -> models::MountPoint {
        let (typ, name, source, driver) = match &mount.source {
            MountSource::Bind { path, .. } => ("bind", None, path.clone(), None),
            MountSource::Volume { name, .. } => (
                "volume",
                Some(name.clone()),
                self.volumes.mountpoint(name),
                self.volumes.driver_of(name),
            ),
            MountSource::Tmpfs(_) => ("tmpfs", None, String::new(), None),
        };
        models::MountPoint {
            typ: Some(typ.to_owned()),
            name,
            source: Some(source),
            destination: Some(mount.target.clone()),
            driver,
            mode: Some(String::new()),
            rw: Some(!mount.read_only),
            propagation: Some(mount.propagation.clone().unwrap_or_default()),
        }
    }
}

impl Container {
    /// Docker's word for its state.
    pub(crate) fn state(&self) -> models::ContainerStateStatusEnum {
        use models::ContainerStateStatusEnum as State;
        match self.live().map(|live| live.status()) {
            Some(status) if status.paused && status.running => State::PAUSED,
            Some(status) if status.running => State::RUNNING,
            _ if lock(&self.record).ended.is_some() => State::EXITED,
            _ => State::CREATED,
        }
    }

    fn full_state(&self, record: &Record) -> models::ContainerState {
        let status = self.live().map(|live| live.status()).unwrap_or_default();
        let never = || "0001-01-01T00:00:00Z".to_owned();
        models::ContainerState {
            status: Some(self.state()),
            running: Some(status.running),
            paused: Some(status.running && status.paused),
            restarting: Some(false),
            oom_killed: Some(record.ended.as_ref().is_some_and(|ended| ended.oom)),
            dead: Some(false),
            pid: Some(if status.running { i64::from(status.pid) } else { 0 }),
            exit_code: Some(record.ended.as_ref().map_or(0, |ended| ended.code)),
            error: Some(record.error.clone().unwrap_or_default()),
            started_at: Some(record.started.clone().unwrap_or_else(never)),
            finished_at: Some(record.ended.as_ref().map_or_else(never, |ended| ended.at.clone())),
            health: None,
        }
    }
}

fn networks(record: &Record) -> HashMap<String, models::EndpointSettings> {
    HashMap::from([(record.network.clone(), models::EndpointSettings::default())])
}

fn status_line(record: &Record, state: models::ContainerStateStatusEnum) -> String {
    use models::ContainerStateStatusEnum as State;
    let ago = |time: Option<&str>| {
        let then = time.and_then(crate::image::parse_time).unwrap_or_else(now_seconds);
        human(now_seconds().saturating_sub(then))
    };
    match state {
        State::RUNNING => format!("Up {}", ago(record.started.as_deref())),
        State::PAUSED => format!("Up {} (Paused)", ago(record.started.as_deref())),
        State::EXITED => match &record.ended {
            Some(ended) => format!("Exited ({}) {} ago", ended.code, ago(Some(&ended.at))),
            None => "Exited".into(),
        },
        _ => "Created".into(),
    }
}

/// A span of time in words, as Docker's `units.HumanDuration` has them.
fn human(seconds: i64) -> String {
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..3600 => format!("{} minutes", seconds / 60),
        3600..7200 => "About an hour".into(),
        7200..172_800 => format!("{} hours", seconds / 3600),
        172_800..1_209_600 => format!("{} days", seconds / 86_400),
        1_209_600..5_184_000 => format!("{} weeks", seconds / 604_800),
        5_184_000..63_072_000 => format!("{} months", seconds / 2_592_000),
        _ => format!("{} years", seconds / 31_536_000),
    }
}
