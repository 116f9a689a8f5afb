#!/usr/bin/env bash
# Debian's minbase, made by debootstrap, on overlay and on vfs: shell, id, apt's files, pipe, terminal,
# volume, exit codes.
. "$(dirname "$0")/lib.sh"
need_root

# The machine's own mirror, so that a configured proxy or snapshot is used.
mirror() {
    sed -n -e 's/^URIs: *\([^ ]*\).*/\1/p' -e 's/^deb \(\[[^]]*\] \)\?\(http[^ ]*\) .*/\2/p' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/ubuntu.sources /etc/apt/sources.list 2>/dev/null | head -1
}

# Made once, kept below target/: a minute of work and 60 MB from the mirror.
minbase() {
    local suite=$1 root=$WORK/minbase
    [[ -e $CACHE/minbase-$suite.tar ]] && return
    debootstrap --variant=minbase "$suite" "$root" "$(mirror)" >"$RESULTS/debootstrap.log" 2>&1 || return
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root/var/lib/apt/lists"/*
    tar --numeric-owner --xattrs -C "$root" -cf "$CACHE/minbase-$suite.tar.new" . || return
    rm -rf "$root"
    mv "$CACHE/minbase-$suite.tar.new" "$CACHE/minbase-$suite.tar"
}

command -v debootstrap >/dev/null || skip_all "no debootstrap"
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
minbase "$suite" || skip_all "debootstrap of $suite failed; see $RESULTS/debootstrap.log"
tar=$CACHE/minbase-$suite.tar
# vfs copies all of it for each container.
fast_disk 12

run() { L run --rm --network none "$@"; }

a_working_system() { # a_working_system DRIVER
    local on="on $1"
    expect_out "a shell speaks $on" "hello" run minbase sh -c 'echo hello'
    expect_out "bash is there $on" "6" run minbase bash -c 'echo $((1 + 2 + 3))'
    expect_out "id is root $on" "uid=0(root) gid=0(root) groups=0(root)" run minbase id
    expect_out "-u picks a user of the image $on" "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)" run -u nobody minbase id
    expect_has "apt's own files are whole $on" "apt" run minbase sh -c 'apt-get --version && dpkg --verify apt && test -d /var/lib/apt'
    expect_out "dpkg finds no changed file $on" "" run minbase sh -c 'dpkg --verify libc6 coreutils bash'
    expect_out "setuid bits are kept $on" "4755" run minbase stat -c %a /usr/bin/su
    expect_out "/tmp is sticky $on" "1777" run minbase stat -c %a /tmp
    expect_out "a file is hidden by its removal, for this container only $on" "gone" run minbase sh -c 'rm /etc/hostname; rm /usr/bin/perl; test -e /usr/bin/perl || echo gone'
    expect_has "and the next one has it $on" "perl" run minbase ls /usr/bin/perl
    expect_out "the hostname is what was asked $on" "ship" run --hostname ship minbase hostname
    expect_out "environment and working folder $on" "/usr b" run -e A=b -w /usr minbase sh -c 'echo "$PWD $A"'
}

streams() { # streams DRIVER
    local on="on $1" size
    capture_with $'one\ntwo\n' run -i minbase sort -r
    equal "stdin through a pipe $on" $'two\none' "$OUT"
    size=$(head -c 5000000 /dev/zero | run -i minbase wc -c)
    equal "five million bytes through the pipe $on" 5000000 "$size"
    size=$(run minbase head -c 5000000 /dev/zero | wc -c)
    equal "and out of it $on" 5000000 "$size"
    capture run minbase sh -c 'echo out; echo err >&2'
    equal "stdout and stderr stay apart $on" "out/err" "$OUT/$ERR"
    terminal "$1"
}

terminal() { # terminal DRIVER
    local on="on $1" steps
    # Docker's own client gives the size after the start: it is there soon, not at once.
    steps=$'expect #\nsend until stty size | grep -q "33 99"; do sleep 0.1; done; echo size-"33"x99; tty\nexpect size-33x99\nexpect /dev/'
    steps+=$'\nresize 40x120\nsend until stty size | grep -q "40 120"; do sleep 0.1; done; echo size-"40"x120\nexpect size-40x120\nsend exit 7'
    capture python3 "$E2E/terminal.py" 33x99 "$steps" longshore --data-root "$DATA" --config "$CONFIG" run --rm -it --network none minbase bash --norc
    if [[ $CODE == 7 ]]; then ok "a terminal has its size, its resize and its exit code $on"; else not_ok "a terminal $on" "$(details)"; fi
    # The foreground process itself says that it runs: a ^C that comes while the shell still starts it ends nothing.
    steps=$'expect #\nsend sh -c \'echo be""gun; exec sleep 1000\'\nexpect begun\nkeys 03\nexpect #\nsend echo back-$?\nexpect back-130\nsend exit 0'
    capture python3 "$E2E/terminal.py" 24x80 "$steps" longshore --data-root "$DATA" --config "$CONFIG" run --rm -it --network none minbase bash --norc
    if [[ $CODE == 0 ]]; then ok "Ctrl-C ends the command, not the shell $on"; else not_ok "Ctrl-C $on" "$(details)"; fi
}

volumes() { # volumes DRIVER
    local on="on $1" volume="kept-$1"
    check "a volume is made $on" L volume create "$volume"
    check "written $on" run -v "$volume:/data" minbase sh -c 'echo remember > /data/note'
    expect_out "read by a later container $on" "remember" run -v "$volume:/data" minbase cat /data/note
    expect_code "read-only is read-only $on" 1 run -v "$volume:/data:ro" minbase touch /data/note
    check "first use copies what the image has $on" run -v "filled-$1:/etc/apt" minbase test -d /etc/apt/apt.conf.d
    check "a volume outlives the engine $on" L engine stop
    expect_out "and is read again $on" "remember" run -v "$volume:/data" minbase cat /data/note
    check "and goes when told to $on" L volume rm "$volume" "filled-$1"
}

exit_codes() { # exit_codes DRIVER
    local on="on $1"
    expect_code "0 $on" 0 run minbase true
    expect_code "1 $on" 1 run minbase false
    expect_code "125: the engine refused $on" 125 run --no-such-flag minbase true
    expect_code "125: no such image $on" 125 run no-such-image true
    expect_code "126: not executable $on" 126 run minbase /etc/passwd
    expect_code "127: no such command $on" 127 run minbase /no/such/command
    killed "$1"
    # As process 1 a shell is immune to itself; below an init it is not.
    expect_code "137 with --init $on" 137 run --init minbase sh -c 'kill -9 $$'
}

# A command that is killed from outside while someone waits for it.
killed() { # killed DRIVER
    local waiter
    run --name killed minbase sleep 1000 >/dev/null 2>&1 &
    waiter=$!
    is_running() { [[ $(L inspect --format '{{.State.Running}}' killed 2>/dev/null) == true ]]; }
    wait_until 20 is_running
    L kill killed >/dev/null 2>&1
    wait "$waiter"
    equal "137: killed on $1" 137 "$?"
}

whole_system() {
    use_driver "$1"
    capture L import "$tar" "minbase"
    if [[ $CODE != 0 ]]; then
        not_ok "minbase imports on $1" "$(details)"
        return
    fi
    ok "minbase imports on $1"
    a_working_system "$1"
    streams "$1"
    volumes "$1"
    exit_codes "$1"
    check "the image goes on $1" L rmi minbase
    L engine stop >/dev/null 2>&1
}

for driver in overlay vfs; do whole_system "$driver"; done
finish
