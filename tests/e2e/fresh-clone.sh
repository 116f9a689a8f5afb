#!/usr/bin/env bash
# A fresh clone and the README's two commands, word for word. Builds everything once more, so it is run by
# name: make e2e ONLY=fresh-clone
. "$(dirname "$0")/lib.sh"
need_root

git clone -q "$REPO" "$WORK/clone" || skip_all "not a git checkout"
cd "$WORK/clone" || skip_all "no clone"
unset LONGSHORE_TREE CARGO_TARGET_DIR
while read -r command; do
    # A reader types what stands before the comment.
    if sh -c "$command" >>"$LOG" 2>&1; then ok "$command"; else not_ok "$command" "$(tail -n 15 "$LOG")"; fi
done < <(sed -n 's/^    \(make [a-z]*\) *#.*/\1/p' README.md)
equal "the README has two commands" 2 "$((PASSED + FAILED))"
equal "nothing was changed in the clone" "" "$(git status --porcelain)"
finish
