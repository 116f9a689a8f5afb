//! Where a layer lies on disk: Docker's `overlay2` layout.
//!
//! ```text
//! <id>/diff        the layer's difference        <id>/link       its short name
//! <id>/work        overlay's work folder         <id>/lower      its ancestors, as l/A:l/B
//! l/<26 letters> -> ../<id>/diff                 <id>/committed  sealed
//! ```
//! The short names exist for tools that mount by string; the host mounts by descriptor and never
//! goes through them.

use longshore_plugin::driver::{Area, Holds};
use longshore_plugin::graph::{Create, LayerRef};
use longshore_plugin::steps::{Place, TreeStep};
use longshore_plugin::types::{Bytes, LayerId, Note, Owner, RelPath};
use longshore_plugin::{Error, Result};

/// Area 0: a layer's folder.
const LAYERS: u8 = 0;
/// Area 1: the short names.
const LINKS: u8 = 1;

/// Letters of a short name; 26 of 5 bits hold 128.
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

pub(crate) fn areas() -> Vec<Area> {
    vec![
        Area {
            template: "{}".into(),
            holds: Holds::Object,
            source: true,
        },
        Area {
            template: "l".into(),
            holds: Holds::Shared,
            source: false,
        },
    ]
}

fn at(id: &LayerId, path: &str) -> Result<Place> {
    Ok(Place::object(LAYERS, id.as_str(), RelPath::parse(path)?))
}

/// The folder of a layer's difference.
pub(crate) fn diff(id: &LayerId) -> Result<Place> {
    at(id, "diff")
}

/// Overlay's work folder of a layer.
pub(crate) fn work(id: &LayerId) -> Result<Place> {
    at(id, "work")
}

/// A layer's short name, derived from its ID so that `create` can be repeated: 128 bits of FNV-1a.
fn link(id: &LayerId) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut bits = id
        .as_str()
        .bytes()
        .fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    (0..26)
        .map(|_| {
            let letter = LETTERS[(bits & 31) as usize];
            bits >>= 5;
            char::from(letter)
        })
        .collect()
}

/// The note on a new layer: its short name.
pub(crate) fn note(id: &LayerId) -> Result<Note> {
    Note::parse(link(id))
}

/// The short name out of a note.
fn noted(layer: &LayerRef) -> Result<&str> {
    std::str::from_utf8(layer.note.as_bytes())
        .ok()
        .filter(|name| (1..=64).contains(&name.len()) && name.bytes().all(|b| LETTERS.contains(&b)))
        .ok_or_else(|| Error::corrupt(format!("the note on layer {} is not the short name of one", layer.id)))
}

/// The steps that make a layer, and complete a half-made one.
pub(crate) fn create(request: &Create) -> Result<Vec<TreeStep>> {
    let id = &request.id;
    let name = link(id);
    let directory = |path: &str, mode: u16, like: Option<Place>| -> Result<TreeStep> {
        Ok(TreeStep::Directory {
            at: at(id, path)?,
            mode,
            owner: Owner::ROOT,
            like,
        })
    };
    let file = |path: &str, content: String| -> Result<TreeStep> {
        Ok(TreeStep::File {
            at: at(id, path)?,
            mode: 0o644,
            owner: Owner::ROOT,
            content: content.as_str().into(),
        })
    };
    let parent = request.chain.first();
    let mut steps = vec![
        directory("", 0o710, None)?,
        directory("diff", 0o755, parent.map(|p| diff(&p.id)).transpose()?)?,
        TreeStep::Symlink {
            at: Place::shared(LINKS, RelPath::parse(name.clone())?),
            target: Bytes::from(format!("../{id}/diff").as_str()),
        },
        file("link", name)?,
    ];
    if parent.is_some() {
        let lower: Vec<String> = request
            .chain
            .iter()
            .map(|ancestor| Ok(format!("l/{}", noted(ancestor)?)))
            .collect::<Result<_>>()?;
        steps.push(file("lower", lower.join(":"))?);
        steps.push(directory("work", 0o700, None)?);
    }
    Ok(steps)
}

/// The steps that seal a layer.
pub(crate) fn commit(id: &LayerId) -> Result<Vec<TreeStep>> {
    Ok(vec![TreeStep::File {
        at: at(id, "committed")?,
        mode: 0o600,
        owner: Owner::ROOT,
        content: Bytes::default(),
    }])
}

/// The steps that remove a layer, whatever state it is in.
pub(crate) fn remove(layer: &LayerRef) -> Result<Vec<TreeStep>> {
    let name = match layer.note.is_empty() {
        true => link(&layer.id),
        false => noted(layer)?.to_owned(),
    };
    Ok(vec![
        TreeStep::Remove {
            at: Place::shared(LINKS, RelPath::parse(name)?),
        },
        TreeStep::Remove { at: at(&layer.id, "")? },
    ])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use longshore_plugin::graph::Role;

    fn id(letter: &str) -> LayerId {
        LayerId::parse(letter.repeat(64)).unwrap()
    }

    fn layer(letter: &str) -> LayerRef {
        LayerRef {
            id: id(letter),
            note: note(&id(letter)).unwrap(),
        }
    }

    #[test]
    fn short_names_are_26_letters_and_differ() {
        let (a, b) = (link(&id("a")), link(&id("b")));
        assert_eq!(a.len(), 26);
        assert!(a.bytes().all(|c| LETTERS.contains(&c)));
        assert_ne!(a, b);
        assert_eq!(a, link(&id("a")));
    }

    #[test]
    fn a_child_names_its_ancestors_parent_first() {
        let steps = create(&Create {
            id: id("c"),
            chain: vec![layer("b"), layer("a")],
            role: Role::Container,
            options: vec![],
        })
        .unwrap();
        let lower = steps
            .iter()
            .find_map(|step| match step {
                TreeStep::File { at, content, .. } if at.path.as_bytes() == b"lower" => Some(content.clone()),
                _ => None,
            })
            .unwrap();
        let expected = format!("l/{}:l/{}", link(&id("b")), link(&id("a")));
        assert_eq!(lower.as_bytes(), expected.as_bytes());
        assert_eq!(steps.len(), 6);
    }

    #[test]
    fn a_base_has_no_lower_and_no_work() {
        let steps = create(&Create {
            id: id("a"),
            chain: vec![],
            role: Role::Layer,
            options: vec![],
        })
        .unwrap();
        assert_eq!(steps.len(), 4);
    }

    #[test]
    fn a_note_that_is_no_short_name_is_corrupt() {
        let mut bad = layer("a");
        bad.note = Note::parse("../../x").unwrap();
        assert!(remove(&bad).is_err());
    }
}
