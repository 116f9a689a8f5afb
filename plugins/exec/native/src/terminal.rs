//! The terminal of a process: made by the library inside the container, its master fetched here.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use longshore_plugin::exec::Stdio;
use longshore_plugin::types::Handle;
use longshore_plugin::wire::HandleKind;
use longshore_plugin::{Context, Error, Result};
use rustix::fs::{Mode, OFlags, Uid};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::Winsize;

use crate::place::Place;

const NAME: &str = "console.sock";

/// A socket at which the library delivers the master.
#[derive(Debug)]
pub(crate) struct Console {
    listener: UnixListener,
    /// Its path, for the library.
    pub(crate) path: PathBuf,
    size: Winsize,
}

impl Console {
    /// Listens, if the process gets a terminal.
    pub(crate) fn listen(place: &Place, stdio: &Stdio) -> Result<Option<Self>> {
        let Stdio::Terminal { rows, columns } = stdio else {
            return Ok(None);
        };
        let attempt = |e| Error::io(format!("listen for the terminal of container {}", place.id), &e);
        let folder = rustix::fs::open(
            &place.root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let folder = folder.map_err(|e| attempt(e.into()))?;
        let path = place.root.join(NAME);
        drop(std::fs::remove_file(&path));
        // A socket's path has room for 108 bytes only; through the folder's descriptor any fits.
        let short = format!("/proc/self/fd/{}/{NAME}", std::os::fd::AsRawFd::as_raw_fd(&folder));
        let listener = UnixListener::bind(short).map_err(attempt)?;
        // The master is there when the library has returned, or never.
        listener.set_nonblocking(true).map_err(attempt)?;
        Ok(Some(Self {
            listener,
            path,
            size: Winsize {
                ws_row: *rows,
                ws_col: *columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        }))
    }

    /// Takes the master, gives the terminal its size and owner, and puts it into the reply.
    pub(crate) fn deliver(self, cx: &Context, owner: u32) -> Result<Handle> {
        let attempt = |e| Error::io("take the terminal's master", &e);
        let (socket, _) = self.listener.accept().map_err(attempt)?;
        let master = receive(socket.as_fd()).map_err(attempt)?;
        rustix::termios::tcsetwinsize(&master, self.size).map_err(|e| attempt(e.into()))?;
        if owner != 0 {
            // Otherwise the entry could not open /dev/console or its own terminal again.
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let slave = ioctl_tiocgptpeer(&master, flags).map_err(|e| attempt(e.into()))?;
            rustix::fs::fchown(&slave, Some(Uid::from_raw(owner)), None).map_err(|e| attempt(e.into()))?;
        }
        cx.give(HandleKind::Device, master)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

fn receive(socket: std::os::fd::BorrowedFd<'_>) -> std::io::Result<OwnedFd> {
    let mut name = [0_u8; 256];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut name)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.ok_or_else(|| std::io::Error::other("no descriptor came"))
}
