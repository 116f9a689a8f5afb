//! Cases of what is half done, what has no room, and what somebody else has damaged.

use std::path::PathBuf;

use longshore_core::graph::Create;
use longshore_core::steps::{Place as At, TreeStep};
use longshore_performer::root::resolve;

use super::bench::place;
use super::*;
use crate::trouble::Filler;

pub(super) fn kill_at_every_step_of_create_commit_remove_leaves_a_removable_layer(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = base.below();
    // The first removal makes the host's own folders.
    bench.remove(&bench.container('b', &chain)?)?;
    let before = bench.on_disk()?;
    let gone = |what: &str, made: &Filled| -> CaseResult {
        bench.remove(made)?;
        same(what, &before, &bench.on_disk()?)
    };
    let steps_of = |request: Create| -> Result<Vec<TreeStep>> {
        Ok(bench.driver()?.create(&Context::background(), request)?.steps)
    };
    let count = steps_of(request(&id('b'), &chain, Role::Layer))?.len();
    for cut in 0..=count {
        let created = bench.ask(&id('b'), &chain, Role::Layer)?;
        bench.perform_until(&id('b'), &chain, &created.steps, cut)?;
        let layer = LayerRef {
            id: id('b'),
            note: created.note,
        };
        let made = Filled {
            layer,
            chain: chain.clone(),
        };
        gone(&format!("the root after create was cut at step {cut}"), &made)?;
    }
    let mut cut = 0;
    loop {
        let made = bench.create(&id('b'), &chain, Role::Layer)?;
        bench.fill(&made, |sink| put(sink, "g", "y"))?;
        let request = Commit {
            layer: made.layer.clone(),
            chain: chain.clone(),
        };
        let steps = bench.driver()?.commit(&Context::background(), request)?.steps;
        bench.perform_until(&made.layer.id, &chain, &steps, cut)?;
        gone(&format!("the root after commit was cut at step {cut}"), &made)?;
        if cut >= steps.len() {
            break;
        }
        cut += 1;
    }
    let mut cut = 0;
    loop {
        let made = bench.create(&id('b'), &chain, Role::Layer)?;
        let steps = bench.ask_removal(&made)?.steps;
        bench.perform_until(&made.layer.id, &chain, &steps, cut)?;
        gone(&format!("the root after remove was cut at step {cut}"), &made)?;
        if cut >= steps.len() {
            return Ok(());
        }
        cut += 1;
    }
}

/// Makes, fills and seals a child as a pull does.
fn pull(bench: &Bench, chain: &[LayerRef]) -> Result<Filled> {
    bench.sealed('b', chain, |sink| {
        sink.directory(b"d", &attributes(0o755))?;
        put(sink, "d/one", &"1".repeat(9000))?;
        put(sink, "two", "2")
    })
}

pub(super) fn no_space_at_every_write_leaves_nothing(bench: &Bench) -> CaseResult {
    let by_files = |root: &Path, free: u64| Filler::files(root, usize::try_from(free).unwrap_or(0));
    no_space(&bench.in_memory(8 << 20, 200)?, by_files)?;
    no_space(&bench.in_memory(1 << 20, 200)?, Filler::pages)
}

/// Pulls with ever more room, until there is enough; what failed must go again while there is none.
fn no_space(small: &Bench, fill: impl Fn(&Path, u64) -> Result<Filler>) -> CaseResult {
    const MOST: u64 = 100;
    let base = small.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = base.below();
    let before = small.on_disk()?;
    for free in 0..MOST {
        let full = fill(&small.place.path, free)?;
        let pulled = pull(small, &chain);
        let enough = pulled.is_ok();
        match pulled {
            Ok(_) => {}
            Err(Failure::Driver(error)) if error.kind == ErrorKind::Exhausted => {}
            Err(other) => {
                return Err(Failure::Differs(format!(
                    "with room for {free}, expected Exhausted, got {other:?}"
                )));
            }
        }
        let note = small.ask(&id('b'), &chain, Role::Layer)?.note;
        let layer = LayerRef { id: id('b'), note };
        small.remove(&Filled {
            layer,
            chain: chain.clone(),
        })?;
        drop(full);
        same(
            &format!("the root after a pull with room for {free}"),
            &before,
            &small.on_disk()?,
        )?;
        if enough {
            return Ok(());
        }
    }
    Err(Failure::Differs(format!("no pull succeeds with room for {MOST}")))
}

fn on_disk(bench: &Bench, at: &At) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = resolve(&bench.target.loaded.description().areas, at)?;
    Ok(bench.place.path.join(std::ffi::OsStr::from_bytes(&path)))
}

/// The folder of the layer's own that a plan shows.
fn own_folder(bench: &Bench, made: &Filled) -> Result<Option<PathBuf>> {
    let plan = bench.plan(made, Access::Read)?.plan;
    bench.release(made, Access::Read)?;
    let own = |at: &&At| at.object.as_deref() == Some(made.layer.id.as_str());
    let found = plan.steps.iter().find_map(|step| {
        let lowers = step.lowers.iter().filter_map(|lower| match lower {
            Lower::Tree(at) => Some(at),
            Lower::Chain { .. } => None,
        });
        let source = match &step.source {
            Source::Tree(at) => Some(at),
            _ => None,
        };
        lowers.chain(source).find(own)
    });
    found.map(|at| on_disk(bench, at)).transpose()
}

pub(super) fn a_damaged_layer_is_corrupt_and_others_work(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let other = bench.sealed('b', &[], |sink| put(sink, "f", "y"))?;
    let Some(folder) = own_folder(bench, &base)? else {
        return Err(Failure::NotHere(
            "the driver's plan shows no folder of the layer".into(),
        ));
    };
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
            return Err(Failure::NotHere("what the driver has sealed cannot be damaged".into()));
        }
        done => done?,
    }
    fs::write(&folder, "damage")?;
    match bench.mount(&base, Access::Read) {
        Err(Failure::Driver(error)) if error.kind == ErrorKind::Corrupt => {}
        other => return Err(Failure::Differs(format!("expected Corrupt, got {other:?}"))),
    }
    let content = bench.text(&other, Access::Read, "f")?;
    check(content == "y", || format!("another layer shows {content:?}"))?;
    bench.remove(&base)?;
    check(!bench.is_there(&base)?, || "the damaged layer stays".into())?;
    bench.read(&other).map(drop)
}

/// Each thing that `create` makes, taken away: the container starts as well without it, or the
/// refusal names it; and the same `create` makes it again.
pub(super) fn a_missing_file_of_the_drivers_own_metadata_is_named(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = base.below();
    let steps = bench.ask(&id('b'), &chain, Role::Container)?.steps;
    for step in &steps {
        let container = bench.container('b', &chain)?;
        let missing = on_disk(bench, place(step))?;
        match fs::symlink_metadata(&missing)?.is_dir() {
            true => fs::remove_dir_all(&missing)?,
            false => fs::remove_file(&missing)?,
        }
        let name = missing.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match bench.text(&container, Access::Write, "f") {
            Ok(content) => check(content == "x", || format!("without {name} it shows {content:?}"))?,
            Err(Failure::Driver(error)) => check(error.message.contains(&name), || {
                format!("{name} is missing, and the error is: {error}")
            })?,
            Err(other) => return Err(other),
        }
        let again = bench.container('b', &chain)?;
        let content = bench.text(&again, Access::Write, "f")?;
        check(content == "x", || {
            format!("{name} made again, and it shows {content:?}")
        })?;
        bench.remove(&again)?;
    }
    Ok(())
}
