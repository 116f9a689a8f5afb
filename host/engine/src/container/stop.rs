//! Ending and pausing: stop, kill, restart's first half, wait, pause.

use std::sync::Arc;
use std::time::Duration;

use longshore_shim::Request;

use super::{Container, Containers};
use crate::error::{Error, Result};

/// Seconds between a stop's signal and the kill, as Docker has it.
const STOP_TIMEOUT: i64 = 10;

const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// A signal's number, from its number or its name with or without `SIG`.
///
/// # Errors
/// `Invalid` for what is none.
pub fn parse_signal(text: &str) -> Result<u8> {
    let wrong = || Error::invalid(format!("Invalid signal: {}", text.chars().take(40).collect::<String>()));
    if let Ok(number) = text.parse::<u8>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(wrong())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = SIGNALS.iter().position(|known| *known == name) {
        return u8::try_from(at + 1).map_err(|_| wrong());
    }
    let real_time = |base: u8, rest: &str, sign: i16| -> Option<u8> {
        let offset = if rest.is_empty() {
            0
        } else {
            rest.get(1..)?.parse::<i16>().ok()?
        };
        u8::try_from(i16::from(base) + sign * offset)
            .ok()
            .filter(|n| (34..=64).contains(n))
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return real_time(34, rest, 1).ok_or_else(wrong);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return real_time(64, rest, -1).ok_or_else(wrong);
    }
    match name {
        "POLL" => Ok(29),
        "CLD" => Ok(17),
        "IOT" => Ok(6),
        _ => Err(wrong()),
    }
}

impl Containers {
    /// Stops a container: its stop signal, then after `timeout` seconds (negative: never) a kill.
    /// A container that does not run is stopped already; answers whether it ran.
    pub(crate) fn stop(&self, container: &Arc<Container>, signal: Option<&str>, timeout: Option<i64>) -> Result<bool> {
        let _busy = container.begin_verb()?;
        self.stop_begun(container, signal, timeout)
    }

    pub(super) fn stop_begun(
        &self,
        container: &Arc<Container>,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<bool> {
        let Some(live) = container.live().filter(|live| live.is_running()) else {
            return Ok(false);
        };
        let record = container.record();
        let signal = match signal.or(record.config.stop_signal.as_deref().filter(|s| !s.is_empty())) {
            Some(name) => parse_signal(name)?,
            None => 15,
        };
        let timeout = timeout.or(record.config.stop_timeout).unwrap_or(STOP_TIMEOUT);
        let timeout_ms = u64::try_from(timeout).ok().map(|seconds| seconds.saturating_mul(1000));
        live.call(Request::Stop { signal, timeout_ms }, Vec::new())?;
        // The shim kills when the time is up; what does not die then is stuck in the kernel.
        let limit = timeout_ms.map(|ms| Duration::from_millis(ms) + Duration::from_secs(20));
        if live.wait(limit, |s| s.settled) {
            return Ok(true);
        }
        Err(
            Error::unavailable(format!("container {} did not end although it was killed", container.id))
                .hint("a process of it waits in the kernel; look for state D in ps"),
        )
    }

    /// Sends a signal to init. SIGKILL kills everything and waits for the end.
    pub(crate) fn kill(&self, container: &Arc<Container>, signal: &str) -> Result<()> {
        let signal = if signal.is_empty() { 9 } else { parse_signal(signal)? };
        let live = container.running()?;
        if signal == 9 {
            live.call(
                Request::Stop {
                    signal,
                    timeout_ms: Some(0),
                },
                Vec::new(),
            )?;
            live.wait(Some(Duration::from_secs(20)), |s| s.settled);
            return Ok(());
        }
        live.call(Request::Signal { number: signal }, Vec::new())?;
        Ok(())
    }

    /// Freezes or thaws all processes.
    pub(crate) fn freeze(&self, container: &Arc<Container>, frozen: bool) -> Result<()> {
        let _busy = container.begin_verb()?;
        let live = container.running()?;
        if live.status().paused == frozen {
            let state = if frozen { "already" } else { "not" };
            return Err(Error::in_use(format!("Container {} is {state} paused", container.id)));
        }
        live.call(Request::Freeze { frozen }, Vec::new())?;
        live.update(|s| s.paused = frozen);
        Ok(())
    }

    /// Sets the size of the container's terminal.
    pub(crate) fn resize(&self, container: &Arc<Container>, rows: u16, columns: u16) -> Result<()> {
        let live = container
            .live()
            .ok_or_else(|| Error::in_use(format!("container {} is not running", container.id)))?;
        live.call(Request::Resize { rows, columns }, Vec::new())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::parse_signal;

    #[test]
    fn signals_have_numbers_and_names() {
        for (text, number) in [
            ("9", 9),
            ("SIGTERM", 15),
            ("hup", 1),
            ("SIGRTMIN+1", 35),
            ("RTMAX-1", 63),
            ("SIGSYS", 31),
        ] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for bad in ["0", "65", "", "SIGFOO", "RTMIN+99", "-1", "RTMIN+"] {
            assert!(parse_signal(bad).is_err(), "{bad}");
        }
    }
}
