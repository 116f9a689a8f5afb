//! The graph suite. The list follows the contract's; cases of parts that are not in the interface yet
//! (streams, limits, id-maps) come with them.

mod content;
mod life;
mod plans;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use longshore_core::driver::OptionValue;
use longshore_core::graph::{
    Access, Activate, Activated, ChangeKind, Changed, Changes, ChangesSupport, Collect, Commit, Create, Created,
    Deactivate, Ended, GraphCapabilities, GraphDriver, LayerRef, List, Made, Remove, Role, Stat, State, Whiteouts,
};
use longshore_core::steps::{Lower, MountPlan, Source, TreeStep};
use longshore_core::types::{LayerId, Note};
use longshore_core::{Context, ErrorKind};
use longshore_performer::plan::{self, PlanScope};
use longshore_performer::root::Tree;
use longshore_performer::sink::{Attributes, Below, Time, TreeSink};
use longshore_performer::tree::{self, Scope};

use crate::host::{Place, grants, inside, tree as lines, unusable};
use crate::{Case, CaseResult, Failure, Target, check, expect};

type Result<T> = std::result::Result<T, Failure>;

/// One case's driver over its fresh root.
#[derive(Debug)]
pub struct Bench {
    target: Target,
    place: Place,
    grants: Vec<String>,
    capabilities: GraphCapabilities,
    unusable: Option<String>,
}

/// A layer that a case made: its reference and its chain.
#[derive(Clone, Debug)]
struct Filled {
    layer: LayerRef,
    chain: Vec<LayerRef>,
}

impl Filled {
    /// The chain of a child.
    fn below(&self) -> Vec<LayerRef> {
        let mut chain = vec![self.layer.clone()];
        chain.extend(self.chain.clone());
        chain
    }
}

fn id(letter: char) -> LayerId {
    let text: String = std::iter::repeat_n(letter, 64).collect();
    // Letters of the cases are all allowed.
    LayerId::parse(text).unwrap_or_else(|_| LayerId::from_random([7; 32]))
}

fn numbered(number: usize) -> Result<LayerId> {
    Ok(LayerId::parse(format!("{number:064}"))?)
}

impl Bench {
    pub(crate) fn new(target: &Target) -> Result<Self> {
        let place = Place::new(target.folder.as_deref())?;
        Ok(Self {
            unusable: unusable(&target.loaded, &place, &target.options)?,
            grants: grants(&target.loaded),
            capabilities: target.loaded.description().capabilities.graph()?.clone(),
            target: target.clone(),
            place,
        })
    }

    /// A fresh instance: any call may reach one.
    fn driver(&self) -> Result<Arc<dyn GraphDriver>> {
        Ok(self
            .target
            .loaded
            .open_graph(self.place.descriptor()?, &self.place.path, self.target.options.clone())?)
    }

    fn perform(&self, object: &LayerId, chain: &[LayerRef], steps: &[TreeStep]) -> Result<()> {
        Ok(tree::perform_steps(steps, &self.scope(object, &names(chain)))?)
    }

    fn scope<'a>(&'a self, object: &'a LayerId, ancestors: &'a [&'a str]) -> Scope<'a> {
        Scope {
            root: &self.place.root,
            areas: &self.target.loaded.description().areas,
            object: object.as_str(),
            ancestors,
            clone_source: None,
        }
    }

    fn ask(&self, id: &LayerId, chain: &[LayerRef], role: Role) -> longshore_core::Result<Created> {
        let driver = self
            .driver()
            .map_err(|failure| longshore_core::Error::broken(failure.to_string()))?;
        driver.create(
            &Context::background(),
            Create {
                id: id.clone(),
                chain: chain.to_vec(),
                role,
                options: vec![],
            },
        )
    }

    fn create(&self, id: &LayerId, chain: &[LayerRef], role: Role) -> Result<Filled> {
        let created = self.ask(id, chain, role)?;
        self.perform(id, chain, &created.steps)?;
        Ok(Filled {
            layer: LayerRef {
                id: id.clone(),
                note: created.note,
            },
            chain: chain.to_vec(),
        })
    }

    fn plan(&self, made: &Filled, access: Access) -> Result<Activated> {
        Ok(self.driver()?.activate(
            &Context::background(),
            Activate {
                layer: made.layer.clone(),
                depth: u16::try_from(made.chain.len()).unwrap_or(u16::MAX),
                chain: if self.capabilities.activate_chain {
                    made.chain.clone()
                } else {
                    vec![]
                },
                access,
            },
        )?)
    }

    fn mount(&self, made: &Filled, access: Access) -> Result<(OwnedFd, Whiteouts)> {
        let activated = self.plan(made, access)?;
        let ancestors = names(&made.chain);
        let granted: Vec<&str> = self.grants.iter().map(String::as_str).collect();
        let scope = PlanScope {
            grants: &granted,
            ..PlanScope::new(
                &self.place.root,
                &self.target.loaded.description().areas,
                made.layer.id.as_str(),
                &ancestors,
            )
        };
        let checked = plan::check_plan(&activated.plan, &scope, access.try_into()?)?;
        Ok((plan::build(checked)?, activated.whiteouts))
    }

    fn release(&self, made: &Filled, access: Access) -> Result<Ended> {
        if !self.capabilities.tracks_activation {
            return Ok(Ended::Done);
        }
        Ok(self
            .driver()?
            .deactivate(
                &Context::background(),
                Deactivate {
                    layer: made.layer.clone(),
                    access,
                },
            )?
            .outcome)
    }

    /// Mounts, uses, releases.
    fn with<T>(&self, made: &Filled, access: Access, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let (mount, _) = self.mount(made, access)?;
        let result = work(&inside(&mount, ""));
        drop(mount);
        self.release(made, access)?;
        result
    }

    /// Fills a layer as an unpacker does.
    fn fill(&self, made: &Filled, work: impl FnOnce(&mut TreeSink) -> Result<()>) -> Result<()> {
        let (mount, whiteouts) = self.mount(made, Access::Unpack)?;
        let below = match made.chain.split_first() {
            None => Below::Nothing,
            Some(_) if whiteouts == Whiteouts::Merged => Below::Unknown,
            Some((parent, rest)) => {
                let parent = Filled {
                    layer: parent.clone(),
                    chain: rest.to_vec(),
                };
                Below::Tree(Tree::new(self.mount(&parent, Access::Read)?.0)?)
            }
        };
        let mut sink = TreeSink::new(mount, whiteouts, below)?;
        work(&mut sink)?;
        sink.finish()?;
        self.release(made, Access::Unpack)?;
        Ok(())
    }

    fn commit(&self, made: &Filled) -> Result<()> {
        let committed = self.driver()?.commit(
            &Context::background(),
            Commit {
                layer: made.layer.clone(),
                chain: made.chain.clone(),
            },
        )?;
        self.perform(&made.layer.id, &made.chain, &committed.steps)
    }

    /// A sealed layer with what `work` puts in.
    fn sealed(
        &self,
        letter: char,
        chain: &[LayerRef],
        work: impl FnOnce(&mut TreeSink) -> Result<()>,
    ) -> Result<Filled> {
        let made = self.create(&id(letter), chain, Role::Layer)?;
        self.fill(&made, work)?;
        self.commit(&made)?;
        Ok(made)
    }

    fn container(&self, letter: char, chain: &[LayerRef]) -> Result<Filled> {
        self.create(&id(letter), chain, Role::Container)
    }

    fn remove(&self, made: &Filled) -> Result<Ended> {
        let removed = self.driver()?.remove(
            &Context::background(),
            Remove {
                layer: made.layer.clone(),
                chain: made.chain.clone(),
            },
        )?;
        self.perform(&made.layer.id, &made.chain, &removed.steps)?;
        Ok(removed.outcome)
    }

    fn is_there(&self, made: &Filled) -> Result<bool> {
        let at =
            longshore_core::steps::Place::object(0, made.layer.id.as_str(), longshore_core::types::RelPath::root());
        Ok(self
            .place
            .root
            .has_place(&self.target.loaded.description().areas, &at)?)
    }

    fn read(&self, made: &Filled) -> Result<Vec<String>> {
        self.with(made, Access::Read, lines)
    }
}

fn names(chain: &[LayerRef]) -> Vec<&str> {
    chain.iter().map(|layer| layer.id.as_str()).collect()
}

fn attributes(mode: u32) -> Attributes<'static> {
    Attributes {
        mode,
        uid: 0,
        gid: 0,
        modified: Time {
            seconds: 1_600_000_000,
            nanoseconds: 5,
        },
        xattrs: &[],
    }
}

fn put(sink: &mut TreeSink, path: &str, content: &str) -> Result<()> {
    sink.file(
        path.as_bytes(),
        &attributes(0o644),
        content.len() as u64,
        &mut content.as_bytes(),
    )?;
    Ok(())
}

fn nothing(_: &mut TreeSink) -> Result<()> {
    Ok(())
}

fn same(what: &str, a: &[String], b: &[String]) -> CaseResult {
    check(a == b, || {
        let only = |x: &[String], y: &[String]| x.iter().filter(|line| !y.contains(line)).cloned().collect::<Vec<_>>();
        format!("{what}: {:?} against {:?}", only(a, b), only(b, a))
    })
}

fn usable(bench: &Bench) -> Option<&'static str> {
    bench
        .unusable
        .is_some()
        .then_some("the driver cannot work on this machine or file system")
}

fn lists(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((!bench.capabilities.lists).then_some("the driver keeps no list"))
}

fn tracks(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((!bench.capabilities.tracks_activation).then_some("the driver tracks no activations"))
}

fn judges(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((!bench.capabilities.acts).then_some("the driver is pure: the host checks this before it asks"))
}

fn tells_changes(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((bench.capabilities.changes == ChangesSupport::No).then_some("the driver tells no changes"))
}

macro_rules! cases {
    ($($part:ident::$name:ident [$skip:ident]),* $(,)?) => {
        /// The cases, in order.
        pub const CASES: &[Case<Bench>] = &[$(Case { name: stringify!($name), skip: $skip, run: $part::$name }),*];
    };
}

cases! {
    life::describe_is_pure_and_agrees_with_itself [usable],
    life::probe_changes_nothing [usable],
    life::open_refuses_an_unknown_option_by_name [usable],
    life::create_a_base_layer_is_open_and_empty [usable],
    life::create_over_a_parent_shows_its_content [usable],
    life::create_over_a_missing_parent_is_not_found [judges],
    life::create_over_an_open_parent_is_invalid [judges],
    life::create_twice_is_existing [usable],
    life::create_of_one_id_with_another_parent_already_exists [judges],
    life::create_after_a_half_made_one_completes_it [usable],
    life::create_beyond_max_depth_is_exhausted [usable],
    life::commit_seals_and_a_second_commit_is_ok [usable],
    life::commit_of_an_active_layer_is_in_use [tracks],
    life::remove_of_the_absent_is_absent [usable],
    life::remove_twice_is_absent [usable],
    life::remove_with_children_is_in_use [judges],
    life::remove_takes_everything_away [usable],
    life::an_id_can_be_removed_while_half_made [usable],
    life::stat_follows_open_and_sealed [lists],
    life::stat_of_the_absent_is_not_found [lists],
    life::list_pages_are_ascending_and_complete [lists],
    life::notes_come_back_unchanged [lists],
    life::two_instances_of_one_root_agree [usable],
    life::a_fresh_instance_continues_every_state [usable],
    content::unpack_keeps_modes_times_links_and_content [usable],
    content::unpack_over_a_parent_replaces_file_by_directory_and_back [usable],
    content::a_whiteout_hides_a_file_a_tree_and_a_symlink_only [usable],
    content::an_opaque_directory_hides_what_is_below_and_nothing_beside [usable],
    content::a_whiteout_then_the_same_name_again_shows_the_new [usable],
    content::a_hardlink_across_layers_is_not_shared_for_writing [usable],
    content::names_that_are_not_utf8_survive [usable],
    content::the_images_root_mode_shows_in_the_container [usable],
    content::write_goes_to_the_container_and_never_to_its_parents [usable],
    content::two_containers_of_one_layer_do_not_see_each_other [usable],
    content::read_access_refuses_writing [usable],
    content::write_access_is_really_writable [usable],
    content::forty_layers_read_the_top_one_first [usable],
    content::changes_equal_what_was_done [tells_changes],
    content::changes_of_an_untouched_container_are_empty [tells_changes],
    plans::steps_performed_twice_give_the_same_tree [usable],
    plans::steps_cut_after_any_step_are_completed_by_the_same_call [usable],
    plans::steps_name_only_the_object_of_the_call [usable],
    plans::a_plan_names_only_the_layer_and_its_ancestors [usable],
    plans::a_plan_repeated_is_equal [usable],
    plans::a_second_consumer_sees_the_first_ones_writes [usable],
    plans::deactivate_of_the_absent_is_absent [tracks],
    plans::activate_after_deferred_deactivate_works [tracks],
    plans::data_survives_deactivate_and_activate [usable],
    plans::parallel_children_of_one_parent_all_succeed [usable],
    plans::collect_on_a_clean_root_does_nothing [usable],
    plans::foreign_objects_beside_ours_stay [usable],
}
