//! `ps`: the list of containers.

use serde_json::Value;

use super::{items, joined, number, text};
use crate::cli::Global;
use crate::cli::container::PsArgs;
use crate::connect;
use crate::engine::query;
use crate::error::Result;
use crate::output::listing::{Columns, Form, Row, row};
use crate::output::{self, units};
use crate::parse::filter::filters;
use crate::parse::time;

const FIELDS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("CreatedAt", "CREATED AT"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("Size", "SIZE"),
    ("State", "STATE"),
];
const COLUMNS: Columns = Columns {
    fields: FIELDS,
    shown: &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"],
};
const WITH_SIZE: Columns = Columns {
    fields: FIELDS,
    shown: &[
        "ID",
        "Image",
        "Command",
        "RunningFor",
        "Status",
        "Ports",
        "Names",
        "Size",
    ],
};

pub(crate) async fn ps(global: &Global, args: &PsArgs) -> Result<u8> {
    let limit = match (args.latest, args.last) {
        (true, _) => "1".to_owned(),
        (false, Some(last)) if last > 0 => last.to_string(),
        _ => String::new(),
    };
    let on = |wanted: bool| if wanted { "1" } else { "" };
    let path = query(
        "/containers/json",
        &[
            ("all", on(args.all || !limit.is_empty())),
            ("limit", &limit),
            ("size", on(args.size)),
            ("filters", &filters(&args.filter)?),
        ],
    );
    let engine = connect::open(global).await?;
    let list = engine.get(&path).await?;
    let now = time::now();
    let rows: Vec<Row> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| fields(container, args.no_trunc, now))
        .collect();
    let form = Form::of(args.output.format.as_deref(), global.json);
    let printed = match (args.quiet, form) {
        (true, Form::Table) => rows
            .iter()
            .filter_map(|row| Some(format!("{}\n", row.get("ID")?.as_str()?)))
            .collect(),
        _ if args.size => WITH_SIZE.render(rows, form)?,
        _ => COLUMNS.render(rows, form)?,
    };
    output::print(&printed)?;
    Ok(0)
}

fn fields(container: &Value, whole: bool, now: i64) -> Row {
    let id = text(container, "Id");
    let created = number(container, "Created");
    let names: Vec<&str> = items(container, "Names")
        .iter()
        .filter_map(Value::as_str)
        .map(|name| name.trim_start_matches('/'))
        .collect();
    let command = text(container, "Command");
    let command = if whole { command } else { units::shorten(&command, 20) };
    let image = text(container, "Image");
    let digest = image.starts_with("sha256:") && !whole;
    let mounts: Vec<String> = items(container, "Mounts")
        .iter()
        .map(|mount| match text(mount, "Name") {
            name if name.is_empty() => text(mount, "Source"),
            name => name,
        })
        .map(|name| if whole { name } else { units::shorten(&name, 15) })
        .collect();
    let volumes = items(container, "Mounts")
        .iter()
        .filter(|mount| text(mount, "Driver") == "local")
        .count();
    let networks = container
        .pointer("/NetworkSettings/Networks")
        .and_then(Value::as_object)
        .map(|networks| networks.keys().cloned().collect::<Vec<_>>().join(","));
    row([
        ("ID", if whole { id } else { units::short_id(&id) }),
        ("Image", if digest { units::short_id(&image) } else { image }),
        ("Command", Value::String(command).to_string()),
        ("RunningFor", units::ago(created, now)),
        ("CreatedAt", time::date(created)),
        ("Status", text(container, "Status")),
        ("State", text(container, "State")),
        ("Ports", ports(container)),
        ("Names", names.join(",")),
        ("Labels", joined(container, "Labels")),
        ("Mounts", mounts.join(",")),
        ("LocalVolumes", volumes.to_string()),
        ("Networks", networks.unwrap_or_default()),
        ("Size", size(container)),
    ])
}

fn ports(container: &Value) -> String {
    let shown: Vec<String> = items(container, "Ports")
        .iter()
        .map(|port| {
            let inner = format!("{}/{}", text(port, "PrivatePort"), text(port, "Type"));
            match text(port, "PublicPort") {
                outer if outer.is_empty() => inner,
                outer => format!("{}:{outer}->{inner}", text(port, "IP")),
            }
        })
        .collect();
    shown.join(", ")
}

fn size(container: &Value) -> String {
    let own = units::size(number(container, "SizeRw"));
    match number(container, "SizeRootFs") {
        0 => own,
        all => format!("{own} (virtual {})", units::size(all)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_is_one_row_of_dockers_fields() {
        let container = json!({
            "Id": "0123456789abcdef", "Names": ["/one"], "Image": "img", "Created": 90,
            "Command": "sh -c 'a long command line'", "Status": "Up 2 minutes", "State": "running",
            "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
            "Mounts": [{"Type": "volume", "Name": "v", "Driver": "local"}],
            "NetworkSettings": {"Networks": {"none": {}}}, "Labels": {"a": "b"},
        });
        let row = fields(&container, false, 100);
        for (field, wanted) in [
            ("ID", "0123456789ab"),
            ("Command", "\"sh -c 'a long comma…\""),
            ("RunningFor", "10 seconds ago"),
            ("Ports", "0.0.0.0:8080->80/tcp"),
            ("Names", "one"),
            ("Mounts", "v"),
            ("LocalVolumes", "1"),
            ("Networks", "none"),
            ("Labels", "a=b"),
        ] {
            assert_eq!(row.get(field), Some(&json!(wanted)), "{field}");
        }
    }
}
