//! `plugin serve`: a driver of ours offered to others. This command becomes the program that loads it.

use std::ffi::OsStr;

use super::driver::runner;
use crate::cli::Global;
use crate::cli::serve::ServeArgs;
use crate::error::{Failure, Result};

/// Returns only with the reason why the driver cannot be served.
pub(crate) fn serve(global: &Global, args: &ServeArgs) -> Result<Failure> {
    let data_root = global.data_root.as_deref();
    let exec_root = global.exec_root.as_deref();
    let words = [
        args.file.as_os_str(),
        OsStr::new("--as"),
        OsStr::new(&args.protocol),
        OsStr::new("--socket"),
        args.socket.as_os_str(),
    ];
    let folders = [("--data-root", data_root), ("--exec-root", exec_root)]
        .into_iter()
        .filter_map(|(name, folder)| Some([OsStr::new(name), folder?.as_os_str()]))
        .flatten();
    runner("serve-docker", words.into_iter().chain(folders))
}
