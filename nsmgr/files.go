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

// The files of this package are the kernel's, small, and read by the thousand.
// What counts is the number of system calls, above all where one is dear, as on
// User Mode Linux: package os has six for a file, these have three.
//
// They go by the runtime, as quick. It makes ready for one that waits: its
// monitor takes the processor away from a thread that it meets in the same call
// twice, within 20 µs or more, and wakes another thread for it, which on a machine
// of one processor has to take turns with this one. But none of these waits for
// anything that is not done in microseconds.

// quick is a system call that does not wait, repeated when a signal interrupted
// it before it did anything.
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

// here is AT_FDCWD, as a variable: it is no constant of an unsigned type.
var here = unix.AT_FDCWD

// maxSmall is more than any file of the kernel's that is read whole here has:
// the longest are labels, and feature masks.
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

// shut closes a file that was only read, which cannot fail.
func shut(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// readSmall reads a file that the kernel makes up, which it hands out whole in
// one read.
func readSmall(path string) ([]byte, error) {
	fd, err := openSmall(path)
	if err != nil {
		return nil, err
	}
	defer shut(fd)
	return readOpen(fd)
}

// readOpen is readSmall for one that is open, from its beginning, also when it
// was read before.
func readOpen(fd int) ([]byte, error) {
	buffer, _ := smallBuffers.Get().(*[]byte)
	defer smallBuffers.Put(buffer)
	n, err := quick(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(*buffer))), maxSmall, 0, 0)
	if err != nil {
		return nil, err
	}
	return bytes.Clone((*buffer)[:n]), nil
}

// readWhole reads a file of any size. Package os would have the runtime wait
// for it, which takes nine system calls more, and a thread.
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
	const more = 512 // for the end, which is a read of nothing
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

// entries lists a folder, sorted.
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

// closeAll closes descriptors of this package's, as many as follow one another
// in one call.
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

// writeOnce hands all of data to the kernel in one write: what comes in two
// is two loads.
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
		err = fmt.Errorf("%d of %d bytes were taken", n, len(data))
	}
	return err
}

// retry repeats what a signal interrupted before it did anything.
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
