//! `inspect`: objects as the engine sends them, unchanged.

use hyper::Method;
use serde_json::Value;

use crate::cli::Global;
use crate::cli::container::InspectArgs;
use crate::connect;
use crate::engine::{Engine, part, query};
use crate::error::{Failure, Kind, Result};
use crate::output::{self, json, listing};

pub(crate) async fn inspect(global: &Global, args: &InspectArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    let kinds = match args.kind.as_deref() {
        Some(kind) => vec![kind],
        None => vec!["container", "image", "volume"],
    };
    let found = gather(&args.names, async |name| object(&engine, name, &kinds, args.size).await).await;
    show(found, args.format.as_deref(), global.json)
}

/// What was found, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Found {
    texts: Vec<String>,
    failures: Vec<Failure>,
}

pub(crate) async fn gather(names: &[String], find: impl AsyncFn(&str) -> Result<String>) -> Found {
    let mut found = Found::default();
    for name in names {
        match find(name).await {
            Ok(text) => found.texts.push(text),
            Err(failure) => found.failures.push(failure),
        }
    }
    found
}

/// Prints a list of all that was found, or a line for each; what was not found makes the exit code 1.
pub(crate) fn show(found: Found, format: Option<&str>, as_json: bool) -> Result<u8> {
    let format = format.or(as_json.then_some("json"));
    match format {
        None => {
            let all = format!("[{}]", found.texts.join(","));
            output::line(json::indent(&all))?;
        }
        Some("json") => {
            for text in &found.texts {
                output::line(text.trim())?;
            }
        }
        Some(template) => {
            let objects: Vec<Value> = found
                .texts
                .iter()
                .filter_map(|text| serde_json::from_str(text).ok())
                .collect();
            output::print(&listing::lines(template, objects.into_iter())?)?;
        }
    }
    found.failures.iter().for_each(output::failure);
    Ok(u8::from(!found.failures.is_empty()))
}

/// The first object of that name, of these kinds in this order.
async fn object(engine: &Engine, name: &str, kinds: &[&str], size: bool) -> Result<String> {
    for kind in kinds {
        let name = part(name)?;
        let path = match *kind {
            "container" => query(
                &format!("/containers/{name}/json"),
                &[("size", if size { "1" } else { "" })],
            ),
            "image" => format!("/images/{name}/json"),
            _ => format!("/volumes/{name}"),
        };
        match engine.text(Method::GET, &path, None).await {
            Ok(text) => {
                serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|error| {
                    Failure::new(
                        Kind::Broken,
                        format!("the engine's answer for {path} is not JSON: {error}"),
                    )
                })?;
                return Ok(text);
            }
            Err(failure) if failure.is_not_found() => {}
            // An ambiguous or impossible name of one kind may be a good one of the next.
            Err(failure) if failure.kind == Kind::Answer(400) && kinds.len() > 1 => {}
            Err(failure) => return Err(failure),
        }
    }
    let what = match kinds {
        [kind] => kind,
        _ => "object",
    };
    Err(Failure::answer(404, &format!("no such {what}: {name}")))
}
