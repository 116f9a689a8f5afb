//! `driver ls`, `plugin ls`, and the two looks at a driver file that need no engine.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use super::{items, text};
use crate::cli::Global;
use crate::cli::engine::{DriverCommand, FileArgs, PluginCommand};
use crate::connect;
use crate::error::{Failure, Result};
use crate::launch::sibling;
use crate::output::listing::{Columns, Form, Row, row};
use crate::output::{self, colours, paint};

const DRIVERS: Columns = Columns {
    fields: &[
        ("Kind", "KIND"),
        ("Name", "NAME"),
        ("Version", "VERSION"),
        ("Default", "DEFAULT"),
        ("Usable", "USABLE"),
        ("Isolation", "ISOLATION"),
        ("Transport", "TRANSPORT"),
        ("Pid", "PID"),
        ("File", "FILE"),
        ("Calls", "CALLS"),
        ("Reasons", "REASONS"),
    ],
    shown: &["Kind", "Name", "Version", "Default", "Usable", "Isolation", "File"],
};
const PLUGINS: Columns = Columns {
    fields: &[
        ("Name", "NAME"),
        ("Kind", "KIND"),
        ("Version", "VERSION"),
        ("Transport", "TRANSPORT"),
        ("Generation", "GENERATION"),
        ("Enabled", "ENABLED"),
        ("Usable", "USABLE"),
        ("File", "FILE"),
    ],
    shown: &["Name", "Kind", "Version", "Transport", "Generation", "Enabled", "File"],
};

pub(crate) async fn driver(global: &Global, command: &DriverCommand) -> Result<u8> {
    let DriverCommand::Ls(form) = command;
    let engine = connect::open(global).await?;
    let list = engine.get_own("drivers").await?;
    let drivers = list.as_array().map_or(&[][..], Vec::as_slice);
    let form = Form::of(form.format.as_deref(), global.json);
    if form == Form::Json {
        let all: Vec<String> = drivers.iter().map(|driver| format!("{driver}\n")).collect();
        output::print(&all.concat())?;
        return Ok(0);
    }
    output::print(&DRIVERS.render(drivers.iter().map(fields).collect(), form)?)?;
    if form == Form::Table {
        output::print(&reasons(drivers, colours()))?;
    }
    Ok(0)
}

fn fields(driver: &Value) -> Row {
    let yes = |field| driver.get(field).and_then(Value::as_bool) == Some(true);
    let words: Vec<String> = items(driver, "Reasons")
        .iter()
        .map(|reason| text(reason, "What"))
        .collect();
    row([
        ("Kind", text(driver, "Kind")),
        ("Name", text(driver, "Name")),
        ("Version", text(driver, "Version")),
        ("Default", if yes("Default") { "*" } else { "" }.to_owned()),
        ("Usable", if yes("Usable") { "yes" } else { "no" }.to_owned()),
        ("Isolation", text(driver, "Isolation")),
        ("Transport", text(driver, "Transport")),
        ("Pid", text(driver, "Pid")),
        ("File", text(driver, "File")),
        ("Calls", text(driver, "Calls")),
        ("Reasons", words.join("; ")),
    ])
}

/// Why drivers cannot run, or run with less than they could, and what helps.
fn reasons(drivers: &[Value], colour: bool) -> String {
    let mut out = String::new();
    for driver in drivers {
        let usable = driver.get("Usable").and_then(Value::as_bool) == Some(true);
        let code = if usable { "33" } else { "31" };
        for reason in items(driver, "Reasons") {
            let name = format!("{} {}", text(driver, "Kind"), text(driver, "Name"));
            out.push_str(&format!("\n{}: {}", paint(colour, code, &name), text(reason, "What")));
            match text(reason, "Remedy") {
                remedy if remedy.is_empty() => {}
                remedy => out.push_str(&format!("\n  {} {remedy}", paint(colour, "36", "hint:"))),
            }
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

pub(crate) async fn plugin(global: &Global, command: &PluginCommand) -> Result<u8> {
    match command {
        PluginCommand::Ls(form) => {
            let engine = connect::open(global).await?;
            let list = engine.get_own("plugins").await?;
            let plugins = list.as_array().map_or(&[][..], Vec::as_slice);
            let form = Form::of(form.format.as_deref(), global.json);
            let printed = match form {
                Form::Json => plugins.iter().map(|plugin| format!("{plugin}\n")).collect(),
                form => PLUGINS.render(plugins.iter().map(of_plugin).collect(), form)?,
            };
            output::print(&printed)?;
            Ok(0)
        }
        PluginCommand::New(args) => crate::new::new(args),
        PluginCommand::Install(args) => super::plugin::take_in(global, args, "install").await,
        PluginCommand::Upgrade(args) => super::plugin::take_in(global, args, "upgrade").await,
        PluginCommand::Rollback(args) => super::plugin::change(global, args, "rollback").await,
        PluginCommand::Disable(args) => super::plugin::change(global, args, "disable").await,
        PluginCommand::Enable(args) => super::plugin::change(global, args, "enable").await,
        PluginCommand::Rm(args) => super::plugin::rm(global, args).await,
        PluginCommand::Inspect(args) => Err(look(global, "inspect", args)?),
        PluginCommand::Verify(args) => Err(look(global, "verify", args)?),
        PluginCommand::Replay(args) => {
            let words = [args.record.as_os_str(), args.driver.as_os_str()];
            let way = ["--isolation", &args.isolation].map(OsStr::new);
            Err(runner("replay", words.into_iter().chain(way))?)
        }
        PluginCommand::Serve(args) => Err(super::serve::serve(global, args)?),
    }
}

fn of_plugin(plugin: &Value) -> Row {
    let mut fields: Row = PLUGINS
        .fields
        .iter()
        .map(|(name, _)| ((*name).to_owned(), Value::String(text(plugin, name))))
        .collect();
    // What the engine says beyond these is there for templates.
    if let Value::Object(all) = plugin {
        for (name, value) in all {
            fields.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    fields
}

fn look(global: &Global, verb: &str, args: &FileArgs) -> Result<Failure> {
    let json = global.json.then(|| OsStr::new("--json"));
    runner(verb, [args.file.as_os_str()].into_iter().chain(json))
}

/// Becomes the program that may load a driver file: nothing of it is ever loaded here. Returns only
/// with the reason why that was not possible.
pub(super) fn runner<'a>(verb: &str, words: impl Iterator<Item = &'a OsStr>) -> Result<Failure> {
    let program = sibling("longshore-runner")?;
    let error = Command::new(&program).arg(verb).args(words).exec();
    Ok(Failure::local(program.display(), &error)
        .hint("keep longshore-runner beside longshore: `make build` leaves both in one folder"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_driver_that_cannot_run_is_listed_with_reason_and_remedy() {
        let driver = json!({"Kind": "graph", "Name": "overlay", "Version": "0.1.0", "Default": true,
            "Usable": false, "Transport": "dylib", "File": "/x.so",
            "Reasons": [{"What": "no d_type", "Remedy": "reformat with ftype=1"}]});
        let row = fields(&driver);
        assert_eq!(row.get("Usable"), Some(&json!("no")));
        assert_eq!(row.get("Default"), Some(&json!("*")));
        assert_eq!(
            reasons(&[driver], false),
            "\ngraph overlay: no d_type\n  hint: reformat with ftype=1\n"
        );
    }

    #[test]
    fn a_plugin_keeps_what_the_engine_says_beyond_the_columns() {
        let row = of_plugin(&json!({"Name": "graph-vfs", "Digest": "sha256:ff"}));
        assert_eq!(row.get("Name"), Some(&json!("graph-vfs")));
        assert_eq!(row.get("Digest"), Some(&json!("sha256:ff")));
        assert_eq!(row.get("Kind"), Some(&json!("")));
    }
}
