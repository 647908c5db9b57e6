// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// removeAll removes the directory and what a process that is not trusted left in
// it. os.RemoveAll would not do: it gives up at a directory that its owner may not
// list, and it keeps a descriptor and a buffer for each level of a deep tree.
//
// It follows no link: dir is opened once, and each directory below it is emptied
// into dir first, so that no tree is deeper than two levels.
func removeAll(dir string) error {
	top, err := openDir(unix.AT_FDCWD, dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer func() { _ = top.Close() }()
	moved := 0
	for {
		left, err := empty(top, func(name string) error {
			sub, err := openDir(int(top.Fd()), name)
			if err != nil {
				return err
			}
			defer func() { _ = sub.Close() }()
			for {
				left, err := empty(sub, func(deep string) error {
					if err := unix.Unlinkat(int(sub.Fd()), deep, unix.AT_REMOVEDIR); err == nil {
						return nil
					}
					// A directory without write permission cannot be moved.
					d, err := openDir(int(sub.Fd()), deep)
					if err != nil {
						return err
					}
					_ = d.Close()
					for {
						moved++
						to := ".removed-" + strconv.Itoa(moved)
						err := unix.Renameat2(int(sub.Fd()), deep, int(top.Fd()), to, unix.RENAME_NOREPLACE)
						if !errors.Is(err, unix.EEXIST) {
							return err
						}
					}
				})
				if err != nil {
					return err
				}
				if !left {
					return unix.Unlinkat(int(top.Fd()), name, unix.AT_REMOVEDIR)
				}
			}
		})
		if err != nil {
			return &os.PathError{Op: "remove", Path: dir, Err: err}
		}
		if !left {
			return os.Remove(dir)
		}
	}
}

// empty removes the files of the directory and calls sub for each directory in it.
// It reports whether there was any entry.
func empty(dir *os.File, sub func(name string) error) (found bool, err error) {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	for {
		names, err := dir.Readdirnames(1000)
		for _, name := range names {
			found = true
			err := unix.Unlinkat(int(dir.Fd()), name, 0)
			if errors.Is(err, unix.EISDIR) {
				err = sub(name)
			}
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return found, err
			}
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
	}
}

// openDir opens a directory to list and change it, and gives its owner the
// permission to do so.
func openDir(at int, name string) (*os.File, error) {
	const flags = unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	path, err := unix.Openat(at, name, flags|unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(path) }()
	// Only the owner can, and whoever is not the owner may need no permission.
	_ = unix.Chmod(filepath.Join("/proc/self/fd", strconv.Itoa(path)), 0o700)
	fd, err := unix.Openat(path, ".", flags, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
