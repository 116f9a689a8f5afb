#!/usr/bin/env bash
# A volume driver of ours, served by Docker's plugin protocol to those who speak it: Debian's dockerd, started
# here with everything of its own, and Podman. The server is killed in the middle.
. "$(dirname "$0")/lib.sh"
need_root
command -v curl >/dev/null || skip_all "no curl command"

NAME=lso$$
SOCKET=/run/docker/plugins/$NAME.sock
SERVED=$WORK/served
RUN=$WORK/run
NETNS=lso$$
SERVER='' DOCKERD='' made_folder=''
# Podman takes short paths only.
SHORT=$(mktemp -d /tmp/lso.XXXXXX)
end_all() {
    if [[ -n $DOCKERD ]]; then
        docker -H "unix://$WORK/docker.sock" ps -aq 2>/dev/null |
            timeout 60 xargs -r docker -H "unix://$WORK/docker.sock" rm -f >/dev/null 2>&1
        kill "$DOCKERD" 2>/dev/null
        wait "$DOCKERD" 2>/dev/null
        DOCKERD=
    fi
    if command -v podman >/dev/null; then P rm -af >/dev/null 2>&1; fi
    if [[ -n $SERVER ]]; then
        kill "$SERVER" 2>/dev/null
        wait "$SERVER" 2>/dev/null
        SERVER=
    fi
    rm -f "$SOCKET"
    if [[ -n $made_folder ]]; then rmdir -p --ignore-fail-on-non-empty /run/docker/plugins 2>/dev/null; fi
    ip netns del "$NETNS" 2>/dev/null
    local at
    while read -r at; do umount -l "$at"; done < <(awk -v base="$SHORT/" 'index($5, base) == 1 {print $5}' /proc/self/mountinfo)
    rm -rf --one-file-system "$SHORT"
}
trap 'end_all; clean_up' EXIT

# Podman with everything of its own. Limits that this machine may not raise are given.
P() {
    CONTAINERS_CONF=$WORK/containers.conf podman --root "$WORK/podman" --runroot "$SHORT/run" \
        --tmpdir "$SHORT/tmp" --storage-driver vfs --cgroup-manager cgroupfs --runtime runc "$@"
}

# call METHOD BODY: what the server answers.
call() { curl -sS -m 20 --unix-socket "$SOCKET" -X POST --data-binary "$2" "http://plugin/$1"; }

serve() {
    longshore plugin serve "$TREE/lib/longshore/volume-local.so" --as docker-volume --socket "$SOCKET" \
        --data-root "$SERVED" --exec-root "$RUN" >>"$WORK/server.log" 2>&1 &
    SERVER=$!
    wait_until 20 curl -s -m 5 --unix-socket "$SOCKET" -X POST http://plugin/Plugin.Activate
}

# served NAME: a server, in this shell, so that it can be ended.
served() { if serve; then ok "$1"; else not_ok "$1" "$(tail -n 5 "$WORK/server.log")"; fi; }

mounts() { grep -F "$RUN/" /proc/self/mountinfo; }

[[ -d /run/docker/plugins ]] || made_folder=1
served "the driver is served"
((FAILED)) && finish
equal "the socket is root's alone" 600 "$(stat -c %a "$SOCKET")"
equal "it is a volume driver" '{"Implements":["VolumeDriver"]}' "$(call Plugin.Activate '')"
equal "of this machine" '{"Capabilities":{"Scope":"local"}}' "$(call VolumeDriver.Capabilities '{}')"
expect_code "a second server of the same volumes is refused" 2 longshore plugin serve \
    "$TREE/lib/longshore/volume-local.so" --as docker-volume --socket "$WORK/other.sock" --data-root "$SERVED"
mkdir -p "$WORK/engine" && touch "$WORK/engine/engine.lock"
expect_code "and one in an engine's data root" 2 longshore plugin serve \
    "$TREE/lib/longshore/volume-local.so" --as docker-volume --socket "$WORK/other.sock" --data-root "$WORK/engine"
expect_code "and a driver that is none for volumes" 2 longshore plugin serve \
    "$TREE/lib/longshore/graph-vfs.so" --as docker-volume --socket "$WORK/other.sock" --data-root "$WORK/none"

# refused NAME METHOD BODY PART: an Err with PART in it, and nothing else.
refused() {
    local got
    got=$(call "$2" "$3")
    if [[ $got == '{"Err":"'*"$4"*'"}' ]]; then ok "$1"; else not_ok "$1" "wanted an Err with: $4" "got: ${got:0:300}"; fi
}
refused "a name that leads out" VolumeDriver.Create '{"Name":"../../etc","Opts":{}}' 'volume name'
refused "in each verb" VolumeDriver.Remove '{"Name":".."}' 'volume name'
refused "also in mount" VolumeDriver.Mount '{"Name":"..","ID":"c1"}' 'volume name'
refused "a mount ID that leads out" VolumeDriver.Mount '{"Name":"vv","ID":"../c1"}' 'mount ID'
refused "a field that is not known" VolumeDriver.Create '{"Name":"vv","Grant":"all"}' 'unknown field'
refused "an option that is not known" VolumeDriver.Create '{"Name":"vv","Opts":{"size":"1g"}}' 'the options are'
refused "no JSON" VolumeDriver.Create '[[[[' 'VolumeDriver.Create'
refused "a volume that is not there" VolumeDriver.Get '{"Name":"nothing"}' 'no such volume'
refused "a method that is not there" VolumeDriver.Format '{}' 'no method'
head -c 1000000 /dev/zero | tr '\0' x >"$WORK/giant"
refused "a giant body" VolumeDriver.Create "@$WORK/giant" 'longer than'
python3 -c 'import socket, sys, time
idle = [socket.socket(socket.AF_UNIX) for _ in range(100)]
for one in idle:
    one.connect(sys.argv[1])
print("connected", flush=True)
time.sleep(60)' "$SOCKET" >"$WORK/idle" &
idle=$!
wait_until 20 test -s "$WORK/idle"
equal "a hundred connections that say nothing keep nobody out for long" '{"Implements":["VolumeDriver"]}' "$(call Plugin.Activate '')"
kill "$idle" && wait "$idle" 2>/dev/null
equal "a bind of its own data root is made" '{"Err":""}' \
    "$(call VolumeDriver.Create '{"Name":"own","Opts":{"type":"none","o":"bind","device":"'"$SERVED"'"}}')"
refused "and never mounted" VolumeDriver.Mount '{"Name":"own","ID":"c1"}' "$SERVED"
equal "and removed" '{"Err":""}' "$(call VolumeDriver.Remove '{"Name":"own"}')"
equal "nothing of it all is left" '{"Volumes":[],"Err":""}' "$(call VolumeDriver.List '')"
equal "nor mounted" "" "$(mounts)"

# Counted by ID, and found again after a death.
call VolumeDriver.Create '{"Name":"mem","Opts":{"type":"tmpfs","device":"tmpfs","o":"size=1m"}}' >/dev/null
at=$(call VolumeDriver.Mount '{"Name":"mem","ID":"c1"}')
at=${at#*'"Mountpoint":"'} at=${at%%'"'*}
equal "a mount of memory" tmpfs "$(stat -f -c %T "$at" 2>&1)"
echo kept >"$at/file"
call VolumeDriver.Mount '{"Name":"mem","ID":"c2"}' >/dev/null
call VolumeDriver.Mount '{"Name":"mem","ID":"c2"}' >/dev/null
equal "is one for all" 1 "$(mounts | wc -l)"
call VolumeDriver.Unmount '{"Name":"mem","ID":"c2"}' >/dev/null
equal "until the last has gone" kept "$(cat "$at/file" 2>&1)"
refused "nobody removes it meanwhile" VolumeDriver.Remove '{"Name":"mem"}' 'c1'
before=$(call VolumeDriver.List '{}')
kill -KILL "$SERVER" && wait "$SERVER" 2>/dev/null
served "a server that was killed is followed by another"
equal "which knows the same" "$before" "$(call VolumeDriver.List '{}')"
equal "and mounts the same" "{\"Mountpoint\":\"$at\",\"Err\":\"\"}" "$(call VolumeDriver.Mount '{"Name":"mem","ID":"c1"}')"
equal "with what was in it" kept "$(cat "$at/file" 2>&1)"
umount "$at"
kill -KILL "$SERVER" && wait "$SERVER" 2>/dev/null
serve
equal "a mount that is gone is made again" tmpfs "$(stat -f -c %T "$at" 2>&1)"
call VolumeDriver.Unmount '{"Name":"mem","ID":"c1"}' >/dev/null
equal "the last one ends it" "" "$(mounts)"
equal "and it goes" '{"Err":""}' "$(call VolumeDriver.Remove '{"Name":"mem"}')"

# Many at once: one mount while anyone has it.
call VolumeDriver.Create '{"Name":"many"}' >/dev/null
callers=()
for id in {1..30}; do
    call VolumeDriver.Mount "{\"Name\":\"many\",\"ID\":\"c$id\"}" >"$WORK/many.$id" &
    callers+=($!)
done
wait "${callers[@]}"
equal "thirty mounts at once have one answer" 1 "$(cat "$WORK"/many.* | grep -o '"Mountpoint":"[^"]*","Err":""' | sort | uniq -c | awk '{print ($1 == 30)}')"
equal "and are one mount" 1 "$(mounts | wc -l)"
kill "$SERVER" && wait "$SERVER"
equal "a server that ends unmounts" "" "$(mounts)"
equal "and takes its socket away" no "$([[ -e $SOCKET ]] && echo yes || echo no)"
served "and the next one begins where it ended"
equal "with the mount" 1 "$(mounts | wc -l)"
callers=()
for id in {1..30}; do
    call VolumeDriver.Unmount "{\"Name\":\"many\",\"ID\":\"c$id\"}" >/dev/null &
    callers+=($!)
done
wait "${callers[@]}"
equal "thirty ends at once leave none" "" "$(mounts)"
call VolumeDriver.Remove '{"Name":"many"}' >/dev/null

# Killed anywhere in the middle, it knows what is there, and nothing is there that it does not know.
churn() {
    local round
    for round in {1..40}; do
        call VolumeDriver.Create "{\"Name\":\"c-$round\"}"
        call VolumeDriver.Mount "{\"Name\":\"c-$round\",\"ID\":\"x\"}"
        ((round % 2)) || call VolumeDriver.Unmount "{\"Name\":\"c-$round\",\"ID\":\"x\"}"
        ((round % 4)) || call VolumeDriver.Remove "{\"Name\":\"c-$round\"}"
    done >/dev/null 2>&1
}
# differences: between what the server says and what lies on disk and is mounted; what is held by an ID of nobody
# is ended.
differences() {
    local known name
    known=$(call VolumeDriver.List '{}' | grep -o '"Name":"[^"]*"' | cut -d'"' -f4 | sort)
    diff <(sed '/^$/d' <<<"$known") <(find "$SERVED/volumes" -mindepth 1 -maxdepth 1 ! -name .longshore -printf '%f\n' | sort)
    for name in $known; do
        call VolumeDriver.Unmount "{\"Name\":\"$name\",\"ID\":\"x\"}" >/dev/null
        call VolumeDriver.Remove "{\"Name\":\"$name\"}" | grep -v '{"Err":""}'
    done
    mounts
    ls "$SERVED/volumes"
}
differs=
for pause in 0.05 0.11 0.17 0.23 0.31 0.4; do
    churn &
    churner=$!
    sleep "$pause"
    kill -KILL "$SERVER"
    wait "$SERVER" "$churner" 2>/dev/null
    serve || differs+="no server after $pause s "
    differs+=$(differences)
done
equal "six kills in the middle leave no difference" "" "$differs"

"$REPO/tools/rootfs" "$TREE" "$WORK/busybox.tar"
tar -tf "$WORK/busybox.tar" ./bin/sh >/dev/null 2>&1 || skip_all "no static busybox: install busybox-static"

with_docker() {
    export DOCKER_HOST=unix://$WORK/docker.sock DOCKER_CONFIG=$WORK/docker-config
    ip netns add "$NETNS" || { skip "dockerd: no network namespace can be made"; return; }
    # In a network namespace of its own, and in this mount namespace, where the volumes are shown.
    echo '{}' >"$WORK/daemon.json"
    nsenter --net="/run/netns/$NETNS" dockerd --data-root "$WORK/docker" --exec-root "$WORK/docker-run" \
        --pidfile "$WORK/docker.pid" --config-file "$WORK/daemon.json" -H "$DOCKER_HOST" \
        --bridge none --iptables=false --storage-driver vfs >"$WORK/dockerd.log" 2>&1 &
    DOCKERD=$!
    if ! wait_until 60 docker version; then
        skip "dockerd does not start here: $(tail -n 1 "$WORK/dockerd.log" | cut -c 1-200)"
        return
    fi
    echo "# dockerd $(docker version --format '{{.Server.Version}}')"
    check "docker import" docker import "$WORK/busybox.tar" demo
    expect_out "docker volume create -d" dv docker volume create -d "$NAME" dv
    expect_out "a container of Docker's writes" "" docker run --rm --network none -v dv:/data demo sh -c 'echo by-docker >/data/file'
    equal "into our data root" by-docker "$(cat "$SERVED/volumes/dv/_data/file" 2>&1)"
    expect_out "another one reads" by-docker docker run --rm --network none -v dv:/data:ro demo cat /data/file
    equal "nothing stays mounted" "" "$(mounts)"
    expect_out "docker volume inspect" "$NAME dv local" docker volume inspect --format '{{.Driver}} {{.Name}} {{.Scope}}' dv
    expect_has "docker volume ls" "$NAME" docker volume ls
    expect_code "options go to the driver, which refuses" 1 docker volume create -d "$NAME" -o size=1g dx
    check "options go to the driver" docker volume create -d "$NAME" -o type=tmpfs -o device=tmpfs -o o=size=2m dt
    expect_has "and count" 2.0M docker run --rm --network none -v dt:/data demo df -h /data
    check "a container holds it" docker run -d --name holder --network none -v dv:/data demo sleep 600
    kill -KILL "$SERVER" && wait "$SERVER" 2>/dev/null
    expect_out "and has it while the server is dead" by-docker docker exec holder cat /data/file
    served "the server comes back"
    check "the container is removed" docker rm -f holder
    equal "and the new server knew its mount" "" "$(mounts)"
    check "docker volume rm" docker volume rm dv dt
    equal "the content goes with it" "" "$(ls "$SERVED/volumes")"
}

with_podman() {
    # What these say, Podman takes to heart too.
    unset DOCKER_HOST DOCKER_CONFIG
    printf '[engine]\nevents_logger = "file"\n[engine.volume_plugins]\n%s = "%s"\n' "$NAME" "$SOCKET" >"$WORK/containers.conf"
    echo "# $(podman --version)"
    expect_out "podman volume create --driver" pv P volume create --driver "$NAME" pv
    expect_out "podman volume inspect" "$NAME pv" P volume inspect --format '{{.Driver}} {{.Name}}' pv
    expect_has "podman volume ls" "$NAME" P volume ls
    capture P import "$WORK/busybox.tar" demo
    limits=(--ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --network none)
    if capture P run --rm "${limits[@]}" demo true && [[ $CODE == 0 ]]; then
        expect_out "a container of Podman's writes" "" P run --rm "${limits[@]}" -v pv:/data demo sh -c 'echo by-podman >/data/file'
        equal "into our data root" by-podman "$(cat "$SERVED/volumes/pv/_data/file" 2>&1)"
        expect_out "another one reads" by-podman P run --rm "${limits[@]}" -v pv:/data demo cat /data/file
    else
        skip "containers of Podman's do not run here: $(tail -n 1 <<<"$ERR" | cut -c 1-200)"
    fi
    check "podman volume rm" P volume rm pv
    equal "nothing of it is left" "" "$(ls "$SERVED/volumes")"
    equal "nor mounted" "" "$(mounts)"
}

if command -v dockerd >/dev/null && command -v docker >/dev/null; then with_docker; else skip "no dockerd: install docker.io"; fi
if command -v podman >/dev/null; then with_podman; else skip "no podman command: install podman"; fi

end_all
equal "the server ended with its socket" no "$([[ -e $SOCKET ]] && echo yes || echo no)"
equal "with its mounts" "" "$(mounts)"
equal "and with its folder of them" "" "$(find "$RUN" -mindepth 1 2>/dev/null)"
left=$(pgrep -f "$WORK/" | grep -vx $$)
equal "nothing of it runs" "" "$left"
finish
