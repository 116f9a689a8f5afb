#!/usr/bin/env bash
# `make demo` as the README has it: all of its steps are seen, and it cleans up, also when interrupted.
. "$(dirname "$0")/lib.sh"
need_root

# One folder for its temporary files, so that what it leaves can be seen.
export TMPDIR=$WORK/tmp
mkdir "$TMPDIR"

demo() { LONGSHORE_TREE=$TREE "$REPO/tools/demo"; }

cgroups() { find /sys/fs/cgroup -type d -path '*/longshore/*' 2>/dev/null | sort; }

before=$(cgroups)
mounts=$(awk '{ print $5 }' /proc/self/mountinfo | sort)
capture demo
if [[ $CODE == 0 ]]; then ok "the demo ends well"; else not_ok "the demo ends well" "$(details)"; fi
for text in "\$ longshore import" "\$ longshore driver ls" "\$ longshore doctor" 'driver = "vfs"' "--explain" "\$ longshore engine stop"; do
    if [[ $OUT == *"$text"* ]]; then ok "the demo shows: $text"; else not_ok "the demo shows: $text" "$OUT"; fi
done
equal "the container spoke on overlay and on vfs" 2 "$(grep -c '^hello from ' <<<"$OUT")"
equal "the root file system was an overlay once" 1 "$(grep -c '^overlay / overlay' <<<"$OUT")"
equal "the image has one ID throughout" 1 "$(grep -E '^sha256:[0-9a-f]{64}$' <<<"$OUT" | sort -u | wc -l)"
equal "no file is left" "" "$(ls -A "$TMPDIR")"
equal "the mount table is as before" "$mounts" "$(awk '{ print $5 }' /proc/self/mountinfo | sort)"
equal "no cgroup is left" "$before" "$(cgroups)"

# Interrupted in the middle, as by Ctrl-C: the signal goes to the demo's whole group.
set -m
demo >"$WORK/interrupted" 2>&1 &
job=$!
set +m
wait_until 60 grep -q 'driver ls' "$WORK/interrupted"
kill -INT -- "-$job"
wait "$job"
equal "an interrupted demo says so" 130 "$?"
wait_until 10 test -z "$(ls -A "$TMPDIR")"
equal "an interrupted demo leaves no file" "" "$(ls -A "$TMPDIR")"
equal "an interrupted demo leaves no mount" "$mounts" "$(awk '{ print $5 }' /proc/self/mountinfo | sort)"
finish
