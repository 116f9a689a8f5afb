//! `engine start|stop|restart|reload|status`: the engine itself. None of them touches a container.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{items, number, text};
use crate::cli::Global;
use crate::cli::engine::EngineCommand;
use crate::connect::{self, Surroundings, Target};
use crate::engine::Engine;
use crate::error::{Failure, Kind, Result};
use crate::launch::Stay;
use crate::output;
use crate::output::listing::{Form, lines};

/// How long an engine may take to finish its calls and leave.
const LEAVING: Duration = Duration::from_secs(60);

pub(crate) async fn engine(global: &Global, command: &EngineCommand) -> Result<u8> {
    match command {
        EngineCommand::Start => start(global).await,
        EngineCommand::Stop => stop(global).await,
        EngineCommand::Restart => restart(global).await,
        EngineCommand::Reload => reload(global).await,
        EngineCommand::Status(output) => status(global, output.format.as_deref()).await,
    }
}

/// Nothing is ever started behind a socket that was named: nobody knows its data root.
fn local_only(global: &Global, verb: &str) -> Result<()> {
    match Target::choose(global, &Surroundings::read())? {
        Target::Local(_) => Ok(()),
        Target::Host(socket) => Err(Failure::usage(format!(
            "engine {verb} works on a data root, and the host unix://{} was named",
            socket.display()
        ))
        .hint("name the data root with --data-root, without a host")),
    }
}

async fn start(global: &Global) -> Result<u8> {
    local_only(global, "start")?;
    if let Some(engine) = connect::running(global).await? {
        let known = engine.get_own("status").await?;
        if text(&known, "Mode") != "on-demand" {
            output::line(sentence(&known))?;
            return Ok(0);
        }
        // One that would leave when idle makes place for one that stays.
        leave(&engine).await?;
    }
    let engine = connect::open_as(global, Stay::UntilStopped).await?;
    output::line(sentence(&engine.get_own("status").await?))?;
    Ok(0)
}

async fn stop(global: &Global) -> Result<u8> {
    match connect::running(global).await? {
        Some(engine) => {
            leave(&engine).await?;
            output::line("the engine has stopped; containers go on")?;
        }
        None => output::line("no engine runs")?,
    }
    Ok(0)
}

async fn restart(global: &Global) -> Result<u8> {
    local_only(global, "restart")?;
    let mut stay = Stay::UntilStopped;
    if let Some(engine) = connect::running(global).await? {
        let known = engine.get_own("status").await?;
        if text(&known, "Mode") == "on-demand" {
            stay = Stay::OnDemand;
        }
        leave(&engine).await?;
    }
    let engine = connect::open_as(global, stay).await?;
    output::line(sentence(&engine.get_own("status").await?))?;
    Ok(0)
}

async fn reload(global: &Global) -> Result<u8> {
    let Some(engine) = connect::running(global).await? else {
        return Err(nobody());
    };
    engine.post("/longshore/engine/reload", None).await?;
    output::line("the engine has taken its config files")?;
    Ok(0)
}

/// Asks the engine to leave, and waits until nobody listens any more.
async fn leave(engine: &Engine) -> Result<()> {
    let asked = engine.post("/longshore/engine/stop", None).await;
    match asked {
        Ok(_) => {}
        // It may be gone before its answer is read.
        Err(failure) if failure.kind == Kind::Broken => {}
        Err(failure) => return Err(failure),
    }
    let begun = Instant::now();
    let mut pause = Duration::from_millis(5);
    while engine.transport().connect().await.is_ok() {
        if begun.elapsed() > LEAVING {
            return Err(Failure::new(
                Kind::Unreachable,
                format!(
                    "the engine was asked to stop and still runs after {} s",
                    LEAVING.as_secs()
                ),
            )
            .hint("longshore engine status shows its process"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
    Ok(())
}

fn nobody() -> Failure {
    Failure::new(Kind::Unreachable, "no engine runs").hint("longshore engine start")
}

async fn status(global: &Global, format: Option<&str>) -> Result<u8> {
    let Some(engine) = connect::running(global).await? else {
        return Err(nobody());
    };
    let known = engine.get_own("status").await?;
    match Form::of(format, global.json) {
        Form::Json => output::line(known.to_string())?,
        Form::Template(template) => {
            output::print(&lines(template, std::iter::once(known))?)?;
        }
        Form::Table => output::print(&table(&known))?,
    }
    Ok(0)
}

fn sentence(known: &Value) -> String {
    format!(
        "engine {} runs as process {} on {}, {}",
        text(known, "Version"),
        number(known, "Pid"),
        text(known, "DataRoot"),
        mode(known)
    )
}

fn mode(known: &Value) -> String {
    match text(known, "Mode").as_str() {
        "on-demand" => "started on demand: it leaves when idle".to_owned(),
        "stay" => "stays until engine stop".to_owned(),
        "system" => "belongs to the system's service manager".to_owned(),
        other => other.to_owned(),
    }
}

fn table(known: &Value) -> String {
    let mut out = String::new();
    let mut add = |label: &str, value: String| {
        out.push_str(&format!("{:<12} {value}\n", format!("{label}:")));
    };
    add("Version", text(known, "Version"));
    add("Process", number(known, "Pid").to_string());
    add("Mode", mode(known));
    add("Socket", text(known, "Socket"));
    add("Data root", text(known, "DataRoot"));
    add("Exec root", text(known, "ExecRoot"));
    let (all, running) = (number(known, "Containers"), number(known, "Running"));
    add("Containers", format!("{all}, of which {running} running"));
    for warning in items(known, "Warnings").iter().filter_map(Value::as_str) {
        add("Warning", warning.to_owned());
    }
    for file in items(known, "Config") {
        let state = match text(file, "Digest") {
            digest if digest.is_empty() => "not there".to_owned(),
            digest => digest,
        };
        add("Config", format!("{} ({state})", text(file, "Path")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_says_how_long_the_engine_stays() {
        let known = json!({"Version": "0.1.0", "Pid": 7, "DataRoot": "/d", "Mode": "on-demand",
            "Config": [{"Path": "/c", "Digest": "sha256:ff"}], "Containers": 3, "Running": 2});
        assert!(sentence(&known).contains("leaves when idle"));
        let table = table(&known);
        assert!(table.contains("Containers:  3, of which 2 running\n"), "{table}");
        assert!(table.contains("Config:      /c (sha256:ff)\n"), "{table}");
    }
}
