//! Whole images: read as others write them, written so that others read them, refused where they lie.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use common::{Memory, Raw, archive, installed, run};
use longshore_archive::digest::Digest;
use longshore_archive::image::{ArchiveImage, ImageArchive, ImageWriter, SaveLayer};
use longshore_archive::limits::Limits;
use longshore_archive::unpack::unpack_into;
use longshore_archive::{Error, Result};
use serde_json::{Value, json};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn layer_tar(content: &str) -> Vec<u8> {
    archive(&[Raw::dir("d"), Raw::file("d/f", content)])
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    config.to_string().into_bytes()
}

/// The files of an archive, to be changed before they are packed.
type Files = BTreeMap<String, Vec<u8>>;

fn pack(files: &Files) -> Vec<u8> {
    archive(
        &files
            .iter()
            .map(|(name, content)| Raw::file(name, content))
            .collect::<Vec<_>>(),
    )
}

fn load(bytes: &[u8]) -> Result<ImageArchive> {
    let folder = tempfile::tempdir().unwrap();
    let opened = File::open(folder.path()).unwrap();
    let archive = ImageArchive::from_stream(&mut &bytes[..], opened.as_fd(), &Limits::default());
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "something was left behind"
    );
    archive
}

fn load_directory(path: &Path) -> Result<ImageArchive> {
    ImageArchive::from_directory(File::open(path).unwrap().into(), &Limits::default())
}

/// Unpacks all layers and checks their diff IDs.
fn check_layers(image: &ArchiveImage) -> Result<()> {
    assert_eq!(Digest::of(&image.config), image.config_digest);
    for layer in &image.layers {
        layer.compression()?;
        let unpacked = unpack_into(&mut layer.open()?, &mut Memory::default(), &Limits::default())?;
        assert_eq!(unpacked.diff_id, layer.diff_id);
    }
    Ok(())
}

fn docker_files() -> Files {
    let (a, b) = (layer_tar("a"), layer_tar("b"));
    let config = config(&[&a, &b]);
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let manifest = json!([{"Config": config_name, "RepoTags": ["name:tag"], "Layers": ["a/layer.tar", "b/layer.tar"]}]);
    Files::from([
        (config_name, config),
        ("a/layer.tar".into(), a),
        ("b/layer.tar".into(), b),
        ("manifest.json".into(), manifest.to_string().into_bytes()),
    ])
}

fn add_blob(files: &mut Files, media_type: &str, content: &[u8]) -> Value {
    let digest = Digest::of(content);
    files.insert(format!("blobs/sha256/{}", digest.hex()), content.to_vec());
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": content.len()})
}

/// An OCI layout whose manifest and index were changed before they were hashed.
fn oci_files(change_manifest: impl Fn(&mut Value), change_index: impl Fn(&mut Value, &mut Files)) -> Files {
    let mut files = Files::new();
    let plain = layer_tar("a");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let layer = add_blob(&mut files, &format!("{OCI_LAYER}+gzip"), &gzip.finish().unwrap());
    let config = add_blob(&mut files, OCI_CONFIG, &config(&[&plain]));
    let mut manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
    change_manifest(&mut manifest);
    let manifest = add_blob(&mut files, OCI_MANIFEST, manifest.to_string().as_bytes());
    let mut index = json!({"schemaVersion": 2, "manifests": [manifest]});
    index["manifests"][0]["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    change_index(&mut index, &mut files);
    files.insert("index.json".into(), index.to_string().into_bytes());
    files.insert("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files
}

fn nested(index: &mut Value, files: &mut Files, levels: usize) {
    for _ in 0..levels {
        let inner = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index["manifests"]});
        let descriptor = add_blob(files, OCI_INDEX, inner.to_string().as_bytes());
        index["manifests"] = json!([descriptor]);
    }
}

#[test]
fn a_docker_archive_is_read() {
    let archive = load(&pack(&docker_files())).unwrap();
    let [image] = archive.images.as_slice() else {
        panic!("{archive:?}")
    };
    assert_eq!(
        (image.layers.len(), image.tags.as_slice()),
        (2, &["name:tag".to_owned()][..])
    );
    check_layers(image).unwrap();
}

#[test]
fn links_of_a_docker_archive_are_followed_inside_it() {
    let mut files = docker_files();
    let layer = files.remove("a/layer.tar").unwrap();
    files.insert("x.tar".into(), layer);
    let mut entries: Vec<_> = files.iter().map(|(name, content)| Raw::file(name, content)).collect();
    entries.push(Raw::symlink("a/layer.tar", "../x.tar"));
    check_layers(&load(&archive(&entries)).unwrap().images[0]).unwrap();
    entries.pop();
    entries.push(Raw::symlink("a/layer.tar", "../../../../etc/passwd"));
    assert!(load(&archive(&entries)).is_err());
}

#[test]
fn an_oci_layout_is_read_as_tar_and_as_directory_and_through_indexes() {
    let files = oci_files(|_| {}, |_, _| {});
    let archive = load(&pack(&files)).unwrap();
    assert_eq!(archive.images[0].name.as_deref(), Some("latest"));
    check_layers(&archive.images[0]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in &files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    check_layers(&load_directory(folder.path()).unwrap().images[0]).unwrap();
    check_layers(
        &load(&pack(&oci_files(|_| {}, |index, files| nested(index, files, 8))))
            .unwrap()
            .images[0],
    )
    .unwrap();
}

#[test]
fn the_image_for_this_machine_is_chosen() {
    let choose = |platforms: &[(&str, &str)]| {
        let files = oci_files(
            |_| {},
            |index, files| {
                let own = index["manifests"][0].clone();
                let all = platforms.iter().map(|(os, architecture)| {
                    let mut one = own.clone();
                    one["platform"] = json!({"os": os, "architecture": architecture});
                    one
                });
                let other = add_blob(files, OCI_MANIFEST, b"{}");
                let mut attestation = other.clone();
                attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
                attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
                index["manifests"] = all.chain([attestation]).collect();
                nested(index, files, 1);
            },
        );
        load(&pack(&files))
    };
    let own = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    check_layers(
        &choose(&[("linux", "s390x"), ("windows", own), ("linux", own)])
            .unwrap()
            .images[0],
    )
    .unwrap();
    let error = choose(&[("linux", "none"), ("windows", own)]).unwrap_err();
    assert!(error.to_string().contains(&format!("linux/{own}")), "{error}");
}

#[test]
fn archives_that_lie_are_refused() {
    type Change = Box<dyn Fn(&mut Files)>;
    let edit = |name: &'static str, from: &'static str, to: &'static str| -> Change {
        Box::new(move |files| {
            let (key, text) = files.iter().find(|(key, _)| key.ends_with(name)).unwrap();
            let (key, text) = (key.clone(), String::from_utf8(text.clone()).unwrap());
            assert!(text.contains(from), "{text}");
            files.insert(key, text.replace(from, to).into_bytes());
        })
    };
    let manifest = |text: String| -> Change {
        Box::new(move |files| drop(files.insert("manifest.json".into(), text.clone().into_bytes())))
    };
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let table: Vec<(&str, Change)> = vec![
        ("no manifest", Box::new(|files| drop(files.remove("manifest.json")))),
        ("no layer", Box::new(|files| drop(files.remove("a/layer.tar")))),
        ("another config", edit(".json", "amd64", "arm64")),
        (
            "a missing layer in the manifest",
            edit("manifest.json", r#""a/layer.tar","#, ""),
        ),
        (
            "no layers at all",
            edit("manifest.json", r#"["a/layer.tar","b/layer.tar"]"#, "[]"),
        ),
        (
            "a layer outside",
            edit("manifest.json", "a/layer.tar", "../a/layer.tar"),
        ),
        (
            "a config outside",
            edit("manifest.json", r#""Config":""#, r#""Config":"../"#),
        ),
        ("a malformed tag", edit("manifest.json", "name:tag", "a\\u0000b")),
        (
            "two keys of one name",
            edit("manifest.json", r#""Config""#, r#""config":"x","Config""#),
        ),
        ("trailing bytes", edit("manifest.json", "}]", "}]x")),
        ("an empty manifest", manifest("[]".into())),
        ("deep JSON", manifest(deep)),
        ("a large manifest", manifest(" ".repeat(5 << 20))),
        ("a manifest that is none", manifest("null".into())),
    ];
    for (what, change) in table {
        let mut files = docker_files();
        change(&mut files);
        assert!(load(&pack(&files)).is_err(), "{what}");
    }
    assert!(load(b"").is_err());
    assert!(load(&layer_tar("a")).unwrap_err().to_string().contains("import"));
    let whole = pack(&docker_files());
    for end in (0..whole.len() - 1024).step_by(512) {
        assert!(load(&whole[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_layer_with_another_digest_than_its_name_is_noticed_when_it_is_read() {
    let mut files = oci_files(|_| {}, |_, _| {});
    let (_, layer) = files
        .iter_mut()
        .find(|(_, content)| content.starts_with(&[0x1f, 0x8b]))
        .unwrap();
    // The operating system's byte of the gzip header: the content stays the same.
    layer[9] ^= 1;
    let archive = load(&pack(&files)).unwrap();
    assert!(matches!(check_layers(&archive.images[0]), Err(Error::Mismatch { .. })));
}

#[test]
fn oci_layouts_that_lie_are_refused() {
    type Change = fn(&mut Value);
    let manifests: Vec<(&str, Change)> = vec![
        ("a manifest that is an index", |m| m["manifests"] = json!([])),
        ("another media type inside", |m| m["mediaType"] = json!(OCI_INDEX)),
        ("another schema version", |m| m["schemaVersion"] = json!(1)),
        ("an artifact's config", |m| {
            m["config"]["mediaType"] = json!("application/vnd.other+json")
        }),
        ("an encrypted layer", |m| {
            m["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
        }),
        ("a layer's other size", |m| m["layers"][0]["size"] = json!(1)),
        ("a config's other size", |m| m["config"]["size"] = json!(1)),
        ("a negative size", |m| m["config"]["size"] = json!(-1)),
        ("a digest with a path", |m| {
            m["config"]["digest"] = json!("sha256:../../../etc/passwd")
        }),
        ("a digest in upper case", |m| {
            m["layers"][0]["digest"] = json!(m["layers"][0]["digest"].as_str().unwrap().to_uppercase())
        }),
        ("a digest of another sort", |m| {
            m["config"]["digest"] = json!(format!("sha512:{}", "a".repeat(128)))
        }),
        ("a layer that is not there", |m| {
            m["layers"][0]["digest"] = json!(format!("sha256:{}", "a".repeat(64)))
        }),
        ("a layer too many", |m| {
            m["layers"] = json!([m["layers"][0], m["layers"][0]])
        }),
        ("no layers", |m| m["layers"] = json!([])),
    ];
    for (what, change) in manifests {
        assert!(load(&pack(&oci_files(change, |_, _| {}))).is_err(), "{what}");
    }
    let indexes: Vec<(&str, Change)> = vec![
        ("an index that is a manifest", |i| i["layers"] = json!([])),
        ("no manifests", |i| i["manifests"] = json!([])),
        ("an unknown media type", |i| {
            i["manifests"][0]["mediaType"] = json!("text/plain")
        }),
        ("a manifest's other size", |i| i["manifests"][0]["size"] = json!(3)),
        ("too many manifests", |i| {
            i["manifests"] = vec![i["manifests"][0].clone(); 1001].into()
        }),
    ];
    for (what, change) in indexes {
        assert!(
            load(&pack(&oci_files(|_| {}, |index, _| change(index)))).is_err(),
            "{what}"
        );
    }
    assert!(load(&pack(&oci_files(|_| {}, |index, files| nested(index, files, 9)))).is_err());
    let mut files = oci_files(|_| {}, |_, _| {});
    files.remove("oci-layout");
    assert!(load(&pack(&files)).is_err());
}

/// Two layers, one of them in two images.
fn saved() -> (Vec<u8>, Vec<Digest>) {
    let (a, b) = (layer_tar("a"), layer_tar("b"));
    let configs = [config(&[&a, &b]), config(&[&a])];
    let mut writer = ImageWriter::new(Vec::new()).unwrap();
    for (config, layers) in [(&configs[0], vec![&a, &b]), (&configs[1], vec![&a])] {
        let mut writes: Vec<_> = layers
            .iter()
            .map(|layer| {
                move |out: &mut dyn Write| {
                    out.write_all(layer).unwrap();
                    Ok(())
                }
            })
            .collect();
        let mut layers: Vec<_> = layers
            .iter()
            .zip(&mut writes)
            .map(|(layer, write)| SaveLayer {
                diff_id: Digest::of(layer),
                size: layer.len() as u64,
                write,
            })
            .collect();
        let tags = if layers.len() == 2 {
            vec!["name:tag".to_owned(), "host.example/name:2".to_owned()]
        } else {
            vec![]
        };
        writer.add(config, &tags, &mut layers).unwrap();
    }
    (
        writer.finish().unwrap(),
        configs.iter().map(|config| Digest::of(config)).collect(),
    )
}

#[test]
fn what_is_saved_is_read_back_as_docker_archive_and_as_oci_layout() {
    let (bytes, ids) = saved();
    let archive = load(&bytes).unwrap();
    let found: Vec<_> = archive.images.iter().map(|image| image.config_digest).collect();
    assert_eq!(found, ids);
    assert_eq!(archive.images[0].tags, ["name:tag", "host.example/name:2"]);
    archive.images.iter().for_each(|image| check_layers(image).unwrap());
    let mut reader = longshore_archive::tar::Reader::new(&bytes[..], &Limits::default());
    let mut files = Files::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        assert!(
            files.insert(String::from_utf8(entry.name).unwrap(), content).is_none(),
            "written twice"
        );
    }
    files.remove("manifest.json");
    files.retain(|name, _| !name.ends_with('/'));
    let archive = load(&pack(&files)).unwrap();
    let found: Vec<_> = archive.images.iter().map(|image| image.config_digest).collect();
    assert_eq!(found, ids);
    assert_eq!(
        archive.images[0].tags,
        ["docker.io/library/name:tag", "host.example/name:2"]
    );
}

#[test]
fn a_layer_that_is_not_what_it_was_is_never_saved() {
    let mut write = |out: &mut dyn Write| {
        out.write_all(b"abc").unwrap();
        Ok(())
    };
    let mut layers = [SaveLayer {
        diff_id: Digest::of(b"xyz"),
        size: 3,
        write: &mut write,
    }];
    let error = ImageWriter::new(Vec::new())
        .unwrap()
        .add(b"{}", &[], &mut layers)
        .unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }));
}

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    run(Command::new("skopeo")
        .args(["--insecure-policy", "--tmpdir", "/tmp"])
        .args(arguments))
}

#[test]
fn skopeo_reads_what_is_saved_and_what_skopeo_saves_is_read() {
    if !installed("skopeo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (bytes, ids) = saved();
    fs::write(at("saved.tar"), &bytes).unwrap();
    // Between the two formats skopeo writes the config anew, so each is copied to its own.
    for (source, target, name) in [
        ("docker-archive", "docker-archive", "name:tag"),
        ("oci-archive", "oci-archive", "tag"),
        ("oci-archive", "oci", "tag"),
    ] {
        let from = format!("{source}:{}:{name}", at("saved.tar"));
        let config = skopeo(&["inspect", "--raw", "--config", &from]);
        assert_eq!(Digest::of(&config), ids[0], "{source}");
        let copied = at(&format!("copied-{target}"));
        skopeo(&["copy", "--quiet", &from, &format!("{target}:{copied}:name:other")]);
        let archive = match target {
            "oci" => load_directory(Path::new(&copied)),
            _ => load(&fs::read(&copied).unwrap()),
        }
        .unwrap_or_else(|error| panic!("{target}: {error}"));
        let image = &archive.images[0];
        assert_eq!(image.config_digest, ids[0], "{target}");
        assert!(
            image.tags.iter().any(|tag| tag.ends_with("name:other")),
            "{target}: {image:?}"
        );
        check_layers(image).unwrap();
    }
}

#[test]
fn umoci_reads_what_is_saved_and_what_umoci_saves_is_read() {
    if !installed("umoci") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    run(Command::new("umoci").arg("init").arg("--layout").arg(&layout));
    let image = format!("{}:tag", layout.display());
    run(Command::new("umoci").args(["new", "--image", &image]));
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("f"), "content").unwrap();
    run(Command::new("umoci")
        .args(["insert", "--rootless", "--image", &image])
        .arg(&tree)
        .arg("/d"));
    let archive = load_directory(&layout).unwrap();
    assert_eq!(archive.images[0].name.as_deref(), Some("tag"));
    check_layers(&archive.images[0]).unwrap();
    let saved_layout = folder.path().join("saved");
    fs::create_dir(&saved_layout).unwrap();
    let (bytes, ids) = saved();
    fs::write(folder.path().join("saved.tar"), bytes).unwrap();
    run(Command::new("tar")
        .arg("-xf")
        .arg(folder.path().join("saved.tar"))
        .arg("-C")
        .arg(&saved_layout));
    let image = format!("{}:tag", saved_layout.display());
    let told = run(Command::new("umoci").args(["stat", "--json", "--image", &image]));
    assert!(String::from_utf8_lossy(&told).contains("history"), "{ids:?}");
    let bundle = folder.path().join("bundle");
    run(Command::new("umoci")
        .args(["unpack", "--rootless", "--image", &image])
        .arg(&bundle));
    assert_eq!(fs::read(bundle.join("rootfs/d/f")).unwrap(), b"b");
}
