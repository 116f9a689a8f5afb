//! From the flags of `run` and `create` to the request that makes a container.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig};

use crate::attach::parse_keys;
use crate::cli::create::ContainerArgs;
use crate::error::{Failure, Result};
use crate::parse::volume::Spec;
use crate::parse::{env, limit, mount, size, volume};
use crate::terminal;

/// No security profile is larger.
const LARGEST_PROFILE: u64 = 8 << 20;

/// Which streams of the process are connected to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) input: bool,
    pub(crate) output: bool,
    pub(crate) error: bool,
}

impl Streams {
    pub(crate) fn any(self) -> bool {
        self.input || self.output || self.error
    }

    /// What `-a`, `-i` and `-d` say together.
    pub(crate) fn of(args: &ContainerArgs, detach: bool) -> Result<Streams> {
        if detach {
            if !args.attach.is_empty() {
                return Err(Failure::usage("-a and -d exclude each other"));
            }
            return Ok(Streams {
                input: false,
                output: false,
                error: false,
            });
        }
        if args.attach.is_empty() {
            return Ok(Streams {
                input: args.interactive,
                output: true,
                error: true,
            });
        }
        let mut streams = Streams {
            input: false,
            output: false,
            error: false,
        };
        for name in &args.attach {
            match name.to_lowercase().as_str() {
                "stdin" => streams.input = true,
                "stdout" => streams.output = true,
                "stderr" => streams.error = true,
                _ => {
                    return Err(Failure::usage(format!("-a {name:?} is not stdin, stdout or stderr")));
                }
            }
        }
        Ok(streams)
    }
}

/// The whole request. Everything that can be wrong with the flags is said before an engine is asked.
pub(crate) fn body(args: &ContainerArgs, streams: Streams) -> Result<ContainerCreateBody> {
    let (image, command) = args
        .words
        .split_first()
        .ok_or_else(|| Failure::usage("no image is given"))?;
    if image.trim().is_empty() {
        return Err(Failure::usage("the name of the image is empty"));
    }
    if !args.publish.is_empty() {
        return Err(Failure::usage(format!(
            "-p {}: ports cannot be published yet, they come with the bridge network",
            args.publish.join(" -p ")
        ))
        .hint("use --network host"));
    }
    if let Some(keys) = &args.detach_keys {
        parse_keys(keys)?;
    }
    let (anonymous, host_config) = host(args)?;
    let text = |value: &Option<String>| value.clone();
    Ok(ContainerCreateBody {
        image: Some(image.clone()),
        cmd: (!command.is_empty()).then(|| command.to_vec()),
        entrypoint: args.entrypoint.clone().map(|program| vec![program]),
        env: Some(env::variables(&args.env_file, &args.env)?),
        labels: Some(env::pairs("-l", &args.label)?),
        hostname: text(&args.hostname),
        user: text(&args.user),
        working_dir: working_dir(args)?,
        tty: Some(args.tty),
        open_stdin: Some(args.interactive),
        stdin_once: Some(args.interactive && streams.input),
        attach_stdin: Some(streams.input),
        attach_stdout: Some(streams.output),
        attach_stderr: Some(streams.error),
        stop_signal: text(&args.stop_signal),
        stop_timeout: args.stop_timeout,
        volumes: (!anonymous.is_empty()).then_some(anonymous),
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    })
}

fn working_dir(args: &ContainerArgs) -> Result<Option<String>> {
    match args.workdir.as_deref() {
        Some(folder) if !folder.starts_with('/') => {
            Err(Failure::usage(format!("-w {folder:?} is not an absolute path")))
        }
        folder => Ok(folder.map(str::to_owned)),
    }
}

/// Targets of anonymous volumes, and what concerns the host.
fn host(args: &ContainerArgs) -> Result<(Vec<String>, HostConfig)> {
    let mut anonymous = Vec::new();
    let mut binds = Vec::new();
    for text in &args.volumes {
        match volume::volume(text)? {
            Spec::Anonymous(target) => anonymous.push(target),
            Spec::Bind(bind) => binds.push(bind),
        }
    }
    let mounts = args.mounts.iter().map(|text| mount::mount(text));
    let tmpfs = args.tmpfs.iter().map(|text| volume::tmpfs(text));
    let ulimits = args.ulimit.iter().map(|text| limit::ulimit(text));
    let (security, unmasked) = security(&args.security_opt)?;
    let mut host = HostConfig {
        binds: some(binds),
        mounts: some(mounts.collect::<Result<Vec<_>>>()?),
        tmpfs: some_map(tmpfs.collect::<Result<HashMap<_, _>>>()?),
        ulimits: some(ulimits.collect::<Result<Vec<_>>>()?),
        sysctls: some_map(env::pairs("--sysctl", &args.sysctl)?),
        network_mode: Some(args.network.clone().unwrap_or_else(|| "default".to_owned())),
        auto_remove: Some(args.rm),
        readonly_rootfs: Some(args.read_only),
        privileged: Some(args.privileged),
        init: args.init.then_some(true),
        pids_limit: args.pids_limit,
        cap_add: some(args.cap_add.clone()),
        cap_drop: some(args.cap_drop.clone()),
        group_add: some(args.group_add.clone()),
        security_opt: some(security),
        container_id_file: args.cidfile.as_ref().map(|path| path.to_string_lossy().into_owned()),
        console_size: args
            .tty
            .then(terminal::size)
            .flatten()
            .map(|(rows, columns)| vec![usize::from(rows), usize::from(columns)]),
        ..HostConfig::default()
    };
    if unmasked {
        host.masked_paths = Some(Vec::new());
        host.readonly_paths = Some(Vec::new());
    }
    limits(args, &mut host)?;
    Ok((anonymous, host))
}

fn limits(args: &ContainerArgs, host: &mut HostConfig) -> Result<()> {
    let bytes = |flag, text: &Option<String>| text.as_deref().map(|text| size::bytes(flag, text)).transpose();
    host.memory = bytes("--memory", &args.memory)?;
    host.shm_size = bytes("--shm-size", &args.shm_size)?;
    if host.shm_size == Some(0) {
        return Err(Failure::usage("--shm-size 0 leaves no room at all").hint("leave it out for 64m"));
    }
    host.nano_cpus = args.cpus.as_deref().map(size::processors).transpose()?;
    if let Some(limit @ ..-1) = args.pids_limit {
        return Err(
            Failure::usage(format!("--pids-limit {limit} is not a number of processes")).hint("-1 is no limit"),
        );
    }
    if let Some(seconds @ ..-1) = args.stop_timeout {
        return Err(Failure::usage(format!("--stop-timeout {seconds} is not a time")).hint("-1 waits for ever"));
    }
    Ok(())
}

/// Options for the engine, and whether the paths of /proc and /sys stay unmasked.
fn security(options: &[String]) -> Result<(Vec<String>, bool)> {
    let mut all = Vec::new();
    let mut unmasked = false;
    for option in options {
        let (name, value) = match option.split_once(['=', ':']) {
            Some((name, value)) => (name, value),
            None => (option.as_str(), ""),
        };
        match (name, value) {
            ("systempaths", "unconfined") => unmasked = true,
            ("seccomp", "unconfined" | "builtin") => all.push(option.clone()),
            ("seccomp", "") => {
                return Err(Failure::usage(format!("--security-opt {option:?} names no profile"))
                    .hint("write seccomp=FILE or seccomp=unconfined"));
            }
            // The engine may not see our files: it is given what is in them.
            ("seccomp", file) => all.push(format!("seccomp={}", profile(file)?)),
            _ => all.push(option.clone()),
        }
    }
    Ok((all, unmasked))
}

fn profile(file: &str) -> Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(LARGEST_PROFILE).read_to_string(&mut text))
        .map_err(|error| Failure::local(format!("--security-opt seccomp={file}"), &error))?;
    let json: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("--security-opt seccomp={file} is not JSON: {error}")))?;
    Ok(json.to_string())
}

fn some<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

fn some_map(items: HashMap<String, String>) -> Option<HashMap<String, String>> {
    (!items.is_empty()).then_some(items)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end here")]
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use serde_json::{Value, json};

    fn args(line: &str) -> (ContainerArgs, bool) {
        let words = ["longshore", "run"].into_iter().chain(line.split(' '));
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(args) => (args.create, args.detach),
            other => panic!("{other:?}"),
        }
    }

    fn request(line: &str) -> Result<Value> {
        let (args, detach) = args(line);
        let streams = Streams::of(&args, detach)?;
        Ok(serde_json::to_value(body(&args, streams)?).unwrap())
    }

    #[test]
    fn flags_become_dockers_fields() {
        let line = "--rm -i -e A=1 -l k=v -w /w -u 1:2 -v /anon -v /a:/b:ro --network none --hostname h \
                    --read-only --shm-size 1m -m 1g --cpus 0.5 --pids-limit 10 --cap-add NET_ADMIN --init \
                    --stop-signal INT --stop-timeout 3 --ulimit nofile=1:2 --tmpfs /t:size=1m \
                    --entrypoint /e image cmd -x";
        let line: Vec<&str> = line.split_whitespace().collect();
        let body = request(&line.join(" ")).unwrap();
        for (pointer, wanted) in [
            ("/Image", json!("image")),
            ("/Cmd", json!(["cmd", "-x"])),
            ("/Entrypoint", json!(["/e"])),
            ("/Env", json!(["A=1"])),
            ("/Labels", json!({"k": "v"})),
            ("/WorkingDir", json!("/w")),
            ("/User", json!("1:2")),
            ("/Hostname", json!("h")),
            ("/Volumes", json!({"/anon": {}})),
            ("/OpenStdin", json!(true)),
            ("/StdinOnce", json!(true)),
            ("/AttachStdin", json!(true)),
            ("/Tty", json!(false)),
            ("/StopSignal", json!("INT")),
            ("/StopTimeout", json!(3)),
            ("/HostConfig/Binds", json!(["/a:/b:ro"])),
            ("/HostConfig/NetworkMode", json!("none")),
            ("/HostConfig/AutoRemove", json!(true)),
            ("/HostConfig/ReadonlyRootfs", json!(true)),
            ("/HostConfig/ShmSize", json!(1 << 20)),
            ("/HostConfig/Memory", json!(1 << 30)),
            ("/HostConfig/NanoCpus", json!(500_000_000)),
            ("/HostConfig/PidsLimit", json!(10)),
            ("/HostConfig/CapAdd", json!(["NET_ADMIN"])),
            ("/HostConfig/Init", json!(true)),
            ("/HostConfig/Tmpfs", json!({"/t": "size=1m"})),
            ("/HostConfig/Ulimits/0/Hard", json!(2)),
        ] {
            assert_eq!(body.pointer(pointer), Some(&wanted), "{pointer} of {body}");
        }
    }

    #[test]
    fn without_flags_the_image_decides() {
        let body = request("image").unwrap();
        assert_eq!(body.pointer("/Cmd"), None);
        assert_eq!(body.pointer("/HostConfig/NetworkMode"), Some(&json!("default")));
        assert_eq!(body.pointer("/AttachStdout"), Some(&json!(true)));
        let detached = request("-d image").unwrap();
        assert_eq!(detached.pointer("/AttachStdout"), Some(&json!(false)));
    }

    #[test]
    fn flags_that_cannot_be_are_refused_with_their_name() {
        for (line, wanted) in [
            ("-d -a stdout image", "-a and -d"),
            ("-a nothing image", "nothing"),
            ("-w here image", "-w"),
            ("-m lots image", "--memory"),
            ("--cpus many image", "--cpus"),
            ("--shm-size 0 image", "--shm-size"),
            ("--pids-limit -5 image", "--pids-limit"),
            ("-p 80:80 image", "-p 80:80"),
            ("-v x:y image", "-v"),
            ("--detach-keys ctrl-PP image", "--detach-keys"),
            ("--security-opt seccomp= image", "--security-opt"),
            ("--security-opt seccomp=/no/such image", "/no/such"),
        ] {
            let failure = request(line).unwrap_err();
            assert!(failure.sentence.contains(wanted), "{line}: {failure}");
        }
    }
}
