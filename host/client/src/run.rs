//! `run`, `create`, `start` and `attach`: a container from request to exit code.

use std::path::Path;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};

use crate::attach::{Over, Session, detach_keys};
use crate::cli::Global;
use crate::cli::container::{AttachArgs, StartArgs};
use crate::cli::create::{ContainerArgs, RunArgs};
use crate::connect;
use crate::engine::{Engine, part, query};
use crate::error::{Failure, Kind, Result};
use crate::output;
use crate::settings::{Streams, body};
use crate::signals::Caught;
use crate::terminal::check_input;

/// The exit code of what this command itself could not do.
pub(crate) const OWN: u8 = 125;

pub(crate) async fn run(global: &Global, args: &RunArgs) -> Result<u8> {
    let streams = Streams::of(&args.create, args.detach)?;
    let request = body(&args.create, streams)?;
    if args.create.explain {
        let engine = connect::open(global).await?;
        return crate::commands::explain::explain(&engine, &args.create, &request, global.json).await;
    }
    if !args.detach {
        check_input(streams.input, args.create.tty)?;
    }
    let cidfile = args.create.cidfile.as_deref();
    check_cidfile(cidfile)?;
    let engine = connect::open(global).await?;
    let id = create_container(&engine, &args.create, request).await?;
    write_cidfile(cidfile, &id)?;
    let held = Held {
        id: &id,
        streams,
        tty: args.create.tty,
        detach_keys: args.create.detach_keys.as_deref(),
        signals: args.sig_proxy && !args.create.tty,
        removed: args.create.rm,
    };
    if !args.detach {
        return held.start_and_wait(global, &engine, Some(&args.create)).await;
    }
    if let Err(failure) = start(&engine, &id).await {
        held.clean_up(&engine).await;
        return Err(not_started(failure));
    }
    output::line(&id)?;
    Ok(0)
}

pub(crate) async fn create(global: &Global, args: &ContainerArgs) -> Result<u8> {
    let streams = Streams::of(args, false)?;
    let request = body(args, streams)?;
    let cidfile = args.cidfile.as_deref();
    check_cidfile(cidfile)?;
    let engine = connect::open(global).await?;
    if args.explain {
        return crate::commands::explain::explain(&engine, args, &request, global.json).await;
    }
    let id = create_container(&engine, args, request).await?;
    write_cidfile(cidfile, &id)?;
    output::line(&id)?;
    Ok(0)
}

async fn create_container(
    engine: &Engine,
    args: &ContainerArgs,
    request: bollard::models::ContainerCreateBody,
) -> Result<String> {
    let mut options = CreateContainerOptionsBuilder::default();
    if let Some(name) = &args.name {
        part(name)?;
        options = options.name(name);
    }
    let image = args.words.first().map_or("", String::as_str);
    let made = engine
        .docker
        .create_container(Some(options.build()), request)
        .await
        .map_err(|error| missing_image(error.into(), image))?;
    for warning in &made.warnings {
        output::note(&format!("WARNING: {warning}"));
    }
    Ok(made.id)
}

/// Of what is not there, an image has a remedy that an engine without a registry cannot know.
pub(crate) fn missing_image(failure: Failure, image: &str) -> Failure {
    let text = failure.sentence.to_lowercase();
    let of_an_image = text.contains("no such image") || text.contains("no image");
    if failure.is_not_found() && of_an_image {
        return Failure {
            sentence: format!(
                "no image {image:?} here: load it with \"longshore load -i FILE\" or \"longshore import FILE {image}\""
            ),
            hint: None,
            ..failure
        };
    }
    failure
}

fn check_cidfile(path: Option<&Path>) -> Result<()> {
    match path {
        Some(path) if path.symlink_metadata().is_ok() => {
            Err(Failure::usage(format!("--cidfile {} is there already", path.display()))
                .hint("remove it if its container is gone"))
        }
        _ => Ok(()),
    }
}

fn write_cidfile(path: Option<&Path>, id: &str) -> Result<()> {
    use std::io::Write;
    let Some(path) = path else { return Ok(()) };
    std::fs::File::create_new(path)
        .and_then(|mut file| file.write_all(id.as_bytes()))
        .map_err(|error| Failure::local(format!("--cidfile {}", path.display()), &error))
}

pub(crate) async fn start(engine: &Engine, id: &str) -> Result<()> {
    let id = part(id)?;
    let started = engine.docker.start_container(&id, None::<StartContainerOptions>).await;
    Ok(started?)
}

/// Docker's exit codes of a process that could not be started: by what the engine said.
pub(crate) fn not_started(failure: Failure) -> Failure {
    let text = failure.sentence.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let code = if !matches!(failure.kind, Kind::Answer(_)) {
        OWN
    } else if says(&[
        "executable file not found",
        "no such file or directory",
        "not found in $path",
    ]) {
        127
    } else if says(&[
        "permission denied",
        "is a directory",
        "exec format error",
        "not executable",
    ]) {
        126
    } else {
        OWN
    };
    failure.exit(code)
}

/// A container that this command stays with.
#[derive(Debug, Clone, Copy)]
struct Held<'a> {
    id: &'a str,
    streams: Streams,
    tty: bool,
    detach_keys: Option<&'a str>,
    signals: bool,
    /// Whether it is removed when it has ended.
    removed: bool,
}

impl Held<'_> {
    /// Attaches, waits for the end before there can be one, starts, and stays until it comes.
    async fn start_and_wait(self, global: &Global, engine: &Engine, made: Option<&ContainerArgs>) -> Result<u8> {
        let caught = self.signals.then(Caught::all).transpose()?;
        let stream = match self.streams.any() {
            true => Some(engine.hijack(&self.attach_path()?, None).await?),
            false => None,
        };
        let waiting = self.wait(engine, self.condition()).await?;
        if let Err(failure) = start(engine, self.id).await {
            if made.is_some() {
                self.clean_up(engine).await;
            }
            return Err(not_started(failure));
        }
        match stream {
            Some(stream) => self.stay(global, engine, stream, waiting, caught).await,
            None => self.exit_code(global, waiting).await,
        }
    }

    /// Holds the session, and has the end of the container watched meanwhile: an engine that goes away is
    /// followed by the next one at once, which then still has a container that `--rm` removes.
    async fn stay(
        self,
        global: &Global,
        engine: &Engine,
        stream: TokioIo<Upgraded>,
        waiting: Response<Incoming>,
        caught: Option<Caught>,
    ) -> Result<u8> {
        let object = format!("/containers/{}", part(self.id)?);
        let session = Session {
            input: self.streams.input,
            tty: self.tty,
            detach_keys: self.detach_keys,
            object: &object,
            signals_to: self.signals.then_some(self.id),
        };
        let mut held = std::pin::pin!(session.hold(engine, stream, caught));
        let mut ending = std::pin::pin!(self.exit_code(global, waiting));
        let mut code = None;
        let over = loop {
            tokio::select! {
                over = &mut held => break over?,
                known = &mut ending, if code.is_none() => code = Some(known),
            }
        };
        match (over, code) {
            (Over::Ended, Some(code)) => code,
            (Over::Ended, None) => ending.await,
            (Over::Detached, _) => Ok(0),
            (Over::Signalled(code), _) => Ok(code),
        }
    }

    fn condition(self) -> &'static str {
        if self.removed { "removed" } else { "next-exit" }
    }

    fn attach_path(self) -> Result<String> {
        let on = |wanted: bool| if wanted { "1" } else { "" };
        Ok(query(
            &format!("/containers/{}/attach", part(self.id)?),
            &[
                ("stream", "1"),
                ("stdin", on(self.streams.input)),
                ("stdout", on(self.streams.output)),
                ("stderr", on(self.streams.error)),
                ("detachKeys", detach_keys(self.tty, self.detach_keys)),
            ],
        ))
    }

    /// Asks for the end of the container. The answer has begun when this returns, so nothing is missed.
    async fn wait(self, engine: &Engine, condition: &str) -> Result<Response<Incoming>> {
        wait_for(engine, self.id, condition).await
    }

    /// What the process ended with. An engine that went away meanwhile is no reason not to know it: the
    /// next one has the same container.
    async fn exit_code(self, global: &Global, waiting: Response<Incoming>) -> Result<u8> {
        match status(waiting).await {
            Err(failure) if failure.kind == Kind::Broken => {
                let engine = connect::open(global).await?;
                status(self.wait_again(&engine).await?).await
            }
            known => known,
        }
    }

    async fn wait_again(self, engine: &Engine) -> Result<Response<Incoming>> {
        let condition = if self.removed { "removed" } else { "not-running" };
        let again = wait_for(engine, self.id, condition).await;
        again.map_err(|failure| match failure.is_not_found() {
            true => Failure::new(
                Kind::Broken,
                format!(
                    "the engine went away and container {} is gone; its exit code is not known",
                    self.id
                ),
            ),
            false => failure,
        })
    }

    /// What `--rm` promises also holds for a container that never ran.
    async fn clean_up(self, engine: &Engine) {
        if !self.removed {
            return;
        }
        if let Ok(id) = part(self.id) {
            let path = query(&format!("/containers/{id}"), &[("force", "1"), ("v", "1")]);
            // The engine removes it by itself; this is for one that could not.
            drop(engine.text(Method::DELETE, &path, None).await);
        }
    }
}

pub(crate) async fn wait_for(engine: &Engine, name: &str, condition: &str) -> Result<Response<Incoming>> {
    let path = query(
        &format!("/containers/{}/wait", part(name)?),
        &[("condition", condition)],
    );
    engine.send(Method::POST, &path, None).await
}

/// Reads the end that a wait announces.
pub(crate) async fn status(waiting: Response<Incoming>) -> Result<u8> {
    let body = waiting
        .into_body()
        .collect()
        .await
        .map_err(|error| Failure::broken(&error))?
        .to_bytes();
    let answer: Value = serde_json::from_slice(&body).map_err(|error| {
        Failure::new(
            Kind::Broken,
            format!("the engine broke off while the container ran: {error}"),
        )
    })?;
    let message = answer.pointer("/Error/Message").and_then(Value::as_str);
    if let Some(message) = message.filter(|message| !message.is_empty()) {
        return Err(Failure::answer(500, message));
    }
    let code = answer.get("StatusCode").and_then(Value::as_i64);
    // Exit codes have eight bits; Docker cuts the rest off as the system does.
    Ok(code.unwrap_or(i64::from(OWN)).rem_euclid(256) as u8)
}

pub(crate) async fn start_all(global: &Global, args: &StartArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    if args.attach || args.interactive {
        let [name] = &args.names[..] else {
            return Err(Failure::usage(
                "start -a and -i attach to one container, and several are named",
            ));
        };
        return start_attached(global, &engine, args, name).await;
    }
    crate::commands::container::each(&args.names, async |name| {
        start(&engine, name).await?;
        output::line(name)
    })
    .await
}

async fn start_attached(global: &Global, engine: &Engine, args: &StartArgs, name: &str) -> Result<u8> {
    let known = engine.get(&format!("/containers/{}/json", part(name)?)).await?;
    if flag(&known, "/State/Running") {
        return Err(Failure::usage(format!("container {name} runs already")).hint(format!("longshore attach {name}")));
    }
    let tty = flag(&known, "/Config/Tty");
    let input = args.interactive && flag(&known, "/Config/OpenStdin");
    check_input(input, tty)?;
    let held = Held {
        id: known.get("Id").and_then(Value::as_str).unwrap_or(name),
        streams: Streams {
            input,
            output: true,
            error: true,
        },
        tty,
        detach_keys: args.detach_keys.as_deref(),
        signals: args.sig_proxy && !tty,
        removed: flag(&known, "/HostConfig/AutoRemove"),
    };
    held.start_and_wait(global, engine, None)
        .await
        .map_err(|failure| match failure.code {
            // `start` itself has no exit code of its own beside 1, as Docker's.
            Some(OWN) => failure.exit(1),
            _ => failure,
        })
}

pub(crate) async fn attach(global: &Global, args: &AttachArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    let name = &args.name;
    let known = engine.get(&format!("/containers/{}/json", part(name)?)).await?;
    if !flag(&known, "/State/Running") {
        return Err(Failure::usage(format!("container {name} does not run")).hint(format!("longshore start -a {name}")));
    }
    if flag(&known, "/State/Paused") {
        return Err(Failure::usage(format!("container {name} is paused")).hint(format!("longshore unpause {name}")));
    }
    let tty = flag(&known, "/Config/Tty");
    let input = !args.no_stdin && flag(&known, "/Config/OpenStdin");
    check_input(input, tty)?;
    let held = Held {
        id: known.get("Id").and_then(Value::as_str).unwrap_or(name),
        streams: Streams {
            input,
            output: true,
            error: true,
        },
        tty,
        detach_keys: args.detach_keys.as_deref(),
        signals: args.sig_proxy && !tty,
        removed: false,
    };
    let caught = held.signals.then(Caught::all).transpose()?;
    let waiting = held.wait(&engine, "").await?;
    let stream = engine.hijack(&held.attach_path()?, None).await?;
    held.stay(global, &engine, stream, waiting, caught).await
}

fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_failed_has_dockers_exit_code() {
        for (message, wanted) in [
            ("exec: \"x\": executable file not found in $PATH", 127),
            ("stat /x: no such file or directory", 127),
            ("/etc/passwd: permission denied", 126),
            ("exec /etc: is a directory", 126),
            ("the cgroup cannot be made", OWN),
        ] {
            let failure = not_started(Failure::answer(400, message));
            assert_eq!(failure.code, Some(wanted), "{message}");
        }
        let broken = Failure::new(Kind::Broken, "no such file or directory");
        assert_eq!(not_started(broken).code, Some(OWN));
    }

    #[test]
    fn a_missing_image_is_answered_with_the_remedy() {
        let failure = missing_image(Failure::answer(404, "No such image: x:latest"), "x");
        assert!(failure.sentence.contains("longshore load -i FILE"));
        let other = missing_image(Failure::answer(404, "no volume \"v\""), "x");
        assert_eq!(other.sentence, "no volume \"v\"");
    }
}
