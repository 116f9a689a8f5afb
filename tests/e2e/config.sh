#!/usr/bin/env bash
# The config file: what is wrong is named with its place; what changes takes effect without losing anything.
. "$(dirname "$0")/lib.sh"
need_root
CONFIG=$WORK/longshore.toml

# refused NAME TEXT SENTENCE: a file of that text is refused with that sentence, and nothing runs.
refused() {
    printf '%b' "$2" >"$CONFIG"
    capture L ps
    if [[ $CODE != 0 && $ERR == *"$3"* ]]; then ok "$1"; else not_ok "$1" "wanted: $3" "$(details)"; fi
}

"$REPO/tools/rootfs" "$TREE" "$WORK/busybox.tar" || skip_all "no root file system"

refused "an unknown section, with the nearest" '[graf]\n' 'line 1, column 2'
refused "and its name" '[graf]\n' 'graph'
refused "an unknown key, with the nearest" '\n[graph]\ndrivr = "vfs"\n' 'line 3, column 1'
refused "a wrong type" '[graph]\ndriver = 3\n' 'line 2, column 10'
refused "an empty driver" '[graph]\ndriver = ""\n' 'empty'
refused "not TOML" '[graph\n' 'line 1'
refused "an isolation that there is not" '[plugin.graph-x]\nisolation = "jail"\n' 'in-process'
refused "an isolation that is not for its kind" '[plugin.exec-x]\nisolation = "process"\n' 'in-process'
use_driver overlai
capture L import "$WORK/busybox.tar" demo
if [[ $CODE != 0 && $ERR == *overlai* ]]; then ok "a driver that nobody has is named where it is needed"; else not_ok "a driver that nobody has is named" "$(details)"; fi
L engine stop >/dev/null 2>&1
rm -f "$CONFIG"
capture L ps
if [[ $CODE != 0 && $ERR == *"longshore.toml"* ]]; then ok "a missing --config is named"; else not_ok "a missing --config is named" "$(details)"; fi

use_driver overlay
busybox_image demo
image=$(L inspect --type image --format '{{.Id}}' demo)
check "a container on overlay" L run -d --name kept --network none demo sleep 1000
use_driver vfs
expect_has "the same image runs on vfs" "hello" L run --rm --network none demo echo hello
equal "under the same ID" "$image" "$(L inspect --type image --format '{{.Id}}' demo)"
expect_out "the container stays on overlay and runs" "overlay" L inspect --format '{{.GraphDriver.Name}}' kept
check "and can be used" L exec kept true
expect_has "driver ls marks the default" "vfs" L driver ls
check "one request may say otherwise" L --driver graph=overlay run --rm --network none demo true
capture L --driver graph=nothing run --rm --network none demo true
if [[ $CODE == 125 && $ERR == *nothing* ]]; then ok "an unknown --driver is named"; else not_ok "an unknown --driver is named" "$(details)"; fi

# An engine that was started to stay keeps its config: another --config is refused with both names.
printf '[graph]\ndriver = "overlay"\n' >"$WORK/other.toml"
check "the engine stops" L engine stop
check "an engine that stays" L engine start
capture longshore --data-root "$DATA" --config "$WORK/other.toml" ps
if [[ $CODE != 0 && $ERR == *longshore.toml* && $ERR == *other.toml* ]]; then
    ok "another --config is refused naming both"
else
    not_ok "another --config is refused naming both" "$(details)"
fi
capture longshore --host "unix://$WORK/none.sock" --config "$CONFIG" ps
if [[ $CODE != 0 && $ERR == *--config* ]]; then ok "--config with --host is refused"; else not_ok "--config with --host is refused" "$(details)"; fi
finish
