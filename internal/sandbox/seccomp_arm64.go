// SPDX-License-Identifier: Apache-2.0

package sandbox

import "golang.org/x/sys/unix"

const seccompArch = unix.AUDIT_ARCH_AARCH64

var seccompFirst []unix.SockFilter

var refusedHere []uint32
