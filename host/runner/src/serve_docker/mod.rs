//! `serve-docker`: a volume driver of ours offered to Docker and Podman, which see a plugin of their own
//! protocol (docs.docker.com/engine/extend/plugins_volume).
//!
//! The driver is loaded here; its steps and plans are checked and performed as an engine does it
//! ([`volumes`]). What was made and who has it mounted is in a file of this server's data root
//! ([`ledger`]), so that the server may be killed at any time. The protocol itself is in [`http`] and
//! [`messages`], Docker's options in [`options`], where volumes are shown in [`place`]. Docker's plugins for us are the other direction: the
//! crate `longshore-docker-plugins`.

mod http;
mod ledger;
mod messages;
mod options;
mod place;
mod volumes;

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_core::error::{Error, ErrorKind, Result};
use longshore_loader::{Origin, check};

use volumes::Volumes;

/// What is served, as what, and where.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The volume driver's file: a library, or a component.
    file: PathBuf,
    /// The protocol that is spoken.
    #[arg(long = "as", value_name = "PROTOCOL", value_parser = ["docker-volume"])]
    protocol: String,
    /// The socket, by whose name Docker finds the plugin: /run/docker/plugins/NAME.sock.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Where volumes are kept; /var/lib/longshore-served/NAME when absent.
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// Below what mounts are shown.
    #[arg(long, value_name = "DIR", default_value = "/run/longshore")]
    exec_root: PathBuf,
}

/// Serves until it is told to end.
///
/// # Errors
/// A sentence with what kept it from serving.
pub(crate) fn serve(arguments: &Arguments) -> Result<(), String> {
    let name = arguments
        .socket
        .file_stem()
        .and_then(|stem| stem.to_str())
        .filter(|stem| !stem.starts_with('.'))
        .ok_or_else(|| {
            format!(
                "{} names no plugin: end the path with NAME.sock",
                arguments.socket.display()
            )
        })?;
    let checked = check(&arguments.file).map_err(|refused| refused.to_string())?;
    // Whoever asks to serve a file lets it run here, with whatever it wants.
    let origin = Origin::Explicit {
        in_process: true,
        grants: checked.manifest().grants.clone(),
    };
    let loaded = crate::load_here(checked, &origin).map_err(|refused| refused.to_string())?;
    let data = arguments
        .data_root
        .clone()
        .unwrap_or_else(|| Path::new("/var/lib/longshore-served").join(name));
    let run = || -> Result<()> {
        let _lock = take(&data)?;
        let data = fs::canonicalize(&data).map_err(|error| Error::io(format!("open {}", data.display()), &error))?;
        let served = folder_of_mounts(&arguments.exec_root, &data)?;
        let volumes = Arc::new(Volumes::open(&loaded, &data, &served)?);
        volumes.recover();
        let socket = Socket::bind(&arguments.socket)?;
        eprintln!(
            "longshore-runner: volume driver {} is served at {}; its volumes are in {}",
            loaded.description().name,
            arguments.socket.display(),
            data.display()
        );
        let done = http::run(&socket.listener, Arc::clone(&volumes));
        drop(socket);
        volumes.stop();
        // Empty when nothing is mounted any more.
        let _ = fs::remove_dir(&served);
        if let Some(run) = served.parent() {
            let _ = fs::remove_dir(run);
        }
        done
    };
    run().map_err(|error| error.to_string())
}

fn make_folder(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| Error::io(format!("make folder {}", path.display()), &error))
}

/// Takes a data root for this server alone, for as long as the file lives.
fn take(data: &Path) -> Result<File> {
    if data.join("engine.lock").exists() {
        return Err(Error::new(
            ErrorKind::InUse,
            format!(
                "{} is an engine's data root: give this server one of its own by --data-root",
                data.display()
            ),
        ));
    }
    make_folder(data, 0o711)?;
    let path = data.join("served.lock");
    let failed = |error: &std::io::Error| Error::io(format!("lock {}", path.display()), error);
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::InUse,
            format!(
                "another server has {}: end it, or give this one another --data-root",
                data.display()
            ),
        )),
        Err(fs::TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// Where mounts of a data root are shown: `EXEC-ROOT/ID/served`. The ID is the data root's, made once.
fn folder_of_mounts(exec_root: &Path, data: &Path) -> Result<PathBuf> {
    let path = data.join("id");
    let id = match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() == 16 && text.trim().bytes().all(|b| b.is_ascii_hexdigit()) => {
            text.trim().to_owned()
        }
        Ok(_) => {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{} holds no ID: 16 hexadecimal digits are expected", path.display()),
            ));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let random = longshore_sys::path::random::<8>()
                .map_err(|error| Error::io("make an ID", &std::io::Error::from(error)))?;
            let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            ledger::replace(&path, format!("{id}\n").as_bytes())?;
            id
        }
        Err(error) => return Err(Error::io(format!("read {}", path.display()), &error)),
    };
    let served = exec_root.join(id).join("served");
    make_folder(&served, 0o711)?;
    fs::canonicalize(&served).map_err(|error| Error::io(format!("open {}", served.display()), &error))
}

/// A listening socket that goes with the value, if it is still this one.
struct Socket {
    path: PathBuf,
    inode: u64,
    listener: UnixListener,
}

impl Socket {
    /// Takes the place of a socket at which nobody answers any more.
    fn bind(path: &Path) -> Result<Self> {
        let failed = |error: &std::io::Error| Error::io(format!("listen at {}", path.display()), error);
        match path.symlink_metadata() {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!(
                        "{} is there and no socket: remove it, or choose another name",
                        path.display()
                    ),
                ));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(Error::new(
                    ErrorKind::InUse,
                    format!(
                        "another plugin answers at {}: end it, or choose another name",
                        path.display()
                    ),
                ));
            }
            _ => {}
        }
        if let Some(folder) = path.parent() {
            make_folder(folder, 0o755)?;
        }
        // Under another name until only root can speak to it, and until it can be spoken to.
        let scratch = path.with_file_name(format!(".{}.new", std::process::id()));
        let _ = fs::remove_file(&scratch);
        let listener = UnixListener::bind(&scratch).map_err(|error| failed(&error))?;
        let ready = fs::set_permissions(&scratch, fs::Permissions::from_mode(0o600))
            .and_then(|()| listener.set_nonblocking(true))
            .and_then(|()| scratch.symlink_metadata())
            .and_then(|metadata| fs::rename(&scratch, path).map(|()| metadata.ino()));
        match ready {
            Ok(inode) => Ok(Self {
                path: path.to_owned(),
                inode,
                listener,
            }),
            Err(error) => {
                let _ = fs::remove_file(&scratch);
                Err(failed(&error))
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self
            .path
            .symlink_metadata()
            .is_ok_and(|there| there.ino() == self.inode)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}
