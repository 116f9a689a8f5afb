#!/usr/bin/env bash
# A third-party volume plugin that speaks Docker's protocol: rclone's, found where Docker finds it, used by
# both commands, and stopped in the middle of everything.
. "$(dirname "$0")/lib.sh"
need_root
command -v rclone >/dev/null || skip_all "no rclone command"
[[ -e /dev/fuse ]] || skip_all "this machine has no FUSE"
command -v fusermount3 >/dev/null || command -v fusermount >/dev/null || skip_all "no fusermount: rclone cannot mount"

PLUGIN=lsh$$
SOCKET=/run/docker/plugins/$PLUGIN.sock
RCLONE=
made_folder=
end_rclone() {
    if [[ -n $RCLONE ]]; then
        kill -CONT "$RCLONE" 2>/dev/null
        kill "$RCLONE" 2>/dev/null
        wait "$RCLONE" 2>/dev/null
        RCLONE=
    fi
    rm -f "$SOCKET"
    if [[ -n $made_folder ]]; then rmdir -p --ignore-fail-on-non-empty /run/docker/plugins 2>/dev/null; fi
    # Mounts of a server that was killed.
    local at
    while read -r at; do umount -l "$at"; done < <(awk -v base="$WORK/rclone-mounts" 'index($5, base) == 1 {print $5}' /proc/self/mountinfo)
}
trap 'end_rclone; clean_up' EXIT

[[ -d /run/docker/plugins ]] || made_folder=1
mkdir -p /run/docker/plugins "$WORK/store" "$WORK/rclone-mounts" "$WORK/cache"
echo "# $(rclone version | head -1)"
rclone serve docker --socket-addr "$SOCKET" --base-dir "$WORK/rclone-mounts" --forget-state \
    --config "$WORK/rclone.conf" --cache-dir "$WORK/cache" >"$WORK/rclone.log" 2>&1 &
RCLONE=$!
wait_until 10 test -S "$SOCKET" || { not_ok "rclone serves" "$(tail -5 "$WORK/rclone.log")"; finish; }

busybox_image demo
check "an engine is started to stay" L engine start
expect_has "the plugin is discovered" "$PLUGIN" L driver ls
expect_out "a volume is made" "remote" L volume create -d "$PLUGIN" -o type=local -o "path=$WORK/store" remote
expect_code "options of the plugin's own are the plugin's to refuse" 1 L volume create -d "$PLUGIN" -o type=nonsense bad
expect_has "volume ls" "$PLUGIN" L volume ls
expect_out "a container writes" "" L run --rm --network none -v remote:/data demo sh -c 'echo kept >/data/file'
equal "and the backend has it" kept "$(wait_until 20 test -s "$WORK/store/file"; cat "$WORK/store/file" 2>&1)"
expect_out "another one reads" kept L run --rm --network none -v remote:/data:ro demo cat /data/file
DOCKER_HOST=unix://$(socket)
export DOCKER_HOST
export DOCKER_CONFIG=$WORK/docker-config
if command -v docker >/dev/null; then
    expect_out "docker volume create" other docker volume create -d "$PLUGIN" -o type=local -o "path=$WORK/store" other
    expect_out "docker run -v" kept docker run --rm --network none -v other:/data demo cat /data/file
    check "docker volume rm" docker volume rm other
else
    skip "docker with the plugin: no docker command"
fi

check "a container that holds the volume" L run -d --name holder --network none -v remote:/data demo sleep 600
check "and one that does not" L run -d --name free --network none demo sleep 600
kill -STOP "$RCLONE"
# Each of these ends while the plugin still hangs.
hung() {
    local name=$1
    shift
    capture timeout 30 longshore --data-root "$DATA" "$@"
    if [[ $CODE == 0 ]]; then ok "while it hangs: $name"; else not_ok "while it hangs: $name" "$(details)"; fi
}
hung "a new local volume" volume create plain
hung "volume ls" volume ls
hung "volume inspect of its volume" volume inspect remote
hung "ps" ps -a
hung "a run without it" run --rm --network none -v plain:/data demo true
hung "exec in the container that holds it" exec holder true
hung "rm -f of that container" rm -f holder
hung "the engine restarts" engine restart
hung "and the other container is there" exec free true
hung "volume rm of the local one" volume rm plain
kill -CONT "$RCLONE"
expect_out "it goes on when the plugin does" kept L run --rm --network none -v remote:/data demo cat /data/file
volume_goes() { L volume rm remote; }
if wait_until 30 volume_goes; then ok "and its volume goes"; else not_ok "and its volume goes" "$(L volume rm remote 2>&1)"; fi
check "the other container goes" L rm -f free

kill "$RCLONE" && wait "$RCLONE" 2>/dev/null
RCLONE=
capture L volume create -d "$PLUGIN" late
if [[ $CODE != 0 && $ERR == *"$PLUGIN"* ]]; then ok "a plugin that is gone is named"; else not_ok "a plugin that is gone is named" "$(details)"; fi
unset DOCKER_HOST
end_rclone
finish
