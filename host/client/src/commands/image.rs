//! Verbs on images that move no data: list, history, tag, remove.

use bollard::query_parameters::{RemoveImageOptionsBuilder, TagImageOptionsBuilder};
use serde_json::Value;

use super::container::each;
use super::{items, joined, number, text};
use crate::cli::Global;
use crate::cli::image::{HistoryArgs, ImagesArgs, RmiArgs, TagArgs};
use crate::connect;
use crate::engine::{part, query};
use crate::error::{Failure, Result};
use crate::output::listing::{Columns, Form, Row, row};
use crate::output::{self, units};
use crate::parse::filter::filters;
use crate::parse::time;

const FIELDS: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("Labels", "LABELS"),
];
const COLUMNS: Columns = Columns {
    fields: FIELDS,
    shown: &["Repository", "Tag", "ID", "CreatedSince", "Size"],
};
const WITH_DIGESTS: Columns = Columns {
    fields: FIELDS,
    shown: &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
};
const NONE: &str = "<none>";

pub(crate) async fn images(global: &Global, args: &ImagesArgs) -> Result<u8> {
    let mut filter = args.filter.clone();
    filter.extend(args.reference.iter().map(|name| format!("reference={name}")));
    let path = query(
        "/images/json",
        &[
            ("all", if args.all { "1" } else { "" }),
            ("filters", &filters(&filter)?),
            ("digests", if args.digests { "1" } else { "" }),
        ],
    );
    let engine = connect::open(global).await?;
    let list = engine.get(&path).await?;
    let now = time::now();
    let images = list.as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Row> = images
        .iter()
        .flat_map(|image| rows_of(image, args.no_trunc, args.digests, now))
        .collect();
    let form = Form::of(args.output.format.as_deref(), global.json);
    let printed = match (args.quiet, form) {
        (true, Form::Table) => rows
            .iter()
            .filter_map(|row| Some(format!("{}\n", row.get("ID")?.as_str()?)))
            .collect(),
        _ if args.digests => WITH_DIGESTS.render(rows, form)?,
        _ => COLUMNS.render(rows, form)?,
    };
    output::print(&printed)?;
    Ok(0)
}

/// One row for each name of an image; one for an image without a name.
fn rows_of(image: &Value, whole: bool, digests: bool, now: i64) -> Vec<Row> {
    let strings = |field| {
        items(image, field)
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| !name.starts_with(NONE))
            .collect::<Vec<_>>()
    };
    let known = strings("RepoDigests");
    let digest_of = |repository: &str| {
        known
            .iter()
            .filter_map(|name| name.split_once('@'))
            .find(|(of, _)| *of == repository)
            .map_or(NONE, |(_, digest)| digest)
    };
    let mut names: Vec<(&str, &str, &str)> = strings("RepoTags")
        .into_iter()
        .filter_map(|name| name.rsplit_once(':'))
        .map(|(repository, tag)| (repository, tag, digest_of(repository)))
        .collect();
    if names.is_empty() && digests {
        names.extend(
            known
                .iter()
                .filter_map(|name| name.split_once('@'))
                .map(|(repository, digest)| (repository, NONE, digest)),
        );
    }
    if names.is_empty() {
        let repository = known
            .iter()
            .find_map(|name| name.split_once('@'))
            .map_or(NONE, |(repository, _)| repository);
        names.push((repository, NONE, NONE));
    }
    let id = text(image, "Id");
    let created = number(image, "Created");
    let amount = |field| match number(image, field) {
        ..0 => "N/A".to_owned(),
        bytes => units::size(bytes),
    };
    names
        .into_iter()
        .map(|(repository, tag, digest)| {
            row([
                ("Repository", repository.to_owned()),
                ("Tag", tag.to_owned()),
                ("Digest", digest.to_owned()),
                ("ID", if whole { id.clone() } else { units::short_id(&id) }),
                ("CreatedSince", units::ago(created, now)),
                ("CreatedAt", time::date(created)),
                ("Size", amount("Size")),
                ("VirtualSize", amount("Size")),
                ("SharedSize", amount("SharedSize")),
                ("UniqueSize", "N/A".to_owned()),
                (
                    "Containers",
                    match number(image, "Containers") {
                        ..0 => "N/A".to_owned(),
                        count => count.to_string(),
                    },
                ),
                ("Labels", joined(image, "Labels")),
            ])
        })
        .collect()
}

const HISTORY: Columns = Columns {
    fields: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
        ("Tags", "TAGS"),
    ],
    shown: &["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
};

pub(crate) async fn history(global: &Global, args: &HistoryArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    let list = engine.get(&format!("/images/{}/history", part(&args.image)?)).await?;
    let now = time::now();
    let rows: Vec<Row> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| step_of(step, args.no_trunc, now))
        .collect();
    let printed = match (args.quiet, Form::of(args.output.format.as_deref(), global.json)) {
        (true, Form::Table) => rows
            .iter()
            .filter_map(|row| Some(format!("{}\n", row.get("ID")?.as_str()?)))
            .collect(),
        (_, form) => HISTORY.render(rows, form)?,
    };
    output::print(&printed)?;
    Ok(0)
}

fn step_of(step: &Value, whole: bool, now: i64) -> Row {
    let id = text(step, "Id");
    let created = number(step, "Created");
    let by = text(step, "CreatedBy").replace('\t', " ");
    let tags: Vec<&str> = items(step, "Tags").iter().filter_map(Value::as_str).collect();
    row([
        (
            "ID",
            match id.as_str() {
                "" | "<missing>" => "<missing>".to_owned(),
                id if whole => id.to_owned(),
                id => units::short_id(id),
            },
        ),
        ("CreatedSince", units::ago(created, now)),
        ("CreatedAt", time::date(created)),
        ("CreatedBy", if whole { by } else { units::shorten(&by, 45) }),
        ("Size", units::size(number(step, "Size"))),
        ("Comment", text(step, "Comment")),
        ("Tags", tags.join(",")),
    ])
}

pub(crate) async fn tag(global: &Global, args: &TagArgs) -> Result<u8> {
    let (repository, tag) = split_reference(&args.target)?;
    let source = part(&args.source)?;
    let engine = connect::open(global).await?;
    let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
    engine
        .docker
        .tag_image(&source, Some(options))
        .await
        .map_err(Failure::from)?;
    Ok(0)
}

/// Repository and tag; `latest` where there is none. A colon before the last slash is a port.
pub(crate) fn split_reference(reference: &str) -> Result<(&str, &str)> {
    if reference.contains('@') {
        return Err(Failure::usage(format!(
            "{reference:?} has a digest; a name that is given has a tag"
        )));
    }
    let after = reference.rfind('/').map_or(0, |at| at + 1);
    let (repository, tag) = match reference[after..].find(':') {
        Some(at) => (&reference[..after + at], &reference[after + at + 1..]),
        None => (reference, "latest"),
    };
    if repository.is_empty() || tag.is_empty() {
        return Err(Failure::usage(format!("{reference:?} is not a name of an image")).hint("write REPOSITORY[:TAG]"));
    }
    Ok((repository, tag))
}

pub(crate) async fn rmi(global: &Global, args: &RmiArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    each(&args.images, async |name| {
        let options = RemoveImageOptionsBuilder::default()
            .force(args.force)
            .noprune(args.no_prune)
            .build();
        let removed = engine
            .docker
            .remove_image(&part(name)?, Some(options), None)
            .await
            .map_err(Failure::from)?;
        for item in removed {
            if let Some(deleted) = item.deleted {
                output::line(format!("Deleted: {deleted}"))?;
            }
            if let Some(untagged) = item.untagged {
                output::line(format!("Untagged: {untagged}"))?;
            }
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;
    use serde_json::json;

    fn shown(image: &Value, digests: bool) -> Vec<String> {
        rows_of(image, false, digests, 100)
            .iter()
            .map(|row| {
                ["Repository", "Tag", "Digest"]
                    .map(|field| row[field].as_str().unwrap().to_owned())
                    .join(" ")
            })
            .collect()
    }

    #[test]
    fn an_image_has_a_row_for_each_name() {
        let image = json!({"Id": "sha256:0123456789abcdef", "RepoTags": ["a:1", "h:5000/b:2"],
            "RepoDigests": ["a@sha256:ff"], "Created": 90, "Size": 5});
        assert_eq!(shown(&image, true), ["a 1 sha256:ff", "h:5000/b 2 <none>"]);
        let bare = json!({"Id": "sha256:01", "RepoTags": ["<none>:<none>"], "RepoDigests": null});
        assert_eq!(shown(&bare, false), ["<none> <none> <none>"]);
        let digest = json!({"Id": "sha256:01", "RepoDigests": ["a@sha256:ff"]});
        assert_eq!(shown(&digest, true), ["a <none> sha256:ff"]);
    }

    #[test]
    fn a_reference_is_split_after_its_last_slash() {
        for (text, wanted) in [
            ("a", ("a", "latest")),
            ("a:1", ("a", "1")),
            ("h:5000/a", ("h:5000/a", "latest")),
            ("h:5000/a:1", ("h:5000/a", "1")),
        ] {
            assert_eq!(split_reference(text).unwrap(), wanted);
        }
        for text in ["", ":1", "a:", "a@sha256:ff"] {
            assert!(split_reference(text).is_err(), "{text:?}");
        }
    }
}
