//go:build !linux

package agents

import "syscall"

// attributes give a program a process group of its own. There is no signal here for the death
// of whoever started it: it runs to its end.
func attributes(syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
