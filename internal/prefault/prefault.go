// Package prefault has the kernel map, in one call at the start, the memory that
// a short program is about to allocate, which it would otherwise do page by
// page. Where a page fault is dear, as on User Mode Linux (20 µs, against 1 µs
// for a page that comes with others), that is a tenth of such a program's time.
// It is to be imported for that effect alone:
//
//	import _ "proofhouse/internal/prefault"
package prefault

import (
	"syscall"
	"unsafe"
)

const (
	// size is twice what nsmgr has allocated when its command begins.
	size = 512 << 10
	page = 4 << 10

	populateWrite = 23 // MADV_POPULATE_WRITE, from Linux 5.14 on
)

// The runtime allocates from the lowest address on, so what comes next is behind
// what came first. It is advice: an older kernel refuses it, and any stops where
// the heap ends as yet; the rest is left to page faults.
func init() {
	start := uintptr(unsafe.Pointer(new([page]byte))) &^ (page - 1)
	_, _, _ = syscall.RawSyscall(syscall.SYS_MADVISE, start, size, populateWrite)
}
