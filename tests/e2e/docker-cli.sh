#!/usr/bin/env bash
# The stock docker command against longshored: what a user of Docker types first.
. "$(dirname "$0")/lib.sh"
need_root
command -v docker >/dev/null || skip_all "no docker command"

busybox_image demo
expect_has "the image is saved for docker load" "" L save -o "$WORK/demo.docker.tar" demo
check "and removed" L rmi demo
check "an engine is started to stay" L engine start
DOCKER_HOST=unix://$(socket)
export DOCKER_HOST
export DOCKER_CONFIG=$WORK/docker-config
echo "# $(docker --version)"

expect_has "docker version agrees on an API" "API version" docker version
check "docker info" docker info
expect_has "docker load" "Loaded image" docker load -i "$WORK/demo.docker.tar"
expect_has "docker images" "demo" docker images
id=$(docker images -q --no-trunc demo)
equal "docker inspect has the same ID" "$id" "$(docker inspect --type image -f '{{.Id}}' demo)"
check "docker history" docker history demo
check "docker tag" docker tag demo demo:other
check "docker rmi of a tag" docker rmi demo:other

expect_out "docker run --rm" "hello" docker run --rm --network none demo echo hello
capture_with "through the pipe" docker run --rm -i --network none demo cat
equal "docker run -i" "through the pipe" "$OUT"
expect_code "the exit code is the command's" 7 docker run --rm --network none demo sh -c 'exit 7'
expect_code "127 from docker run" 127 docker run --rm --network none demo no-such-command
capture docker run --rm -q --network none no-such-image true
if [[ $CODE == 125 && $ERR == *"longshore load"* ]]; then ok "a missing image: 125 and the remedy"; else not_ok "a missing image: 125 and the remedy" "$(details)"; fi
capture python3 "$E2E/terminal.py" 33x99 $'expect #\nsend until stty size | grep -q "33 99"; do sleep 0.1; done; exit 5' docker run --rm -it --network none demo sh
equal "docker run -it" 5 "$CODE"

# A long-lived one. It ends on SIGTERM by itself, so that stop is told from kill.
check "docker run -d" docker run -d --name web --network none -v docs:/docs demo \
    sh -c 'trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.1; done'
wait_until 10 grep -q up <(docker logs web 2>&1)
expect_out "docker logs" "up" docker logs web
expect_has "docker ps" "web" docker ps
expect_out "docker exec" "inside" docker exec web echo inside
expect_code "docker exec gives the code" 4 docker exec web sh -c 'exit 4'
capture python3 "$E2E/terminal.py" 20x70 $'expect #\nsend until stty size | grep -q "20 70"; do sleep 0.1; done; exit 6' docker exec -it web sh
equal "docker exec -it" 6 "$CODE"
clean_mounts "the host's mount table is clean while it runs"
expect_out "docker inspect" "true" docker inspect -f '{{.State.Running}}' web
check "docker stop" docker stop -t 10 web
expect_out "stopped with its own code" "3" docker inspect -f '{{.State.ExitCode}}' web
expect_out "its last words are logged" $'up\nbye' docker logs web
check "docker start" docker start web
expect_out "it runs again" "true" docker inspect -f '{{.State.Running}}' web
expect_code "docker rm of a running one is refused" 1 docker rm web
check "docker kill" docker kill web
expect_out "docker wait gives 137" "137" docker wait web
check "docker restart" docker restart -t 1 web
check "docker rm -f" docker rm -f web
expect_code "it is gone" 1 docker inspect web

expect_out "docker create" "made" sh -c 'docker create --name made --network none demo echo hi >/dev/null && echo made'
expect_out "docker start -a" "hi" docker start -a made
check "docker rm" docker rm made

expect_has "docker volume ls" "docs" docker volume ls
expect_out "docker volume create" "more" docker volume create more
expect_has "docker volume inspect" '"Name": "more"' docker volume inspect more
check "docker volume rm" docker volume rm more docs
check "docker save" docker save -o "$WORK/again.tar" demo
capture docker pull busybox:latest
if [[ $CODE != 0 && $ERR == *"longshore load"* ]]; then ok "docker pull is answered with the remedy"; else not_ok "docker pull is answered with the remedy" "$(details)"; fi
expect_code "what is not served says so" 1 docker network create x
check "docker rmi" docker rmi demo
unset DOCKER_HOST
finish
