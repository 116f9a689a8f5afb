//! `load`, `import`, `save`: images as streams, none of which is ever held whole.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use bollard::models::{BuildInfo, CreateImageInfo};
use bollard::query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::image::split_reference;
use crate::cli::Global;
use crate::cli::image::{ImportArgs, LoadArgs, SaveArgs};
use crate::connect;
use crate::engine::part;
use crate::error::{Failure, Kind, Result};
use crate::output::{self, progress};

type Chunks = std::pin::Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

const CHUNK: usize = 256 << 10;

pub(crate) async fn load(global: &Global, args: &LoadArgs) -> Result<u8> {
    let (chunks, total) = source(args.input.as_deref(), "load -i FILE").await?;
    let engine = connect::open(global).await?;
    let bar = progress::bar("loading", total, args.quiet);
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    let mut answers = std::pin::pin!(engine.docker.import_image_stream(options, counted(chunks, &bar), None,));
    let mut result = Ok(());
    let mut said = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(BuildInfo { stream: Some(text), .. }) => said.push(text),
            Ok(_) => {}
            Err(error) => {
                result = Err(of_file(Failure::from(error), args.input.as_deref()));
                break;
            }
        }
    }
    bar.finish_and_clear();
    output::print(&said.concat())?;
    result.map(|()| 0)
}

pub(crate) async fn import(global: &Global, args: &ImportArgs) -> Result<u8> {
    if args.file.starts_with("http://") || args.file.starts_with("https://") {
        return Err(Failure::usage(format!("{} cannot be fetched", args.file))
            .hint("fetch it yourself: curl URL | longshore import - NAME"));
    }
    let name = args.reference.as_deref().map(split_reference).transpose()?;
    let file = (args.file != "-").then(|| Path::new(&args.file));
    if let Some(folder) = file.filter(|path| path.is_dir()) {
        return Err(Failure::usage(format!("{} is a folder, not a tar", folder.display()))
            .hint(format!("tar -C {} -c . | longshore import - NAME", folder.display())));
    }
    let (chunks, total) = source(file, "import FILE").await?;
    let engine = connect::open(global).await?;
    let bar = progress::bar("importing", total, false);
    let mut options = CreateImageOptionsBuilder::default().from_src("-");
    if let Some((repository, tag)) = name {
        options = options.repo(repository).tag(tag);
    }
    if let Some(message) = &args.message {
        options = options.message(message);
    }
    let changes = args.change.clone();
    let options = options.changes(changes).build();
    let body = bollard::body_try_stream(counted(chunks, &bar));
    let mut answers = std::pin::pin!(engine.docker.create_image(Some(options), Some(body), None));
    let mut last = None;
    let mut result = Ok(());
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(CreateImageInfo {
                status: Some(status), ..
            }) => last = Some(status),
            Ok(_) => {}
            Err(error) => {
                result = Err(of_file(Failure::from(error), file));
                break;
            }
        }
    }
    bar.finish_and_clear();
    result?;
    let id = last.ok_or_else(|| Failure::new(Kind::Broken, "the engine named no image"))?;
    output::line(id)?;
    Ok(0)
}

/// What the engine says of an archive, with the file's name in front: the engine knows only "the
/// archive".
fn of_file(failure: Failure, file: Option<&Path>) -> Failure {
    match (file, failure.kind) {
        (Some(file), Kind::Answer(_)) => Failure {
            sentence: format!("{}: {}", file.display(), failure.sentence),
            ..failure
        },
        _ => failure,
    }
}

/// The bytes of a file, of a folder as a tar, or of standard input; and how many, where that is known.
async fn source(path: Option<&Path>, usage: &str) -> Result<(Chunks, Option<u64>)> {
    let Some(path) = path else {
        if std::io::stdin().is_terminal() {
            return Err(
                Failure::usage("standard input is a terminal and has no archive").hint(format!("longshore {usage}"))
            );
        }
        return Ok((stream(tokio::io::stdin()), None));
    };
    let wrong = |error: std::io::Error| Failure::local(path.display(), &error);
    let known = tokio::fs::metadata(path).await.map_err(wrong)?;
    if known.is_dir() {
        return Ok((folder(path), None));
    }
    let file = tokio::fs::File::open(path).await.map_err(wrong)?;
    Ok((stream(file), known.is_file().then_some(known.len())))
}

fn stream(source: impl AsyncRead + Send + 'static) -> Chunks {
    Box::pin(ReaderStream::with_capacity(source, CHUNK))
}

fn counted(chunks: Chunks, bar: &ProgressBar) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let bar = bar.clone();
    chunks.inspect_ok(move |chunk| bar.inc(chunk.len() as u64))
}

/// A folder as a tar, packed while it is sent.
fn folder(path: &Path) -> Chunks {
    let (sender, receiver) = mpsc::channel(4);
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let errors = sender.clone();
        if let Err(error) = pack(&path, Sender { sender }) {
            // Nobody listens when the engine has already refused the archive.
            drop(errors.blocking_send(Err(error)));
        }
    });
    Box::pin(futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    }))
}

/// A writer whose other end is a stream.
#[derive(Debug)]
struct Sender {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.sender
            .blocking_send(Ok(Bytes::copy_from_slice(bytes)))
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Regular files and folders, in the order of their names. Links and devices have no place in a layout.
fn pack(root: &Path, out: impl Write) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(std::io::BufWriter::with_capacity(CHUNK, out));
    archive.follow_symlinks(false);
    archive.mode(tar::HeaderMode::Deterministic);
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(root.join(&folder))?.collect::<std::io::Result<_>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                archive.append_dir(&name, entry.path())?;
                folders.push(name);
            } else if kind.is_file() {
                archive.append_file(&name, &mut std::fs::File::open(entry.path())?)?;
            }
        }
    }
    archive.into_inner()?.flush()
}

pub(crate) async fn save(global: &Global, args: &SaveArgs) -> Result<u8> {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(
            Failure::usage("standard output is a terminal and takes no archive").hint("longshore save -o FILE IMAGE")
        );
    }
    for image in &args.images {
        part(image)?;
    }
    let engine = connect::open(global).await?;
    let names: Vec<&str> = args.images.iter().map(String::as_str).collect();
    let bar = progress::bar("saving", None, false);
    let chunks = counted(
        Box::pin(
            Box::pin(engine.docker.export_images(&names)).map_err(|error| std::io::Error::other(Failure::from(error))),
        ),
        &bar,
    );
    let saved = match &args.output {
        Some(path) => save_file(path, chunks).await,
        None => {
            let mut out = tokio::io::stdout();
            copy(chunks, &mut out, "standard output").await
        }
    };
    bar.finish_and_clear();
    saved.map(|()| 0)
}

/// The file appears under its name when it is whole.
async fn save_file(path: &Path, chunks: impl Stream<Item = std::io::Result<Bytes>>) -> Result<()> {
    let wrong = |error: std::io::Error| Failure::local(path.display(), &error);
    if path.exists() && !path.is_file() {
        // A device or a pipe cannot be replaced, only written to.
        let mut file = tokio::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .await
            .map_err(wrong)?;
        return copy(chunks, &mut file, &path.display().to_string()).await;
    }
    let partial = Partial::beside(path)?;
    let mut file = tokio::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial.path)
        .await
        .map_err(wrong)?;
    copy(chunks, &mut file, &path.display().to_string()).await?;
    file.sync_all().await.map_err(wrong)?;
    std::fs::rename(&partial.path, path).map_err(wrong)
}

/// A file that is removed unless it was renamed.
#[derive(Debug)]
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn beside(path: &Path) -> Result<Partial> {
        let name = path
            .file_name()
            .ok_or_else(|| Failure::usage(format!("{} is not a file", path.display())))?;
        let partial = format!(".{}.{}", name.to_string_lossy(), std::process::id());
        Ok(Partial {
            path: path.with_file_name(partial),
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already when it was renamed.
        drop(std::fs::remove_file(&self.path));
    }
}

async fn copy(
    chunks: impl Stream<Item = std::io::Result<Bytes>>,
    out: &mut (impl tokio::io::AsyncWrite + Unpin),
    what: &str,
) -> Result<()> {
    use tokio::io::AsyncWriteExt;
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => Failure::local("the archive", &error),
        })?;
        out.write_all(&chunk)
            .await
            .map_err(|error| Failure::local(what, &error))?;
    }
    out.flush().await.map_err(|error| Failure::local(what, &error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    #[test]
    fn a_folder_is_packed_in_the_order_of_names_without_links() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        for name in ["oci-layout", "index.json", "blobs/sha256/b", "blobs/sha256/a"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let mut bytes = Vec::new();
        pack(folder.path(), &mut bytes).unwrap();
        let names: Vec<String> = tar::Archive::new(&bytes[..])
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(
            names,
            [
                "blobs",
                "index.json",
                "oci-layout",
                "blobs/sha256",
                "blobs/sha256/a",
                "blobs/sha256/b"
            ]
        );
    }

    #[test]
    fn a_partial_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let partial = Partial::beside(&folder.path().join("x.tar")).unwrap();
        std::fs::write(&partial.path, "half").unwrap();
        drop(partial);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
