#!/usr/bin/env python3
"""From a good docker-archive makes archives with one thing wrong in each; prints the cases like hostile.py.

usage: hostile_load.py GOOD.tar DIRECTORY
"""
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

OUT = Path(sys.argv[2])


def read(path):
    """name -> content of regular files; symlinks of old archives are followed by name."""
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def write(name, files):
    path = OUT / f"{name}.tar"
    with tarfile.open(path, "w") as tar:
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


class Image:
    """manifest.json, config and layers of an archive, put together again with what a case changes."""

    def __init__(self, files):
        self.manifest = json.loads(files["manifest.json"])[0]
        self.config = json.loads(files[self.manifest["Config"]])
        self.layers = [files[name] for name in self.manifest["Layers"]]

    def files(self, config=None, layers=None, config_name=None, layer_names=None, manifest=None):
        raw = config if isinstance(config, bytes) else json.dumps(config or self.config).encode()
        layers = self.layers if layers is None else layers
        names = layer_names or [f"layer{number}.tar" for number in range(len(layers))]
        config_name = config_name or hashlib.sha256(raw).hexdigest() + ".json"
        entry = {"Config": config_name, "RepoTags": ["wrong:v1"], "Layers": names}
        result = {config_name: raw} | dict(zip(names, layers))
        result["manifest.json"] = json.dumps([entry | (manifest or {})]).encode()
        return result


def cases(image):
    other = json.loads(json.dumps(image.config))
    other["rootfs"]["diff_ids"][0] = "sha256:" + "0" * 64
    yield "load-diff-id", "reject", "a diff ID that is not the layer's", image.files(other)
    more = json.loads(json.dumps(image.config))
    more["rootfs"]["diff_ids"].append("sha256:" + "1" * 64)
    yield "load-count", "reject", "more diff IDs than layers", image.files(more)
    none = json.loads(json.dumps(image.config))
    none["rootfs"]["diff_ids"] = []
    yield "load-no-layers", "reject", "a layer without a diff ID", image.files(none)
    yield "load-config-digest", "reject", "a config that its name is not the digest of", image.files(config_name="a" * 64 + ".json")
    yield "load-config-junk", "reject", "a config that is not JSON", image.files(b"{")
    yield "load-config-deep", "reject", "a config 10,000 deep", image.files(b'{"a":' * 10000 + b"1" + b"}" * 10000)
    yield "load-config-large", "reject", "a config of 9 MiB", image.files(b'{"a":"' + b"x" * (9 << 20) + b'"}')
    yield "load-layer-missing", "reject", "a layer that is not there", image.files(manifest={"Layers": ["nowhere.tar"]})
    yield "load-layer-escape", "reject", "a layer's name with ..", image.files(manifest={"Layers": ["../../etc/passwd"]})
    yield "load-config-escape", "reject", "a config's name with ..", image.files(manifest={"Config": "../../etc/passwd"})
    yield "load-tag", "reject", "a tag that is no reference", image.files(manifest={"RepoTags": ["UPPER//x:?"]})
    yield "load-layer-cut", "reject", "a layer cut short", image.files(layers=[image.layers[0][: len(image.layers[0]) // 2]])
    yield "load-empty", "reject", "an archive with nothing in it", {}
    yield "load-no-manifest", "reject", "an archive without a manifest", {"file": b"x"}
    yield "load-manifest-junk", "reject", "a manifest that is a text", {"manifest.json": b'"text"'}
    yield "load-manifest-empty", "reject", "a manifest without images", {"manifest.json": b"[]"}
    yield "load-index-digest", "reject", "an OCI layout whose blob is another", {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + "b" * 64, "size": 2}]}).encode(),
        "blobs/sha256/" + "b" * 64: b"{}",
    }
    yield "load-index-path", "reject", "a digest with path characters", {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:../../x", "size": 2}]}).encode(),
    }


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name, outcome, what, files in cases(Image(read(sys.argv[1]))):
        print(name, write(name, files), outcome, what, sep="\t")


if __name__ == "__main__":
    main()
