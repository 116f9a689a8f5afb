#!/usr/bin/env bash
# Archives that try to get out of their layer, on both graph drivers: refused whole, or their effect stays
# inside; a sentinel tree beside the data root is the same before and after, and a refusal leaves nothing.
. "$(dirname "$0")/lib.sh"
need_root
command -v python3 >/dev/null || skip_all "no python3"

SENTINEL=$WORK/sentinel
mkdir -p "$SENTINEL/folder"
echo keep >"$SENTINEL/keep"
chmod 640 "$SENTINEL/keep"
echo inner >"$SENTINEL/folder/inner"
ln -s keep "$SENTINEL/link"

sentinel() {
    find "$SENTINEL" -printf '%p %y %m %U %G %i %n %s %T@ %l\n' | sort
    find "$SENTINEL" -type f -exec sha256sum {} + | sort
    awk '{ print $5 }' /proc/self/mountinfo | sort
}

# What an operation could leave in the data root: layers, records, temporary files.
residue() {
    find "$DATA" -mindepth 1 -maxdepth 4 ! -name 'longshore.db*' ! -name 'engine.*' ! -path '*/diff/*' ! -path '*/dir/*/*' \
        ! -path '*/.longshore' ! -path '*/.longshore/probe' ! -path '*/.longshore/trash' 2>/dev/null | sort
}

# verdict NAME OUTCOME WHAT ARGUMENTS...: of longshore.
verdict() {
    local name=$1 outcome=$2 what=$3 before_root before after problem=
    shift 3
    before=$(sentinel)
    before_root=$(residue)
    capture timeout 120 longshore --data-root "$DATA" --config "$CONFIG" "$@"
    after=$(sentinel)
    [[ $before == "$after" ]] || problem+="the sentinel changed: $(diff <(echo "$before") <(echo "$after"))"$'\n'
    case $outcome/$CODE in
        */124 | */126 | */127 | */137 | */139 | */134 | */101) problem+="the command hung or died ($CODE)"$'\n' ;;
        reject/0) problem+="it was taken; must be refused"$'\n' ;;
        contain/0 | either/0) ;;
        contain/*) problem+="it was refused; must succeed inside the root"$'\n' ;;
    esac
    if [[ $CODE != 0 ]]; then
        [[ -n $ERR ]] || problem+="a refusal without a sentence"$'\n'
        [[ $before_root == "$(residue)" ]] || problem+="left behind: $(diff <(echo "$before_root") <(residue) | head -5)"$'\n'
    fi
    if [[ -z $problem ]]; then ok "$what ($name, $outcome, $driver)"; else not_ok "$what ($name, $driver)" "$problem" "$(details)"; fi
}

# Inside the root: what the contained cases must have made there.
inside() {
    expect_out "the last of two entries wins, and the first is untouched ($driver)" firstsecond in_image hard-replaced cat /a /b
    expect_out "file, folder, file: the last wins ($driver)" "3" in_image file-folder-file cat /x
    expect_out "through a symlink means inside the root ($driver)" "x" in_image link-to-sentinel cat "$SENTINEL/evil"
}

# A hostile image has no command of its own: the static init reads nothing, so cat comes from busybox.
in_image() {
    local case=$1
    shift
    tar -C "$WORK" -xf "$WORK/busybox.tar" ./bin/busybox
    L create --name probe --network none -v "$WORK/bin:/longshore-bin:ro" "hostile:$case" "/longshore-bin/busybox" "$@" >/dev/null &&
        L start -a probe
    local code=$?
    L rm -f probe >/dev/null
    return "$code"
}

loads() {
    local case file
    # From a good archive: one thing wrong in each. A layer that is here already would not be read again.
    L save -o "$WORK/good.tar" base || return
    L rmi base >/dev/null
    python3 "$E2E/hostile_load.py" "$WORK/good.tar" "$WORK/loads" >"$WORK/loads.tsv" || not_ok "hostile_load.py"
    while IFS=$'\t' read -r case file outcome what; do
        verdict "$case" "$outcome" "$what" load -i "$file"
    done <"$WORK/loads.tsv"
}

python3 "$E2E/hostile.py" "$WORK/archives" "$SENTINEL" >"$WORK/cases.tsv" || not_ok "hostile.py"
for driver in overlay vfs; do
    use_driver "$driver"
    busybox_image base
    while IFS=$'\t' read -r case file outcome what; do
        verdict "$case" "$outcome" "$what" import "$file" "hostile:$case"
    done <"$WORK/cases.tsv"
    inside
    loads
    check "the good one still loads ($driver)" L load -i "$WORK/good.tar"
    # shellcheck disable=SC2046  # one ID a word
    check "all of them can be removed ($driver)" L rmi -f $(L images -q --no-trunc | sort -u)
    L engine stop >/dev/null 2>&1
done
finish
