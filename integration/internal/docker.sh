# shellcheck shell=bash
# A Docker engine for the scripts of integration/; they source this after install.sh.

# docker_engine DIR sees to it that a Docker engine answers: the one that runs, else one
# that it starts with its data in DIR, after installing Debian's docker.io where it is
# missing. Ports that containers publish are on 127.0.0.1 only. It fails where neither can
# be had, with the reason in docker_missing.
# shellcheck disable=SC2034 # docker_missing is for whoever sources this
docker_engine() {
  local dir=$1 run=nohup
  docker_missing=''
  if command -v docker >/dev/null && docker version >/dev/null 2>&1; then return; fi
  if [ "$(id -u)" != 0 ]; then
    docker_missing='no Docker engine answers, and only root can start one'
    return 1
  fi
  if ! command -v dockerd >/dev/null && ! debian_packages docker.io; then
    docker_missing='no Docker engine answers, and docker.io of Debian cannot be installed'
    return 1
  fi
  mkdir -p "$dir"
  export DOCKER_HOST=unix://$dir/docker.sock
  if command -v setsid >/dev/null; then run=setsid; fi
  # Its own group: what interrupts the script must not end it before its containers.
  "$run" dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/dockerd.pid" \
    --ip 127.0.0.1 --host "$DOCKER_HOST" </dev/null >"$dir/dockerd.log" 2>&1 &
  docker_started=$dir
  for _ in $(seq 150); do
    if docker version >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  docker_missing="dockerd does not answer: $(tail -n 3 "$dir/dockerd.log")"
  return 1
}

# docker_stop ends the engine that docker_engine has started, and waits for that.
docker_stop() {
  local pid
  [ -n "${docker_started:-}" ] || return 0
  if pid=$(cat "$docker_started/dockerd.pid" 2>/dev/null) && kill "$pid" 2>/dev/null; then
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
  fi
  # The engine leaves this mounted, and what is mounted cannot be removed.
  umount "$docker_started/exec/netns/default" 2>/dev/null || true
}
