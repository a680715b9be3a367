# shellcheck shell=bash
# Ports for the scripts that start servers of others; they source it.

# free_ports N [OWNER] prints the first of N consecutive ports of 127.0.0.1 on which nobody listens.
# They lie below those that the system hands out by itself, so that they stay free until they
# are used; and nobody else who asks here, or package process, is given them while process OWNER
# lives (this script unless named), though nobody may listen there yet, or for a while.
free_ports() {
  local owner=${2:-$$} claims lock='' kept=() taken=' ' port pid base i
  claims=/tmp/waybill-ports-$(id -u)
  exec {lock}>>"$claims"
  ! command -v flock >/dev/null || flock "$lock"
  while read -r port pid; do
    kill -0 "$pid" 2>/dev/null || continue
    kept+=("$port $pid")
    taken+="$port "
  done <"$claims"
  for _ in $(seq 50); do
    base=$((20000 + (RANDOM % 1200) * 10))
    for i in $(seq "$base" $((base + $1 - 1))); do
      case $taken in *" $i "*) continue 2 ;; esac
      ! port_in_use "$i" || continue 2
    done
    for i in $(seq "$base" $((base + $1 - 1))); do kept+=("$i $owner"); done
    printf '%s\n' "${kept[@]}" >"$claims"
    exec {lock}>&-
    echo "$base"
    return
  done
  exec {lock}>&-
  echo "no $1 consecutive ports are free" >&2
  return 1
}

port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
