//! `longshore`: the command line, a client of Docker's Engine API with Docker's verbs, flags, columns and
//! exit codes.
//!
//! Here lives what a user types and reads: flags, templates, tables, terminals, streams, and the start of an
//! engine where none runs. Nothing here knows the engine's code, loads a driver or touches a container:
//! all of that is asked for over the engine's socket, and driver files are looked at by `longshore-runner`.

#![forbid(unsafe_code)]

mod attach;
mod cli;
mod commands;
mod connect;
mod engine;
mod error;
mod launch;
mod new;
mod output;
mod parse;
mod run;
mod settings;
mod signals;
mod streams;
mod terminal;
mod transport;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use error::{Failure, Kind, Result};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::refuse(&error),
    };
    let own = own_code(&cli.command);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            output::failure(&Failure::local("this command cannot wait for anything", &error));
            return ExitCode::from(own);
        }
    };
    let result = runtime.block_on(dispatch(cli));
    // A read of standard input that nobody waits for any more must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        // As if the pipe's signal had ended this process.
        Err(failure) if failure.kind == Kind::NobodyReads => ExitCode::from(141),
        Err(failure) => {
            output::failure(&failure);
            let code = match failure.kind {
                Kind::Usage => run::OWN.min(own.max(1)),
                _ => own,
            };
            ExitCode::from(failure.code.unwrap_or(code))
        }
    }
}

/// What a command's own failures end with: those of `run` must not look like the container's.
fn own_code(command: &Command) -> u8 {
    match command {
        Command::Run(_) | Command::Create(_) => run::OWN,
        Command::Container(cli::container::ContainerGroup::Run(_))
        | Command::Container(cli::container::ContainerGroup::Create(_)) => run::OWN,
        _ => 1,
    }
}

async fn dispatch(cli: Cli) -> Result<u8> {
    let global = &cli.global;
    check_drivers(global, &cli.command)?;
    let command = match cli.command {
        Command::Container(group) => Command::from(group),
        Command::Image(group) => Command::from(group),
        other => other,
    };
    use commands as c;
    match &command {
        Command::Run(args) => run::run(global, args).await,
        Command::Create(args) => run::create(global, &args.create).await,
        Command::Start(args) => run::start_all(global, args).await,
        Command::Attach(args) => run::attach(global, args).await,
        Command::Restart(args) => c::container::stop(global, &args.stop, "restart").await,
        Command::Stop(args) => c::container::stop(global, args, "stop").await,
        Command::Kill(args) => c::container::kill(global, args).await,
        Command::Pause(args) => c::container::plain(global, args, "pause").await,
        Command::Unpause(args) => c::container::plain(global, args, "unpause").await,
        Command::Wait(args) => c::container::wait(global, args).await,
        Command::Rm(args) => c::container::rm(global, args).await,
        Command::Ps(args) => c::ps::ps(global, args).await,
        Command::Logs(args) => c::logs::logs(global, args).await,
        Command::Exec(args) => c::exec::exec(global, args).await,
        Command::Inspect(args) => c::inspect::inspect(global, args).await,
        Command::Images(args) => c::image::images(global, args).await,
        Command::Load(args) => c::archive::load(global, args).await,
        Command::Save(args) => c::archive::save(global, args).await,
        Command::Import(args) => c::archive::import(global, args).await,
        Command::Tag(args) => c::image::tag(global, args).await,
        Command::Rmi(args) => c::image::rmi(global, args).await,
        Command::History(args) => c::image::history(global, args).await,
        Command::Volume(command) => c::volume::volume(global, command).await,
        Command::Driver(command) => c::driver::driver(global, command).await,
        Command::Plugin(command) => c::driver::plugin(global, command).await,
        Command::Doctor(args) => c::doctor::doctor(global, args).await,
        Command::Engine(command) => c::engine::engine(global, command).await,
        Command::Version(args) => c::system::version(global, args).await,
        Command::Info(args) => c::system::info(global, args).await,
        Command::Completion(args) => c::completion::completion(args),
        // Both became one of the above.
        Command::Container(_) | Command::Image(_) => Ok(run::OWN),
    }
}

/// The kinds that a request may name a driver of.
const KINDS: [&str; 4] = ["graph", "volume", "exec", "network"];

fn check_drivers(global: &cli::Global, command: &Command) -> Result<()> {
    for word in &global.drivers {
        let wrong = |reason: String| {
            Failure::usage(format!("--driver {word:?}: {reason}")).hint("write KIND=NAME, as graph=vfs")
        };
        match word.split_once('=') {
            // Docker's own `volume create --driver NAME`.
            None if matches!(command, Command::Volume(cli::volume::VolumeCommand::Create(_))) => {}
            None => return Err(wrong("it names no kind".to_owned())),
            Some((kind, _)) if !KINDS.contains(&kind) => {
                let failure = wrong(format!("there is no kind {kind:?}"));
                return Err(match parse::nearest(kind, &KINDS) {
                    Some(known) => Failure {
                        hint: Some(format!("perhaps {known}")),
                        ..failure
                    },
                    None => failure,
                });
            }
            Some((_, "")) => return Err(wrong("it names no driver".to_owned())),
            Some(_) => {}
        }
    }
    Ok(())
}
