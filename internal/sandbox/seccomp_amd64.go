// SPDX-License-Identifier: Apache-2.0

package sandbox

import "golang.org/x/sys/unix"

const seccompArch = unix.AUDIT_ARCH_X86_64

// seccompFirst refuses the x32 ABI, whose numbers have this bit.
var seccompFirst = []unix.SockFilter{jump(anyBit, 0x40000000, 0, 1), stmt(ret, refuse)}

var refusedHere = []uint32{
	unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT,
	unix.SYS_MKNOD, unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT,
}
