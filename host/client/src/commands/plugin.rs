//! `plugin install`, `upgrade`, `rollback`, `enable`, `disable`, `rm`: what the engine is asked for, and
//! who is asked for grants.

use std::io::{BufRead, IsTerminal, Write};

use serde_json::{Value, json};

use super::{items, text};
use crate::cli::Global;
use crate::cli::plugin::{InstallArgs, PluginArgs, PluginRmArgs};
use crate::connect;
use crate::engine::{part, query};
use crate::error::{Failure, Result};
use crate::output;

/// `install` and `upgrade`: the file is looked at, the grants are settled, then that very file is taken.
pub(crate) async fn take_in(global: &Global, args: &InstallArgs, verb: &str) -> Result<u8> {
    let file = std::path::absolute(&args.file).map_err(|error| Failure::local(args.file.display(), &error))?;
    let engine = connect::open(global).await?;
    let look = engine
        .post("/longshore/plugins/look", Some(&json!({ "File": file })))
        .await?;
    let grants = grants(args, &look)?;
    let request = json!({
        "File": file,
        "Digest": text(&look, "Digest"),
        "Grants": grants,
        "Isolation": args.isolation.map(|way| way.word()),
    });
    let done = engine
        .post(&format!("/longshore/plugins/{verb}"), Some(&request))
        .await?;
    if global.json {
        output::print(&format!("{done}\n"))?;
    } else {
        output::print(&format!("{} {}\n", text(&done, "Name"), text(&done, "Version")))?;
    }
    Ok(0)
}

fn words(value: &Value, field: &str) -> Vec<String> {
    items(value, field)
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// What the plugin asks for and has neither been granted before nor by this command.
fn open_grants(args: &InstallArgs, look: &Value) -> Vec<String> {
    let before = words(look, "Granted");
    let mut open = words(look, "Wanted");
    open.retain(|grant| !args.grants.contains(grant) && !before.contains(grant));
    open
}

fn grants(args: &InstallArgs, look: &Value) -> Result<Vec<String>> {
    let mut grants = args.grants.clone();
    let wanted = words(look, "Wanted");
    if let Some(other) = grants.iter().find(|grant| !wanted.contains(grant)) {
        return Err(Failure::usage(format!(
            "plugin {} does not ask for the grant {other:?}",
            text(look, "Name")
        ))
        .hint(match wanted.is_empty() {
            true => "it asks for none".to_owned(),
            false => format!("it asks for {}", wanted.join(", ")),
        }));
    }
    let open = open_grants(args, look);
    if open.is_empty() {
        return Ok(grants);
    }
    if !args.yes && !ask(look, &open)? {
        return Err(Failure::usage(format!(
            "plugin {} is not installed: it asks for the grants {}",
            text(look, "Name"),
            open.join(", ")
        ))
        .hint("give each with --grant, or all with --yes, if it shall have them"));
    }
    grants.extend(open);
    Ok(grants)
}

/// Asks whoever sits at the terminal; where nobody does the answer is no.
fn ask(look: &Value, open: &[String]) -> Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    let mut say = std::io::stderr();
    let wrong = |error: std::io::Error| Failure::local("the question cannot be asked", &error);
    write!(
        say,
        "Plugin {} {} runs with isolation {} and asks for:\n{}Grant these? [y/N] ",
        text(look, "Name"),
        text(look, "Version"),
        text(look, "Isolation"),
        open.iter().map(|grant| format!("  {grant}\n")).collect::<String>(),
    )
    .and_then(|()| say.flush())
    .map_err(wrong)?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer).map_err(wrong)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// `rollback`, `enable`, `disable`.
pub(crate) async fn change(global: &Global, args: &PluginArgs, verb: &str) -> Result<u8> {
    let path = format!("/longshore/plugins/{}/{verb}", part(&args.name)?);
    connect::open(global).await?.post(&path, None).await?;
    output::print(&format!("{}\n", args.name))?;
    Ok(0)
}

pub(crate) async fn rm(global: &Global, args: &PluginRmArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    for name in &args.names {
        let force = if args.force { "1" } else { "" };
        let path = query(&format!("/longshore/plugins/{}", part(name)?), &[("force", force)]);
        engine.text(hyper::Method::DELETE, &path, None).await?;
        output::print(&format!("{name}\n"))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    fn args(grants: &[&str], yes: bool) -> InstallArgs {
        InstallArgs {
            file: "/x.so".into(),
            grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
            yes,
            isolation: None,
        }
    }

    #[test]
    fn what_is_granted_is_what_is_asked_for_and_was_said() {
        let look = json!({"Name": "volume-mine", "Wanted": ["acts", "secrets"], "Granted": ["acts"]});
        assert_eq!(open_grants(&args(&[], false), &look), ["secrets"]);
        assert_eq!(grants(&args(&["secrets"], false), &look).unwrap(), ["secrets"]);
        assert_eq!(grants(&args(&[], true), &look).unwrap(), ["secrets"]);
        let unasked = grants(&args(&["net:any"], true), &look).unwrap_err();
        assert!(unasked.hint.unwrap().contains("acts, secrets"));
    }
}
