# shellcheck shell=bash
# A real Kafka for the scripts of integration/; they source this after install.sh and docker.sh,
# at the top of the tree.

# with_kafka WAY SCRATCH COMMAND... runs a command with the brokers of a real Kafka in
# WAYBILL_TEST_BROKERS: those that are named there already; else, by the way "container", those of a
# container, where there is a Docker engine; else Apache Kafka from Maven. It says which it got, and
# how. With DOCKER=required the way "container" is the only one.
with_kafka() {
  local way=$1 scratch=$2
  shift 2
  if [ -n "${WAYBILL_TEST_BROKERS:-}" ]; then
    echo "Kafka: at $WAYBILL_TEST_BROKERS, as WAYBILL_TEST_BROKERS says"
    "$@"
  elif [ "$way" != container ]; then
    kafka_from_maven "$scratch" "$@"
  elif kafka_engine "$scratch"; then
    (cd integration/containers && go build -o "$scratch/containers" .)
    # Nothing of ours is left to the reaper: it would be one more image.
    TESTCONTAINERS_RYUK_DISABLED=true TESTCONTAINERS_HOST_OVERRIDE=127.0.0.1 "$scratch/containers" "$@"
  elif [ "${DOCKER:-}" = required ]; then
    echo "Kafka: none in a container, for $docker_missing" >&2
    return 1
  else
    echo "  NOT SHOWN: Kafka in a container, for $docker_missing"
    kafka_from_maven "$scratch" "$@"
  fi
}

# side_by_side DIR ROW... runs rows of commands beside each other, for they mostly wait, and prints what
# each says in one piece. What is under way ends with it.
side_by_side() (
  dir=$1 failed=0 pids=()
  shift
  trap 'kill "${pids[@]}" 2>/dev/null || true; wait' EXIT
  for row in "$@"; do
    timeout --kill-after=30s 600 bash -euo pipefail -c "$row" </dev/null >"$dir/row-${#pids[@]}" 2>&1 &
    pids+=($!)
  done
  for i in "${!pids[@]}"; do
    wait "${pids[i]}" || failed=1
    cat "$dir/row-$i"
  done
  exit "$failed"
)

kafka_from_maven() {
  local dir=$1/kafka said began=$SECONDS code=0
  shift
  # Its owner is the script, so that it goes whatever becomes of that.
  said=$(integration/cluster/kafka start --dir "$dir" --port 0 --owner $$ "${kafka_options[@]}") || return 1
  echo "Kafka: Apache Kafka $(sed -n 's/^version=//p' <<<"$said") from Maven, at $(sed -n 's/^bootstrap=//p' <<<"$said") after $((SECONDS - began)) s"
  WAYBILL_TEST_BROKERS=$(sed -n 's/^bootstrap=//p' <<<"$said") "$@" || code=$?
  integration/cluster/kafka stop --dir "$dir" --wipe
  return "$code"
}
kafka_options=()

# kafka_engine gets a Docker engine and an image: the one that WAYBILL_TEST_KAFKA_IMAGE names; else
# Apache's own, where it can be pulled; else one that is made of the same jars here.
kafka_engine() {
  docker_engine "$1/docker" || return 1
  [ -z "${WAYBILL_TEST_KAFKA_IMAGE:-}" ] || return 0
  local official
  official=$(sed -n 's/^.*officialImage = "\(.*\)".*/\1/p' integration/containers/main.go)
  if docker image inspect "$official" >/dev/null 2>&1 || timeout 60 docker pull --quiet "$official" >/dev/null 2>"$1/pull"; then return; fi
  echo "$official cannot be pulled ($(tail -n 1 "$1/pull" | cut -c1-100)): an image is made"
  command -v busybox >/dev/null || debian_packages busybox-static || { docker_missing='busybox, of which the image is made, cannot be installed'; return 1; }
  WAYBILL_TEST_KAFKA_IMAGE=$(integration/cluster/image | tail -n 1) || { docker_missing='the image cannot be made'; return 1; }
  export WAYBILL_TEST_KAFKA_IMAGE
}
