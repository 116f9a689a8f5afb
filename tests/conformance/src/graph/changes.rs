//! Cases of what a layer changes and what it takes.

use std::os::fd::AsFd as _;

use longshore_core::graph::{Change, Changed, Changes, Usage};
use longshore_performer::source::{self, Next};

use super::*;

type Told = Vec<(String, ChangeKind)>;

fn sorted(changes: impl IntoIterator<Item = Change>) -> Told {
    let mut told: Told = changes
        .into_iter()
        .map(|change| (change.path.to_string(), change.is))
        .collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told
}

/// Both trees of a container and its parent, compared: what the host does for a driver that tells no
/// changes.
fn compared(bench: &Bench, container: &Filled) -> Result<Told> {
    let Some(parent) = container.parent() else {
        return Err(Failure::Differs("a base has nothing to be compared with".into()));
    };
    bench.with(&parent, Access::Read, |old| {
        let old = fs::File::open(old)?;
        bench.with(container, Access::Write, |new| {
            Ok(sorted(source::compare(old.as_fd(), fs::File::open(new)?.as_fd())?))
        })
    })
}

/// What the driver tells, read as the host reads it.
fn told(bench: &Bench, container: &Filled) -> Result<Told> {
    if bench.capabilities.changes == ChangesSupport::No {
        return compared(bench, container);
    }
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let request = Changes {
            layer: container.layer.clone(),
            chain: container.chain.clone(),
            after,
        };
        match bench.driver()?.changes(&Context::background(), request)? {
            Changed::Page { changes, next } => {
                found.extend(changes);
                match next {
                    None => return Ok(sorted(found)),
                    next => after = next,
                }
            }
            Changed::Directory { at, whiteouts } => {
                check(whiteouts == Whiteouts::Overlay, || {
                    "only overlay's whiteouts can be read here".into()
                })?;
                let areas = &bench.target.loaded.description().areas;
                let folder = bench.place.root.open_place(areas, &at)?;
                let parent = container.parent().unwrap_or_else(|| container.clone());
                return bench.with(&parent, Access::Read, |old| of_difference(&folder, old));
            }
        }
    }
}

/// A folder of differences over its parent's tree.
fn of_difference(folder: &OwnedFd, old: &Path) -> Result<Told> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut found = Vec::new();
    source::walk(folder.as_fd(), |entry| {
        if !entry.path.is_empty() {
            let there = fs::symlink_metadata(old.join(std::ffi::OsStr::from_bytes(entry.path))).is_ok();
            let is = match (entry.is_whiteout(), there) {
                (true, _) => ChangeKind::Deleted,
                (false, true) => ChangeKind::Modified,
                (false, false) => ChangeKind::Added,
            };
            found.push((format!("/{}", String::from_utf8_lossy(entry.path)), is));
        }
        Ok(Next::Continue)
    })?;
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn worked_on(bench: &Bench) -> Result<Filled> {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "gone", "x")?;
        put(sink, "stays", "y")?;
        put(sink, "d/mode", "y")?;
        put(sink, "d/content", "y")
    })?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| {
        fs::remove_file(top.join("gone"))?;
        fs::set_permissions(top.join("d/mode"), fs::Permissions::from_mode(0o600))?;
        fs::write(top.join("d/content"), "longer")?;
        fs::create_dir(top.join("made"))?;
        Ok(fs::write(top.join("made/new"), "z")?)
    })?;
    Ok(container)
}

pub(super) fn changes_equal_the_compared_trees(bench: &Bench) -> CaseResult {
    let container = worked_on(bench)?;
    let (told, compared) = (told(bench, &container)?, compared(bench, &container)?);
    check(told == compared, || {
        format!("the driver tells {told:?}, the trees {compared:?}")
    })
}

pub(super) fn changes_of_an_untouched_container_are_empty(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    bench.text(&container, Access::Write, "f")?;
    let found = told(bench, &container)?;
    check(found.is_empty(), || format!("it tells {found:?}"))
}

pub(super) fn changes_tell_modified_from_added_after_copy_up(bench: &Bench) -> CaseResult {
    use ChangeKind::{Added, Deleted, Modified};
    let found = told(bench, &worked_on(bench)?)?;
    let expected = [
        ("/d", Modified),
        ("/d/content", Modified),
        ("/d/mode", Modified),
        ("/gone", Deleted),
        ("/made", Added),
        ("/made/new", Added),
    ]
    .map(|(path, is)| (path.to_owned(), is));
    check(found == expected, || format!("it tells {found:?}"))
}

/// The driver's count, or the host's where it has none.
fn usage(bench: &Bench, made: &Filled) -> Result<u64> {
    let request = Usage {
        layer: made.layer.clone(),
        chain: made.chain.clone(),
    };
    match bench.driver()?.usage(&Context::background(), request) {
        Ok(used) => Ok(used.exclusive),
        Err(error) if error.kind == ErrorKind::Unsupported => bench.with(made, Access::Read, |top| {
            Ok(source::usage(fs::File::open(top)?.as_fd())?.exclusive)
        }),
        Err(error) => Err(error.into()),
    }
}

/// What the whole root takes.
fn of_root(bench: &Bench) -> Result<u64> {
    Ok(source::usage(bench.place.root.as_fd())?.exclusive)
}

pub(super) fn usage_counts_what_remove_frees(bench: &Bench) -> CaseResult {
    let content = vec![7; 1 << 20];
    let base = bench.sealed('a', &[], |sink| {
        for name in ["one", "d/two", "d/three"] {
            sink.file(name.as_bytes(), &attributes(0o644), 1 << 20, &mut content.as_slice())?;
        }
        Ok(sink.hardlink(b"same", b"one")?)
    })?;
    // Blocks that are not written yet are not counted yet.
    bench.place.root.sync()?;
    let (used, before) = (usage(bench, &base)?, of_root(bench)?);
    bench.remove(&base)?;
    let freed = before.saturating_sub(of_root(bench)?);
    check(used.abs_diff(freed) * 20 <= freed, || {
        format!("it counts {used} bytes, and {freed} were freed")
    })
}

pub(super) fn usage_of_a_sparse_file_is_its_blocks(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        Ok(sink.sparse_file(b"hole", &attributes(0o644), 1 << 30, &[(0, 1)], &mut &b"x"[..])?)
    })?;
    let used = usage(bench, &base)?;
    check(used < 1 << 20, || {
        format!("a file of one block and a large hole counts {used} bytes")
    })
}
