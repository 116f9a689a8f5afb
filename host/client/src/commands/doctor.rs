//! `doctor`: what is right and wrong with this machine and the engine.

use serde_json::{Value, json};

use super::text;
use crate::cli::Global;
use crate::cli::engine::DoctorArgs;
use crate::connect;
use crate::error::Result;
use crate::output::listing::{Columns, Form, Row, row};
use crate::output::{self, colours, paint};

const CHECKS: Columns = Columns {
    fields: &[
        ("State", "STATE"),
        ("Check", "CHECK"),
        ("What", "WHAT"),
        ("Remedy", "REMEDY"),
    ],
    shown: &["State", "Check", "What", "Remedy"],
};

/// Ends with 1 when a check failed; a warning is no failure.
pub(crate) async fn doctor(global: &Global, args: &DoctorArgs) -> Result<u8> {
    if args.collect {
        return collect(global).await;
    }
    let checks = checks(global).await?;
    let failed = checks.iter().any(|check| text(check, "State") == "fail");
    match Form::of(args.output.format.as_deref(), global.json) {
        Form::Json => {
            let all: Vec<String> = checks.iter().map(|check| format!("{check}\n")).collect();
            output::print(&all.concat())?;
        }
        Form::Table => output::print(&plain(&checks, colours()))?,
        form => output::print(&CHECKS.render(checks.iter().map(fields).collect(), form)?)?,
    }
    Ok(u8::from(failed))
}

/// Has what is in no record removed, and names it.
async fn collect(global: &Global) -> Result<u8> {
    let engine = connect::open(global).await?;
    let removed = engine.post("/longshore/collect", None).await?;
    for what in removed.as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::line(format!("removed {what}"))?;
    }
    Ok(0)
}

/// The engine's checks; that it cannot be reached is the first of them.
async fn checks(global: &Global) -> Result<Vec<Value>> {
    let failure = match connect::open(global).await {
        Ok(engine) => {
            return Ok(match engine.get_own("doctor").await? {
                Value::Array(checks) => checks,
                _ => Vec::new(),
            });
        }
        Err(failure) => failure,
    };
    Ok(vec![json!({
        "Check": "engine",
        "State": "fail",
        "What": failure.sentence,
        "Remedy": failure.hint.unwrap_or_default(),
    })])
}

fn fields(check: &Value) -> Row {
    row(["State", "Check", "What", "Remedy"].map(|field| (field, text(check, field))))
}

fn plain(checks: &[Value], colour: bool) -> String {
    let width = checks
        .iter()
        .map(|check| text(check, "Check").chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let state = text(check, "State");
        let code = match state.as_str() {
            "ok" => "32",
            "warn" => "33",
            _ => "31",
        };
        let mark = paint(colour, code, &format!("{state:<4}"));
        let line = format!("{mark}  {:<width$}  {}", text(check, "Check"), text(check, "What"));
        out.push_str(line.trim_end());
        out.push('\n');
        let remedy = text(check, "Remedy");
        if state != "ok" && !remedy.is_empty() {
            out.push_str(&format!(
                "      {:<width$}  {} {remedy}\n",
                "",
                paint(colour, "36", "hint:")
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_stand_below_what_is_not_right() {
        let checks = [
            json!({"Check": "overlay", "State": "ok", "What": "can run", "Remedy": "none needed"}),
            json!({"Check": "cgroups", "State": "warn", "What": "hybrid", "Remedy": "boot with v2"}),
        ];
        assert_eq!(
            plain(&checks, false),
            "ok    overlay  can run\nwarn  cgroups  hybrid\n               hint: boot with v2\n"
        );
    }
}
