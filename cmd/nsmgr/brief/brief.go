// Package brief makes the start of nsmgr short. It has to come before almost
// everything else that a Go program does until main, so it does its work when it
// is imported, needs next to no other package, and knows nsmgr's commands by name.
package brief

import (
	"syscall"
	"unsafe"
)

// Commands are those that are over in milliseconds and start no program but
// the parser, which waits for no time.
var Commands = []string{"create", "delete", "list", "load", "show", "tasks", "unload", "version"}

func init() {
	prefault()
	word := command()
	for _, c := range Commands {
		if c == word {
			calm()
		}
	}
}

const (
	// heap is twice what nsmgr has allocated when its command begins, in bytes.
	heap = 512 << 10
	page = 4 << 10

	populateWrite = 23 // MADV_POPULATE_WRITE, from Linux 5.14 on
)

// prefault has the kernel map, in one call, the memory that is about to be
// allocated, which it would otherwise do page by page. Where a page fault is
// dear, as on User Mode Linux (20 µs, against 1 µs for a page that comes with
// others), that is a tenth of nsmgr's time.
//
// The runtime allocates from the lowest address on, so what comes next is behind
// what came first. It is advice: an older kernel refuses it, and any stops where
// the heap ends as yet; the rest is left to page faults.
func prefault() {
	start := uintptr(unsafe.Pointer(new([page]byte))) &^ (page - 1)
	_, _, _ = syscall.RawSyscall(syscall.SYS_MADVISE, start, heap, populateWrite)
}

// command is the first word behind the program's name. Package os does not know
// it as yet.
func command() string {
	file, ok := open("/proc/self/cmdline", syscall.O_RDONLY)
	if !ok {
		return ""
	}
	var line [512]byte
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, file, uintptr(unsafe.Pointer(&line)), unsafe.Sizeof(line))
	shut(file)
	if errno != 0 {
		return ""
	}
	// The words end in a NUL each.
	var words [2]string
	at := 0
	for i := range words {
		end := at
		for end < int(n) && line[end] != 0 {
			end++
		}
		words[i], at = string(line[at:end]), min(end+1, int(n))
	}
	return words[1]
}

// slack is how much longer the runtime's monitor may sleep than it asks for, in
// nanoseconds: 5 ms.
const slack = "5000000"

// calm lets the Go runtime's monitor sleep longer. It looks at the other threads
// every 20 µs at first, a hundred times in all: where timers and changes of
// threads are dear, as in a guest that is emulated, that is a sixth of nsmgr's
// time (make bench). A program that is started may inherit it, by a thread that the monitor
// started, and would then wait longer than it asks for. Whoever is not root is not
// let.
func calm() {
	dir, ok := open("/proc/self/task", syscall.O_RDONLY|syscall.O_DIRECTORY)
	if !ok {
		return
	}
	var list [512]byte
	n, _, errno := syscall.RawSyscall(syscall.SYS_GETDENTS64, dir, uintptr(unsafe.Pointer(&list)), unsafe.Sizeof(list))
	shut(dir)
	if errno != 0 {
		return
	}
	// In the order of their start: the first is the program's own, and the next
	// the monitor, which the runtime starts before all others.
	_, _, threads := syscall.ParseDirent(list[:n], -1, nil)
	if len(threads) < 2 {
		return
	}
	// A thread has the file in a folder of its own, which no list shows.
	file, ok := open("/proc/"+threads[1]+"/timerslack_ns", syscall.O_WRONLY)
	if !ok {
		return
	}
	ns := []byte(slack)
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, file, uintptr(unsafe.Pointer(&ns[0])), uintptr(len(ns)))
	shut(file)
}

// open and shut go by the runtime, as package os and syscall.Open would have the
// monitor at work.
func open(path string, flags uintptr) (uintptr, bool) {
	const here = -0x64 // AT_FDCWD
	p, err := syscall.BytePtrFromString(path)
	if err != nil {
		return 0, false
	}
	at := here
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(p)), flags|syscall.O_CLOEXEC, 0, 0, 0)
	return fd, errno == 0
}

func shut(fd uintptr) { _, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0) }
