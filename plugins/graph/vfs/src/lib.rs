//! The vfs graph driver: every layer a whole tree, made by copying its parent's.
//!
//! It needs nothing from the kernel and works on any file system; where that can share extents, a
//! copy costs little. It keeps Docker's `vfs` layout (`vfs/dir/<id>`). It is pure: it answers steps
//! and plans; the copying is the host's.
#![forbid(unsafe_code)]

use longshore_plugin::Context;
use longshore_plugin::driver::{Area, Capabilities, Description, Driver, Holds, Open, Probe, Probed, Versions};
use longshore_plugin::graph::{
    Access, Activate, Activated, ChangesSupport, Content, Create, Created, Ended, GraphCapabilities, GraphDriver, Made,
    Remove, Removed, Whiteouts,
};
use longshore_plugin::steps::{MountPlan, MountStep, Place, Source, TreeStep};
use longshore_plugin::types::{LayerId, Note, Owner, RelPath};
use longshore_plugin::{Error, Result};

/// The driver. It has no options and holds nothing.
#[derive(Debug)]
pub struct Vfs {}

/// Copies have no technical limit; the contract's chains have.
const MAX_DEPTH: u32 = 499;

fn capabilities() -> Capabilities {
    Capabilities::Graph(GraphCapabilities {
        acts: false,
        tracks_activation: false,
        changes: ChangesSupport::No,
        max_depth: MAX_DEPTH,
        independent_layers: false,
        activate_chain: false,
        lists: false,
    })
}

fn tree(id: &LayerId) -> Place {
    Place::object(0, id.as_str(), RelPath::root())
}

impl Driver for Vfs {
    fn describe() -> Description {
        Description {
            name: "vfs".into(),
            aliases: vec![],
            version: env!("CARGO_PKG_VERSION").into(),
            kind: "graph".into(),
            interface: Versions { from: 0, to: 0 },
            folder: None,
            areas: vec![Area {
                template: "dir/{}".into(),
                holds: Holds::Object,
                source: true,
            }],
            options: vec![],
            capabilities: capabilities(),
            concurrency: 16,
        }
    }

    fn probe(_cx: &Context, _request: Probe) -> Result<Probed> {
        Ok(Probed {
            usable: true,
            reasons: vec![],
            capabilities: capabilities(),
        })
    }

    fn open(_cx: &Context, request: Open) -> Result<Self> {
        match request.options.first() {
            Some(option) => Err(Error::invalid(format!(
                "vfs has no option {}; it has none",
                option.name
            ))),
            None => Ok(Self {}),
        }
    }
}

impl GraphDriver for Vfs {
    fn create(&self, _cx: &Context, request: Create) -> Result<Created> {
        if request.chain.len() > MAX_DEPTH as usize {
            return Err(Error::exhausted(format!(
                "layer {} would have {} ancestors; the most is {MAX_DEPTH}",
                request.id,
                request.chain.len()
            )));
        }
        let at = tree(&request.id);
        let step = match request.chain.first() {
            Some(parent) => TreeStep::Copy {
                from: tree(&parent.id),
                to: at,
            },
            None => TreeStep::Directory {
                at,
                mode: 0o755,
                owner: Owner::ROOT,
                like: None,
            },
        };
        Ok(Created {
            outcome: Made::New,
            content: Content::Empty,
            note: Note::default(),
            steps: vec![step],
        })
    }

    fn activate(&self, _cx: &Context, request: Activate) -> Result<Activated> {
        let read_only = match request.access {
            Access::Unpack | Access::Write => false,
            Access::Read => true,
            Access::Unknown => return Err(Error::unsupported("vfs does not know this access")),
        };
        Ok(Activated {
            plan: MountPlan::single(MountStep {
                fs: "bind".into(),
                source: Source::Tree(tree(&request.layer.id)),
                lowers: vec![],
                upper: None,
                work: None,
                options: vec![],
                read_only,
            }),
            whiteouts: Whiteouts::Merged,
        })
    }

    fn remove(&self, _cx: &Context, request: Remove) -> Result<Removed> {
        Ok(Removed {
            outcome: Ended::Done,
            steps: vec![TreeStep::Remove {
                at: tree(&request.layer.id),
            }],
        })
    }
}

longshore_plugin::export! {
    driver: Vfs,
    kind: graph,
    name: "vfs",
    version: env!("CARGO_PKG_VERSION"),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use longshore_plugin::graph::{LayerRef, Role};

    fn layer(letter: &str) -> LayerRef {
        LayerRef {
            id: LayerId::parse(letter.repeat(64)).unwrap(),
            note: Note::default(),
        }
    }

    #[test]
    fn a_base_is_a_directory_and_a_child_a_copy() {
        let create = |chain| {
            Vfs {}
                .create(
                    &Context::background(),
                    Create {
                        id: layer("c").id,
                        chain,
                        role: Role::Layer,
                        options: vec![],
                    },
                )
                .unwrap()
        };
        assert!(matches!(create(vec![]).steps[..], [TreeStep::Directory { .. }]));
        assert!(matches!(
            create(vec![layer("b"), layer("a")]).steps[..],
            [TreeStep::Copy { .. }]
        ));
    }

    #[test]
    fn reading_is_read_only_and_the_rest_is_not() {
        for (access, expected) in [(Access::Read, true), (Access::Write, false), (Access::Unpack, false)] {
            let request = Activate {
                layer: layer("a"),
                depth: 0,
                chain: vec![],
                access,
            };
            let activated = Vfs {}.activate(&Context::background(), request).unwrap();
            assert_eq!(activated.plan.steps[0].read_only, expected);
        }
    }
}
