//! Images.

use std::collections::HashMap;

use bytes::Bytes;
use hyper::StatusCode;
use longshore_engine::models;
use serde_json::json;

use crate::body::{BodyReader, BodyWriter, chunks};
use crate::query::{clip, glob};
use crate::reply::{Answer, JSON, Refusal, empty, json, stream};
use crate::route::Call;

/// Whether `key` or `key=value` is among the labels.
pub(crate) fn has_label(labels: &HashMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|has| has == value),
        None => labels.contains_key(wanted),
    }
}

/// Whether a name is meant by a pattern: with its tag, or without.
fn is_meant(name: &str, pattern: &str) -> bool {
    let bare = match name.rsplit_once(':') {
        Some((bare, tag)) if !tag.contains('/') => bare,
        _ => name,
    };
    glob(pattern, name) || glob(pattern, bare)
}

/// Leaves the images, and of each the names, that the filters want.
fn filtered(
    images: Vec<models::ImageSummary>,
    filters: &HashMap<String, Vec<String>>,
) -> Result<Vec<models::ImageSummary>, Refusal> {
    if let Some(other) = filters
        .keys()
        .find(|key| !matches!(key.as_str(), "reference" | "dangling" | "label"))
    {
        return Err(
            Refusal::bad(format!("invalid filter '{}'", clip(other))).hint("filters are reference, dangling, label")
        );
    }
    let dangling = filters
        .get("dangling")
        .map(|values| values.iter().any(|value| matches!(value.as_str(), "1" | "true")));
    let mut kept = Vec::new();
    for mut image in images {
        let nameless = image.repo_tags.iter().all(|name| name == "<none>:<none>");
        if dangling.is_some_and(|dangling| dangling != nameless) {
            continue;
        }
        if let Some(labels) = filters.get("label")
            && !labels.iter().all(|label| has_label(&image.labels, label))
        {
            continue;
        }
        if let Some(patterns) = filters.get("reference") {
            image
                .repo_tags
                .retain(|name| patterns.iter().any(|pattern| is_meant(name, pattern)));
            if image.repo_tags.is_empty() {
                continue;
            }
        }
        kept.push(image);
    }
    Ok(kept)
}

pub(crate) async fn list(call: &Call) -> Answer {
    let filters = call.query.filters()?;
    json(&filtered(call.engine().images().await?, &filters)?)
}

pub(crate) async fn inspect(call: &Call, name: &str) -> Answer {
    json(&call.engine().inspect_image(name).await?)
}

pub(crate) async fn history(call: &Call, name: &str) -> Answer {
    json(&call.engine().history(name).await?)
}

pub(crate) async fn tag(call: &Call, name: &str) -> Answer {
    let repo = call
        .query
        .text("repo")
        .ok_or_else(|| Refusal::bad("repo: a new name is needed"))?;
    let tagged = named(repo, call.query.text("tag"));
    call.engine().tag(name, &tagged).await?;
    Ok(empty(StatusCode::CREATED))
}

fn named(repo: &str, tag: Option<&str>) -> String {
    match tag {
        Some(digest) if digest.starts_with("sha256:") => format!("{repo}@{digest}"),
        Some(tag) => format!("{repo}:{tag}"),
        None => repo.to_owned(),
    }
}

pub(crate) async fn remove(call: &Call, name: &str) -> Answer {
    json(&call.engine().remove_image(name, call.query.flag("force")).await?)
}

/// One line of progress.
fn line(value: &serde_json::Value) -> Bytes {
    Bytes::from(format!("{value}\r\n"))
}

fn lines(lines: Vec<Bytes>) -> Answer {
    Ok(stream(JSON, futures_util::stream::iter(lines.into_iter().map(Ok))))
}

pub(crate) async fn load(call: Call) -> Answer {
    let choice = call.choice()?;
    let engine = call.engine().clone();
    let archive = BodyReader::new(call.request.into_body());
    let loaded = engine.load_with(archive, choice).await?;
    let mut said = Vec::new();
    for image in loaded {
        if image.names.is_empty() {
            said.push(line(&json!({ "stream": format!("Loaded image ID: {}\n", image.id) })));
        }
        for name in &image.names {
            said.push(line(&json!({ "stream": format!("Loaded image: {name}\n") })));
        }
    }
    lines(said)
}

/// Makes an image of a root file system; Docker's pull comes here too.
pub(crate) async fn create(call: Call) -> Answer {
    if let Some(image) = call.query.text("fromImage") {
        let image = named(image, call.query.text("tag"));
        return Err(Refusal::not_here(format!(
            "{} is not here: `longshore load` or `import` it: distribution is not available in this version",
            clip(&image)
        )));
    }
    match call.query.text("fromSrc") {
        Some("-") => {}
        Some(other) => {
            return Err(Refusal::not_here(format!(
                "import from {} is not available in this version: send the archive itself, with fromSrc=-",
                clip(other)
            )));
        }
        None => return Err(Refusal::bad("fromSrc or fromImage: one of them is needed")),
    }
    let choice = call.choice()?;
    let name = call.query.text("repo").map(|repo| named(repo, call.query.text("tag")));
    let message = call.query.text("message").unwrap_or_default().to_owned();
    let changes = call.query.all("changes");
    let engine = call.engine().clone();
    let archive = BodyReader::new(call.request.into_body());
    let id = engine.import(archive, name, changes, message, choice).await?;
    lines(vec![line(&json!({ "status": id }))])
}

pub(crate) async fn save(call: &Call, names: Vec<String>) -> Answer {
    if names.is_empty() {
        return Err(Refusal::bad("names: an image is needed"));
    }
    let engine = call.engine().clone();
    engine.check_images(names.clone()).await?;
    let (writer, receiver) = BodyWriter::new();
    let breaker = writer.breaker();
    tokio::spawn(async move {
        if let Err(error) = engine.save(names, writer).await {
            tracing::warn!(%error, "a save broke off");
            // The head is out: a body that ends in the middle is all that can still be said.
            let _ = breaker.send(Err(std::io::Error::other(error.to_string()))).await;
        }
    });
    Ok(stream("application/x-tar", chunks(receiver)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn image(names: &[&str]) -> models::ImageSummary {
        models::ImageSummary {
            repo_tags: names.iter().map(|name| (*name).to_owned()).collect(),
            labels: HashMap::from([("a".into(), "b".into())]),
            ..Default::default()
        }
    }

    fn left(filter: &str, value: &str) -> Vec<String> {
        let all = vec![image(&["demo:latest", "demo:1", "host:5000/x:2"]), image(&[])];
        let filters = HashMap::from([(filter.to_owned(), vec![value.to_owned()])]);
        filtered(all, &filters)
            .unwrap()
            .into_iter()
            .map(|image| image.repo_tags.join(" "))
            .collect()
    }

    #[test]
    fn filters_leave_images_and_names() {
        assert_eq!(left("reference", "demo"), ["demo:latest demo:1"]);
        assert_eq!(left("reference", "demo:1"), ["demo:1"]);
        assert_eq!(left("reference", "host:5000/x"), ["host:5000/x:2"]);
        assert!(left("reference", "dem").is_empty());
        assert_eq!(left("dangling", "true"), [""]);
        assert_eq!(left("dangling", "false").len(), 1);
        assert_eq!(left("label", "a=b").len(), 2);
        assert!(left("label", "a=c").is_empty());
        let unknown = HashMap::from([("colour".to_owned(), vec!["red".to_owned()])]);
        assert!(filtered(Vec::new(), &unknown).unwrap_err().message.contains("colour"));
    }

    #[test]
    fn a_name_is_put_together_from_repository_and_tag() {
        assert_eq!(named("a/b", Some("1")), "a/b:1");
        assert_eq!(named("a/b", None), "a/b");
        assert_eq!(named("a", Some("sha256:00")), "a@sha256:00");
    }
}
