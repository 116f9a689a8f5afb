#!/usr/bin/env bash
# Every row of badinput.tsv: what is got wrong gives its exit code and one sentence that names the object, and
# changes nothing.
. "$(dirname "$0")/lib.sh"
need_root

busybox_image base
echo "just text" >"$WORK/text"
: >"$WORK/empty"
mkdir "$WORK/folder"
mkfifo "$WORK/fifo"

# Plugin files with one thing wrong in each, made from a good one.
good=$TREE/lib/longshore/graph-vfs.so
head -c 4096 "$good" >"$WORK/truncated.so"
cp "$good" "$WORK/writable.so" && chmod 666 "$WORK/writable.so"
# e_machine of an ELF header: another architecture.
cp "$good" "$WORK/machine.so" && printf '\xb7\x00' | dd of="$WORK/machine.so" bs=1 seek=18 conv=notrunc status=none
cp "$(ldconfig -p | awk '/libc\.so\.6/ { print $NF; exit }')" "$WORK/foreign.so"
cp "$WORK/foreign.so" "$WORK/plain.so"

check "a running container" L run -d --name web --network none -v vol:/data base sleep 1000
check "an ended container" L run --name "done" --network none base true

state() {
    L ps -a --no-trunc --format '{{.ID}} {{.Names}} {{.State}}'
    L images --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}'
    L volume ls -q
}

# A row's containers that could not start are theirs to keep, as Docker does; they are not a change.
forget() {
    local id
    for id in $(L ps -aq --no-trunc --filter status=created) $(L ps -aq --no-trunc --filter status=exited); do
        [[ $id == "$done_id" ]] || L rm -f -v "$id" >/dev/null 2>&1
    done
}

# fill TEXT: the row with its placeholders filled in.
fill() {
    local text=${1//'{W}'/$WORK}
    printf '%s' "${text//'{R}'/$RANDOM}"
}

row() { # row ARGUMENTS CODE TEXTS
    local problem='' text after words=() texts=()
    read -ra words <<<"$(fill "$1")"
    case $1 in
        --host* | --data-root*) capture timeout 60 longshore "${words[@]}" ;;
        *) capture timeout 60 longshore --data-root "$DATA" "${words[@]}" ;;
    esac
    [[ $CODE == "$2" ]] || problem+="wanted code $2"$'\n'
    mapfile -t texts < <(fill "$3" | sed 's/ + /\n/g')
    for text in "${texts[@]}"; do
        [[ $ERR == *"$text"* ]] || problem+="the answer lacks: $text"$'\n'
    done
    (($(wc -l <<<"$ERR") <= 8)) || problem+="more than a sentence: $(wc -l <<<"$ERR") lines"$'\n'
    forget
    after=$(state)
    if [[ $after != "$before" ]]; then
        problem+="it changed something: $(diff <(echo "$before") <(echo "$after"))"$'\n'
        before=$after
    fi
    if [[ -z $problem ]]; then ok "longshore $1"; else not_ok "longshore $1" "$problem" "$(details)"; fi
}

done_id=$(L inspect --format '{{.Id}}' "done")
before=$(state)
rows=0
while IFS=$'\t' read -r arguments code texts; do
    [[ $arguments == \#* || -z $arguments ]] && continue
    rows=$((rows + 1))
    row "$arguments" "$code" "$texts"
done <"$E2E/badinput.tsv"
if ((rows >= 60)); then ok "the table has $rows rows"; else not_ok "the table has only $rows rows"; fi
expect_out "what ran still runs" "true" L inspect --format '{{.State.Running}}' web
finish
