// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// killTimeout limits the wait for the tasks of a namespace after SIGKILL: a task
// in uninterruptible sleep does not end.
const killTimeout = 30 * time.Second

// kill kills all processes with a task in the namespace, and those that they start
// in the meantime, until none is left.
func (v *View) kill(ctx context.Context, ns Name) error {
	ctx, cancel := context.WithTimeoutCause(ctx, killTimeout, fmt.Errorf("some are still running after %v", killTimeout))
	defer cancel()
	c := v.census()
	defer c.close()
	for {
		tasks, err := c.tasks(ns)
		if err != nil || len(tasks) == 0 {
			return err
		}
		for _, t := range tasks {
			switch {
			case t.PID == os.Getpid() || t.PID == 1:
				return refuse(fmt.Errorf("kill the tasks of namespace %q: %s is one of them, and is never killed", ns, t))
			case t.Label.Unverified:
				return refuse(fmt.Errorf("kill the tasks of namespace %q: cannot verify that %s is one of them: nothing was killed", ns, t))
			}
		}
		for _, t := range tasks {
			if err := v.killOne(c, t, func(l Label) bool { return l.In(ns) }); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return refuse(fmt.Errorf("kill the tasks of namespace %q: %w: %w", ns, context.Cause(ctx), &InUseError{Namespace: ns, Tasks: tasks}))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// killOne kills the task's process if the task still has, or has requested, a
// label that matches. The label is read and the process is killed through one file
// descriptor: the process's directory in /proc, which is also a pidfd (from Linux
// 5.1 on). So the wrong process is never killed, even if its ID was reused or /proc
// belongs to another pid namespace. The kernel refuses with EINVAL if the process
// is outside this process's pid namespace.
func (v *View) killOne(c *census, t Task, match func(Label) bool) error {
	fd, err := openFor(v.proc+"/"+strconv.Itoa(t.PID), unix.O_DIRECTORY)
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill %s: %w", t, err)
	}
	defer shut(fd)
	name := "current"
	if t.Pending {
		name = "exec"
	}
	a := attribute{t.PID, t.TID, name}
	b, err := readAt(fd, a)
	if err != nil {
		return nil // it has ended, or executed its program
	}
	l, err := c.resolve(string(b), func() error {
		_, err := readAt(fd, a)
		return err
	})
	if err != nil || l.Unverified || !match(l) {
		return nil
	}
	err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %s: %w", t, err)
	}
	return nil
}

// readAt reads an attribute of a task through the open directory of its process.
func readAt(process int, a attribute) ([]byte, error) {
	dir := "task/" + strconv.Itoa(a.tid) + "/attr/"
	fd, err := unix.Openat(process, dir+"apparmor/"+a.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		fd, err = unix.Openat(process, dir+a.name, unix.O_RDONLY|unix.O_CLOEXEC, 0) // kernels before 5.8
	}
	if err != nil {
		return nil, err
	}
	defer shut(fd)
	return readOpen(fd)
}
