package reports

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Hold says that a run is going on in dir, until release is called or this
// process dies: the kernel then gives the lock back. Several processes of one
// run hold its folder at the same time.
func Hold(dir string) (release func(), err error) {
	f, err := lock(dir, unix.LOCK_SH)
	if errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return func() {}, nil // no reason not to run; Seize fails there, too
	} else if err != nil {
		return nil, fmt.Errorf("hold the run's folder %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}

// ErrRunning is for a run that still goes on.
var ErrRunning = errors.New("the run still goes on")

// Seize takes the folder of a run that is over, so that none starts in it until
// release is called. It is [ErrRunning] if a process holds it.
func Seize(dir string) (release func(), err error) {
	f, err := lock(dir, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, fmt.Errorf("%s: %w", dir, ErrRunning)
	case err != nil:
		return nil, fmt.Errorf("seize the run's folder %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}

// Running tells whether the run in dir still goes on.
func Running(dir string) bool {
	release, err := Seize(dir)
	if err == nil {
		release()
	}
	return errors.Is(err, ErrRunning)
}

// lock takes a lock of flock(2) on the folder itself: it needs no file, and
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
