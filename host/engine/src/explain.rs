//! `run --explain`: every step that a run would take, asked of the drivers with IDs that are thrown
//! away, and not taken.

use bollard_stubs::models;
use longshore_core::graph::{Access, LayerRef, Role};
use longshore_core::steps::{Lower, MountPlan, OptionText, Place, Source, TreeStep};
use serde::Serialize;

use crate::drivers::Choice;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::layer::new_id;

/// One step.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Explained {
    /// `layer`, `tree`, `mount`, `network` or `exec`.
    pub area: String,
    /// What would be done.
    pub text: String,
}

pub(crate) fn explain(inner: &Inner, body: models::ContainerCreateBody, choice: &Choice) -> Result<Vec<Explained>> {
    let mut steps: Vec<Explained> = Vec::new();
    let mut say = |area: &str, text: String| {
        steps.push(Explained {
            area: area.to_owned(),
            text,
        });
    };
    let word = body.image.unwrap_or_default();
    if word.is_empty() {
        return Err(Error::invalid("Image: a container needs an image"));
    }
    let image = inner.images.resolve(&word)?;
    let slot = inner.drivers.graph(&inner.drivers.chosen("graph", choice)?)?;
    let chain = if inner.layers.is_complete(image.row.chain.as_deref(), &slot.name)? {
        inner.layers.chain(image.row.chain.as_deref(), &slot)?
    } else {
        say(
            "layer",
            format!(
                "bring the layers of {word} to driver {}: from another driver's copy, verified by diff ID",
                slot.name
            ),
        );
        // Stand-ins: the driver's answers depend on the number of ancestors, not on which.
        image
            .file
            .rootfs
            .diff_ids
            .iter()
            .map(|_| slot.stand_in(new_id()?))
            .collect::<Result<Vec<_>>>()?
    };
    let id = new_id()?;
    let short = |text: String| shorten(&text);
    if slot.capabilities.acts {
        say(
            "tree",
            format!(
                "driver {} makes the layer {}: it acts by itself",
                slot.name,
                short(id.to_string())
            ),
        );
    } else {
        let created = slot.ask_create(&id, &chain, Role::Container)?;
        for step in &created.steps {
            say("tree", short(tree_step(step, &slot.folder)));
        }
        let layer = LayerRef {
            id: id.clone(),
            note: created.note,
        };
        let activated = slot.ask_activate(&layer, &chain, Access::Write)?;
        mount_plan(&activated.plan, &mut |text| say("mount", short(text)));
    }
    let host = body.host_config.unwrap_or_default();
    for bind in host.binds.iter().flatten() {
        say("mount", format!("attach -v {bind}"));
    }
    let network = match host.network_mode.as_deref() {
        None | Some("" | "default") => inner.drivers.chosen("network", choice)?,
        Some(name) => name.to_owned(),
    };
    let slot = inner.drivers.network(&network)?;
    say(
        "network",
        if slot.capabilities.shares_host {
            format!("network {network}: stay in the host's network namespace")
        } else {
            format!("network {network}: make a network namespace and pin it by descriptor; raise lo")
        },
    );
    let exec = inner.drivers.chosen("exec", choice)?;
    say(
        "exec",
        format!("driver {exec} acts by itself: create the container, then start it"),
    );
    Ok(steps)
}

/// Cuts IDs to the twelve digits that people compare.
fn shorten(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_hexdigit() {
            word.push(c);
            continue;
        }
        out.push_str(if word.len() == 64 { &word[..12] } else { &word });
        word.clear();
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out
}

fn place(at: &Place, folder: &str) -> String {
    let object = at
        .object
        .as_deref()
        .map_or_else(|| format!("<area {}>", at.area), str::to_owned);
    if at.path.is_empty() {
        format!("{folder}/{object}")
    } else {
        format!("{folder}/{object}/{}", at.path)
    }
}

fn tree_step(step: &TreeStep, folder: &str) -> String {
    match step {
        TreeStep::Directory { at, mode, owner, .. } => {
            format!(
                "directory {} mode {mode:04o} owner {}:{}",
                place(at, folder),
                owner.uid,
                owner.gid
            )
        }
        TreeStep::File { at, content, .. } => {
            format!("file {} ({} bytes)", place(at, folder), content.as_bytes().len())
        }
        TreeStep::Symlink { at, target } => format!("symlink {} -> {target}", place(at, folder)),
        TreeStep::Rename { from, to } => format!("rename {} to {}", place(from, folder), place(to, folder)),
        TreeStep::Copy { from, to } => format!("copy {} to {}", place(from, folder), place(to, folder)),
        TreeStep::Remove { at } => format!("remove {}", place(at, folder)),
        TreeStep::Attribute { at, name, .. } => format!("attribute {name} of {}", place(at, folder)),
    }
}

fn mount_plan(plan: &MountPlan, say: &mut dyn FnMut(String)) {
    for step in &plan.steps {
        let mut text = format!("mount {}", step.fs);
        match &step.source {
            Source::None => {}
            Source::Tree(at) => text.push_str(&format!(" of {}", place(at, ""))),
            Source::HostPath(path) => text.push_str(&format!(" of {path}")),
            Source::Remote(remote) => text.push_str(&format!(" of {}:{}", remote.server, remote.path)),
            Source::Mount(_) => text.push_str(" made by the driver"),
        }
        for lower in &step.lowers {
            match lower {
                Lower::Chain { path, first, count, .. } => {
                    text.push_str(&format!(", lower: {path} of {count} ancestors from {first}"));
                }
                Lower::Tree(at) => text.push_str(&format!(", lower: {}", place(at, ""))),
            }
        }
        if let Some(upper) = &step.upper {
            text.push_str(&format!(", upper: {}", place(upper, "")));
        }
        for option in &step.options {
            match &option.value {
                OptionText::None => text.push_str(&format!(", {}", option.key)),
                OptionText::Text(value) => text.push_str(&format!(", {}={value}", option.key)),
                OptionText::Secret(_) => text.push_str(&format!(", {}=***", option.key)),
            }
        }
        text.push_str(if step.read_only { ", read-only" } else { "" });
        say(text);
    }
}
