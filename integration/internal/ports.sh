# shellcheck shell=bash
# Ports for the scripts that start servers of others; they source it.

# free_ports N prints the first of N consecutive ports of 127.0.0.1 on which nobody listens.
# They lie below those that the system hands out by itself, so that they stay free until they
# are used.
free_ports() {
  local base i
  for _ in $(seq 50); do
    base=$((20000 + (RANDOM % 1200) * 10))
    for i in $(seq "$base" $((base + $1 - 1))); do
      ! port_in_use "$i" || continue 2
    done
    echo "$base"
    return
  done
  echo "no $1 consecutive ports are free" >&2
  return 1
}

port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
