// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
	"proofhouse/machines/wire"
)

// workDir is where the mounts are; only the agent's mount namespace has them.
const workDir = "/run/proofhouse-root"

// enterRoot makes the guest's root the root of this mount namespace, over a tmpfs
// that takes all writes. The root is changed with pivot_root(2), never with chroot:
// AppArmor resolves paths to the root of the mount namespace (security/apparmor/path.c,
// d_namespace_path), and profiles would name other paths.
func enterRoot(cfg *wire.BoardServe) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := os.MkdirAll(workDir, 0o755); err != nil {
		return err
	}
	// Without nosuid and nodev: the guest's programs are below.
	if err := (mount{source: "tmpfs", target: workDir, fstype: "tmpfs", data: "mode=755"}).do(); err != nil {
		return err
	}
	lower, root := workDir+"/lower", workDir+"/root"
	for _, d := range []string{lower, root, workDir + "/upper", workDir + "/work"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if cfg.Root == "" {
		lower = "/"
	} else if err := mountImage(filepath.Join(cfg.Cache, cfg.Root), lower); err != nil {
		return err
	}
	data := "lowerdir=" + lower + ",upperdir=" + workDir + "/upper,workdir=" + workDir + "/work"
	if err := unix.Mount("overlay", root, "overlay", 0, data); err != nil {
		return fmt.Errorf("mount an overlay (the kernel needs CONFIG_OVERLAY_FS): %w", err)
	}
	if cfg.Root == "" {
		if err := mountMore(root); err != nil {
			return err
		}
	}
	if err := mountGuest(root); err != nil {
		return err
	}
	bin := root + wire.BinDir
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for name, file := range cfg.Tools {
		if !nameRE.MatchString(name) || !nameRE.MatchString(file) {
			return fmt.Errorf("tool %q: not a name", name)
		}
		if err := copyFile(filepath.Join(cfg.Cache, file), filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	for _, file := range cfg.Trees {
		if !nameRE.MatchString(file) {
			return fmt.Errorf("tree %q: not a name", file)
		}
		if err := unpackTree(filepath.Join(cfg.Cache, file), root); err != nil {
			return err
		}
	}
	scratch, err := makeScratch()
	if err != nil {
		return err
	}
	defer func() { _ = scratch.Close() }()
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root (not possible from an initramfs): %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the board's root in the agent's namespace: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if err := mountScratch(scratch); err != nil {
		return err
	}
	// As systemd does: a mount made in one mount namespace shows in the others.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share the root mount: %w", err)
	}
	return nil
}

// mountMore mounts below root what the board has on other disks than its root, each
// under an overlay of its own.
func mountMore(root string) error {
	n := 0
	for line := range strings.SplitSeq(text("/proc/self/mounts"), "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], "/dev/") || f[1] == "/" || strings.HasPrefix(f[1], "/boot") || strings.ContainsAny(f[1], "\\,:") {
			continue
		}
		n++
		upper, work := fmt.Sprintf("%s/upper-%d", workDir, n), fmt.Sprintf("%s/work-%d", workDir, n)
		for _, d := range []string{upper, work} {
			if err := os.Mkdir(d, 0o755); err != nil {
				return err
			}
		}
		m := mount{source: "overlay", target: root + f[1], fstype: "overlay", data: "lowerdir=" + f[1] + ",upperdir=" + upper + ",workdir=" + work}
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// mountGuest mounts below root what a guest of a virtual machine has mounted.
func mountGuest(root string) error {
	none := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	mounts := []mount{
		{source: "proc", target: root + "/proc", fstype: "proc", flags: none},
		{source: "sysfs", target: root + "/sys", fstype: "sysfs", flags: none},
		{source: "securityfs", target: root + "/sys/kernel/security", fstype: "securityfs", flags: none, optional: true},
		{source: "debugfs", target: root + "/sys/kernel/debug", fstype: "debugfs", flags: none, optional: true},
		{source: "tracefs", target: root + "/sys/kernel/tracing", fstype: "tracefs", flags: none, optional: true},
		{source: "cgroup2", target: root + "/sys/fs/cgroup", fstype: "cgroup2", flags: none, optional: true},
		{source: "/dev", target: root + "/dev", flags: unix.MS_BIND},
		{source: "devpts", target: root + "/dev/pts", fstype: "devpts", flags: unix.MS_NOSUID | unix.MS_NOEXEC, data: "gid=5,mode=620,ptmxmode=666"},
		{source: "tmpfs", target: root + "/dev/shm", fstype: "tmpfs", flags: unix.MS_NOSUID | unix.MS_NODEV},
		{source: "mqueue", target: root + "/dev/mqueue", fstype: "mqueue", flags: none, optional: true},
		{source: "tmpfs", target: root + "/run", fstype: "tmpfs", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=755"},
		{source: "tmpfs", target: root + "/run/lock", fstype: "tmpfs", flags: none, data: "mode=1777"},
	}
	// A new mount of what the board has mounted would change options of the board's:
	// cgroup2 loses nsdelegate.
	board := mountPoints()
	for i, m := range mounts {
		at := strings.TrimPrefix(m.target, root)
		if m.optional && board[at] == m.fstype {
			mounts[i] = mount{source: at, target: m.target, flags: unix.MS_BIND}
		}
	}
	if err := mountAll(mounts); err != nil {
		return err
	}
	for _, from := range []string{"/usr/lib/modules", "/lib/modules"} {
		if st, err := os.Stat(from); err != nil || !st.IsDir() {
			continue
		}
		to := root + "/usr/lib/modules"
		if err := (mount{source: from, target: to, flags: unix.MS_BIND}).do(); err != nil {
			return err
		}
		return unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	return nil
}

// scratchDirs are where tests make files of which an overlay is not capable: swap
// files, and the roots of containers that are mounted with other IDs. In a virtual
// machine they are on ext4.
var scratchDirs = []string{"/tmp", "/var/tmp", "/var/lib/lxc"}

// makeScratch makes a file in memory for a file system that is as large as two thirds
// of the tmpfs may become.
func makeScratch() (*os.File, error) {
	f, err := os.OpenFile(workDir+"/scratch", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err = unix.Fstatfs(int(f.Fd()), &st); err == nil {
		err = f.Truncate(int64(st.Blocks) * st.Bsize / 3 * 2 &^ 4095)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// mountScratch mounts an ext4 in the file on the directories of tests. A root without
// mkfs.ext4 gets a tmpfs.
func mountScratch(file *os.File) error {
	source, kind := "tmpfs", "tmpfs"
	if mkfs := find("mkfs.ext4"); mkfs != "" {
		cmd := exec.Command(mkfs, "-q", "-F", "-m", "0", "-E", "nodiscard", "/proc/self/fd/3")
		cmd.ExtraFiles = []*os.File{file}
		cmd.Env = environment()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("make a file system for the tests: %w: %s", err, out)
		}
		loop, err := loopOf(file, "scratch", 0)
		if err != nil {
			return err
		}
		defer func() { _ = loop.Close() }()
		source, kind = loop.Name(), "ext4"
	}
	const at = "/mnt"
	if err := (mount{source: source, target: at, fstype: kind}).do(); err != nil {
		return err
	}
	for _, dir := range scratchDirs {
		from := filepath.Join(at, strings.ReplaceAll(dir[1:], "/", "-"))
		if err := os.Mkdir(from, 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o755)
		if strings.HasSuffix(dir, "tmp") {
			mode = 0o777 | os.ModeSticky
		}
		if err := os.Chmod(from, mode); err != nil {
			return err
		}
		if err := (mount{source: from, target: dir, flags: unix.MS_BIND}).do(); err != nil {
			return err
		}
	}
	return unix.Unmount(at, unix.MNT_DETACH)
}

// mountPoints are the mount points of the board, with the types of what is mounted.
func mountPoints() map[string]string {
	types := map[string]string{}
	for line := range strings.SplitSeq(text("/proc/self/mounts"), "\n") {
		if f := strings.Fields(line); len(f) > 2 {
			types[f[1]] = f[2]
		}
	}
	return types
}

// mountImage mounts an image read-only. Its loop device goes with the mount.
func mountImage(image, target string) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	loop, err := loopOf(f, image, unix.LO_FLAGS_READ_ONLY)
	if err != nil {
		return err
	}
	defer func() { _ = loop.Close() }()
	if err := unix.Mount(loop.Name(), target, "ext4", unix.MS_RDONLY, "noload"); err != nil {
		return fmt.Errorf("mount %s from %s: %w", image, loop.Name(), err)
	}
	return nil
}

// loopOf makes a loop device of the file. When its last user is gone, the device is
// free again.
func loopOf(file *os.File, name string, flags uint32) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("loop devices (the kernel needs CONFIG_BLK_DEV_LOOP): %w", err)
	}
	defer func() { _ = control.Close() }()
	mode := os.O_RDWR
	if flags&unix.LO_FLAGS_READ_ONLY != 0 {
		mode = os.O_RDONLY
	}
	for range 16 { // somebody else may take the free device first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		dev := "/dev/loop" + strconv.Itoa(n)
		if err := waitFor(dev, 5*time.Second); err != nil {
			return nil, err
		}
		loop, err := os.OpenFile(dev, mode, 0)
		if err != nil {
			return nil, err
		}
		err = attach(loop, file, name, flags)
		if err == nil {
			return loop, nil
		}
		_ = loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("make %s of %s: %w", dev, name, err)
		}
	}
	return nil, errors.New("find a free loop device: others always took it first")
}

func attach(loop, file *os.File, name string, flags uint32) error {
	info := unix.LoopInfo64{Flags: flags | unix.LO_FLAGS_AUTOCLEAR}
	copy(info.File_name[:len(info.File_name)-1], name)
	err := unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{Fd: uint32(file.Fd()), Info: info})
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTTY) {
		return err
	}
	// Before 5.8.
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(file.Fd())); err != nil {
		return err
	}
	return unix.IoctlLoopSetStatus64(int(loop.Fd()), &info)
}

// unpackTree unpacks a tar file below root. The host made it.
func unpackTree(file, root string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	dir, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", file, err)
		}
		name := strings.TrimPrefix(filepath.Clean("/"+h.Name), "/")
		switch h.Typeflag {
		case tar.TypeDir:
			err = dir.MkdirAll(name, 0o755)
		case tar.TypeSymlink:
			err = dir.Symlink(h.Linkname, name)
		case tar.TypeReg:
			var out *os.File
			if err = dir.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				break
			}
			if out, err = dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(h.Mode).Perm()); err != nil {
				break
			}
			_, err = io.Copy(out, t)
			err = errors.Join(err, out.Close())
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", file, err)
		}
	}
}

// unpackTo writes what comes, gzipped, to f. Long runs of zeros become holes.
func unpackTo(f *os.File, from io.Reader) error {
	z, err := gzip.NewReader(from)
	if err != nil {
		return err
	}
	buf, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	var size int64
	for {
		n, err := io.ReadFull(z, buf)
		if n > 0 {
			if bytes.Equal(buf[:n], zeros[:n]) {
				_, seekErr := f.Seek(int64(n), io.SeekCurrent)
				if seekErr != nil {
					return seekErr
				}
			} else if _, err := f.Write(buf[:n]); err != nil {
				return err
			}
			size += int64(n)
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && z.Close() == nil && n < len(buf):
			return f.Truncate(size)
		case err != nil:
			return err
		}
	}
}

// boardAgent is what the server has more to do on a board.
type boardAgent struct {
	after  uint64
	before baseline
}

// tidy removes the policy that a test left, and returns what it was.
func (a *boardAgent) tidy() []byte {
	var left wire.Leftovers
	tidy(a.before, &left)
	b, err := json.Marshal(left)
	if err != nil {
		return nil
	}
	return b
}

// lastAlive changes with every request of the host.
var lastAlive atomic.Int64

// watchHost ends the agent when the host is not heard of any more: a broken
// connection may never be reported. Clocks may jump, so it counts its own waits.
func watchHost() {
	const step = 5 * time.Second
	var silent time.Duration
	for last := lastAlive.Load(); ; {
		time.Sleep(step)
		if now := lastAlive.Load(); now != last {
			last, silent = now, 0
			continue
		}
		if silent += step; silent > wire.AgentTimeout {
			fmt.Fprintf(os.Stderr, "%sthe host was silent for %v\n", wire.ErrorPrefix, wire.AgentTimeout)
			os.Exit(1)
		}
	}
}

// kmsgFile is replaced by tests.
var kmsgFile = "/dev/kmsg"

// followKmsg sends the kernel's log.
func followKmsg(conn ssh.Conn, after uint64) {
	f, err := os.Open(kmsgFile)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if after == 0 {
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			return
		}
	}
	ch, reqs, err := conn.OpenChannel(wire.KmsgChannel, nil)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	// The host takes the end of the channel for the end of the log.
	defer func() { _ = ch.Close() }()
	buf := make([]byte, 8<<10)
	for {
		n, err := f.Read(buf)
		if errors.Is(err, unix.EPIPE) {
			_, _ = io.WriteString(ch, "0 "+wire.RecordsLost+" of the kernel's log: it was overwritten before it was read\n")
			continue
		}
		if err != nil {
			return
		}
		// priority,sequence,time,flags;text
		head, text, _ := strings.Cut(string(buf[:n]), ";")
		fields := strings.Split(head, ",")
		if len(fields) < 2 {
			continue
		}
		sequence, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil || sequence <= after && after > 0 {
			continue
		}
		line, _, _ := strings.Cut(text, "\n")
		if _, err := fmt.Fprintf(ch, "%d %s\n", sequence, line); err != nil {
			return
		}
	}
}
