//! Verbs that do one thing to each container that is named.

use hyper::Method;

use crate::cli::Global;
use crate::cli::container::{KillArgs, NamesArgs, RmArgs, StopArgs};
use crate::connect;
use crate::engine::{Engine, part, query};
use crate::error::{Failure, Kind, Result};
use crate::output;
use crate::run::{status, wait_for};

/// Does it to each; what fails is said, and the others still have their turn.
pub(crate) async fn each(names: &[String], act: impl AsyncFn(&str) -> Result<()>) -> Result<u8> {
    let mut code = 0;
    for name in names {
        match act(name).await {
            Ok(()) => {}
            Err(failure) if failure.kind == Kind::NobodyReads => return Err(failure),
            Err(failure) => {
                output::failure(&failure);
                code = 1;
            }
        }
    }
    Ok(code)
}

async fn post(engine: &Engine, name: &str, verb: &str, pairs: &[(&str, &str)]) -> Result<()> {
    let path = query(&format!("/containers/{}/{verb}", part(name)?), pairs);
    engine.post(&path, None).await?;
    output::line(name)
}

pub(crate) async fn stop(global: &Global, args: &StopArgs, verb: &str) -> Result<u8> {
    if let Some(seconds @ ..-1) = args.timeout {
        return Err(Failure::usage(format!("-t {seconds} is not a time")).hint("-1 waits for ever"));
    }
    let engine = connect::open(global).await?;
    let seconds = args.timeout.map(|seconds| seconds.to_string());
    let pairs = [
        ("t", seconds.as_deref().unwrap_or_default()),
        ("signal", args.signal.as_deref().unwrap_or_default()),
    ];
    each(&args.names, async |name| post(&engine, name, verb, &pairs).await).await
}

pub(crate) async fn kill(global: &Global, args: &KillArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    let pairs = [("signal", args.signal.as_str())];
    each(&args.names, async |name| post(&engine, name, "kill", &pairs).await).await
}

/// `pause` and `unpause`.
pub(crate) async fn plain(global: &Global, args: &NamesArgs, verb: &str) -> Result<u8> {
    let engine = connect::open(global).await?;
    each(&args.names, async |name| post(&engine, name, verb, &[]).await).await
}

pub(crate) async fn wait(global: &Global, args: &NamesArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    each(&args.names, async |name| {
        let waiting = wait_for(&engine, name, "").await?;
        output::line(status(waiting).await?.to_string())
    })
    .await
}

pub(crate) async fn rm(global: &Global, args: &RmArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    let on = |wanted: bool| if wanted { "1" } else { "" };
    let pairs = [("force", on(args.force)), ("v", on(args.volumes))];
    each(&args.names, async |name| {
        let path = query(&format!("/containers/{}", part(name)?), &pairs);
        match engine.text(Method::DELETE, &path, None).await {
            // With -f it is no error that there is nothing to remove.
            Err(failure) if failure.is_not_found() && args.force => {
                output::failure(&failure);
                Ok(())
            }
            Err(failure) => Err(failure),
            Ok(_) => output::line(name),
        }
    })
    .await
}
