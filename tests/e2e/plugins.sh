#!/usr/bin/env bash
# Plugins that are installed from a file: a volume driver made by `plugin new`, used by containers, upgraded
# while they run (LONGSHORE_PLUGIN_CONTAINERS of them, 10), taken back, put out of use, removed.
. "$(dirname "$0")/lib.sh"
need_root
command -v cargo >/dev/null || skip_all "no cargo to build a driver with"
COUNT=${LONGSHORE_PLUGIN_CONTAINERS:-10}
REPO=$(cd "$(dirname "$0")/../.." && pwd)
PROJECT=$WORK/mine

# build VERSION: the driver in that version, as $WORK/VERSION/volume-mine.so.
build() {
    sed -i "s/^version = .*/version = \"$1\"/" "$PROJECT/Cargo.toml"
    (cd "$PROJECT" && CARGO_TARGET_DIR=$WORK/target cargo build --quiet --offline) || return 1
    install -D -m 644 "$WORK/target/debug/libvolume_mine.so" "$WORK/$1/volume-mine.so"
}
# plugin FIELD: that field of the installed plugin.
plugin() { L plugin ls --json | grep '"Kind":"volume","Name":"mine"' | grep -o "\"$1\":[^,}]*" | head -1 | cut -d: -f2 | tr -d '"'; }
running() { L ps -q | wc -l; }
installed_files() { find "$DATA/plugins" -name 'volume-mine*' | wc -l; }

CONFORMANCE=$REPO/target/debug/longshore-conformance
for kind in volume graph network; do
    [[ -x $CONFORMANCE ]] || { skip "a new driver passes its suite: $CONFORMANCE is not built" && break; }
    check "a new $kind driver" L plugin new "$kind" kit --path "$WORK/kit-$kind" --contract "$REPO/plugin-api"
    cp "$REPO/Cargo.lock" "$WORK/kit-$kind/"
    check "builds" env CARGO_TARGET_DIR="$WORK/target" cargo build --quiet --offline --manifest-path "$WORK/kit-$kind/Cargo.toml"
    expect_has "and passes its suite at once" " 0 failed" "$CONFORMANCE" "$WORK/target/debug/lib${kind}_kit.so"
done

check "plugin new makes a project" L plugin new volume mine --path "$PROJECT" --contract "$REPO/plugin-api"
cp "$REPO/Cargo.lock" "$PROJECT/"
check "which builds" build 0.1.0
check "and builds in another version" build 0.2.0

busybox_image busybox
check "it is installed" L plugin install "$WORK/0.1.0/volume-mine.so"
equal "as the first generation" 1 "$(plugin Generation)"
equal "in a process of its own" process "$(plugin Isolation)"
expect_code "the same file again is refused" 1 L plugin install "$WORK/0.1.0/volume-mine.so"
if [[ $ERR == *"installed already"* ]]; then ok "and told so"; else not_ok "and told so" "$(details)"; fi
printf 'no driver\n' >"$WORK/bad.so"
expect_code "a file that is no driver is refused" 1 L plugin install "$WORK/bad.so"
equal "and nothing of it stays" 1 "$(installed_files)"

check "a volume of it" L volume create -d mine data
for ((i = 0; i < COUNT; i++)); do
    L run -d --name "c$i" -v data:/data busybox sh -c "while :; do echo x >>/data/c$i; sleep 0.1; done" >/dev/null
done
equal "$COUNT containers use it" "$COUNT" "$(running)"
# shellcheck disable=SC2046  # one ID a word
pids() { L inspect --format '{{.State.Pid}}' $(L ps -q) | sort | tr '\n' ' '; }
before=$(pids)
check "it is upgraded meanwhile" L plugin upgrade "$WORK/0.2.0/volume-mine.so"
equal "to the second generation" 2 "$(plugin Generation)"
equal "of another version" 0.2.0 "$(plugin Version)"
equal "every container runs on" "$before" "$(pids)"
expect_out "a new one uses the new generation" "new" L run --rm -v data:/data busybox sh -c 'test -s /data/c0 && echo new'
lines() { L exec c0 wc -l /data/c0 | cut -d' ' -f1; }
more() { [[ $(lines) -gt $1 ]]; }
check "and those that ran go on writing" wait_until 10 more "$(lines)"
check "containers of the old one stop" L stop -t 1 c0
check "and start" L start c0

check "it is taken back" L plugin rollback volume-mine
equal "to the first generation" 1 "$(plugin Generation)"
equal "every container runs on" "$COUNT" "$(running)"
expect_code "there is none before that" 1 L plugin rollback volume-mine

check "it is disabled" L plugin disable volume-mine
equal "containers run on" "$COUNT" "$(running)"
expect_has "its volume is listed" "data" L volume ls
expect_has "as unavailable, with the reason" "disabled" L volume inspect data
expect_code "and cannot be used" 125 L run --rm -v data:/data busybox true
check "it is enabled" L plugin enable volume-mine
expect_out "and serves" "again" L run --rm -v data:/data busybox echo again

expect_code "with volumes it is not removed" 1 L plugin rm volume-mine
remove_containers
check "its volume goes" L volume rm data
check "then it is removed" L plugin rm volume-mine
equal "with its files" 0 "$(installed_files)"
finish
