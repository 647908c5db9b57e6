// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"proofhouse/machines/wire"
)

// takeLock locks the board for the run. An agent of the same run whose connection
// broke is ended first; one of another run is an error that names its owner.
func takeLock(want wire.BoardLock) (*os.File, error) {
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		f, err := os.OpenFile(lockFile, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock the board: %w", err)
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			// Whoever had it before may have removed the file meanwhile.
			if ours, err := f.Stat(); err == nil {
				if now, err := os.Stat(lockFile); err == nil && os.SameFile(ours, now) {
					want.PID = os.Getpid()
					b, err := json.Marshal(want)
					if err == nil {
						err = f.Truncate(0)
					}
					if err == nil {
						_, err = f.WriteAt(b, 0)
					}
					return f, err
				}
			}
			_ = f.Close()
			continue
		}
		owner := readLock(f)
		_ = f.Close()
		if owner.Run != want.Run || time.Now().After(end) {
			return nil, fmt.Errorf("busy: the board is in use by %s since %s", owner.Owner, owner.Since.UTC().Format(time.RFC3339))
		}
		if owner.PID > 1 {
			_ = unix.Kill(owner.PID, unix.SIGTERM)
		}
	}
}

// unlock removes the lock's file while it is locked.
func unlock(f *os.File) {
	_ = os.Remove(lockFile)
	_ = f.Close()
}

func readLock(f *os.File) (l wire.BoardLock) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 4096))
	if err != nil || json.Unmarshal(b, &l) != nil {
		l.Owner = "an unknown run"
	}
	return l
}

// lockOwner tells who uses the board now.
func lockOwner() (l wire.BoardLock, held bool) {
	f, err := os.OpenFile(lockFile, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return l, false
	}
	defer func() { _ = f.Close() }()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return l, false
	}
	return readLock(f), true
}

func swapoffCall(path *byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(path)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}
