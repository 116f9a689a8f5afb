//! How a layer is mounted, for each access.

use longshore_plugin::Result;
use longshore_plugin::graph::{Access, Activate, Activated, Whiteouts};
use longshore_plugin::steps::{Lower, MountOption, MountPlan, MountStep, OptionText, Place, Source};
use longshore_plugin::types::RelPath;
use longshore_plugin::{Error, ErrorKind};

use crate::config::Options;
use crate::layout;

/// | access | with ancestors | without |
/// |---|---|---|
/// | unpack | the difference alone, to be filled with overlay's own whiteouts | the same |
/// | write | overlay: ancestors below, difference and work folder above | the difference |
/// | read | overlay without an upper | the difference, read-only |
pub(crate) fn activate(request: &Activate, options: Options) -> Result<Activated> {
    let own = layout::diff(&request.layer.id)?;
    let (plan, whiteouts) = match request.access {
        Access::Unpack => (bind(own, false), Whiteouts::Overlay),
        Access::Write if request.depth == 0 => (bind(own, false), Whiteouts::Merged),
        Access::Read if request.depth == 0 => (bind(own, true), Whiteouts::Merged),
        Access::Write => {
            let work = layout::work(&request.layer.id)?;
            let step = MountStep {
                lowers: vec![ancestors(request.depth)?],
                upper: Some(own),
                work: Some(work),
                options: options.for_mount(),
                ..overlay(false)
            };
            (MountPlan::single(step), Whiteouts::Merged)
        }
        Access::Read => {
            let step = MountStep {
                lowers: vec![Lower::Tree(own), ancestors(request.depth)?],
                options: read_options(),
                ..overlay(true)
            };
            (MountPlan::single(step), Whiteouts::Merged)
        }
        Access::Unknown => {
            return Err(Error::new(ErrorKind::Unsupported, "overlay does not know this access"));
        }
    };
    Ok(Activated { plan, whiteouts })
}

fn bind(place: Place, read_only: bool) -> MountPlan {
    MountPlan::single(MountStep {
        fs: "bind".into(),
        source: Source::Tree(place),
        read_only,
        ..overlay(false)
    })
}

fn overlay(read_only: bool) -> MountStep {
    MountStep {
        fs: "overlay".into(),
        source: Source::None,
        lowers: Vec::new(),
        upper: None,
        work: None,
        options: Vec::new(),
        read_only,
    }
}

fn ancestors(count: u16) -> Result<Lower> {
    Ok(Lower::Chain {
        area: 0,
        path: RelPath::parse("diff")?,
        first: 0,
        count,
    })
}

/// Layers written with metacopy or redirects can only be read when overlay follows them; without an
/// upper layer it makes none. `index` means nothing there.
fn read_options() -> Vec<MountOption> {
    vec![MountOption {
        key: "redirect_dir".into(),
        value: OptionText::Text("follow".into()),
    }]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use longshore_plugin::graph::LayerRef;
    use longshore_plugin::types::{LayerId, Note};

    fn request(depth: u16, access: Access) -> Activate {
        Activate {
            layer: LayerRef {
                id: LayerId::parse("a".repeat(64)).unwrap(),
                note: Note::default(),
            },
            depth,
            chain: vec![],
            access,
        }
    }

    #[test]
    fn each_access_gets_its_mount() {
        for (depth, access, fs, read_only, lowers) in [
            (0, Access::Unpack, "bind", false, 0),
            (3, Access::Unpack, "bind", false, 0),
            (0, Access::Write, "bind", false, 0),
            (3, Access::Write, "overlay", false, 1),
            (0, Access::Read, "bind", true, 0),
            (3, Access::Read, "overlay", true, 2),
        ] {
            let activated = activate(&request(depth, access), Options::default()).unwrap();
            let step = &activated.plan.steps[0];
            assert_eq!(
                (step.fs.as_str(), step.read_only, step.lowers.len()),
                (fs, read_only, lowers)
            );
            assert_eq!(step.upper.is_some(), fs == "overlay" && !read_only);
        }
        assert!(activate(&request(1, Access::Unknown), Options::default()).is_err());
    }
}
