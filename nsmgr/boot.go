package nsmgr

import (
	"bytes"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// What holds until the kernel boots again, and takes time to find out, root
// keeps in files of its own beside the notes. What is wrong with one only costs
// that time: it must be root's, writable to nobody else, whole, and of this
// boot, or it counts as not there.

const (
	bootHead = "nsmgr 3 "
	bootEnd  = "\x00end\n"
)

func (v *View) bootHead() (string, bool) {
	boot, err := readSmall(v.proc + "/sys/kernel/random/boot_id")
	return bootHead + string(bytes.TrimSpace(boot)) + "\n", err == nil
}

// recall is what was remembered by that name since the kernel booted.
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

// remember puts the file in its place whole, or not at all.
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
