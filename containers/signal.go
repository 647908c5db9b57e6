// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SignalName returns a signal's name, such as SIGTERM.
func SignalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(s))
}

// DieOf kills this process with the signal, so that its parent sees the same end
// as of the command. The Go runtime would catch some signals and exit with a
// status of its own. It leaves no core file, and returns only for signals that
// kill no process.
func DieOf(s syscall.Signal) {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	// A core_pattern that is a pipe ignores the limit.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	// The kernel's struct sigaction: all zero is the default action. A program
	// without cgo has no libc to do this.
	var action [4]uint64
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	_ = syscall.Kill(syscall.Getpid(), s)
	// The signal may be delivered to another thread a moment later.
	_ = syscall.Nanosleep(&syscall.Timespec{Sec: 1}, nil)
}
