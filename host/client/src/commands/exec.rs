//! `exec`: a further process in a running container.

use std::time::Duration;

use bollard::models::ExecConfig;
use serde_json::{Value, json};

use crate::attach::{Over, Session, detach_keys, parse_keys};
use crate::cli::Global;
use crate::cli::container::ExecArgs;
use crate::connect;
use crate::engine::{Engine, part};
use crate::error::{Failure, Kind, Result};
use crate::parse::env;
use crate::run::not_started;
use crate::terminal::{self, check_input};

/// Docker's code of a process that could not be started.
const NEVER_RAN: i64 = 126;
/// Asked for so long in vain, a process is taken for one that closed its output and goes on.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(crate) async fn exec(global: &Global, args: &ExecArgs) -> Result<u8> {
    let Some((container, command)) = args.words.split_first() else {
        return Err(Failure::usage("no container is named"));
    };
    if let Some(keys) = &args.detach_keys {
        parse_keys(keys)?;
    }
    let input = args.interactive && !args.detach;
    check_input(input, args.tty)?;
    let config = ExecConfig {
        attach_stdin: Some(input),
        attach_stdout: Some(!args.detach),
        attach_stderr: Some(!args.detach),
        console_size: console(args.tty),
        detach_keys: Some(detach_keys(args.tty, args.detach_keys.as_deref()).to_owned()),
        tty: Some(args.tty),
        env: Some(env::variables(&args.env_file, &args.env)?),
        cmd: Some(command.to_vec()),
        privileged: Some(args.privileged),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
    };
    let engine = connect::open(global).await?;
    let made = engine
        .docker
        .create_exec(&part(container)?, config)
        .await
        .map_err(Failure::from)?;
    let object = format!("/exec/{}", part(&made.id)?);
    let begin = json!({"Detach": args.detach, "Tty": args.tty, "ConsoleSize": console(args.tty)});
    if args.detach {
        let begun = engine.post(&format!("{object}/start"), Some(&begin)).await;
        return begun.map(|_| 0).map_err(of_exec);
    }
    let stream = engine
        .hijack(&format!("{object}/start"), Some(&begin))
        .await
        .map_err(of_exec)?;
    let session = Session {
        input,
        tty: args.tty,
        detach_keys: args.detach_keys.as_deref(),
        object: &object,
        signals_to: None,
    };
    match session.hold(&engine, stream, None).await? {
        Over::Ended => exit_code(&engine, &object).await,
        Over::Detached => Ok(0),
        Over::Signalled(code) => Ok(code),
    }
}

fn console(tty: bool) -> Option<Vec<usize>> {
    let (rows, columns) = tty.then(terminal::size).flatten()?;
    Some(vec![usize::from(rows), usize::from(columns)])
}

/// Docker's codes for a program that cannot be run; everything else is 1.
fn of_exec(failure: Failure) -> Failure {
    let failure = not_started(failure);
    match failure.code {
        Some(126 | 127) => failure,
        _ => failure.exit(1),
    }
}

/// The exit code is written down after the output has ended: it may have to be asked for again.
async fn exit_code(engine: &Engine, object: &str) -> Result<u8> {
    let mut pause = Duration::from_millis(2);
    loop {
        let known = engine.get(&format!("{object}/json")).await?;
        if known.get("Running").and_then(Value::as_bool) != Some(true) {
            let code = known.get("ExitCode").and_then(Value::as_i64);
            // Without a code it never ran; the reason came where its output would have.
            return Ok(code.unwrap_or(NEVER_RAN).rem_euclid(256) as u8);
        }
        if pause > LONGEST_PAUSE {
            return Err(Failure::new(
                Kind::Broken,
                "the output of the process has ended, and it still runs",
            ));
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}
