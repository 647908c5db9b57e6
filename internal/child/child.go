// SPDX-License-Identifier: Apache-2.0

// Package child starts processes that do not outlive this one. Finding programs
// and reading what they say belongs to package host.
package child

import (
	"context"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is exec.CommandContext for a process that leads a process group of
// its own, is killed with that whole group when ctx ends, and gets SIGKILL
// from the kernel when the thread that started it dies, so also when this
// process is killed with SIGKILL.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Wait is cmd.Wait for a command of this package that is not trusted to end what it
// started: when it ends, the rest of its process group is killed, before the
// group's number can be another's.
func Wait(cmd *exec.Cmd) error {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		}
		if err != unix.EINTR {
			return cmd.Wait()
		}
	}
}

// DieWithParent has the kernel kill this process when the one that started it
// dies. To be called before that can have happened, by a program whose parent
// is known not to hand it on to another.
func DieWithParent() error {
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0)
}
