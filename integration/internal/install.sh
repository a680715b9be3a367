# shellcheck shell=bash
# What the scripts of integration/ need to install things that are neither Go nor C; they
# source it. A registry that does not answer is asked again.

# retried runs a command up to four times, with growing pauses.
retried() {
  local try
  for try in 1 2 3; do
    if "$@"; then return; fi
    echo "  failed, and tried again in $((try * 5)) s: $*" >&2
    sleep $((try * 5))
  done
  "$@"
}

# alone runs a command while no other script runs one so under the same name, for package managers
# that cannot stand each other. What the command leaves running does not hold the lock.
alone() {
  local name=$1
  shift
  if command -v flock >/dev/null; then
    flock --close "/tmp/waybill-$name-$(id -u).lock" "$@"
  else
    "$@"
  fi
}

# debian_packages NAME... installs packages of Debian, where that can be done.
debian_packages() {
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
  export DEBIAN_FRONTEND=noninteractive
  retried alone apt apt-get -qq update >/dev/null
  retried alone apt apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

# python_packages DIR REQUIREMENTS installs Python packages into a directory, for PYTHONPATH.
python_packages() {
  python3 -m pip --version >/dev/null 2>&1 || debian_packages python3-pip ||
    { echo "python3 has no pip: install it" >&2; return 1; }
  retried python3 -m pip install --quiet --disable-pip-version-check --no-input --root-user-action=ignore --target "$1" -r "$2"
}

# node_packages DIR installs what DIR/package-lock.json lists into DIR/node_modules.
node_packages() {
  retried npm ci --prefix "$1" --no-audit --no-fund --no-progress --ignore-scripts --loglevel=error >/dev/null
}

# maven_jars DIR POM [OPTION]... copies what a pom.xml names, and what that needs at run time, into DIR.
maven_jars() {
  local dir=$1 pom=$2
  shift 2
  command -v mvn >/dev/null || { echo "mvn is not installed: Maven fetches the jars" >&2; return 1; }
  retried alone maven mvn -B -q -f "$pom" "$@" -DincludeScope=runtime -DoutputDirectory="$dir" dependency:copy-dependencies
}
