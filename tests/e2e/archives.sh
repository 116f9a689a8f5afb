#!/usr/bin/env bash
# Archives that others wrote, and others reading ours: the config digest and the layers' diff IDs are the
# same, byte for byte.
. "$(dirname "$0")/lib.sh"
need_root

# config_of DIR: the config digest of an OCI layout's first manifest; diff_ids_of DIR: its diff IDs.
blob() { cat "$1/blobs/sha256/${2#sha256:}"; }
config_of() {
    local manifest
    manifest=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["manifests"][0]["digest"])' "$1/index.json")
    blob "$1" "$manifest" | python3 -c 'import json,sys; print(json.load(sys.stdin)["config"]["digest"])'
}
diff_ids_of() { blob "$1" "$(config_of "$1")" | python3 -c 'import json,sys; print(*json.load(sys.stdin)["rootfs"]["diff_ids"])'; }

busybox_image base
check "an image with a second layer's worth of metadata is saved" L save -o "$WORK/ours.tar" base
ours=$(L inspect --type image --format '{{.Id}}' base)
our_layers=$(L inspect --type image --format '{{join .RootFS.Layers " "}}' base)

equal "the archive holds the config under its own digest" "$ours" \
    "sha256:$(tar -xOf "$WORK/ours.tar" manifest.json | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["Config"].split("/")[-1].removesuffix(".json"))')"

# The config digest and the diff IDs as skopeo copies an archive without converting it. (Into an OCI layout it
# writes the config anew, in OCI's words: another digest.)
skopeo_config() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["config"]["digest"])' "$1/manifest.json"; }
skopeo_diff_ids() {
    local config
    config=$(skopeo_config "$1")
    python3 -c 'import json,sys; print(*json.load(open(sys.argv[1]))["rootfs"]["diff_ids"])' "$1/${config#sha256:}"
}
# The ID that an archive of skopeo names.
archive_id() {
    tar -xOf "$1" manifest.json | python3 -c 'import json,sys; print("sha256:" + json.load(sys.stdin)[0]["Config"].removesuffix(".json"))'
}

if command -v skopeo >/dev/null; then
    check "skopeo reads what we saved" skopeo copy -q "docker-archive:$WORK/ours.tar" "dir:$WORK/copied"
    equal "with the same config digest" "$ours" "$(skopeo_config "$WORK/copied")"
    equal "and the same diff IDs" "$our_layers" "$(skopeo_diff_ids "$WORK/copied")"
    check "our image goes" L rmi base
    check "skopeo writes a docker archive" skopeo copy -q "dir:$WORK/copied" "docker-archive:$WORK/skopeo.tar:again:v1"
    check "it loads" L load -i "$WORK/skopeo.tar"
    equal "under the same ID" "$ours" "$(L inspect --type image --format '{{.Id}}' again:v1)"
    check "it goes" L rmi again:v1
    check "skopeo makes an OCI layout" skopeo copy -q "docker-archive:$WORK/ours.tar" "oci:$WORK/skopeo:base"
    ours=$(config_of "$WORK/skopeo")
    equal "of the same layers" "$our_layers" "$(diff_ids_of "$WORK/skopeo")"
    check "the OCI layout loads as a folder" L load -i "$WORK/skopeo"
    expect_has "under the same ID" "${ours#sha256:}" L images --no-trunc -q
    # shellcheck disable=SC2046  # one ID a word
    check "it goes" L rmi $(L images -q)
    tar -C "$WORK/skopeo" -cf "$WORK/layout.tar" .
    check "and as a tar" L load -i "$WORK/layout.tar"
    expect_has "under the same ID" "${ours#sha256:}" L images --no-trunc -q
    gzip -k "$WORK/layout.tar"
    check "and compressed with gzip" L load -i "$WORK/layout.tar.gz"
    if command -v zstd >/dev/null; then
        zstd -q "$WORK/layout.tar"
        check "and with zstd" L load -i "$WORK/layout.tar.zst"
    else
        skip "zstd input: no zstd command"
    fi
else
    skip "skopeo: not installed"
fi

if command -v umoci >/dev/null; then
    # An image with three layers that remove, replace and add: made by umoci alone.
    layout=$WORK/umoci
    check "umoci makes a layout" umoci init --layout "$layout"
    check "and an image" umoci new --image "$layout:v1"
    mkdir "$WORK/root" && tar -C "$WORK/root" -xf "$WORK/busybox.tar"
    mkdir -p "$WORK/root/old/deep" && echo one >"$WORK/root/old/deep/file" && ln "$WORK/root/old/deep/file" "$WORK/root/old/link"
    setcap cap_net_raw+ep "$WORK/root/bin/hello" 2>/dev/null
    check "first layer" umoci insert --image "$layout:v1" "$WORK/root" /
    check "second layer: a removal" umoci insert --image "$layout:v1" --whiteout /old/deep
    mkdir "$WORK/more" && echo two >"$WORK/more/file"
    check "third layer: an opaque folder" umoci insert --image "$layout:v1" --opaque "$WORK/more" /old
    check "a command" umoci config --image "$layout:v1" --config.cmd "/bin/sh" --config.env "A=b"
    theirs=$(config_of "$layout")
    tar -C "$layout" -cf "$WORK/umoci.tar" .
    if command -v skopeo >/dev/null; then
        check "skopeo turns it into a docker archive" skopeo copy -q "oci:$layout:v1" "docker-archive:$WORK/converted.tar:converted:v1"
        check "which loads" L load -i "$WORK/converted.tar"
        equal "under the ID that it names" "$(archive_id "$WORK/converted.tar")" "$(L inspect --type image --format '{{.Id}}' converted:v1)"
        check "and goes" L rmi converted:v1
    fi
    for driver in overlay vfs; do
        use_driver "$driver"
        check "umoci's image loads on $driver" L load -i "$WORK/umoci.tar"
        expect_has "under umoci's config digest on $driver" "${theirs#sha256:}" L images --no-trunc -q
        # The ID, not the first row: two images of one second are in no order.
        image=$theirs
        expect_out "and has what its layers say on $driver" "file" L run --rm --network none "$image" ls /old
        expect_out "and what the last one wrote on $driver" "two" L run --rm --network none "$image" cat /old/file
        check "it is saved on $driver" L save -o "$WORK/round-$driver.tar" "$image"
        if command -v skopeo >/dev/null; then
            check "skopeo reads it" skopeo copy -q "docker-archive:$WORK/round-$driver.tar" "dir:$WORK/copied-$driver"
            equal "same config digest from $driver" "$theirs" "$(skopeo_config "$WORK/copied-$driver")"
            equal "same diff IDs from $driver" "$(diff_ids_of "$layout")" "$(skopeo_diff_ids "$WORK/copied-$driver")"
            check "umoci reads it" sh -c "skopeo copy -q 'docker-archive:$WORK/round-$driver.tar' 'oci:$WORK/round-$driver:v1' &&
                umoci unpack --image '$WORK/round-$driver:v1' '$WORK/bundle-$driver'"
            equal "umoci sees the removal" "file" "$(ls "$WORK/bundle-$driver/rootfs/old" 2>&1)"
        fi
        check "it goes from $driver" L rmi -f "$image"
    done
else
    skip "umoci: not installed"
fi
finish
