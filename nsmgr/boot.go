// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"bytes"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Results that are valid until the next boot, and take time to find out, are kept
// in files in the state directory. A file must be owned by root, writable only by
// root, complete, and of this boot; any other file is ignored, and the result is
// found out again.

const (
	bootHead = "nsmgr 3 "
	bootEnd  = "\x00end\n"
)

func (v *View) bootHead() (string, bool) {
	boot, err := readSmall(v.proc + "/sys/kernel/random/boot_id")
	return bootHead + string(bytes.TrimSpace(boot)) + "\n", err == nil
}

// recall returns what was remembered by that name since the kernel booted.
func (v *View) recall(name string) (string, bool) {
	fd, err := unix.Open(v.state+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", false
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o022 != 0 || st.Uid != 0 || st.Size > maxSmall {
		return "", false
	}
	b, err := readOpen(fd)
	if err != nil {
		return "", false
	}
	head, ok := v.bootHead()
	text, ours := strings.CutPrefix(string(b), head)
	text, whole := strings.CutSuffix(text, bootEnd)
	return text, ok && ours && whole
}

// remember writes the file atomically. If that fails, nothing is remembered.
func (v *View) remember(name, text string) {
	head, ok := v.bootHead()
	whole := head + text + bootEnd
	if !ok || os.Geteuid() != 0 || len(whole) > maxSmall || os.MkdirAll(v.state, 0o755) != nil {
		return
	}
	file, err := os.CreateTemp(v.state, "."+name+"-")
	if err != nil {
		return
	}
	_, err = file.WriteString(whole)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(file.Name(), v.state+"/"+name)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
}
