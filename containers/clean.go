// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
)

// mark is a file that exists while a container is being started. If it exists
// before a start, an earlier start was interrupted.
func (c Container) mark() string { return filepath.Join(c.dir(), "nsmgr.starting") }

// half is a file that exists while a container is being created or removed; its
// content tells which. LXC may have created a container before that has all that
// was requested, and removes one in no particular order. The file is beside the
// container's directory, not in it.
func (c Container) half() string { return filepath.Join(c.path(), ".nsmgr-half-"+c.Name) }

// The contents of the file half.
const (
	isMade    = "is made\n"
	isRemoved = "is removed\n"
)

func (c Container) begin(what string) error {
	if err := os.WriteFile(c.half(), []byte(what), 0o600); err != nil {
		return exit.BadInputf("record the creation or removal of container %q: %w", c.Name, err)
	}
	return nil
}

// Lock files. Each container has one byte in them, at an offset that is a hash
// of its name. A process loses its locks on a file when it closes that file for
// the first time, so locks that are held together are in two files.
const (
	containersLock = "/run/nsmgr/containers"
	idsLock        = "/run/nsmgr/container-ids"
)

// lock makes this process the only nsmgr that changes the container.
func (c Container) lock(ctx context.Context) (unlock func(), err error) {
	if err := CheckName(c.Name); err != nil {
		return nil, err
	}
	unlock, err = lockAt(ctx, containersLock, c.dir())
	if err != nil {
		return nil, fmt.Errorf("lock container %q: %w", c.Name, err)
	}
	return unlock, nil
}

// lockAt takes a lock that belongs to this process, so that neither the monitor,
// which is forked from this process, nor a command inherits it. The kernel
// releases it when the process dies.
func lockAt(ctx context.Context, file, name string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, exit.BadInputf("%w (run nsmgr as root)", err)
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, exit.BadInputf("%w (run nsmgr as root)", err)
	}
	place := fnv.New64a()
	_, _ = place.Write([]byte(name))
	at := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(place.Sum64() & (math.MaxInt64 >> 1)), Len: 1}
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &at)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("another nsmgr is changing it: %w", context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// partial is the file that LXC keeps locked while it creates a container.
func (c Container) partial() string { return filepath.Join(c.dir(), "partial") }

// cutShort reports whether the creation or removal of the container was
// interrupted. The caller holds its lock. Then our own file exists, or LXC's,
// without a lock on it. LXC itself treats every such file as a creation that is
// still running, and does not start the container: see
// docs/findings/lxc-half-made.
func (c Container) cutShort() bool {
	if exists(c.half()) {
		return true
	}
	f, err := os.OpenFile(c.partial(), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lk) == nil && lk.Type == unix.F_UNLCK
}

// removeHalf removes a container whose creation or removal is incomplete: it
// kills the template that may still be running, and removes the directory.
func (c Container) removeHalf() error {
	var err error
	for end := time.Now().Add(cleanTimeout); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, pid := range c.templates() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		// A program that the template started may still be writing.
		if err = os.RemoveAll(c.dir()); err == nil {
			_ = os.Remove(c.half())
			return nil
		}
	}
	return exit.Fail(fmt.Errorf("remove the rest of container %q: %w", c.Name, err))
}

// templates returns the processes that LXC started to fill the container: each
// has its directory as --path=DIRECTORY.
func (c Container) templates() (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil || !slices.ContainsFunc(bytes.Split(b, []byte{0}), func(word []byte) bool { return string(word) == "--path="+c.dir() }) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// remains is what is left of a container that is not running.
type remains struct {
	monitors []int    // LXC's tasks, outside the container
	pids     []int    // tasks of the container
	cgroups  []string // directories, children before parents
}

func (r remains) describe() []string {
	var all []string
	for _, pid := range r.monitors {
		all = append(all, fmt.Sprintf("monitor %d", pid))
	}
	for _, pid := range r.pids {
		all = append(all, fmt.Sprintf("process %d", pid))
	}
	for _, dir := range r.cgroups {
		all = append(all, "cgroup "+dir)
	}
	return all
}

const cgroupfs = "/sys/fs/cgroup"

// leftovers finds what is left of the container while liblxc reports that it is
// not running: its monitor was killed, which leaves its init, or has not ended.
func (c Container) leftovers(rootfs string) (r remains) {
	for _, dir := range c.cgroups() {
		mine := true
		for _, pid := range procsBelow(dir) {
			switch {
			case !c.owns(pid, rootfs, dir):
				mine = false
			case strings.HasPrefix(filepath.Base(dir), monitorCgroup):
				r.monitors = append(r.monitors, pid)
			default:
				r.pids = append(r.pids, pid)
			}
		}
		if mine {
			r.cgroups = append(r.cgroups, below(dir)...)
		}
	}
	for _, pids := range []*[]int{&r.pids, &r.monitors} {
		slices.Sort(*pids)
		*pids = slices.Compact(*pids)
	}
	return r
}

// Prefixes of the cgroups of a container, as LXC names them.
const (
	payloadCgroup = "lxc.payload."
	monitorCgroup = "lxc.monitor."
)

// cgroups returns the directories that LXC creates for the container, in every
// hierarchy: lxc.payload.NAME and lxc.monitor.NAME, with -1, -2, … after the name
// where that already existed. It skips those of another container that has such
// a name.
func (c Container) cgroups() []string {
	var found []string
	for _, top := range []string{cgroupfs, filepath.Join(cgroupfs, "*")} {
		for _, kind := range []string{payloadCgroup, monitorCgroup} {
			dirs, _ := filepath.Glob(filepath.Join(top, kind+"*"))
			for _, dir := range dirs {
				if c.named(strings.TrimPrefix(filepath.Base(dir), kind)) {
					found = append(found, dir)
				}
			}
		}
	}
	return found
}

// named reports whether a cgroup's name belongs to this container.
func (c Container) named(name string) bool {
	if name == c.Name {
		return true
	}
	number, ok := strings.CutPrefix(name, c.Name+"-")
	if _, err := strconv.Atoi(number); !ok || err != nil {
		return false
	}
	return !exists(filepath.Join(c.path(), name, "config"))
}

// below returns the directory and all below it, deepest first.
func below(dir string) []string {
	var all []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return nil
	})
	slices.Reverse(all)
	return all
}

func procsBelow(dir string) []int {
	var pids []int
	for _, d := range below(dir) {
		b, err := os.ReadFile(filepath.Join(d, "cgroup.procs"))
		if err != nil {
			continue
		}
		for _, word := range bytes.Fields(b) {
			if pid, err := strconv.Atoi(string(word)); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// owns reports whether a task of such a cgroup belongs to this container. The
// name is not enough: containers of the same name in different directories have
// cgroups of the same name, and LXC moves the process that starts a container
// into the monitor's cgroup. A monitor has the container in its title
// (src/lxc/lxccontainer.c do_lxcapi_start). Any other task has the container's
// root, if policy allows to read that.
func (c Container) owns(pid int, rootfs, dir string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	if strings.HasPrefix(filepath.Base(dir), monitorCgroup) {
		title, err := os.ReadFile(filepath.Join(proc, "cmdline"))
		return err == nil && c.monitors(title)
	}
	if pid == os.Getpid() {
		return false
	}
	want, err := os.Stat(rootfsDir(rootfs))
	if err != nil {
		return c.path() == knownPath()
	}
	got, err := os.Stat(filepath.Join(proc, "root"))
	if err != nil { // ended, or not readable
		return c.path() == knownPath()
	}
	return os.SameFile(want, got)
}

// monitors reports whether a process's title is that of the container's monitor.
func (c Container) monitors(title []byte) bool {
	return strings.TrimRight(string(title), "\x00 ") == "[lxc monitor] "+c.path()+" "+c.Name
}

// home returns a function that moves this process back to its present cgroups.
// LXC moves the process that starts a container into the monitor's cgroup, which
// then cannot be removed while the process lives.
func home() (back func()) {
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return func() {}
	}
	return func() {
		after, err := os.ReadFile("/proc/self/cgroup")
		if err != nil || bytes.Equal(before, after) {
			return
		}
		for _, dir := range cgroupDirs(string(before)) {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
		}
	}
}

// cgroupDirs returns the directories of the cgroups in a /proc/PID/cgroup:
// "0::/a" is of version 2, "4:cpu,cpuacct:/a" of version 1.
func cgroupDirs(text string) (dirs []string) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for _, top := range []string{fields[1], "unified"} {
			if dir := filepath.Join(cgroupfs, top, fields[2]); exists(filepath.Join(dir, "cgroup.procs")) {
				dirs = append(dirs, dir)
				break
			}
		}
	}
	return dirs
}

// Timeouts of cleaning up after a container: monitorTimeout for its monitor,
// which runs the hooks that clean up, to end by itself; cleanTimeout for all of
// it, with the rest killed.
const (
	monitorTimeout = 10 * time.Second
	cleanTimeout   = time.Minute
)

// clean kills and removes the leftovers, and returns when none is left. stop ends
// the container if it is running: a monitor whose start was interrupted may still
// start it.
func (c Container) clean(ctx context.Context, rootfs string, stop func()) error {
	defer func() { _ = os.Remove(c.mark()) }()
	for begin := time.Now(); ; {
		stop()
		r := c.leftovers(rootfs)
		for _, dir := range r.cgroups {
			_ = syscall.Rmdir(dir) // the next round finds it if this failed
		}
		if len(r.describe()) == 0 {
			return nil
		}
		if len(r.monitors) == 0 || time.Since(begin) > monitorTimeout {
			r.kill()
		}
		if time.Since(begin) > cleanTimeout {
			return exit.Fail(fmt.Errorf("clean up container %q: timed out, still there: %s", c.Name, strings.Join(r.describe(), ", ")))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("clean up container %q: %w", c.Name, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kill kills all tasks. Policy may deny a signal, but not the kernel's killing of
// a whole cgroup, which takes Linux 5.14 and cgroups of version 2.
func (r remains) kill() {
	for _, pid := range slices.Concat(r.monitors, r.pids) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if len(r.pids) == 0 {
		return
	}
	for _, dir := range r.cgroups {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	}
}
