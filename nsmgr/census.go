// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTasksHidden is the error of an operation that must know all tasks of the
// system while this process cannot see them all. [HiddenTasksError] has the
// reason.
var ErrTasksHidden = errors.New("cannot see all tasks")

// HiddenTasksError has the reason why this process cannot see all tasks.
type HiddenTasksError struct{ Reason string }

func (e *HiddenTasksError) Error() string {
	return fmt.Sprintf("%v: %s; a hidden task could be left unconfined", ErrTasksHidden, e.Reason)
}

// Is makes every HiddenTasksError an [ErrTasksHidden].
func (e *HiddenTasksError) Is(target error) bool { return target == ErrTasksHidden }

// SeesAllTasks returns nil if this process can see the label of every task of
// the system, and a [HiddenTasksError] otherwise. Operations that could leave a
// task unconfined fail with that error.
func (v *View) SeesAllTasks() error {
	c := v.census()
	defer c.close()
	if _, err := c.look(true, Label.namespaced); err != nil {
		return err
	}
	return c.complete()
}

// census reads the labels of all tasks, several times if required. It keeps the
// files that it read open, which makes the next look cheaper.
type census struct {
	v      *View
	kernel map[int]bool // kernel threads, which no policy confines
	files  map[attribute]int
	shows  func() bool // View.showsPending, asked once
	// The answers of View.hasKernel and View.tellsFiles, asked once.
	hasKernel, tellsFiles func() bool
	// hidden is why the last look may have missed tasks; "" if it saw all.
	hidden string
	inside map[Name]*insider
	load   func() (last, threads int, err error) // View.loadavg
	// own are threads of this process that the census itself started in a
	// namespace.
	own map[int]bool
}

// attribute is a file of a task.
type attribute struct {
	pid, tid int
	name     string // current, exec
}

// maxKept bounds the files that a census keeps open. With more than 64 in all, a
// process of several threads waits while its table of them grows (fs/file.c
// expand_fdtable, synchronize_rcu), and to open these again takes less. A removal
// that had 100 more open took 48 ms against 34 on 6.12 under TCG.
const maxKept = 40

func (v *View) census() *census {
	return &census{
		v: v, kernel: map[int]bool{}, files: map[attribute]int{}, shows: sync.OnceValue(v.showsPending),
		hasKernel: sync.OnceValue(v.hasKernel), tellsFiles: sync.OnceValue(v.tellsFiles),
		inside: map[Name]*insider{}, own: map[int]bool{}, load: v.loadavg,
	}
}

func (c *census) close() {
	c.dismiss()
	closeAll(slices.Collect(maps.Values(c.files)))
	clear(c.files)
}

// complete returns a HiddenTasksError if the last look may have missed tasks.
func (c *census) complete() error {
	if c.hidden == "" {
		return nil
	}
	return refuse(&HiddenTasksError{c.hidden})
}

func (c *census) hide(format string, a ...any) {
	if c.hidden == "" {
		c.hidden = fmt.Sprintf(format, a...)
	}
}

// tasks is [View.Tasks].
func (c *census) tasks(ns Name) ([]Task, error) {
	return c.described(sight{match: func(l Label) bool { return l.In(ns) }})
}

// described returns the tasks with such a label, with what people need to know.
func (c *census) described(what sight) ([]Task, error) {
	what.pending = true
	found, err := c.lookAt(what)
	for i := range found {
		c.v.describe(&found[i])
	}
	return found, err
}

const (
	// lookTimeout limits a look on a host that starts tasks faster than they can
	// be read.
	lookTimeout = 10 * time.Second
	// maxStarted is how many tasks may start during a look before it begins
	// again.
	maxStarted = 1 << 16
)

// look returns the tasks whose label matches; with pending, also those that
// have requested such a label for their next exec. A task that the kernel keeps
// from this process (EACCES from the file, not from its opening) is in no
// namespace of its view.
//
// The result is complete: a process that keeps forking, each task of it living
// for microseconds, is not missed. New tasks have increasing ids, and
// /proc/loadavg has the last one. Tasks up to the last id at the beginning are
// listed. After that each new id is tried once, in ascending order, until a round
// begins and ends with the same last id. An id without a task is that of
//   - a task that has ended. Its children have greater ids, which are tried later.
//   - a task that is being forked. Its parent is alive until that is done, has a
//     smaller id and the same label, and was seen in this round or before.
//
// So the time of a round depends only on the tasks that started during the one
// before it, and the rounds come to an end on a busy host. A task that was being
// forked while the list was read is found by a second list, which is read if a
// task of the first one has ended. Tasks that are hidden from this process are
// missing in the number of tasks, which /proc/loadavg has, too.
func (c *census) look(pending bool, match func(Label) bool) ([]Task, error) {
	return c.lookAt(sight{pending: pending, match: match})
}

// lookAt is look for more than the labels with a namespace.
func (c *census) lookAt(what sight) ([]Task, error) {
	c.hidden = c.v.whyHidden()
	defer c.dismiss()
	for end := time.Now().Add(lookTimeout); ; {
		s := what
		s.known = map[int]bool{}
		again, err := c.try(&s, end)
		if err != nil {
			return nil, err
		}
		if !again {
			return s.tasks, nil
		}
	}
}

// sight is one try of a look.
type sight struct {
	pending bool
	match   func(Label) bool
	own     bool         // labels without a namespace may match, too
	known   map[int]bool // ids of the tasks that were looked at
	started int          // how many ids were given out since the look began
	tasks   []Task
}

// try reports whether the look has to begin again.
func (c *census) try(s *sight, end time.Time) (again bool, err error) {
	last, _, err := c.load()
	if err != nil {
		c.hide("%v", err)
	}
	ended, err := c.list(s)
	if err == nil && ended {
		_, err = c.list(s)
	}
	if err != nil || c.hidden != "" {
		return false, err
	}
	for wait := time.Millisecond; ; {
		now, threads, err := c.load()
		if err != nil {
			return false, err
		}
		if time.Now().After(end) {
			c.hide("tasks are started faster than they can be looked at, for %v", lookTimeout)
			return false, nil
		}
		if now < last || now-last+s.started > maxStarted { // the ids wrapped around, or too many tasks started
			return true, nil
		}
		if err := c.started(s, last+1, now); err != nil {
			return false, err
		}
		last = now
		switch now, _, err = c.load(); {
		case err != nil:
			return false, err
		case now != last:
			continue
		}
		if short := c.short(s, threads); short == 0 {
			return false, nil
		} else if wait > 500*time.Millisecond {
			c.hide("%s shows %d tasks fewer than the kernel has%s", c.v.proc, short, c.v.hidepid())
			return false, nil
		}
		// A task that was being forked when its id was tried is listed by now.
		time.Sleep(wait)
		wait *= 2
		if _, err := c.list(s); err != nil || c.hidden != "" {
			return false, err
		}
	}
}

// list looks at all tasks that /proc lists, but for those that are known, and
// reports whether one of them ended before it was looked at.
func (c *census) list(s *sight) (ended bool, err error) {
	processes, err := numbered(c.v.proc)
	if err != nil {
		return false, fmt.Errorf("list the tasks: %w", err)
	}
	kernel := c.kernelThreads()
	for _, pid := range processes {
		if kernel[pid] && c.isKernel(pid) {
			s.known[pid] = true
			continue
		}
		threads, err := c.v.threads(pid)
		switch {
		case gone(err):
			ended = true
			continue
		case errors.Is(err, fs.ErrPermission):
			c.hide("the threads of process %d cannot be listed: %v", pid, errno(err))
			continue
		case err != nil:
			return false, fmt.Errorf("list the tasks of process %d: %w", pid, err)
		}
		for _, tid := range threads {
			if s.known[tid] {
				continue
			}
			seen, err := c.task(s, pid, tid)
			if err != nil {
				return false, err
			}
			ended = ended || !seen
		}
	}
	return ended, nil
}

func (c *census) kernelThreads() map[int]bool {
	if !c.hasKernel() {
		return nil
	}
	return c.v.kernelThreads()
}

// started looks at the tasks with the ids from first to last, which are ids of
// processes and threads alike.
func (c *census) started(s *sight, first, last int) error {
	for id := first; id <= last; id++ {
		if s.known[id] {
			continue
		}
		if _, err := c.task(s, id, id); err != nil {
			return err
		}
	}
	s.started += last - first + 1
	return nil
}

// short returns how many tasks the kernel has and this process cannot see.
func (c *census) short(s *sight, threads int) int {
	if len(s.known) <= threads {
		return threads - len(s.known)
	}
	// Tasks that have ended could hide that others are missing.
	const tries = 20
	least := 0
	for i := range tries {
		last, before, err := c.load()
		if err != nil {
			return 0
		}
		n := c.count()
		now, after, err := c.load()
		if err != nil {
			return 0
		}
		if last == now && before == after { // no task started or ended
			return max(before-n, 0)
		}
		if missing := min(before, after) - n; i == 0 || missing < least {
			least = missing
		}
	}
	// The number changes all the time: a few hidden tasks cannot be distinguished
	// from those that start and end.
	if c.v.hidepid() == "" {
		return 0
	}
	return max(least, 1)
}

// count is the number of tasks that /proc shows.
func (c *census) count() (n int) {
	processes, err := numbered(c.v.proc)
	if err != nil {
		return 0
	}
	kernel := c.kernelThreads()
	for _, pid := range processes {
		if kernel[pid] && c.isKernel(pid) {
			n++
			continue
		}
		links, err := linkCount(c.v.proc + "/" + strconv.Itoa(pid) + "/task")
		if err == nil && links > 2 {
			n += int(links) - 2
		} else if threads, err := c.v.threads(pid); err == nil {
			n += len(threads)
		}
	}
	return n
}

// task looks at a task: at its label and, if that does not match, at the one
// that it has requested. It reports whether the task exists.
func (c *census) task(s *sight, pid, tid int) (seen bool, err error) {
	// What is requested first: an exec between the two turns it into the label.
	var asked Label
	asks := false
	if s.pending {
		if asked, asks, seen, err = c.read(s, attribute{pid, tid, "exec"}); err != nil || !seen {
			return false, err
		}
	}
	is, ok, seen, err := c.read(s, attribute{pid, tid, "current"})
	if err != nil || !seen {
		return seen, err
	}
	s.known[tid] = true
	t := Task{PID: pid, TID: tid, Label: is}
	switch {
	case ok && s.match(is):
	case asks && s.match(asked):
		t.Label, t.Pending = asked, true
	default:
		return true, nil
	}
	// A dead task keeps its label until its parent asks for its end.
	if c.own[tid] || c.v.dead(pid, tid) {
		return true, nil
	}
	if pid == tid { // it may be a thread that was looked at by its own number
		t.PID = c.v.process(tid)
	}
	s.tasks = append(s.tasks, t)
	return true, nil
}

// isKernel reports whether a process that kthreadd started is a kernel thread,
// and remembers it: as long as kthreadd still has a child of that number, it is
// the same.
func (c *census) isKernel(pid int) bool {
	if !c.kernel[pid] && (c.tellsFiles() && hasFilesOf(kthreadd, pid) || c.v.kernelThread(pid)) {
		c.kernel[pid] = true
	}
	return c.kernel[pid]
}

// read reads a label of a task. ok is false for a label that the kernel does
// not show to this process and for a task without a request; seen is false for a
// task that does not exist.
func (c *census) read(s *sight, a attribute) (l Label, ok, seen bool, err error) {
	b, denied, err := c.attribute(a)
	switch {
	case gone(err):
		return l, false, false, nil
	case denied: // by permissions or policy, not by the kernel's view of namespaces
		c.hide("the label of task %d cannot be read: %v", a.tid, errno(err))
		return l, false, true, nil
	case errors.Is(err, fs.ErrPermission): // it is in no namespace of this view
		return l, false, true, nil
	case errors.Is(err, syscall.EINVAL) && a.name != "current": // it has requested nothing
		return l, false, true, nil
	case errors.Is(err, syscall.EINVAL): // the file is another security module's
		c.hide("the kernel does not show the AppArmor label of task %d", a.tid)
		return l, false, true, nil
	case err != nil:
		return l, false, false, fmt.Errorf("read the label of task %d: %w", a.tid, err)
	}
	if !s.own && bytes.IndexByte(b, ':') < 0 { // most tasks, at no cost
		return l, false, true, nil
	}
	l, err = c.resolve(string(b), func() error {
		fd, err := c.v.openAttribute(a)
		if err != nil {
			return err
		}
		defer shut(fd)
		_, err = readOpen(fd)
		return err
	})
	if gone(err) {
		return l, false, false, nil
	}
	return l, err == nil && len(b) > 0, true, err
}

// attribute reads a file that is open from an earlier look, or opens it. Open,
// it is that task's, whoever gets its number after it. denied is true where it
// could not be opened for lack of permission.
func (c *census) attribute(a attribute) (b []byte, denied bool, err error) {
	fd, known := c.files[a]
	if known {
		b, err := readOpen(fd)
		if !errors.Is(err, unix.ESRCH) {
			return b, false, err
		}
		shut(fd)
		delete(c.files, a)
	}
	fd, err = c.v.openAttribute(a)
	if err != nil {
		return nil, errors.Is(err, fs.ErrPermission), err
	}
	b, err = readOpen(fd)
	if len(c.files) < maxKept {
		c.files[a] = fd
	} else {
		shut(fd)
	}
	return b, false, err
}

// firstPIDNamespace is how /proc/self/ns/pid names the pid namespace of the
// host (include/linux/proc_ns.h PROC_PID_INIT_INO).
const firstPIDNamespace = "pid:[4026531836]"

// whyHidden returns why /proc cannot show all tasks of the system; "" if no reason
// is known.
func (v *View) whyHidden() string {
	var st unix.Statfs_t
	if err := unix.Statfs(v.proc, &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		return v.proc + " is not mounted"
	}
	if !v.samePIDs() {
		return v.proc + " is the one of another pid namespace"
	}
	// A kernel without pid namespaces (CONFIG_PID_NS) has no such link. In the
	// host's pid namespace, a /proc that has this process shows all tasks.
	is, err := os.Readlink(v.proc + "/self/ns/pid")
	switch {
	case err == nil && is != firstPIDNamespace:
		return "this process is not in the host's pid namespace, and " + v.proc + " does not show the tasks outside of its own (run nsmgr in the host's pid namespace)"
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("the pid namespace of this process is unknown: %v", err)
	}
	return ""
}

// hidepid returns a remark on a /proc that is mounted so that it hides processes;
// "" for another.
func (v *View) hidepid() string {
	b, err := os.ReadFile(v.proc + "/self/mountinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		mount, options, ok := strings.Cut(line, " - proc ")
		fields := strings.Fields(mount)
		if ok && len(fields) > 4 && fields[4] == v.proc && strings.Contains(options, "hidepid=") {
			return " (it is mounted with hidepid)"
		}
	}
	return ""
}

// loadavg reads the last id that a task was given, and how many tasks there are:
// of all the system, whatever /proc shows (fs/proc/loadavg.c).
func (v *View) loadavg() (last, threads int, err error) {
	path := v.proc + "/loadavg"
	fd, err := openSmall(path)
	if err != nil {
		return 0, 0, fmt.Errorf("the number of tasks is unknown: open %s: %w", path, err)
	}
	defer shut(fd)
	// LXC's lxcfs mounts a file of its own over it.
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		return 0, 0, fmt.Errorf("the number of tasks is unknown: %s is not the kernel's", path)
	}
	b, err := readOpen(fd)
	if err != nil {
		return 0, 0, fmt.Errorf("the number of tasks is unknown: read %s: %w", path, err)
	}
	return parseLoad(b)
}

// parseLoad reads "0.20 0.18 0.12 1/80 11206".
func parseLoad(b []byte) (last, threads int, err error) {
	fields := bytes.Fields(b)
	if len(fields) == 5 {
		_, all, _ := bytes.Cut(fields[3], []byte("/"))
		threads, err = strconv.Atoi(string(all))
		if err == nil {
			last, err = strconv.Atoi(string(fields[4]))
		}
		if err == nil {
			return last, threads, nil
		}
	}
	return 0, 0, fmt.Errorf("the number of tasks is unknown: loadavg is %q", b)
}
