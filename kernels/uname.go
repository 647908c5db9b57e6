// SPDX-License-Identifier: Apache-2.0

package kernels

import "golang.org/x/sys/unix"

// hostArch is uname -m of this host; "" if it cannot be read.
func hostArch() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Machine[:])
}

// uname is uname -r and uname -v of this host.
func uname() (release, version string, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", "", err
	}
	return unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]), nil
}
