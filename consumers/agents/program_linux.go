package agents

import "syscall"

// attributes give a program a process group of its own, and a signal when this process dies:
// nobody is left then who would report what it does.
func attributes(death syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death}
}
