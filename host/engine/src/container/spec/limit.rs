//! Limits: of each process (rlimits) and of the whole container (cgroup).

use longshore_core::exec::Resources;
use serde_json::{Map, Value, json};

use super::Host;

/// A limit of each process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rlimit {
    /// Docker's name: `nofile`.
    pub name: String,
    /// What holds until raised; -1 for none.
    pub soft: i64,
    /// How far it can be raised; -1 for none.
    pub hard: i64,
}

const NAMES: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Docker's period where only a number of CPUs is given, in microseconds.
const PERIOD: u64 = 100_000;

/// The least memory that a container can start in.
const LEAST_MEMORY: i64 = 6 * 1024 * 1024;

pub(super) fn no_limits() -> Resources {
    Resources {
        memory: None,
        memory_swap: None,
        memory_reservation: None,
        cpu_shares: None,
        cpu_quota: None,
        cpu_period: None,
        cpus: None,
        mems: None,
        pids: None,
    }
}

fn bound(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

/// The limits no higher than the engine's own, and a sentence for each that was lowered. Only
/// `CAP_SYS_RESOURCE` may raise a hard limit.
pub(super) fn clamped(limits: &[Rlimit], host: &Host) -> (Vec<Rlimit>, Vec<String>) {
    let mut warnings = Vec::new();
    let limits = limits
        .iter()
        .map(|limit| {
            let most = host.hard_limits.get(&limit.name).copied().unwrap_or(u64::MAX);
            if host.has("CAP_SYS_RESOURCE") || (bound(limit.hard) <= most && bound(limit.soft) <= most) {
                return limit.clone();
            }
            warnings.push(format!(
                "ulimit {} was lowered to {most}, the engine's own hard limit",
                limit.name
            ));
            let lower = |value: i64| i64::try_from(bound(value).min(most)).unwrap_or(-1);
            Rlimit {
                name: limit.name.clone(),
                soft: lower(limit.soft),
                hard: lower(limit.hard),
            }
        })
        .collect();
    (limits, warnings)
}

pub(super) fn rlimits(limits: &[Rlimit]) -> Result<Vec<Value>, String> {
    limits
        .iter()
        .map(|limit| {
            if !NAMES.contains(&limit.name.as_str()) {
                return Err(format!("there is no ulimit {:?}", limit.name));
            }
            let (soft, hard) = (bound(limit.soft), bound(limit.hard));
            if soft > hard {
                return Err(format!(
                    "ulimit {}: the soft limit {soft} is above the hard limit {hard}",
                    limit.name
                ));
            }
            Ok(json!({ "type": format!("RLIMIT_{}", limit.name.to_ascii_uppercase()), "soft": soft, "hard": hard }))
        })
        .collect()
}

pub(super) fn swap_warning(wanted: &Resources, host: &Host) -> Option<String> {
    (wanted.memory_swap.is_some_and(|swap| swap > 0) && !host.swap_limit)
        .then(|| "this machine cannot limit swap; memory alone is limited".to_owned())
}

/// The `resources` object without its device rules.
pub(super) fn resources(wanted: &Resources, nano_cpus: Option<i64>, host: &Host) -> Result<Map<String, Value>, String> {
    let mut all = Map::new();
    let memory = memory(wanted, host)?;
    if memory
        .as_object()
        .is_some_and(|members| members.values().any(|value| !value.is_null()))
    {
        all.insert("memory".to_owned(), memory);
    }
    let cpu = cpu(wanted, nano_cpus)?;
    if cpu
        .as_object()
        .is_some_and(|members| members.values().any(|value| !value.is_null()))
    {
        all.insert("cpu".to_owned(), cpu);
    }
    // Zero and less are Docker's "no limit".
    if let Some(pids) = wanted.pids.filter(|pids| *pids > 0) {
        all.insert("pids".to_owned(), json!({ "limit": pids }));
    }
    Ok(all)
}

/// Memory and swap. As with Docker, swap is as much again as memory where it is not said.
fn memory(wanted: &Resources, host: &Host) -> Result<Value, String> {
    let limit = wanted.memory.filter(|limit| *limit != 0);
    if limit.is_some_and(|limit| limit > 0 && limit < LEAST_MEMORY) {
        return Err("the memory limit is below 6 MiB, the least that a container can start in".to_owned());
    }
    let swap = match (wanted.memory_swap.filter(|swap| *swap != 0), limit) {
        (Some(swap), None) if swap > 0 => {
            return Err(format!("a limit of memory and swap ({swap}) needs a memory limit too"));
        }
        (Some(swap), Some(limit)) if swap > 0 && swap < limit => {
            return Err(format!(
                "the limit of memory and swap ({swap}) is below the memory limit ({limit})"
            ));
        }
        (None, Some(limit)) if limit > 0 => Some(limit.saturating_mul(2)),
        (swap, _) => swap,
    };
    let reservation = wanted.memory_reservation.filter(|bytes| *bytes != 0);
    if let (Some(reservation), Some(limit)) = (reservation, limit)
        && limit > 0
        && reservation > limit
    {
        return Err(format!(
            "the memory reservation ({reservation}) is above the memory limit ({limit})"
        ));
    }
    Ok(json!({ "limit": limit, "swap": swap.filter(|_| host.swap_limit), "reservation": reservation }))
}

fn cpu(wanted: &Resources, nano_cpus: Option<i64>) -> Result<Value, String> {
    let (mut quota, mut period) = (
        wanted.cpu_quota.filter(|quota| *quota != 0),
        wanted.cpu_period.filter(|period| *period != 0),
    );
    if let Some(nano) = nano_cpus.filter(|nano| *nano != 0) {
        if nano < 0 {
            return Err(format!("the number of CPUs is negative ({nano}e-9)"));
        }
        if quota.is_some() || period.is_some() {
            return Err("a number of CPUs and a CPU quota or period exclude each other".to_owned());
        }
        period = Some(PERIOD);
        quota = Some(i64::try_from(i128::from(nano) * i128::from(PERIOD) / 1_000_000_000).unwrap_or(i64::MAX));
    }
    if let Some(quota) = quota
        && (0..1000).contains(&quota)
    {
        return Err(format!("the CPU quota ({quota} µs) is below 1000 µs"));
    }
    if let Some(period) = period
        && !(1000..=1_000_000).contains(&period)
    {
        return Err(format!(
            "the CPU period ({period} µs) is not between 1000 and 1000000 µs"
        ));
    }
    for (name, list) in [("cpus", &wanted.cpus), ("mems", &wanted.mems)] {
        if let Some(list) = list
            && !list
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b',' || byte == b'-')
        {
            return Err(format!("the cpuset {name} {list:?} is not a list such as 0-1,3"));
        }
    }
    let named = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
    Ok(json!({
        "shares": wanted.cpu_shares.filter(|shares| *shares != 0),
        "quota": quota,
        "period": period,
        "cpus": named(&wanted.cpus),
        "mems": named(&wanted.mems),
    }))
}
