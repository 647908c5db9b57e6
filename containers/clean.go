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

// mark is the file that is there while a container is being started: one that
// is found says that its start was cut short.
func (c Container) mark() string { return filepath.Join(c.dir(), "nsmgr.starting") }

// half is the file that is there while a container is being made or removed,
// and says which: LXC may be done with making one before it has all that was
// asked for, and removes one in no particular order. It stands beside the
// container's folder, not in it.
func (c Container) half() string { return filepath.Join(c.path(), ".nsmgr-half-"+c.Name) }

// What is in the file half.
const (
	isMade    = "is made\n"
	isRemoved = "is removed\n"
)

func (c Container) begin(what string) error {
	if err := os.WriteFile(c.half(), []byte(what), 0o600); err != nil {
		return exit.BadInputf("write down what becomes of container %q: %w", c.Name, err)
	}
	return nil
}

// Files with one byte for each thing that is locked, at a place that its name
// gives. The lock on a file goes with the first closing of it in a process, so
// what is locked together is in two files.
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

// lockAt takes a lock of the kind that belongs to a process, so that neither
// the monitor, which is forked of this process, nor a command has it; the
// kernel gives it back when the process dies.
func lockAt(ctx context.Context, file, name string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, exit.BadInput(err)
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, exit.BadInputf("%w (it takes root)", err)
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
			return nil, fmt.Errorf("another nsmgr is at work: %w", context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// partial is the file that LXC keeps locked while it makes a container.
func (c Container) partial() string { return filepath.Join(c.dir(), "partial") }

// cutShort says whether the making of the container, or its removal, was cut
// short, for a caller that has its lock: our own file is there, or LXC's, of
// which nobody holds the lock. LXC itself takes every such file for a making that goes on, and does not
// start the container: see docs/findings/lxc-half-made.
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

// removeHalf removes what is half made or half removed: the template that may
// still be at work, and the folder.
func (c Container) removeHalf() error {
	var err error
	for end := time.Now().Add(cleanPatience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, pid := range c.templates() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		// A program that the template started may write for a moment more.
		if err = os.RemoveAll(c.dir()); err == nil {
			_ = os.Remove(c.half())
			return nil
		}
	}
	return exit.Fail(fmt.Errorf("container %q: remove what is left of it: %w", c.Name, err))
}

// templates are the processes that LXC started to fill the container: it tells
// each its folder as --path=FOLDER.
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

// remains are what is left of a container that does not run.
type remains struct {
	monitors []int    // tasks of LXC's, outside of the container
	pids     []int    // tasks of the container
	cgroups  []string // folders, those below before those above
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

// leftovers finds what is left of the container while liblxc says that it does
// not run: its monitor was killed, which leaves its init, or has yet to finish.
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

// What LXC calls the cgroups of a container, before its name.
const (
	payloadCgroup = "lxc.payload."
	monitorCgroup = "lxc.monitor."
)

// cgroups are the folders that LXC makes for the container, in every hierarchy:
// lxc.payload.NAME and lxc.monitor.NAME, with -1, -2, … behind the name where
// one was there already. One of a container whose own name is so is left out.
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

// named says whether a cgroup's name is of this container.
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

// below are the folder and those below it, deepest first.
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

// owns says whether a task of such a cgroup is of this container. Containers of
// the same name in different folders have cgroups of the same name, and LXC puts
// whoever starts a container into the monitor's; so the name does not do. A
// monitor's title says whose it is (src/lxc/lxccontainer.c do_lxcapi_start);
// another task's root is the container's, if its policy lets that be seen.
func (c Container) owns(pid int, rootfs, dir string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	if strings.HasPrefix(filepath.Base(dir), monitorCgroup) {
		title, err := os.ReadFile(filepath.Join(proc, "cmdline"))
		return err == nil && c.monitors(title)
	}
	if pid == os.Getpid() {
		return false
	}
	want, err := os.Stat(rootfsFolder(rootfs))
	if err != nil {
		return c.path() == knownPath()
	}
	got, err := os.Stat(filepath.Join(proc, "root"))
	if err != nil { // gone, or not to be seen
		return c.path() == knownPath()
	}
	return os.SameFile(want, got)
}

// monitors says whether a process's title is that of the container's monitor.
func (c Container) monitors(title []byte) bool {
	return strings.TrimRight(string(title), "\x00 ") == "[lxc monitor] "+c.path()+" "+c.Name
}

// home is the cgroups that this process is in, and brings it back there: LXC
// puts the process that starts a container into the monitor's cgroup, which
// would keep that from being removed as long as the process lives.
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
		for _, dir := range cgroupFolders(string(before)) {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
		}
	}
}

// cgroupFolders are where the cgroups of a /proc/PID/cgroup are to be found:
// "0::/a" is of version 2, "4:cpu,cpuacct:/a" of version 1.
func cgroupFolders(text string) (dirs []string) {
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

// How long what is left may take to go: monitorPatience for a monitor to finish
// by itself, because it runs the hooks that clean up behind a container;
// cleanPatience for all, with what is killed then.
const (
	monitorPatience = 10 * time.Second
	cleanPatience   = time.Minute
)

// clean kills and removes the leftovers, and returns when they are gone. stop
// ends the container if it runs: a monitor whose start was cut short may go on
// and start it meanwhile.
func (c Container) clean(ctx context.Context, rootfs string, stop func()) error {
	defer func() { _ = os.Remove(c.mark()) }()
	for begin := time.Now(); ; {
		stop()
		r := c.leftovers(rootfs)
		for _, dir := range r.cgroups {
			_ = syscall.Rmdir(dir) // whether it went is seen in the next round
		}
		if len(r.describe()) == 0 {
			return nil
		}
		if len(r.monitors) == 0 || time.Since(begin) > monitorPatience {
			r.kill()
		}
		if time.Since(begin) > cleanPatience {
			return exit.Fail(fmt.Errorf("container %q: what is left of it does not go: %s", c.Name, strings.Join(r.describe(), ", ")))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove what is left of container %q: %w", c.Name, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kill ends all tasks. Policy may deny a signal, and cannot deny what the kernel
// does for a cgroup as a whole; which kernels before 5.14 cannot do, and those
// with cgroups of version 1.
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
