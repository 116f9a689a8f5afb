//! Cases of trees of every shape: mixed, deep, wide.

use longshore_performer::sink::Below;

use super::*;

/// What one layer of an image does.
type Delta = fn(&mut TreeSink) -> Result<()>;

/// Layers that use all that a layer can do.
pub(super) const DELTAS: [Delta; 3] = [
    |sink| {
        sink.directory(b"", &attributes(0o751))?;
        sink.directory(b"etc", &attributes(0o755))?;
        put(sink, "etc/name", "base")?;
        put(sink, "etc/gone", "x")?;
        put(sink, "tree/deep/down/file", "x")?;
        sink.symlink(b"link", b"etc", &attributes(0o777))?;
        put(sink, "becomes/folder", "x")?;
        put(sink, "file", "x")?;
        Ok(sink.hardlink(b"etc/other", b"etc/name")?)
    },
    |sink| {
        sink.whiteout(b"etc/gone")?;
        sink.directory(b"tree/deep", &attributes(0o700))?;
        sink.opaque(b"tree/deep")?;
        put(sink, "tree/deep/new", "y")?;
        put(sink, "becomes", "a file")?;
        sink.directory(b"file", &attributes(0o755))?;
        put(sink, "file/inside", "z")
    },
    |sink| {
        put(sink, "etc/name", "top")?;
        put(sink, "etc/gone", "again")?;
        sink.whiteout(b"link")?;
        Ok(sink.whiteout(b"tree")?)
    },
];

/// Makes the layers of [`DELTAS`], base first.
pub(super) fn mixed(bench: &Bench) -> Result<Vec<Filled>> {
    let mut made: Vec<Filled> = Vec::new();
    for (letter, delta) in ['a', 'b', 'c'].into_iter().zip(DELTAS) {
        let chain = made.last().map(Filled::below).unwrap_or_default();
        made.push(bench.sealed(letter, &chain, delta)?);
    }
    Ok(made)
}

/// Against a plain folder that the same archives are unpacked into.
pub(super) fn the_same_tree_through_read_of_any_driver(bench: &Bench) -> CaseResult {
    let plain = tempfile::tempdir_in(bench.place.path.parent().unwrap_or(Path::new("/tmp")))?;
    for (made, delta) in mixed(bench)?.iter().zip(DELTAS) {
        let top: OwnedFd = fs::File::open(plain.path())?.into();
        let mut sink = TreeSink::new(top, Whiteouts::Merged, Below::Unknown)?;
        delta(&mut sink)?;
        sink.finish()?;
        same("a layer", &lines(plain.path())?, &bench.read(made)?)?;
        let mode = bench.with(made, Access::Read, |top| Ok(fs::metadata(top)?.mode() & 0o7777))?;
        check(mode == 0o751, || format!("the root's mode is {mode:o}"))?;
    }
    Ok(())
}

pub(super) fn forty_layers_read_the_top_one_first(bench: &Bench) -> CaseResult {
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

pub(super) fn a_layer_of_a_hundred_thousand_files_lists_in_time(bench: &Bench) -> CaseResult {
    const FOLDERS: usize = 100;
    const FILES: usize = 1000;
    let base = bench.sealed('a', &[], |sink| {
        for folder in 0..FOLDERS {
            for file in 0..FILES {
                let path = format!("{folder:02}/{file:03}");
                sink.file(path.as_bytes(), &attributes(0o644), 0, &mut std::io::empty())?;
            }
        }
        Ok(())
    })?;
    let found = bench.with(&base, Access::Read, |top| {
        let mut found = 0;
        for folder in fs::read_dir(top)? {
            found += fs::read_dir(folder?.path())?.count();
        }
        Ok(found)
    })?;
    check(found == FOLDERS * FILES, || format!("{found} files are listed"))?;
    bench.remove(&base)?;
    check(!bench.is_there(&base)?, || "it is still there".into())
}
