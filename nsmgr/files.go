// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This package reads thousands of small files of the kernel. Their cost is the
// number of system calls, most of all on User Mode Linux, where each is slow.
// Package os makes six system calls for a file, these functions make three.
//
// They bypass the runtime's preparation for a system call that blocks: its
// monitor takes the processor away from a thread that stays in one call for
// 20 µs, and wakes another thread for it, which on a host with one processor
// competes with this one. None of these calls blocks.

// quick makes a system call that does not block. It repeats a call that a signal
// interrupted before it did anything.
//
//go:uintptrescapes
func quick(number uintptr, a1, a2, a3, a4, a5 uintptr) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(number, a1, a2, a3, a4, a5, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return -1, errno
		}
	}
}

// here is AT_FDCWD. It is a variable, as a negative constant has no unsigned type.
var here = unix.AT_FDCWD

// maxSmall is more bytes than any kernel file has that is read in one call here:
// the longest are labels and feature masks.
const maxSmall = 64 << 10

var smallBuffers = sync.Pool{New: func() any { b := make([]byte, maxSmall); return &b }}

func openSmall(path string) (int, error) { return openFor(path, 0) }

// openFor opens for reading.
func openFor(path string, flags uintptr) (int, error) {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	return quick(unix.SYS_OPENAT, uintptr(here), uintptr(unsafe.Pointer(p)), unix.O_RDONLY|unix.O_CLOEXEC|flags, 0, 0)
}

// shut closes a file that was only read: that cannot fail.
func shut(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// readSmall reads a file that the kernel generates, which it returns in one read.
func readSmall(path string) ([]byte, error) {
	fd, err := openSmall(path)
	if err != nil {
		return nil, err
	}
	defer shut(fd)
	return readOpen(fd)
}

// readOpen reads an open file as readSmall does, from its beginning.
func readOpen(fd int) ([]byte, error) {
	buffer, _ := smallBuffers.Get().(*[]byte)
	defer smallBuffers.Put(buffer)
	n, err := quick(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(*buffer))), maxSmall, 0, 0)
	if err != nil {
		return nil, err
	}
	return bytes.Clone((*buffer)[:n]), nil
}

// readWhole reads a file of any size. Package os would register it with the
// runtime's poller, which takes nine more system calls and a thread.
func readWhole(path string) ([]byte, error) {
	fd, err := openSmall(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	const more = 512 // room for the read that finds the end
	b := make([]byte, 0, max(st.Size, 0)+more)
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, b[len(b):cap(b)]) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return b, nil
		}
		b = slices.Grow(b[:len(b)+n], more)
	}
}

// entries lists a directory, sorted.
func entries(dir string) ([]string, error) {
	fd, err := openFor(dir, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer shut(fd)
	buffer, _ := smallBuffers.Get().(*[]byte)
	defer smallBuffers.Put(buffer)
	var names []string
	for {
		n, err := quick(unix.SYS_GETDENTS64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(*buffer))), maxSmall, 0, 0)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			slices.Sort(names)
			return names, nil
		}
		_, _, names = unix.ParseDirent((*buffer)[:n], -1, names)
	}
}

// closeAll closes descriptors, those with consecutive numbers in one call.
func closeAll(fds []int) {
	slices.Sort(fds)
	for len(fds) > 0 {
		n := 1
		for n < len(fds) && fds[n] == fds[0]+n {
			n++
		}
		if n == 1 || unix.CloseRange(uint(fds[0]), uint(fds[n-1]), 0) != nil { // from Linux 5.9 on
			for _, fd := range fds[:n] {
				_ = unix.Close(fd)
			}
		}
		fds = fds[n:]
	}
}

// writeOnce writes all of data in one write: two writes are two loads.
func writeOnce(path string, data []byte) error {
	return writeWith(path, unix.O_WRONLY, data)
}

func writeWith(path string, flags int, data []byte) error {
	fd, err := retry(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, 0o644) })
	if err != nil {
		return err
	}
	n, err := retry(func() (int, error) { return unix.Write(fd, data) })
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err == nil && n != len(data) {
		err = fmt.Errorf("short write: %d of %d bytes", n, len(data))
	}
	return err
}

// retry repeats a call that a signal interrupted before it did anything.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// linkCount is the number of links to a file.
func linkCount(path string) (uint32, error) {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return 0, err
	}
	var st unix.Statx_t
	_, err = quick(unix.SYS_STATX, uintptr(here), uintptr(unsafe.Pointer(p)), 0, unix.STATX_NLINK, uintptr(unsafe.Pointer(&st)))
	return st.Nlink, err
}
