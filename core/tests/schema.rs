//! The lock files in `schema/` hold the contracts as they are: whoever changes one, sees it here.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use longshore_core::driver::{Describe, Description, Open, Opened, Probe, Probed};
use longshore_core::schema::{Form, Schema};
use longshore_core::{exec, graph, ipam, network, volume, wire};

/// The calls on instance 0, which all kinds share.
fn common() -> Schema {
    let mut schema = Schema::new("driver", 0);
    schema.method::<Describe, Description>(&wire::DESCRIBE);
    schema.method::<Probe, Probed>(&wire::PROBE);
    schema.method::<Open, Opened>(&wire::OPEN);
    schema
}

fn all() -> [Schema; 6] {
    [
        common(),
        graph::schema(),
        volume::schema(),
        network::schema(),
        ipam::schema(),
        exec::schema(),
    ]
}

#[test]
fn the_lock_files_hold_the_contracts_as_they_are() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schema");
    let bless = std::env::var_os("LONGSHORE_BLESS").is_some_and(|value| value == "1");
    let mut changed = Vec::new();
    for schema in all() {
        let name = format!("{}-{}.json", schema.kind, schema.version);
        let (file, text) = (folder.join(&name), schema.to_json().unwrap());
        if bless {
            std::fs::write(&file, &text).unwrap();
        } else if std::fs::read_to_string(&file).unwrap_or_default() != text {
            changed.push(name);
        }
    }
    assert!(
        changed.is_empty(),
        "the contract differs from core/schema/{{{}}}: if that is meant, run \
         `LONGSHORE_BLESS=1 cargo test -p longshore-core --test schema` and say why in the change log",
        changed.join(",")
    );
}

#[test]
fn no_two_types_of_a_kind_share_a_name() {
    for schema in all() {
        assert_eq!(schema.clashes(), [] as [String; 0], "{}", schema.kind);
    }
}

#[test]
fn nothing_needs_a_version_above_its_kinds() {
    for schema in all() {
        let fields = schema.types().flat_map(|shape| match &shape.form {
            Form::Struct { fields } => fields.iter().map(|field| field.since).collect::<Vec<_>>(),
            Form::Enum { variants } => variants
                .iter()
                .flat_map(|variant| variant.fields.iter().map(|field| field.since).chain([variant.since]))
                .collect(),
            Form::Newtype { .. } => Vec::new(),
        });
        let methods = schema.methods.iter().map(|method| method.since);
        for since in fields.chain(methods) {
            assert!(since <= schema.version, "{} {}", schema.kind, since);
        }
    }
}

#[test]
fn a_name_that_two_types_share_is_told() {
    let mut schema = Schema::new("lamp", 0);
    schema.define("State", "a::State", |_| Form::Newtype { limits: "one" });
    schema.define("State", "a::State", |_| Form::Newtype { limits: "one" });
    assert!(schema.clashes().is_empty());
    schema.define("State", "b::State", |_| Form::Newtype { limits: "another" });
    assert_eq!(schema.clashes(), ["State is both a::State and b::State"]);
}

#[test]
fn a_capability_of_a_method_is_a_field_of_its_kinds_capabilities() {
    for (schema, capabilities) in [
        (graph::schema(), "GraphCapabilities"),
        (volume::schema(), "VolumeCapabilities"),
        (network::schema(), "NetworkCapabilities"),
        (ipam::schema(), "IpamCapabilities"),
        (exec::schema(), "ExecCapabilities"),
    ] {
        let common = common();
        let shape = common.types().find(|shape| shape.name == capabilities).unwrap();
        let Form::Struct { fields } = &shape.form else {
            panic!("{capabilities} is no struct");
        };
        for capability in schema.methods.iter().filter_map(|method| method.capability) {
            assert!(
                fields.iter().any(|field| field.name == capability),
                "{} {capability}",
                schema.kind
            );
        }
    }
}
