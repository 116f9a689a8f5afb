//! The case of moving an image to a driver that stores it in another way, and back.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use longshore_archive::digest::Digest;
use longshore_archive::pack::{Packing, create_layer, create_layer_of_changes};
use longshore_archive::unpack_over;
use longshore_core::graph::GraphKind;
use longshore_loader::Loaded;
use longshore_performer::source;
use longshore_plugin::serve::Static;

use super::*;
use crate::Target;

/// A layer's archive: its whole tree for a base, else what differs from its parent's.
fn packed(bench: &Bench, made: &Filled) -> Result<(Digest, Vec<u8>)> {
    let failed = |error: longshore_archive::Error| Failure::Differs(format!("packing a layer: {error}"));
    let mut archive = Vec::new();
    let Some(parent) = made.parent() else {
        let packing = Packing {
            whiteouts: Whiteouts::Merged,
            root: true,
        };
        let diff_id = bench.with(made, Access::Read, |top| {
            Ok(create_layer(fs::File::open(top)?, packing, &mut archive)
                .map_err(failed)?
                .diff_id)
        })?;
        return Ok((diff_id, archive));
    };
    let diff_id = bench.with(&parent, Access::Read, |old| {
        let old = fs::File::open(old)?;
        bench.with(made, Access::Read, |new| {
            let new = fs::File::open(new)?;
            let changes = source::compare(old.as_fd(), new.as_fd())?;
            Ok(create_layer_of_changes(new.into(), &changes, &mut archive)
                .map_err(failed)?
                .diff_id)
        })
    })?;
    Ok((diff_id, archive))
}

/// Unpacks a layer's archive as a new layer.
fn unpacked(bench: &Bench, letter: char, chain: &[LayerRef], archive: &[u8]) -> Result<Filled> {
    let made = bench.create(&id(letter), chain, Role::Layer)?;
    let (mount, whiteouts) = bench.mount(&made, Access::Unpack)?;
    let below = bench.what_is_below(&made, whiteouts)?;
    let done = unpack_over(&mut &*archive, &mount, whiteouts, below, &Default::default());
    drop(mount);
    bench.release(&made, Access::Unpack)?;
    done.map_err(|error| Failure::Differs(format!("unpacking a layer: {error}")))?;
    bench.commit(&made)?;
    Ok(made)
}

/// Moves layers, base first, to another driver; every digest must stay.
fn moved(from: &Bench, layers: &[Filled], to: &Bench) -> Result<Vec<Filled>> {
    let mut made: Vec<Filled> = Vec::new();
    for (letter, layer) in ['a', 'b', 'c'].into_iter().zip(layers) {
        let (diff_id, archive) = packed(from, layer)?;
        let chain = made.last().map(Filled::below).unwrap_or_default();
        let there = unpacked(to, letter, &chain, &archive)?;
        let (again, _) = packed(to, &there)?;
        check(again == diff_id, || {
            format!("layer {letter} had the digest {diff_id} and has {again} after its move")
        })?;
        made.push(there);
    }
    Ok(made)
}

pub(super) fn migration_from_and_to_the_sim_keeps_every_diff_id(bench: &Bench) -> CaseResult {
    let loaded = Loaded::over(Arc::new(Static::<longshore_sim::graph::Sim, GraphKind>::new()))?;
    let sim = Bench::new(&Target {
        loaded: Arc::new(loaded),
        options: vec![],
        folder: bench.target.folder.clone(),
    })?;
    let there = moved(bench, &shapes::mixed(bench)?, &sim)?;
    let back = Bench::new(&bench.target)?;
    moved(&sim, &there, &back).map(drop)
}
