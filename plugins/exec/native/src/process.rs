//! Processes by number and start time: a number alone may be another's by now.

use std::fmt;
use std::str::FromStr;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// In clock ticks since boot; 0 when it was not seen.
    pub(crate) started: u64,
}

/// What `/proc/<pid>/stat` tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) comm: String,
    pub(crate) state: char,
    pub(crate) started: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name may hold blanks and parentheses: it ends at the last one.
        let (head, rest) = text.rsplit_once(')')?;
        let (_, comm) = head.split_once('(')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?.chars().next()?;
        // Field 22 of proc(5); the state is field 3.
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self {
            comm: comm.to_owned(),
            state,
            started,
        })
    }

    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }
}

impl Identity {
    /// A process that was just made.
    pub(crate) fn of(pid: u32) -> Self {
        Self {
            pid,
            started: Stat::of(pid).map_or(0, |stat| stat.started),
        }
    }

    /// What it does, unless it has ended.
    pub(crate) fn alive(self) -> Option<Stat> {
        let stat = Stat::of(self.pid)?;
        let same = self.started == 0 || self.started == stat.started;
        (same && !matches!(stat.state, 'Z' | 'X')).then_some(stat)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

impl FromStr for Identity {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pid, started) = text.trim().split_once(' ').unwrap_or((text.trim(), "0"));
        Ok(Self {
            pid: pid.parse()?,
            started: started.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let text = "12 (a) S (b) R 1 12 12 0 -1 4194560 95 0 0 0 0 0 0 0 20 0 1 0 4711 2 3";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.comm.as_str(), stat.state, stat.started), ("a) S (b", 'R', 4711));
        assert!(Stat::parse("12 (short) R 1").is_none());
    }

    #[test]
    fn an_identity_is_kept_as_text() {
        let own = Identity::of(std::process::id());
        assert_eq!(own.to_string().parse::<Identity>().unwrap(), own);
        assert!(own.alive().is_some());
        assert!(Identity { started: 1, ..own }.alive().is_none());
        assert!("x".parse::<Identity>().is_err());
    }
}
