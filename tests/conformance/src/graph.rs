//! The graph suite. The list follows the contract's; cases of parts that are not in the interface yet
//! (streams, limits, id-maps) come with them.

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
struct Made1 {
    layer: LayerRef,
    chain: Vec<LayerRef>,
}

impl Made1 {
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

    fn create(&self, id: &LayerId, chain: &[LayerRef], role: Role) -> Result<Made1> {
        let created = self.ask(id, chain, role)?;
        self.perform(id, chain, &created.steps)?;
        Ok(Made1 {
            layer: LayerRef {
                id: id.clone(),
                note: created.note,
            },
            chain: chain.to_vec(),
        })
    }

    fn plan(&self, made: &Made1, access: Access) -> Result<Activated> {
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

    fn mount(&self, made: &Made1, access: Access) -> Result<(OwnedFd, Whiteouts)> {
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

    fn release(&self, made: &Made1, access: Access) -> Result<Ended> {
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
    fn with<T>(&self, made: &Made1, access: Access, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let (mount, _) = self.mount(made, access)?;
        let result = work(&inside(&mount, ""));
        drop(mount);
        self.release(made, access)?;
        result
    }

    /// Fills a layer as an unpacker does.
    fn fill(&self, made: &Made1, work: impl FnOnce(&mut TreeSink) -> Result<()>) -> Result<()> {
        let (mount, whiteouts) = self.mount(made, Access::Unpack)?;
        let below = match made.chain.split_first() {
            None => Below::Nothing,
            Some(_) if whiteouts == Whiteouts::Merged => Below::Unknown,
            Some((parent, rest)) => {
                let parent = Made1 {
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

    fn commit(&self, made: &Made1) -> Result<()> {
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
    ) -> Result<Made1> {
        let made = self.create(&id(letter), chain, Role::Layer)?;
        self.fill(&made, work)?;
        self.commit(&made)?;
        Ok(made)
    }

    fn container(&self, letter: char, chain: &[LayerRef]) -> Result<Made1> {
        self.create(&id(letter), chain, Role::Container)
    }

    fn remove(&self, made: &Made1) -> Result<Ended> {
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

    fn is_there(&self, made: &Made1) -> Result<bool> {
        let at =
            longshore_core::steps::Place::object(0, made.layer.id.as_str(), longshore_core::types::RelPath::root());
        Ok(self
            .place
            .root
            .has_place(&self.target.loaded.description().areas, &at)?)
    }

    fn read(&self, made: &Made1) -> Result<Vec<String>> {
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
    ($($name:ident [$skip:ident]),* $(,)?) => {
        /// The cases, in order.
        pub const CASES: &[Case<Bench>] = &[$(Case { name: stringify!($name), skip: $skip, run: $name }),*];
    };
}

cases! {
    describe_is_pure_and_agrees_with_itself [usable],
    probe_changes_nothing [usable],
    open_refuses_an_unknown_option_by_name [usable],
    create_a_base_layer_is_open_and_empty [usable],
    create_over_a_parent_shows_its_content [usable],
    create_over_a_missing_parent_is_not_found [judges],
    create_over_an_open_parent_is_invalid [judges],
    create_twice_is_existing [usable],
    create_of_one_id_with_another_parent_already_exists [judges],
    create_after_a_half_made_one_completes_it [usable],
    create_beyond_max_depth_is_exhausted [usable],
    commit_seals_and_a_second_commit_is_ok [usable],
    commit_of_an_active_layer_is_in_use [tracks],
    remove_of_the_absent_is_absent [usable],
    remove_twice_is_absent [usable],
    remove_with_children_is_in_use [judges],
    remove_takes_everything_away [usable],
    an_id_can_be_removed_while_half_made [usable],
    stat_follows_open_and_sealed [lists],
    stat_of_the_absent_is_not_found [lists],
    list_pages_are_ascending_and_complete [lists],
    notes_come_back_unchanged [lists],
    two_instances_of_one_root_agree [usable],
    a_fresh_instance_continues_every_state [usable],
    unpack_keeps_modes_times_links_and_content [usable],
    unpack_over_a_parent_replaces_file_by_directory_and_back [usable],
    a_whiteout_hides_a_file_a_tree_and_a_symlink_only [usable],
    an_opaque_directory_hides_what_is_below_and_nothing_beside [usable],
    a_whiteout_then_the_same_name_again_shows_the_new [usable],
    a_hardlink_across_layers_is_not_shared_for_writing [usable],
    names_that_are_not_utf8_survive [usable],
    the_images_root_mode_shows_in_the_container [usable],
    write_goes_to_the_container_and_never_to_its_parents [usable],
    two_containers_of_one_layer_do_not_see_each_other [usable],
    read_access_refuses_writing [usable],
    write_access_is_really_writable [usable],
    forty_layers_read_the_top_one_first [usable],
    changes_equal_what_was_done [tells_changes],
    changes_of_an_untouched_container_are_empty [tells_changes],
    steps_performed_twice_give_the_same_tree [usable],
    steps_cut_after_any_step_are_completed_by_the_same_call [usable],
    steps_name_only_the_object_of_the_call [usable],
    a_plan_names_only_the_layer_and_its_ancestors [usable],
    a_plan_repeated_is_equal [usable],
    a_second_consumer_sees_the_first_ones_writes [usable],
    deactivate_of_the_absent_is_absent [tracks],
    activate_after_deferred_deactivate_works [tracks],
    data_survives_deactivate_and_activate [usable],
    parallel_children_of_one_parent_all_succeed [usable],
    collect_on_a_clean_root_does_nothing [usable],
    foreign_objects_beside_ours_stay [usable],
}

fn describe_is_pure_and_agrees_with_itself(bench: &Bench) -> CaseResult {
    let described = bench.target.loaded.description();
    check(!described.name.is_empty() && described.kind == "graph", || {
        "it has no name or another kind".into()
    })?;
    check(described.areas.len() <= 16, || "more than 16 areas".into())?;
    check(described.concurrency > 0, || "it takes no calls".into())?;
    match bench.target.loaded.manifest() {
        Some(manifest) => check(
            manifest.name == described.name && manifest.version == described.version,
            || "the manifest says otherwise".into(),
        ),
        None => Ok(()),
    }
}

fn probe_changes_nothing(bench: &Bench) -> CaseResult {
    let before = lines(&bench.place.path)?;
    for _ in 0..2 {
        unusable(&bench.target.loaded, &bench.place, &bench.target.options)?;
    }
    same("the root after a probe", &before, &lines(&bench.place.path)?)?;
    bench.place.check_sentinel()
}

fn open_refuses_an_unknown_option_by_name(bench: &Bench) -> CaseResult {
    let mut options = bench.target.options.clone();
    options.push(OptionValue::text("no-such-option", "x"));
    let opened = bench
        .target
        .loaded
        .open_graph(bench.place.descriptor()?, &bench.place.path, options);
    match opened {
        Err(error) if error.kind == ErrorKind::Invalid => check(error.message.contains("no-such-option"), || {
            format!("the message does not name the option: {error}")
        }),
        Err(error) => Err(Failure::Differs(format!(
            "expected Invalid, got {:?}: {error}",
            error.kind
        ))),
        Ok(_) => Err(Failure::Differs("the option was taken".into())),
    }
}

fn create_a_base_layer_is_open_and_empty(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    check(bench.is_there(&base)?, || "its folder of area 0 is not there".into())?;
    check(bench.read(&base)?.is_empty(), || "it is not empty".into())
}

fn create_over_a_parent_shows_its_content(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "etc/name", "base"))?;
    let container = bench.container('b', &base.below())?;
    let content = bench.with(&container, Access::Write, |top| {
        Ok(fs::read_to_string(top.join("etc/name"))?)
    })?;
    check(content == "base", || format!("it shows {content:?}"))
}

fn create_over_a_missing_parent_is_not_found(bench: &Bench) -> CaseResult {
    let missing = LayerRef {
        id: id('z'),
        note: Note::default(),
    };
    expect(bench.ask(&id('a'), &[missing], Role::Layer), ErrorKind::NotFound)
}

fn create_over_an_open_parent_is_invalid(bench: &Bench) -> CaseResult {
    if bench.capabilities.independent_layers {
        return Ok(());
    }
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    expect(bench.ask(&id('b'), &base.below(), Role::Layer), ErrorKind::Invalid)
}

fn create_twice_is_existing(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let first = bench.create(&id('b'), &base.below(), Role::Container)?;
    let again = bench.ask(&id('b'), &base.below(), Role::Container)?;
    check(again.note == first.layer.note, || "the note differs".into())?;
    if bench.capabilities.acts {
        check(again.outcome == Made::Existing, || format!("it is {:?}", again.outcome))?;
    }
    bench.perform(&first.layer.id, &first.chain, &again.steps)?;
    check(bench.read(&first)?.iter().any(|line| line.starts_with("f ")), || {
        "its content is gone".into()
    })
}

fn create_of_one_id_with_another_parent_already_exists(bench: &Bench) -> CaseResult {
    let one = bench.sealed('a', &[], nothing)?;
    let other = bench.sealed('b', &[], nothing)?;
    bench.create(&id('c'), &one.below(), Role::Layer)?;
    expect(
        bench.ask(&id('c'), &other.below(), Role::Layer),
        ErrorKind::AlreadyExists,
    )
}

fn create_after_a_half_made_one_completes_it(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = base.below();
    let created = bench.ask(&id('b'), &chain, Role::Container)?;
    let layer = id('b');
    let ancestors = names(&chain);
    tree::perform_steps_until(
        &created.steps,
        &bench.scope(&layer, &ancestors),
        created.steps.len() / 2,
    )?;
    let whole = bench.create(&id('b'), &chain, Role::Container)?;
    check(bench.read(&whole)?.len() == 1, || {
        "its content is not the parent's".into()
    })
}

fn create_beyond_max_depth_is_exhausted(bench: &Bench) -> CaseResult {
    let depth = bench.capabilities.max_depth as usize + 1;
    let note = bench.ask(&numbered(0)?, &[], Role::Layer)?.note;
    let chain = (1..=depth)
        .map(|n| {
            Ok(LayerRef {
                id: numbered(n)?,
                note: note.clone(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    expect(bench.ask(&id('a'), &chain, Role::Layer), ErrorKind::Exhausted)
}

fn commit_seals_and_a_second_commit_is_ok(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    bench.commit(&base)?;
    // A sealed layer takes children.
    bench.sealed('b', &base.below(), nothing).map(drop)
}

fn commit_of_an_active_layer_is_in_use(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    let (mount, _) = bench.mount(&base, Access::Unpack)?;
    let request = Commit {
        layer: base.layer.clone(),
        chain: vec![],
    };
    let result = expect(
        bench.driver()?.commit(&Context::background(), request),
        ErrorKind::InUse,
    );
    drop(mount);
    bench.release(&base, Access::Unpack)?;
    result
}

fn remove_of_the_absent_is_absent(bench: &Bench) -> CaseResult {
    let absent = Made1 {
        layer: LayerRef {
            id: id('a'),
            note: Note::default(),
        },
        chain: vec![],
    };
    bench.remove(&absent)?;
    Ok(())
}

fn remove_twice_is_absent(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    bench.remove(&base)?;
    let again = bench.remove(&base)?;
    check(!bench.capabilities.acts || again == Ended::Absent, || {
        format!("it is {again:?}")
    })
}

fn remove_with_children_is_in_use(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    bench.create(&id('b'), &base.below(), Role::Layer)?;
    let request = Remove {
        layer: base.layer,
        chain: vec![],
    };
    expect(
        bench.driver()?.remove(&Context::background(), request),
        ErrorKind::InUse,
    )
}

fn remove_takes_everything_away(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let before = lines(&bench.place.path)?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| Ok(fs::write(top.join("g"), "y")?))?;
    bench.remove(&container)?;
    same("the root after a removal", &before, &lines(&bench.place.path)?)
}

fn an_id_can_be_removed_while_half_made(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let before = lines(&bench.place.path)?;
    let chain = base.below();
    let created = bench.ask(&id('b'), &chain, Role::Container)?;
    let layer = id('b');
    let ancestors = names(&chain);
    tree::perform_steps_until(&created.steps, &bench.scope(&layer, &ancestors), 1)?;
    bench.remove(&Made1 {
        layer: LayerRef {
            id: layer.clone(),
            note: Note::default(),
        },
        chain: chain.clone(),
    })?;
    same("the root after a removal", &before, &lines(&bench.place.path)?)
}

fn stat_follows_open_and_sealed(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    let state = || -> Result<State> {
        Ok(bench
            .driver()?
            .stat(&Context::background(), Stat { id: id('a') })?
            .state)
    };
    check(state()? == State::Open, || "it is not open".into())?;
    bench.commit(&base)?;
    check(state()? == State::Sealed, || "it is not sealed".into())
}

fn stat_of_the_absent_is_not_found(bench: &Bench) -> CaseResult {
    expect(
        bench.driver()?.stat(&Context::background(), Stat { id: id('a') }),
        ErrorKind::NotFound,
    )
}

fn list_pages_are_ascending_and_complete(bench: &Bench) -> CaseResult {
    let mut expected = Vec::new();
    for number in 0..7 {
        let made = bench.create(&numbered(number)?, &[], Role::Layer)?;
        expected.push(made.layer.id);
    }
    let mut found: Vec<LayerId> = Vec::new();
    loop {
        let request = List {
            after: found.last().cloned(),
            limit: 3,
        };
        let page = bench.driver()?.list(&Context::background(), request)?;
        found.extend(page.layers.into_iter().map(|layer| layer.id));
        if !page.more || found.len() > expected.len() {
            break;
        }
    }
    check(found == expected, || {
        format!(
            "pages gave {} of {} layers, or not in order",
            found.len(),
            expected.len()
        )
    })
}

fn notes_come_back_unchanged(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    let told = bench.driver()?.stat(&Context::background(), Stat { id: id('a') })?;
    check(told.note == base.layer.note, || "the note is another one".into())
}

fn two_instances_of_one_root_agree(bench: &Bench) -> CaseResult {
    let (one, other) = (bench.driver()?, bench.driver()?);
    let request = || Create {
        id: id('a'),
        chain: vec![],
        role: Role::Layer,
        options: vec![],
    };
    let first = one.create(&Context::background(), request())?;
    let second = other.create(&Context::background(), request())?;
    check(first.note == second.note && first.steps == second.steps, || {
        "they answer differently".into()
    })
}

fn a_fresh_instance_continues_every_state(bench: &Bench) -> CaseResult {
    // Every helper here opens an instance of its own.
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| Ok(fs::write(top.join("g"), "y")?))?;
    bench.remove(&container)?;
    bench.remove(&base)?;
    check(!bench.is_there(&base)?, || "the base is still there".into())
}

fn unpack_keeps_modes_times_links_and_content(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        sink.directory(b"d", &attributes(0o1777))?;
        put(sink, "d/f", "content")?;
        sink.hardlink(b"d/h", b"d/f")?;
        sink.symlink(b"l", b"d/f", &attributes(0o777))?;
        sink.file(b"s", &attributes(0o4755), 1, &mut &b"x"[..])?;
        Ok(())
    })?;
    bench.with(&base, Access::Read, |top| {
        let metadata = |name: &str| fs::symlink_metadata(top.join(name));
        check(metadata("d")?.mode() & 0o7777 == 0o1777, || {
            "a folder's mode differs".into()
        })?;
        check(metadata("s")?.mode() & 0o7777 == 0o4755, || {
            "a setuid bit is lost".into()
        })?;
        check(metadata("d/f")?.ino() == metadata("d/h")?.ino(), || {
            "a hard link is two files".into()
        })?;
        check(metadata("d/f")?.mtime() == 1_600_000_000, || "a time differs".into())?;
        check(fs::read_link(top.join("l"))? == Path::new("d/f"), || {
            "a link leads elsewhere".into()
        })?;
        check(fs::read_to_string(top.join("d/h"))? == "content", || {
            "content differs".into()
        })
    })
}

fn unpack_over_a_parent_replaces_file_by_directory_and_back(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "file", "x")?;
        put(sink, "folder/inside", "y")
    })?;
    let child = bench.sealed('b', &base.below(), |sink| {
        sink.directory(b"file", &attributes(0o755))?;
        put(sink, "folder", "now a file")
    })?;
    bench.with(&child, Access::Read, |top| {
        check(top.join("file").is_dir(), || {
            "a file was not replaced by a folder".into()
        })?;
        check(fs::read_to_string(top.join("folder"))? == "now a file", || {
            "a folder was not replaced by a file".into()
        })
    })
}

fn a_whiteout_hides_a_file_a_tree_and_a_symlink_only(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "file", "x")?;
        put(sink, "tree/deep/file", "y")?;
        put(sink, "stays", "z")?;
        sink.symlink(b"link", b"stays", &attributes(0o777))?;
        Ok(())
    })?;
    let child = bench.sealed('b', &base.below(), |sink| {
        for name in ["file", "tree", "link"] {
            sink.whiteout(name.as_bytes())?;
        }
        Ok(())
    })?;
    let left = bench.read(&child)?;
    check(left.len() == 1 && left[0].starts_with("stays "), || {
        format!("left are {left:?}")
    })?;
    check(bench.read(&base)?.len() == 6, || "the parent has changed".into())
}

fn an_opaque_directory_hides_what_is_below_and_nothing_beside(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "d/old", "x")?;
        put(sink, "beside/old", "y")
    })?;
    let child = bench.sealed('b', &base.below(), |sink| {
        sink.directory(b"d", &attributes(0o755))?;
        sink.opaque(b"d")?;
        put(sink, "d/new", "z")
    })?;
    bench.with(&child, Access::Read, |top| {
        check(!top.join("d/old").exists(), || "what is below shows".into())?;
        check(top.join("d/new").exists() && top.join("beside/old").exists(), || {
            "too much is hidden".into()
        })
    })
}

fn a_whiteout_then_the_same_name_again_shows_the_new(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "old"))?;
    let middle = bench.sealed('b', &base.below(), |sink| Ok(sink.whiteout(b"f")?))?;
    let top = bench.sealed('c', &middle.below(), |sink| put(sink, "f", "new"))?;
    bench.with(&top, Access::Read, |at| {
        check(fs::read_to_string(at.join("f"))? == "new", || {
            "the old one shows".into()
        })
    })
}

fn a_hardlink_across_layers_is_not_shared_for_writing(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "f", "x")?;
        Ok(sink.hardlink(b"g", b"f")?)
    })?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| {
        Ok(fs::write(top.join("f"), "changed")?)
    })?;
    bench.with(&base, Access::Read, |top| {
        check(fs::read_to_string(top.join("g"))? == "x", || {
            "the parent's file was written".into()
        })
    })
}

fn names_that_are_not_utf8_survive(bench: &Bench) -> CaseResult {
    use std::os::unix::ffi::OsStrExt;
    let name = b"\xff\xfe\n";
    let base = bench.sealed('a', &[], |sink| {
        Ok(sink.file(name, &attributes(0o600), 1, &mut &b"x"[..])?)
    })?;
    bench.with(&base, Access::Read, |top| {
        check(top.join(std::ffi::OsStr::from_bytes(name)).exists(), || {
            "the name is another one".into()
        })
    })
}

fn the_images_root_mode_shows_in_the_container(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| Ok(sink.directory(b"", &attributes(0o711))?))?;
    let child = bench.sealed('b', &base.below(), nothing)?;
    let container = bench.container('c', &child.below())?;
    let mode = bench.with(&container, Access::Write, |top| Ok(fs::metadata(top)?.mode() & 0o7777))?;
    check(mode == 0o711, || format!("the root's mode is {mode:o}"))
}

fn write_goes_to_the_container_and_never_to_its_parents(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "f", "x")?;
        put(sink, "d/g", "y")
    })?;
    let before = bench.read(&base)?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| {
        fs::write(top.join("f"), "changed")?;
        fs::remove_file(top.join("d/g"))?;
        fs::write(top.join("new"), "z")?;
        fs::set_permissions(top.join("d"), fs::Permissions::from_mode(0o700))?;
        Ok(())
    })?;
    same("the parent after a container's writes", &before, &bench.read(&base)?)
}

fn two_containers_of_one_layer_do_not_see_each_other(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let one = bench.container('b', &base.below())?;
    let other = bench.container('c', &base.below())?;
    bench.with(&one, Access::Write, |top| Ok(fs::write(top.join("mine"), "1")?))?;
    bench.with(&other, Access::Write, |top| {
        check(!top.join("mine").exists(), || "the other one's file shows".into())
    })
}

fn read_access_refuses_writing(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let plan = bench.plan(&base, Access::Read)?.plan;
    bench.release(&base, Access::Read)?;
    let asked = plan.steps.last().is_some_and(|step| step.read_only);
    check(asked, || "the plan does not ask for a read-only mount".into())?;
    bench.with(&base, Access::Read, |top| {
        check(fs::write(top.join("g"), "y").is_err(), || "it can be written".into())
    })
}

fn write_access_is_really_writable(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| {
        fs::create_dir(top.join("d"))?;
        fs::write(top.join("d/f"), "x")?;
        symlink("f", top.join("d/l"))?;
        fs::rename(top.join("d/f"), top.join("d/g"))?;
        Ok(fs::remove_dir_all(top.join("d"))?)
    })
}

fn forty_layers_read_the_top_one_first(bench: &Bench) -> CaseResult {
    let mut below: Vec<LayerRef> = Vec::new();
    for number in 0..40_usize {
        let made = bench.create(&numbered(number)?, &below, Role::Layer)?;
        bench.fill(&made, |sink| {
            put(sink, "same", &number.to_string())?;
            put(sink, &format!("own-{number}"), "x")
        })?;
        bench.commit(&made)?;
        below = made.below();
    }
    let container = bench.container('c', &below)?;
    bench.with(&container, Access::Write, |top| {
        check(fs::read_to_string(top.join("same"))? == "39", || {
            "not the top one shows".into()
        })?;
        check((0..40).all(|n| top.join(format!("own-{n}")).exists()), || {
            "a layer is missing".into()
        })
    })
}

fn changed(bench: &Bench, container: &Made1) -> Result<Vec<(String, ChangeKind)>> {
    let request = Changes {
        layer: container.layer.clone(),
        chain: container.chain.clone(),
        after: None,
    };
    match bench.driver()?.changes(&Context::background(), request)? {
        Changed::Page { changes, .. } => Ok(changes
            .into_iter()
            .map(|change| (change.path.to_string(), change.is))
            .collect()),
        Changed::Directory { at, whiteouts } => {
            check(whiteouts == Whiteouts::Overlay, || {
                "only overlay's whiteouts can be read here".into()
            })?;
            let folder = bench
                .place
                .root
                .open_place(&bench.target.loaded.description().areas, &at)?;
            let mut found = Vec::new();
            longshore_performer::source::walk(std::os::fd::AsFd::as_fd(&folder), |entry| {
                if !entry.path.is_empty() {
                    let is = if entry.is_whiteout() {
                        ChangeKind::Deleted
                    } else {
                        ChangeKind::Added
                    };
                    found.push((format!("/{}", String::from_utf8_lossy(entry.path)), is));
                }
                Ok(longshore_performer::source::Next::Continue)
            })?;
            Ok(found)
        }
    }
}

fn changes_equal_what_was_done(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "gone", "x")?;
        put(sink, "stays", "y")
    })?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| {
        fs::remove_file(top.join("gone"))?;
        Ok(fs::write(top.join("new"), "z")?)
    })?;
    let mut found = changed(bench, &container)?;
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("/gone".to_owned(), ChangeKind::Deleted),
        ("/new".to_owned(), ChangeKind::Added),
    ];
    check(found == expected, || format!("it tells {found:?}"))
}

fn changes_of_an_untouched_container_are_empty(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| Ok(fs::read(top.join("f")).map(drop)?))?;
    let found = changed(bench, &container)?;
    check(found.is_empty(), || format!("it tells {found:?}"))
}

fn steps_performed_twice_give_the_same_tree(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    let once = lines(&bench.place.path)?;
    bench.create(&id('b'), &container.chain, Role::Container)?;
    same("the root after the same steps", &once, &lines(&bench.place.path)?)
}

fn steps_cut_after_any_step_are_completed_by_the_same_call(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = base.below();
    let whole = bench.create(&id('b'), &chain, Role::Container)?;
    let expected = lines(&bench.place.path)?;
    bench.remove(&whole)?;
    let layer = id('b');
    for cut in 0..=bench.ask(&layer, &chain, Role::Container)?.steps.len() {
        let steps = bench.ask(&layer, &chain, Role::Container)?.steps;
        let ancestors = names(&chain);
        tree::perform_steps_until(&steps, &bench.scope(&layer, &ancestors), cut)?;
        let made = bench.create(&layer, &chain, Role::Container)?;
        same(
            &format!("the root when cut after step {cut}"),
            &expected,
            &lines(&bench.place.path)?,
        )?;
        bench.remove(&made)?;
    }
    Ok(())
}

fn steps_name_only_the_object_of_the_call(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let chain = base.below();
    let steps = bench.ask(&id('b'), &chain, Role::Container)?.steps;
    let layer = id('b');
    let ancestors = names(&chain);
    Ok(tree::check_steps(&steps, &bench.scope(&layer, &ancestors))?)
}

fn a_plan_names_only_the_layer_and_its_ancestors(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    let plan: MountPlan = bench.plan(&container, Access::Write)?.plan;
    bench.release(&container, Access::Write)?;
    let own = container.layer.id.as_str();
    for step in &plan.steps {
        let written = [&step.upper, &step.work];
        check(
            written
                .iter()
                .all(|place| place.as_ref().is_none_or(|p| p.object.as_deref() == Some(own))),
            || "it writes to another layer".into(),
        )?;
        if let Source::Tree(place) = &step.source {
            check(step.read_only || place.object.as_deref() == Some(own), || {
                "its writable tree is another layer's".into()
            })?;
        }
        for lower in &step.lowers {
            if let Lower::Chain { first, count, .. } = lower {
                check(
                    usize::from(*first) + usize::from(*count) <= container.chain.len(),
                    || "it names ancestors that there are not".into(),
                )?;
            }
        }
    }
    Ok(())
}

fn a_plan_repeated_is_equal(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let container = bench.container('b', &base.below())?;
    let one = bench.plan(&container, Access::Write)?;
    let two = bench.plan(&container, Access::Write)?;
    bench.release(&container, Access::Write)?;
    check(one == two, || "the second plan differs".into())
}

fn a_second_consumer_sees_the_first_ones_writes(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let container = bench.container('b', &base.below())?;
    let (mount, _) = bench.mount(&container, Access::Write)?;
    let second = plan::clone_mount(&mount)?;
    fs::write(inside(&mount, "f"), "x")?;
    let seen = fs::read_to_string(inside(&second, "f"));
    drop((mount, second));
    bench.release(&container, Access::Write)?;
    check(seen? == "x", || "it sees something else".into())
}

fn deactivate_of_the_absent_is_absent(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    let outcome = bench.release(&base, Access::Read)?;
    check(outcome == Ended::Absent, || format!("it is {outcome:?}"))
}

fn activate_after_deferred_deactivate_works(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    for _ in 0..2 {
        bench.with(&base, Access::Unpack, |top| Ok(fs::write(top.join("f"), "x")?))?;
    }
    check(bench.read(&base)?.len() == 1, || "what was written is not there".into())
}

fn data_survives_deactivate_and_activate(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| Ok(fs::write(top.join("f"), "kept")?))?;
    let content = bench.with(&container, Access::Write, |top| Ok(fs::read_to_string(top.join("f"))?))?;
    check(content == "kept", || format!("it is {content:?}"))
}

fn parallel_children_of_one_parent_all_succeed(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = base.below();
    std::thread::scope(|scope| {
        let children: Vec<_> = (0..8)
            .map(|number| {
                let chain = &chain;
                scope.spawn(move || bench.create(&numbered(number)?, chain, Role::Container).map(drop))
            })
            .collect();
        children.into_iter().try_for_each(|child| {
            child
                .join()
                .unwrap_or_else(|_| Err(Failure::Differs("a thread panicked".into())))
        })
    })
}

fn collect_on_a_clean_root_does_nothing(bench: &Bench) -> CaseResult {
    let before = lines(&bench.place.path)?;
    let collected = bench
        .driver()?
        .collect(&Context::background(), Collect { after: None })?;
    check(collected.steps.is_empty() && collected.pending == 0, || {
        "it found work".into()
    })?;
    same("the root after collect", &before, &lines(&bench.place.path)?)
}

fn foreign_objects_beside_ours_stay(bench: &Bench) -> CaseResult {
    fs::write(bench.place.path.join("foreign"), "stays")?;
    let base = bench.sealed('a', &[], nothing)?;
    bench.remove(&base)?;
    check(fs::read(bench.place.path.join("foreign"))? == b"stays", || {
        "it was touched".into()
    })?;
    bench.place.check_sentinel()
}
