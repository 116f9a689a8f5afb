# shellcheck shell=bash
# What the end-to-end scripts share: a fresh data root each, lines of results, and a look for leftovers.
#
# A script sources this, calls ok, not_ok, skip or one of the checks, and ends with `finish`. It needs
# LONGSHORE_TREE (set by run-all; the default is target/longshore of this checkout).

set -u
E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$E2E/../.." && pwd)
TREE=$(cd "${LONGSHORE_TREE:-$REPO/target/longshore}" 2>/dev/null && pwd) || {
    echo "not ok - no tree at ${LONGSHORE_TREE:-$REPO/target/longshore}: run make build"
    exit 1
}
BIN=$TREE/bin
PATH=$BIN:$PATH
SCRIPT=$(basename "$0" .sh)
CACHE=$REPO/target/e2e-cache
RESULTS=$REPO/target/e2e
mkdir -p "$CACHE" "$RESULTS"
# Everything that a command of ours printed, searched for "panicked" at the end.
LOG=$RESULTS/$SCRIPT.log
: >"$LOG"
unset LONGSHORE_COMPONENTS LONGSHORE_HOST LONGSHORE_CONFIG LONGSHORE_DATA_ROOT DOCKER_HOST DOCKER_CONTEXT
export LC_ALL=C.UTF-8

WORK=$(mktemp -d "${TMPDIR:-/tmp}/longshore-e2e-$SCRIPT.XXXXXX")
DATA=$WORK/data
CONFIG=
PASSED=0 FAILED=0 SKIPPED=0 FINISHED=

# fast_disk GIB: puts the work folder on an ext4 with a journal, where one can be mounted. Whole trees are made
# and removed there; on a machine's own disk that may be many times slower.
fast_disk() {
    command -v mkfs.ext4 >/dev/null || return 0
    truncate -s "$1G" "$WORK.img" &&
        mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$WORK.img" 2>/dev/null &&
        mount -o loop "$WORK.img" "$WORK" 2>/dev/null && chmod 700 "$WORK" && return 0
    rm -f "$WORK.img"
}

ok() { PASSED=$((PASSED + 1)) && echo "ok - $*"; }

# not_ok NAME [DETAIL...]
not_ok() {
    FAILED=$((FAILED + 1))
    echo "not ok - $1"
    shift
    (($#)) && printf '%s\n' "$@" | sed 's/^/#   /' | head -n 20
    return 0
}

skip() { SKIPPED=$((SKIPPED + 1)) && echo "skip - $*"; }

# Ends a script whose whole subject cannot be had here.
skip_all() {
    skip "$*"
    finish
}

need_root() {
    [[ $(id -u) == 0 ]] || skip_all "containers need root"
}

# L ARGUMENTS...: longshore on this script's data root.
L() {
    longshore --data-root "$DATA" ${CONFIG:+--config "$CONFIG"} "$@"
}

# capture COMMAND...: sets OUT, ERR and CODE. No end of line at the end of OUT and ERR.
capture() {
    OUT=$("$@" 2>"$WORK/stderr" </dev/null)
    CODE=$?
    ERR=$(<"$WORK/stderr")
    record "$@"
}

# capture_with INPUT COMMAND...: the same with INPUT on standard input.
capture_with() {
    local input=$1
    shift
    OUT=$(printf '%s' "$input" | "$@" 2>"$WORK/stderr")
    CODE=$?
    ERR=$(<"$WORK/stderr")
    record "$@"
}

record() {
    { printf '$'; printf ' %q' "$@"; printf '\n%s\n%s\n=> %s\n' "$OUT" "$ERR" "$CODE"; } >>"$LOG"
}

details() { printf 'code %s\nstdout: %s\nstderr: %s\n' "$CODE" "$OUT" "$ERR"; }

# check NAME COMMAND...: the command ends with 0.
check() {
    local name=$1
    shift
    capture "$@"
    if [[ $CODE == 0 ]]; then ok "$name"; else not_ok "$name" "$(details)"; fi
}

# expect_code NAME CODE COMMAND...
expect_code() {
    local name=$1 want=$2
    shift 2
    capture "$@"
    if [[ $CODE == "$want" ]]; then ok "$name"; else not_ok "$name" "wanted code $want" "$(details)"; fi
}

# expect_out NAME TEXT COMMAND...: ends with 0 and prints exactly TEXT.
expect_out() {
    local name=$1 want=$2
    shift 2
    capture "$@"
    if [[ $CODE == 0 && $OUT == "$want" ]]; then ok "$name"; else not_ok "$name" "wanted: $want" "$(details)"; fi
}

# expect_has NAME TEXT COMMAND...: ends with 0 and prints TEXT somewhere.
expect_has() {
    local name=$1 want=$2
    shift 2
    capture "$@"
    if [[ $CODE == 0 && $OUT == *"$want"* ]]; then ok "$name"; else not_ok "$name" "wanted: $want" "$(details)"; fi
}

# equal NAME WANTED GOT
equal() {
    if [[ $2 == "$3" ]]; then ok "$1"; else not_ok "$1" "wanted: $2" "got: $3"; fi
}

# wait_until SECONDS COMMAND...: true once the command is; false after SECONDS.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# use_driver NAME: the graph driver, by config file.
use_driver() {
    CONFIG=$WORK/longshore.toml
    printf '[graph]\ndriver = "%s"\n' "$1" >"$CONFIG"
}

# busybox_image [NAME]: a small image, imported.
busybox_image() {
    [[ -e $WORK/busybox.tar ]] || "$REPO/tools/rootfs" "$TREE" "$WORK/busybox.tar" || return 1
    if ! tar -tf "$WORK/busybox.tar" ./bin/sh >/dev/null 2>&1; then
        skip_all "no static busybox: install busybox-static"
    fi
    capture L import "$WORK/busybox.tar" "${1:-busybox}"
    [[ $CODE == 0 ]] || { not_ok "import of the busybox image" "$(details)"; finish; }
}

# Fields of an engine's status.
socket() { L engine status --format '{{.Socket}}'; }
engine_pid() { sed -n 's/^pid \([0-9]*\).*/\1/p' "$DATA/engine.lock" 2>/dev/null; }

root_id() { cat "$DATA/id" 2>/dev/null; }

# Processes that belong to this data root. An engine names it on its command line; a shim, which runs from a
# sealed copy of its file, names nothing, but is in the engine's cgroup and has the container's mounts.
processes() {
    local id pid
    id=$(root_id)
    for pid in /proc/[0-9]*; do
        pid=${pid#/proc/}
        case $(readlink "/proc/$pid/exe" 2>/dev/null) in
            "$BIN"/longshored* | "$BIN"/longshore-shim* | /memfd:longshore-shim*) ;;
            *) continue ;;
        esac
        [[ $(awk '/^State:/ { print $2 }' "/proc/$pid/status" 2>/dev/null) == Z ]] && continue
        # The end of a process may lie between two looks.
        if cat "/proc/$pid/cmdline" "/proc/$pid/cgroup" "/proc/$pid/mountinfo" 2>/dev/null | tr '\0' '\n' |
            grep -qF -e "$WORK/" ${id:+-e "$id"}; then
            echo "$pid"
        fi
    done
}

# Those of them that are shims.
shims() {
    local pid
    for pid in $(processes); do
        case $(readlink "/proc/$pid/exe" 2>/dev/null) in *longshore-shim*) echo "$pid" ;; esac
    done
}

# What is left of this data root on the machine, one thing a line. Empty when all is well.
leftovers() {
    local id pid
    id=$(root_id)
    grep -F -e "$WORK/" ${id:+-e "/run/longshore/$id"} /proc/self/mountinfo | sed 's/^/mount: /'
    for pid in $(processes); do
        echo "process: $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
    done
    if [[ -n $id ]]; then
        # The engine's own cgroup may stay; those of containers may not.
        find /sys/fs/cgroup -type d -path "*/longshore/$id/*" ! -path "*/longshore/$id/engine*" 2>/dev/null | sed 's/^/cgroup: /'
        find "/run/longshore/$id/containers" -mindepth 1 -maxdepth 1 2>/dev/null | sed 's/^/run folder: /'
    fi
    losetup -a 2>/dev/null | grep -F "$WORK/" | sed 's/^/loop device: /'
    find "$DATA/tmp" -mindepth 1 2>/dev/null | sed 's/^/temporary file: /'
    find "$DATA" -maxdepth 6 \( -name '.*.new' -o -name '*.tmp' \) 2>/dev/null | grep -v '/diff/' | sed 's/^/temporary file: /'
}

# clean_mounts NAME: the host's mount table has no entry of this data root, while containers may run.
clean_mounts() {
    local id found
    id=$(root_id)
    found=$(grep -F -e "$WORK/" ${id:+-e "/run/longshore/$id"} /proc/self/mountinfo)
    equal "$1" "" "$found"
}

remove_containers() {
    local ids
    ids=$(L ps -aq 2>/dev/null) || return 0
    # shellcheck disable=SC2086  # one ID a word
    [[ -z $ids ]] || L rm -f -v $ids >>"$LOG" 2>&1
}

# Nothing of this script may survive it, whatever happened before.
clean_up() {
    local pid id point
    trap - EXIT INT TERM
    id=$(root_id)
    if [[ -d $DATA ]]; then
        remove_containers
        L engine stop >/dev/null 2>&1
    fi
    for pid in $(processes); do kill -KILL "$pid" 2>/dev/null; done
    while read -r point; do umount -l "$point" 2>/dev/null; done < <(
        awk -v work="$WORK/" 'index($5, work) == 1 { print $5 }' /proc/self/mountinfo | sort -r
    )
    if [[ -n $id ]]; then
        find /sys/fs/cgroup -depth -type d -path "*/longshore/$id*" -exec rmdir {} + 2>/dev/null
        rm -rf "/run/longshore/$id"
        rmdir /run/longshore/prefix /run/longshore 2>/dev/null
    fi
    mountpoint -q "$WORK" && umount "$WORK"
    rm -rf --one-file-system "$WORK" "$WORK.img"
    [[ -n $FINISHED ]] || echo "not ok - $SCRIPT ended before its last line"
    exit "${FINISHED:-1}"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# finish: removes containers, stops the engine, looks for what is left, prints the totals.
finish() {
    local left
    if [[ -e $DATA/id ]]; then
        remove_containers
        capture L engine stop
        wait_until 10 no_leftovers
        left=$(leftovers)
        if [[ -z $left ]]; then ok "nothing is left behind"; else not_ok "nothing is left behind" "$left"; fi
    fi
    if grep -n 'panicked' "$LOG" >"$WORK/panics" 2>/dev/null; then
        not_ok "no output says panicked" "$(<"$WORK/panics")"
    fi
    echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"
    FINISHED=$((FAILED > 0))
    exit "$FINISHED"
}

no_leftovers() { [[ -z $(leftovers) ]]; }
