// SPDX-License-Identifier: Apache-2.0

package probe

import "encoding/binary"

// sleepers are the instructions of a program that sleeps forever, by Go's name of
// the architecture: a system call that waits for a signal, and a jump back.
var sleepers = map[string]struct {
	machine uint16 // of the ELF header
	code    []byte
}{
	"amd64": {62, []byte{
		0xb8, 34, 0, 0, 0, // mov eax, SYS_pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp back
	}},
	"arm64": {183, []byte{
		0x00, 0x00, 0x80, 0xd2, // mov x0, #0
		0x01, 0x00, 0x80, 0xd2, // mov x1, #0
		0x02, 0x00, 0x80, 0xd2, // mov x2, #0
		0x03, 0x00, 0x80, 0xd2, // mov x3, #0
		0x28, 0x09, 0x80, 0xd2, // mov x8, SYS_ppoll: there is no pause
		0x01, 0x00, 0x00, 0xd4, // svc #0
		0xfa, 0xff, 0xff, 0x17, // b back
	}},
}

// sleeper is a program for the architecture that sleeps. It needs no loader and
// reads nothing, so executing it needs no permission but to execute it.
func sleeper(arch string) ([]byte, bool) {
	s, ok := sleepers[arch]
	if !ok {
		return nil, false
	}
	// The largest page that a kernel of these architectures may have.
	const base, header, page = 0x400000, 64 + 56, 64 << 10
	size := uint64(header + len(s.code))
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	le := binary.LittleEndian
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = le.AppendUint16(b, s.machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+header) // entry
	b = le.AppendUint64(b, 64)          // program headers
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(b, 1) // PT_LOAD
	b = le.AppendUint32(b, 5) // read, execute
	for _, v := range []uint64{0, base, base, size, size, page} {
		b = le.AppendUint64(b, v)
	}
	return append(b, s.code...), true
}
