// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The 32-bit entry has other numbers: 15 is chmod there, rt_sigreturn here.
const asInt80 = "call-int-0x80"

func init() {
	attempts = append(attempts, struct {
		name string
		try  func(v victims) error
	}{throughInt80, func(victims) error { return exec.Command("/proc/self/exe", asInt80).Run() }})
	if len(os.Args) == 2 && os.Args[1] == asInt80 {
		if r := int80(20); r != int32(os.Getpid()) { // getpid
			fmt.Fprintln(os.Stderr, unix.Errno(-r))
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// int80 makes a system call without arguments through the 32-bit entry.
func int80(nr uint32) int32 {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		panic(err)
	}
	const result = 256
	code := binary.LittleEndian.AppendUint32([]byte{0xb8}, nr) // mov $nr, %eax
	code = append(code, 0xcd, 0x80, 0xa3)                      // int $0x80; mov %eax, …
	code = binary.LittleEndian.AppendUint64(code, uint64(uintptr(unsafe.Pointer(&page[result]))))
	copy(page, append(code, 0xc3)) // ret
	entry := &page[0]
	closure := &entry // a Go function value points to where the code's address stands
	(*(*func())(unsafe.Pointer(&closure)))()
	return int32(binary.LittleEndian.Uint32(page[result:]))
}
