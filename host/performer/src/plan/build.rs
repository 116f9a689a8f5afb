//! Building a checked plan.

use std::os::fd::{AsFd, OwnedFd};

use longshore_core::error::{Error, ErrorKind, Result};
use longshore_sys::Errno;
use longshore_sys::mount::{self, Attributes, Context, Depth, Propagation};
use longshore_sys::path::{self, OFlags, Resolve};

use super::{Access, CheckedPlan, Setting, What};
use crate::error::{During, failed, shown};
use crate::remove;

/// Builds a plan as one detached mount.
///
/// # Errors
/// `Unsupported` when the kernel lacks what it needs; `Corrupt` when a union comes up read-only that
/// is to be written; else what the kernel says.
pub fn build(plan: CheckedPlan) -> Result<OwnedFd> {
    let CheckedPlan {
        what,
        access,
        read_only,
        restricted,
        subdir,
    } = plan;
    let whole = subdir.is_empty();
    let (made, depth) = match what {
        What::Bind { from, recursive, .. } => {
            let depth = if recursive { Depth::Recursive } else { Depth::One };
            let from = if whole {
                from
            } else {
                below(from.as_fd(), subdir.as_bytes())?
            };
            (mount::clone_tree(&from, depth).during("clone a folder's mount")?, depth)
        }
        What::Overlay {
            lowers,
            upper,
            settings,
        } => {
            let made = overlay(&lowers, upper.as_ref(), &settings)?;
            (shown_part(made, subdir.as_bytes())?, Depth::One)
        }
        What::FileSystem { name, settings } => {
            let made = file_system(&name, &settings)?;
            (shown_part(made, subdir.as_bytes())?, Depth::One)
        }
        What::Remote { fs, remote, settings } => {
            let made = file_system(&fs, &super::remote::settings(&fs, &remote, settings)?)?;
            (shown_part(made, subdir.as_bytes())?, Depth::One)
        }
    };
    let attributes = Attributes {
        read_only,
        no_suid: restricted,
        no_dev: restricted,
        no_exec: false,
        propagation: Some(Propagation::Private),
    };
    mount::set_attributes(&made, attributes, depth).during("set a mount's attributes")?;
    let written = access != Access::Read && !read_only;
    if written && path::file_system(&made).during("look at a finished mount")?.read_only {
        return Err(Error::corrupt(
            "the mount came up read-only though it is to be written: its file system is read-only, or overlay could not use its work folder",
        ));
    }
    Ok(made)
}

/// A folder below another one, for naming it.
fn below(fd: impl AsFd, path: &[u8]) -> Result<OwnedFd> {
    path::open(fd, path, OFlags::PATH | OFlags::DIRECTORY, 0, Resolve::Beneath)
        .during(format_args!("open folder {} of a mount", shown(path)))
}

/// The part of a finished mount that is shown.
fn shown_part(made: OwnedFd, part: &[u8]) -> Result<OwnedFd> {
    if part.is_empty() {
        return Ok(made);
    }
    super::clone_mount(below(&made, part)?)
}

fn set(context: &Context, setting: &Setting, fs: &str) -> Result<()> {
    let result = match &setting.value {
        None => context.set_flag(&setting.key),
        Some(value) => context.set_text(&setting.key, value),
    };
    result.map_err(|error| {
        // The message names the key alone, so that no secret can stand in it.
        let mut wrong = failed(format_args!("set option {:?} of {fs}", setting.key), &error);
        if error.is(Errno::INVAL) {
            wrong.kind = ErrorKind::Invalid;
            let said = if setting.secret {
                String::new()
            } else {
                context.messages()
            };
            wrong.message = format!("{fs} does not take option {setting:?} {said}")
                .trim_end()
                .to_owned();
        }
        wrong
    })
}

fn open(fs: &str) -> Result<Context> {
    Context::open(fs).map_err(|error| {
        if error.is(Errno::NODEV) {
            return Error::unsupported(format!(
                "this kernel has no file system {fs}; load it with `modprobe {fs}`"
            ))
            .with_errno(error.errno());
        }
        failed(format_args!("begin a mount of {fs}"), &error)
    })
}

fn file_system(fs: &str, settings: &[Setting]) -> Result<OwnedFd> {
    let context = open(fs)?;
    for setting in settings {
        set(&context, setting, fs)?;
    }
    context.mount().map_err(|error| {
        let mut wrong = failed(format_args!("mount {fs}"), &error);
        let said = context.messages();
        if !said.is_empty() {
            wrong.message = format!("{}: {said}", wrong.message);
        }
        wrong
    })
}

fn overlay(lowers: &[OwnedFd], upper: Option<&(OwnedFd, OwnedFd)>, settings: &[Setting]) -> Result<OwnedFd> {
    let context = open("overlay")?;
    set(&context, &Setting::text("source", "overlay"), "overlay")?;
    for setting in settings {
        set(&context, setting, "overlay")?;
    }
    for lower in lowers {
        layer(&context, "lowerdir+", lower)?;
    }
    if let Some((upper, work)) = upper {
        forget_volatile(work)?;
        layer(&context, "upperdir", upper)?;
        layer(&context, "workdir", work)?;
    }
    context
        .mount()
        .map_err(|error| refused(&error, &context.messages(), lowers.len(), upper.is_some()))
}

fn layer(context: &Context, key: &str, folder: &OwnedFd) -> Result<()> {
    match context.set_descriptor(key, folder) {
        Ok(()) => Ok(()),
        // Before Linux 6.13 overlay takes only texts here, and a descriptor has one too.
        Err(error) if error.is(Errno::INVAL) || error.is(Errno::BADF) => context
            .set_text(key, path::through_proc(folder).as_bytes())
            .during(format_args!("give overlay its {key}")),
        Err(error) => Err(failed(format_args!("give overlay its {key}"), &error)),
    }
}

/// A volatile overlay leaves a mark in its work folder, with which no later mount succeeds, also after
/// a clean end. Only containers that are removed when they stop are volatile, so what the mark warns
/// of, lost data after a power cut, concerns nobody.
fn forget_volatile(work: &OwnedFd) -> Result<()> {
    match path::open(work, b"work", OFlags::PATH | OFlags::DIRECTORY, 0, Resolve::Beneath) {
        Ok(inner) => remove::whatever(inner.as_fd(), b"incompat").map(drop),
        Err(error) if error.is(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("open an overlay's work folder", &error)),
    }
}

/// Overlay says nothing about its refusals, so the likely reason is worded here.
fn refused(error: &longshore_sys::Error, said: &str, lowers: usize, writable: bool) -> Error {
    let mut wrong = failed(format_args!("mount an overlay of {lowers} lower layers"), error);
    let reason = match error.errno() {
        code if code == Errno::INVAL.raw_os_error() && writable => {
            "its upper layer lies on a file system that overlay cannot write to (another overlay, or one without trusted.* attributes)"
        }
        code if code == Errno::LOOP.raw_os_error() => {
            wrong.kind = ErrorKind::InUse;
            "a layer is a folder of another layer, or its upper layer is mounted elsewhere"
        }
        code if code == Errno::BUSY.raw_os_error() => "its upper layer is mounted elsewhere",
        code if code == Errno::STALE.raw_os_error() => "its upper layer was made over other lower layers",
        _ => "",
    };
    for part in [reason, said] {
        if !part.is_empty() {
            wrong.message = format!("{}: {part}", wrong.message);
        }
    }
    wrong
}
