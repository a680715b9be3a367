# shellcheck shell=bash
# The programs of this tree, for the scripts of integration/; they source this at the top of the tree.

# build FILE PACKAGE builds a program; where WAYBILL_TEST_PROGRAMS names a directory that holds it
# already, as .ci/run has it for all scenarios, it is taken from there: to link one takes seconds.
# Package process does the same for programs in Go.
build() {
  local built=${WAYBILL_TEST_PROGRAMS:+$WAYBILL_TEST_PROGRAMS/$(basename "$2")}
  if [ -x "$built" ]; then
    # No symbolic link: a program that says how it is called says where it is.
    ln "$built" "$1" 2>/dev/null || cp "$built" "$1"
  else
    CGO_ENABLED=1 go build -o "$1" "$2"
  fi
}
