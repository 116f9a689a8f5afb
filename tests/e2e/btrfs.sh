#!/usr/bin/env bash
# The btrfs driver on a btrfs disk of the test's own: containers in subvolumes, and images that go from each
# graph driver to each other one under the same ID.
. "$(dirname "$0")/lib.sh"
need_root
command -v mkfs.btrfs >/dev/null || skip_all "no mkfs.btrfs"
truncate -s 2G "$WORK.img"
if ! { mkfs.btrfs -q "$WORK.img" >/dev/null 2>&1 && mount -o loop "$WORK.img" "$WORK" && chmod 700 "$WORK"; }; then
    skip_all "this machine mounts no btrfs"
fi

use_driver btrfs
busybox_image demo
image=$(L inspect --type image --format '{{.Id}}' demo)
expect_out "a container runs on btrfs" hello L run --rm --network none demo echo hello
check "one that writes" L run -d --name writer --network none demo sh -c 'echo mine >/file; exec sleep 600'
expect_out "its driver is btrfs" btrfs L inspect --format '{{.GraphDriver.Name}}' writer
expect_out "another one does not see it" "" L run --rm --network none demo sh -c 'cat /file 2>/dev/null; true'
clean_mounts "the host's mount table is clean while it runs"
subvolumes() { find "$DATA/btrfs/subvolumes" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l; }
before=$(subvolumes)
check "a container is made" L create --name nest --network none demo true
check "and removed" L rm nest
equal "its subvolume is gone" "$before" "$(subvolumes)"

# Each way there is, the same image under the same ID; what runs on btrfs goes on.
for driver in overlay vfs btrfs vfs overlay btrfs; do
    use_driver "$driver"
    expect_out "the image runs on $driver" "$driver" L run --rm --network none demo sh -c "echo $driver"
    equal "under the same ID on $driver" "$image" "$(L inspect --type image --format '{{.Id}}' demo)"
done
printf '\n[plugin.graph-btrfs]\nisolation = "process"\n' >>"$CONFIG"
expect_out "in a process of its own" process sh -c "longshore --data-root '$DATA' --config '$CONFIG' driver ls --format '{{.Name}} {{.Isolation}}' | sed -n 's/^btrfs //p'"
expect_out "it makes and removes layers there too" hello L run --rm --network none demo echo hello
expect_out "the writer goes on" mine L exec writer cat /file
check "what is saved from btrfs" L save -o "$WORK/demo.tar" demo
check "the writer is removed" L rm -f writer
check "the image is removed from all drivers" L rmi demo
expect_has "and loads again" demo L load -i "$WORK/demo.tar"
equal "under its old ID" "$image" "$(L inspect --type image --format '{{.Id}}' demo)"
expect_has "driver ls says why it can run here" btrfs L driver ls

# Where the root is no btrfs, it says so.
PLAIN=$(mktemp -d "${TMPDIR:-/tmp}/longshore-e2e-btrfs-plain.XXXXXX")
if [[ $(stat -f -c %T "$PLAIN") != btrfs ]]; then
    capture longshore --data-root "$PLAIN/data" --config "$CONFIG" import "$WORK/demo.tar" x
    longshore --data-root "$PLAIN/data" engine stop >>"$LOG" 2>&1
    if [[ $CODE != 0 && $ERR == *"not on btrfs"* && $ERR == *"use graph driver overlay"* ]]; then
        ok "on another file system it is refused with the remedy"
    else
        not_ok "on another file system it is refused with the remedy" "$(details)"
    fi
fi
plain_id=$(cat "$PLAIN/data/id" 2>/dev/null)
# An engine that was told to stop puts its last files down for a moment longer.
plain_gone() { rm -rf --one-file-system "$PLAIN" ${plain_id:+"/run/longshore/$plain_id"}; }
wait_until 10 plain_gone || not_ok "the second data root can be removed"
finish
