//! Limits of processes.

use bollard::models::ResourcesUlimits;

use super::nearest;
use crate::error::{Failure, Result};

const NAMES: [&str; 15] = [
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

/// `NAME=SOFT[:HARD]`; -1 is no limit.
pub(crate) fn ulimit(text: &str) -> Result<ResourcesUlimits> {
    let wrong = |reason: String| Failure::usage(format!("--ulimit {text:?}: {reason}")).hint("write NAME=SOFT[:HARD]");
    let (name, values) = text
        .split_once('=')
        .ok_or_else(|| wrong("it has no value".to_owned()))?;
    if !NAMES.contains(&name) {
        let failure = wrong(format!("there is no limit {name:?}"));
        return Err(match nearest(name, &NAMES) {
            Some(known) => Failure {
                hint: Some(format!("perhaps {known}")),
                ..failure
            },
            None => failure,
        });
    }
    let number = |part: &str| match part.parse::<i64>() {
        Ok(value) if value >= -1 => Ok(value),
        _ => Err(wrong(format!("{part:?} is not a limit"))),
    };
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(values)?, number(values)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(wrong(format!("the soft limit {soft} is over the hard limit {hard}")));
    }
    Ok(ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(soft),
        hard: Some(hard),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    #[test]
    fn limits_have_a_soft_and_a_hard_side() {
        for (text, soft, hard) in [
            ("nofile=1024", 1024, 1024),
            ("nofile=1024:2048", 1024, 2048),
            ("core=-1", -1, -1),
            ("core=0:-1", 0, -1),
        ] {
            let limit = ulimit(text).unwrap();
            assert_eq!((limit.soft, limit.hard), (Some(soft), Some(hard)), "{text}");
        }
        for text in [
            "nofile",
            "nofile=",
            "nofile=2:1",
            "nofile=-1:5",
            "nofile=-2",
            "files=1",
            "nofile=1:2:3",
            "=1",
        ] {
            assert!(ulimit(text).is_err(), "{text}");
        }
        assert_eq!(ulimit("nofiles=1").unwrap_err().hint.as_deref(), Some("perhaps nofile"));
    }
}
