#!/usr/bin/env bash
# Where drivers' code runs: in the engine, in processes of their own, as components; one image and one
# container through all of them, with no change but the config's. And what happens when a process dies.
. "$(dirname "$0")/lib.sh"
need_root
CONFIG=$WORK/longshore.toml
DRIVERS="graph-overlay volume-local network-none"

# isolate WAY: all pure drivers of the engine run so.
isolate() {
    local driver
    printf '[network]\ndefault = "none"\n' >"$CONFIG"
    for driver in $DRIVERS; do printf '[plugin.%s]\nisolation = "%s"\n' "$driver" "$1" >>"$CONFIG"; done
}
# field NAME: that field of the overlay driver.
field() { L driver ls --format '{{.Name}} {{.'"$1"'}}' | sed -n 's/^overlay //p'; }
gone() { [[ ! -e /proc/$1/exe ]]; }

# works WAY: the image and the container do everything in this isolation.
works() {
    local image
    equal "$1: driver ls says so" "$1" "$(field Isolation)"
    expect_has "$1: and doctor too" "$2" L doctor
    expect_out "$1: the container that ran before answers" "kept" L exec kept cat /kept
    check "$1: it stops" L stop -t 1 kept
    check "$1: and starts" L start kept
    expect_out "$1: with what it had written" "kept" L exec kept cat /kept
    expect_out "$1: a new container of the image" "hello" L run --rm busybox echo hello
    check "$1: writes to a volume" L run --rm -v data:/data busybox sh -c "echo $1 >>/data/ways"
    check "$1: image and volume are removed and made again" L volume create "of-$1"
    check "$1: as asked" L volume rm "of-$1"
    image=$(L inspect --type image --format '{{.Id}}' busybox)
    equal "$1: the image has its ID" "$IMAGE" "$image"
}

isolate in-process
busybox_image busybox
IMAGE=$(L inspect --type image --format '{{.Id}}' busybox)
check "a container" L run -d --name kept busybox sh -c 'echo kept >/kept; sleep 1000'
wait_until 10 L exec kept test -s /kept
works in-process "usable, version"
equal "in-process: no driver has a process" "" "$(field Pid)"

isolate process
works process "in process "
for driver in $DRIVERS; do
    pid=$(L driver ls --format '{{.Kind}}-{{.Name}} {{.Pid}}' | sed -n "s/^$driver //p")
    if grep -q "^CapEff:.0*$" "/proc/$pid/status" && grep -q "^Uid:.6[1-5][0-9][0-9][0-9]" "/proc/$pid/status"; then
        ok "$driver: its process is another user's and has no capabilities"
    else
        not_ok "$driver: its process is another user's and has no capabilities" "$(cat "/proc/$pid/status" 2>&1)"
    fi
done

group="/longshore/$(root_id)/plugins/graph-overlay"
if grep -q "$group" "/proc/$(field Pid)/cgroup" 2>/dev/null; then
    ok "a driver's process has a cgroup of its own"
else
    not_ok "a driver's process has a cgroup of its own" "$(cat "/proc/$(field Pid)/cgroup")"
fi

before=$(field Pid)
kill -9 "$before"
wait_until 5 gone "$before"
expect_out "a driver whose process was killed serves the next run" "hello" L run --rm busybox echo hello
after=$(field Pid)
if [[ -n $after && $after != "$before" ]]; then ok "in another process"; else not_ok "in another process" "$before, then $after"; fi

engine=$(engine_pid)
kill -9 "$engine"
wait_until 5 gone "$engine"
expect_out "after the engine was killed the next one serves" "hello" L run --rm busybox echo hello
equal "and has found the driver's process again" "$after" "$(field Pid)"
expect_has "its calls are measured" 'isolation="process"' curl -sS --unix-socket "$(socket)" http://x/longshore/metrics

kill -STOP "$after"
expect_out "what needs no stopped driver goes on" "kept" L exec kept cat /kept
check "volumes too" L volume ls
kill -CONT "$after"
expect_out "and it serves on" "hello" L run --rm busybox echo hello

if [[ -e $TREE/lib/longshore/graph-overlay.wasm ]]; then
    isolate wasm
    works wasm "as a Wasm component"
    equal "wasm: no driver has a process" "" "$(field Pid)"
    ways="in-process process wasm"
else
    skip "wasm: this tree has no components (graph-overlay.wasm)"
    ways="in-process process"
fi
equal "one volume through all" "$ways" "$(L run --rm -v data:/data busybox cat /data/ways | xargs)"

# Drivers change their place while containers are started: none fails, whichever way it was begun.
for number in 1 2 3 4 5 6 7 8 9 10 11 12; do
    L run --rm -v data:/data busybox echo "run $number" >"$WORK/run.$number" 2>&1 &
    case $((number % 3)) in
        0) isolate in-process ;;
        1) isolate process ;;
    esac
    ((number % 2)) || L ps >/dev/null
done
wait
said=$(cat "$WORK"/run.* | sort -V | xargs)
equal "twelve runs while drivers change their place" "$(printf 'run %s\n' {1..12} | xargs)" "$said"

# A file of somebody else's, by its path alone.
cp "$TREE/lib/longshore/graph-vfs.so" "$WORK/mine.so"
chmod 644 "$WORK/mine.so"
printf '[graph]\ndriver = "vfs"\n[network]\ndefault = "none"\n[plugin.graph-vfs]\npath = "%s"\n' "$WORK/mine.so" >"$CONFIG"
expect_out "a file that is no part of the release serves" "hello" L run --rm busybox echo hello
expect_has "in a process of its own, as nothing else is said" "process $WORK/mine.so" L driver ls --format '{{.Isolation}} {{.File}}'

# What was recorded is made again, over another transport and with another build.
isolate in-process
printf '[engine]\nrecord = "%s"\n' "$WORK/calls.jsonl" >>"$CONFIG"
check "a run that is recorded" L run --rm -v data:/data busybox true
for way in process in-process; do
    for driver in graph-overlay volume-local; do
        expect_has "$driver: the record again, $way" " 0 answered otherwise" \
            longshore plugin replay --isolation "$way" "$WORK/calls.jsonl" "$TREE/lib/longshore/$driver.so"
    done
done
for driver in graph-overlay volume-local; do
    [[ -e $TREE/lib/longshore/$driver.wasm ]] || continue
    expect_has "$driver: the record again, as a component" " 0 answered otherwise" \
        longshore plugin replay "$WORK/calls.jsonl" "$TREE/lib/longshore/$driver.wasm"
    expect_has "$driver: the component is verified" "verified:" \
        longshore plugin verify "$TREE/lib/longshore/$driver.wasm"
done
sed 's/"max_depth":[0-9]*/"max_depth":7/; s/"steps":\[{/"steps":[{"other":1},{/' "$WORK/calls.jsonl" >"$WORK/other.jsonl"
capture longshore plugin replay "$WORK/other.jsonl" "$TREE/lib/longshore/graph-overlay.so"
if [[ $CODE == 1 && $OUT == *before*now* ]]; then ok "a difference is shown"; else not_ok "a difference is shown" "$(details)"; fi

pids=$(L driver ls --format '{{.Pid}}' | xargs)
check "the engine stops" L engine stop
for pid in $pids; do
    if wait_until 5 gone "$pid"; then ok "process $pid of a driver is gone"; else not_ok "process $pid of a driver is gone"; fi
done
rm -f "$WORK/calls.jsonl"
isolate in-process
check "an engine that is started with a record" L --record "$WORK/calls.jsonl" run --rm -v data:/data busybox true
expect_has "writes down what drivers were asked" '"method":"create"' cat "$WORK/calls.jsonl"
finish
