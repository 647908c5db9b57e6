package nsmgr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// killPatience is how long the tasks of a namespace may take to be gone after
// SIGKILL: one in an uninterruptible wait cannot be killed.
const killPatience = 30 * time.Second

// kill ends all processes with a task in the namespace, and those that they
// start meanwhile, and returns when there are none.
func (v *View) kill(ctx context.Context, ns Name) error {
	ctx, cancel := context.WithTimeoutCause(ctx, killPatience, fmt.Errorf("not all are gone after %v", killPatience))
	defer cancel()
	for {
		tasks, err := v.Tasks(ns)
		if err != nil || len(tasks) == 0 {
			return err
		}
		for _, t := range tasks {
			if t.PID == os.Getpid() || t.PID == 1 {
				return refuse(fmt.Errorf("kill the tasks of namespace %q: %s is among them", ns, t))
			}
		}
		for _, t := range tasks {
			if err := v.killOne(t, ns); err != nil {
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

// killOne kills the task's process, and surely that one: the label is read
// again through a descriptor that the process id cannot slip away from.
func (v *View) killOne(t Task, ns Name) error {
	fd, err := unix.PidfdOpen(t.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill %s: %w", t, err)
	}
	defer func() { _ = unix.Close(fd) }()
	name := "current"
	if t.Pending {
		name = "exec"
	}
	if l, err := v.taskLabel(attribute{t.PID, t.TID, name}); err != nil || !l.In(ns) {
		return nil // gone, or another task by now, or one that did its exec
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %s: %w", t, err)
	}
	return nil
}
