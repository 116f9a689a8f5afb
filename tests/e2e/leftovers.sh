#!/usr/bin/env bash
# While containers run the host's mount table has no entry of ours; after everything nothing is left: no
# mount, namespace, cgroup, process or temporary file.
. "$(dirname "$0")/lib.sh"
need_root

namespaces() { readlink /proc/[0-9]*/ns/{mnt,net,pid,uts,ipc,cgroup} 2>/dev/null | sort -u; }

no_engine() { [[ $(processes) == "$(shims)" ]]; }

before=$(namespaces)
for driver in overlay vfs; do
    use_driver "$driver"
    busybox_image "demo-$driver"
    for number in 1 2 3; do
        check "container $number starts on $driver" L run -d --network none --name "c$number-$driver" -v "v$number-$driver:/data" "demo-$driver" sleep 1000
    done
    clean_mounts "no mount of ours on the host with three containers on $driver"
    check "exec" L exec "c1-$driver" true
    check "a failed run leaves nothing either" sh -c "! longshore --data-root '$DATA' --config '$CONFIG' run --rm --network none demo-$driver /no/such"
    expect_out "three containers run" 3 sh -c "longshore --data-root '$DATA' --config '$CONFIG' ps -q --filter name=-$driver | wc -l"
    check "the engine stops, containers do not" L engine stop
    wait_until 10 no_engine
    equal "three shims remain" 3 "$(shims | wc -l)"
    equal "and no engine" "$(shims)" "$(processes)"
    clean_mounts "no mount of ours on the host without an engine on $driver"
    check "the next command finds them" L exec "c2-$driver" true
    check "stop" L stop -t 1 "c1-$driver" "c2-$driver"
    check "rm" L rm -f "c1-$driver" "c2-$driver" "c3-$driver"
    check "volumes go" L volume rm "v1-$driver" "v2-$driver" "v3-$driver"
    check "the image goes" L rmi "demo-$driver"
done
check "the engine stops" L engine stop
wait_until 10 no_leftovers
equal "nothing is left" "" "$(leftovers)"
same_namespaces() { [[ -z $(comm -13 <(echo "$before") <(namespaces)) ]]; }
# Other processes of the machine may come and go; ours are gone within seconds.
if wait_until 10 same_namespaces; then ok "no namespace is left"; else not_ok "no namespace is left" "$(comm -13 <(echo "$before") <(namespaces))"; fi
equal "no layer is left on disk" "" "$(find "$DATA"/{overlay2,vfs} -mindepth 2 -maxdepth 2 ! -name '.*' ! -path '*/l/*' ! -path '*/l' ! -path '*/.longshore/*' 2>/dev/null | head -5)"
equal "no container folder is left" "" "$(ls -A "$DATA/containers" 2>/dev/null)"
finish
