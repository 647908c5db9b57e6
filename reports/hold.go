// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Hold marks the run in dir as running, until release is called or this process
// ends: the kernel then frees the lock. Several processes of one run hold its
// directory at the same time.
func Hold(dir string) (release func(), err error) {
	f, err := lock(dir, unix.LOCK_SH)
	if errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return func() {}, nil // no reason not to run; Seize fails there, too
	} else if err != nil {
		return nil, fmt.Errorf("lock the run's directory %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}

// ErrRunning is the error for a run that is still running.
var ErrRunning = errors.New("the run is still running")

// Seize locks the directory of a run that has ended, so that no run starts in it
// until release is called. It is [ErrRunning] if a process holds it.
func Seize(dir string) (release func(), err error) {
	f, err := lock(dir, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, fmt.Errorf("run %s: %w", dir, ErrRunning)
	case err != nil:
		return nil, fmt.Errorf("lock the run's directory %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}

// Running reports whether the run in dir is still running.
func Running(dir string) bool {
	release, err := Seize(dir)
	if err == nil {
		release()
	}
	return errors.Is(err, ErrRunning)
}

// lock takes a lock of flock(2) on the directory itself: it needs no file, and
// leaves none.
func lock(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err == nil {
			return f, nil
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		_ = f.Close()
		return nil, err
	}
}
