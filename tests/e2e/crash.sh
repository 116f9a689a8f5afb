#!/usr/bin/env bash
# kill -9 of the engine, of the command and of a helper, at seeded moments of run, load, import and rm. After
# each the next command repairs: images and containers can be listed, run and removed, and nothing is left.
#
# LONGSHORE_CRASH_MOMENTS (30) is how often each is killed at each verb, LONGSHORE_CRASH_SEED (1) where.
. "$(dirname "$0")/lib.sh"
need_root

moments=${LONGSHORE_CRASH_MOMENTS:-30}
RANDOM=${LONGSHORE_CRASH_SEED:-1}
echo "# seed ${LONGSHORE_CRASH_SEED:-1}, $moments moments for each victim and verb"

busybox_image base
# What is loaded and imported must not be here yet, or there would be nothing to do: one more file each.
another() { # another NAME
    mkdir -p "$WORK/$1" && tar -C "$WORK/$1" -xf "$WORK/busybox.tar" && echo "$1" >"$WORK/$1/etc/$1" &&
        head -c 4000000 /dev/urandom >"$WORK/$1/etc/random" && tar -C "$WORK/$1" -cf "$WORK/$1.tar" .
}
another loaded && another imported
check "an image to load" L import "$WORK/loaded.tar" crash:loaded
check "an archive of it" L save -o "$WORK/loaded.docker.tar" crash:loaded
base=$(L inspect --type image --format '{{.Id}}' base)

# One that runs through all of it: its output and exit code must be whole at the end.
check "a container that outlives every crash" L run -d --name witness --network none base \
    sh -c 'trap "echo last; exit 42" TERM; n=0; while :; do n=$((n + 1)); echo line $n; sleep 0.2; done'

# How long a verb takes undisturbed, in milliseconds: the moments are spread over that and a little more.
now() { date +%s%3N; }
measure() {
    local begin
    begin=$(now)
    "$@" >/dev/null 2>&1
    echo $(($(now) - begin + 20))
}

verb_run() { L run --rm --network none base sh -c 'echo a; echo b'; }
verb_load() { L load -i "$WORK/loaded.docker.tar"; }
verb_import() { L import "$WORK/imported.tar" crash:imported; }
verb_rm() { L rm -f victim; }

prepare() { # prepare VERB: what the verb works on
    case $1 in
        rm) L run -d --name victim --network none base sleep 1000 ;;
        load) L rmi -f crash:loaded ;;
        import) L rmi -f crash:imported ;;
    esac >/dev/null 2>&1
}

# The youngest shim but the witness's, or the helper that it forked, which runs from the same file. Found by one
# look at all programs: a helper lives for some milliseconds.
helper_pid() {
    local pid
    for pid in $(find /proc -maxdepth 2 -name exe -lname '*longshore-shim*' 2>/dev/null | sed 's|/proc/\([0-9]*\)/exe|\1|' | sort -rn); do
        [[ $pid != "$witness_shim" ]] && grep -q "$witness_root" "/proc/$pid/cgroup" 2>/dev/null && echo "$pid" && return
    done
}

crash() { # crash VICTIM VERB MILLISECONDS
    local victim=$1 verb=$2 command pid
    prepare "$verb"
    "verb_$verb" >>"$LOG" 2>&1 &
    command=$!
    sleep "$(printf '%d.%03d' $(($3 / 1000)) $(($3 % 1000)))"
    case $victim in
        engine) pid=$(engine_pid) ;;
        command) pid=$(pgrep -P "$command" -x longshore || echo "$command") ;;
        helper) pid=$(helper_pid) ;;
    esac
    if [[ -n $pid ]] && kill -KILL "$pid" 2>/dev/null; then hits=$((hits + 1)); fi
    # Whoever is left must notice: a command that waits for a dead engine waits for ever.
    hung=
    if ! wait_until 20 has_ended "$command"; then
        hung="the command still waits 20 s after the $victim died"
        pkill -KILL -P "$command"
    fi
    wait "$command" 2>/dev/null
}

has_ended() { ! kill -0 "$1" 2>/dev/null; }

# repaired VERB: the next commands work, the verb itself too, and records and layers agree.
repaired() {
    local out
    out=$(L run --rm --network none base echo alive 2>&1)
    [[ $out == alive ]] || { echo "run says: $out"; return 1; }
    out=$(L inspect --type image --format '{{.Id}}' base 2>&1)
    [[ $out == "$base" ]] || { echo "the image is now: $out"; return 1; }
    out=$(L ps -aq --no-trunc 2>&1) || { echo "ps says: $out"; return 1; }
    out=$(L inspect --format '{{.State.Running}}' witness 2>&1)
    [[ $out == true ]] || { echo "the witness: $out"; return 1; }
    out=$(L ps -a --format '{{.Names}}' | grep -vx witness)
    # A container of a killed `run` may still be listed; it must be removable.
    # shellcheck disable=SC2086  # one name a word
    [[ -z $out ]] || out=$(L rm -f $out 2>&1 >/dev/null) || { echo "rm says: $out"; return 1; }
    if [[ $1 == load || $1 == import ]]; then
        out=$("verb_$1" 2>&1) || { echo "the same $1 again says: $out"; return 1; }
        out=$(L run --rm --network none "crash:${1%e}ed" cat "/etc/${1%e}ed" 2>&1)
        [[ $out == "${1%e}ed" ]] || { echo "what was ${1%e}ed has: $out"; return 1; }
    fi
    find "$DATA/tmp" -mindepth 1 | grep . && return 1
    return 0
}

victims() {
    local verb victim number length moment problem bad
    hits=0
    for verb in run load import rm; do
        prepare "$verb"
        length=$(measure "verb_$verb")
        for victim in engine command helper; do
            bad=0 hits=0
            for ((number = 0; number < moments; number++)); do
                moment=$((RANDOM % length))
                crash "$victim" "$verb" "$moment"
                if ! problem=$([[ -z $hung ]] || { echo "$hung"; exit 1; }; repaired "$verb"); then
                    bad=$((bad + 1))
                    not_ok "kill -9 of the $victim ${moment} ms into $verb" "$problem"
                    ((bad < 3)) || break
                fi
            done
            if [[ $hits == 0 ]]; then
                skip "kill -9 of the $victim during $verb: none was found at any of $moments moments"
                continue
            fi
            [[ $bad == 0 ]] && ok "kill -9 of the $victim at $moments moments of $verb (0..$length ms, $hits hit): repaired each time"
        done
    done
}

# A create that stands still halfway, frozen as soon as it has a cgroup, so that whoever makes the container can be
# killed there for certain: no process and no cgroup may stay, and no row of a container of --rm whose start had an
# answer.
in_a_frozen_create() { # in_a_frozen_create VICTIM
    local attempt
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        frozen_create "$1"
        case $? in
            0) return 0 ;;
            2) ;; # The create was over before it could be frozen.
            *) return 1 ;;
        esac
    done
    echo "no create could be frozen in $attempt attempts"
    return 1
}

frozen_create() {
    local id command shim pid freezer end
    id=$(L create --rm --network none base sleep 1000) || return 1
    freezer=/sys/fs/cgroup/freezer/longshore/$witness_root/$id
    longshore --data-root "$DATA" start "$id" >>"$LOG" 2>&1 &
    command=$!
    end=$((SECONDS + 20))
    until [[ -e $freezer/freezer.state ]]; do ((SECONDS < end)) || break; done
    echo FROZEN 2>/dev/null >"$freezer/freezer.state"
    sleep 0.5
    if has_ended "$command"; then
        echo THAWED 2>/dev/null >"$freezer/freezer.state"
        L rm -f "$id" >>"$LOG" 2>&1
        wait_until 20 nothing_of "$id" && return 2
        return 1
    fi
    shim=$(shims | grep -vx "$witness_shim" | sort -n | head -n 1)
    case $1 in
        shim) pid=$shim ;;
        helper) pid=$(pgrep -P "$shim" | sort -n | head -n 1) ;;
        engine) pid=$(engine_pid) ;;
    esac
    # A command that outlived its engine would ask the next one for the same start.
    if [[ $1 == engine ]]; then kill -KILL "$command"; fi
    kill -KILL "$pid" || { echo "no $1 to kill"; return 1; }
    wait_until 30 has_ended "$command" || { echo "start still waits"; return 1; }
    wait "$command" 2>/dev/null
    if [[ $1 == engine ]]; then
        # The next one finds the half-made container and ends it. That it was created stays true.
        L ps -aq >>"$LOG" 2>&1
        wait_until 20 nothing_running_of "$id" || { of "$id"; return 1; }
        L rm "$id" >>"$LOG" 2>&1
    fi
    wait_until 20 nothing_of "$id" || { of "$id"; return 1; }
}

nothing_running_of() {
    ! find /sys/fs/cgroup -type d -name "$1" 2>/dev/null | grep -q . &&
        ! grep -qlF "$1" /proc/[0-9]*/cgroup /proc/[0-9]*/mountinfo 2>/dev/null &&
        [[ ! -e /run/longshore/$witness_root/containers/$1 ]]
}

nothing_of() { [[ -z $(of "$1") ]]; }

half_made() {
    local victim problem
    if [[ ! -d /sys/fs/cgroup/freezer/longshore/$witness_root ]]; then
        skip "kill -9 in a create that stands still: no freezer of cgroup v1"
        return
    fi
    for victim in shim helper engine; do
        if problem=$(in_a_frozen_create "$victim"); then
            ok "kill -9 of the $victim while a container is half made leaves nothing of it"
        else
            not_ok "kill -9 of the $victim while a container is half made" "$problem"
        fi
    done
}

# Cgroups that nobody answers for: empty ones and those with a process go at the next start.
strays() {
    local empty used hierarchy pid
    empty=$(printf 'a%.0s' {1..64}) used=$(printf 'b%.0s' {1..64})
    hierarchy=$(find /sys/fs/cgroup -maxdepth 3 -type d -path "*/longshore/$witness_root" | head -n 1)
    if [[ -z $hierarchy ]] || ! mkdir -p "$hierarchy/$empty" "$hierarchy/$used/below"; then
        skip "cgroups that nobody answers for: none can be made"
        return
    fi
    sleep 1000 &
    pid=$!
    echo "$pid" >"$hierarchy/$used/below/cgroup.procs"
    kill -KILL "$(engine_pid)"
    L ps -aq >>"$LOG" 2>&1
    wait_until 10 has_ended "$pid"
    equal "cgroups without a container are removed at the next start, with what is in them" "" \
        "$(find /sys/fs/cgroup -type d \( -path "*$witness_root/$empty*" -o -path "*$witness_root/$used*" \); has_ended "$pid" || echo "process $pid")"
    kill -KILL "$pid" 2>/dev/null
}

witness_shim=$(shims | head -n 1)
witness_root=$(root_id)
half_made
strays
victims
equal "the witness has the shim it began with" "yes" "$([[ -d /proc/$witness_shim ]] && echo yes)"
check "the witness is told to stop" L stop -t 10 witness
expect_out "its exit code is its own" "42" L inspect --format '{{.State.ExitCode}}' witness
capture L logs witness
lines=$(grep -c '^line' <<<"$OUT")
equal "its log has every line in order, and the last word" "$(seq -f 'line %g' "$lines" && echo last)" "$OUT"
echo "# the witness wrote $lines lines"
finish
