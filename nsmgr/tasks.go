package nsmgr

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Task is a thread and its label. A process is confined thread by thread.
type Task struct {
	PID     int    // of its process, as this process sees it
	TID     int    // its own
	Command string // its name, as in /proc/PID/task/TID/comm
	Label   Label
	// Inside are its process ids in the pid namespaces further in, outermost
	// first; empty for one in this pid namespace alone.
	Inside []int
	// Pending is true for one that has asked for the label for its next exec
	// and has another yet. Kernels that do not show that of other tasks (6.1)
	// have none.
	Pending bool
}

// gone are the errors of a task that ended while we looked.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// Tasks are the tasks whose label has a part in the namespace or below it, and
// those that have asked for such a label for their next exec.
func (v *View) Tasks(ns Name) ([]Task, error) {
	c := v.census()
	defer c.close()
	return c.tasks(ns)
}

// census looks at all tasks, several times if need be: it keeps the files open
// that it read, so that the second look has little more to do than to read
// them again.
type census struct {
	v      *View
	kernel map[int]bool // threads of the kernel's, which no policy confines
	files  map[attribute]int
	shows  func() bool // View.showsPending, asked once
	// What View.hasKernel and View.tellsFiles say, asked once.
	hasKernel, tellsFiles func() bool
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
		v, map[int]bool{}, map[attribute]int{}, sync.OnceValue(v.showsPending),
		sync.OnceValue(v.hasKernel), sync.OnceValue(v.tellsFiles),
	}
}

func (c *census) close() {
	closeAll(slices.Collect(maps.Values(c.files)))
	clear(c.files)
}

// tasks is [View.Tasks].
func (c *census) tasks(ns Name) ([]Task, error) {
	all, err := c.look(true)
	if err != nil {
		return nil, err
	}
	in := slices.DeleteFunc(all, func(t Task) bool { return !t.Label.In(ns) })
	for i := range in {
		c.v.describe(&in[i])
	}
	return in, nil
}

// look reads the label of every task that /proc shows, and returns the tasks
// that are in a namespace below the view's own; with pending, also those that
// have asked for one for their next exec. It leaves out those whose label this
// process may not read: they are not in a namespace of its view, or the kernel
// would have shown them (within a namespace, a host task's label is EACCES).
func (c *census) look(pending bool) ([]Task, error) {
	processes, err := numbered(c.v.proc)
	if err != nil {
		return nil, fmt.Errorf("list the tasks: %w", err)
	}
	var candidates map[int]bool
	if c.hasKernel() {
		candidates = c.v.kernelThreads()
	}
	var tasks []Task
	for _, pid := range processes {
		if candidates[pid] && c.isKernel(pid) {
			continue
		}
		threads, err := c.v.threads(pid)
		if gone(err) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the tasks of process %d: %w", pid, err)
		}
		for _, tid := range threads {
			found, err := c.task(pid, tid, pending)
			if err != nil {
				return nil, err
			}
			tasks = append(tasks, found...)
		}
	}
	return tasks, nil
}

// task is a task as it is and, if that is in other namespaces, as it has asked
// to be.
func (c *census) task(pid, tid int, pending bool) (found []Task, err error) {
	// What is asked for first: an exec between the two turns it into the label.
	var asked Label
	var asks bool
	if pending {
		if asked, asks, err = c.read(pid, tid, "exec"); err != nil {
			return nil, err
		}
	}
	is, in, err := c.read(pid, tid, "current")
	if err != nil {
		return nil, err
	}
	if in {
		found = append(found, Task{PID: pid, TID: tid, Label: is})
	}
	if asks && slices.ContainsFunc(asked.Parts, func(p Part) bool { return p.Namespace != "" && !is.In(p.Namespace) }) {
		found = append(found, Task{PID: pid, TID: tid, Label: asked, Pending: true})
	}
	return found, nil
}

// isKernel says whether a process that kthreadd started is a thread of the
// kernel's, and keeps that in mind: as long as kthreadd still has a child of
// that number, it is the same.
func (c *census) isKernel(pid int) bool {
	if !c.kernel[pid] && (c.tellsFiles() && hasFilesOf(kthreadd, pid) || c.v.kernelThread(pid)) {
		c.kernel[pid] = true
	}
	return c.kernel[pid]
}

// read reads a label of a task; false says that it is none of a namespace
// below the view's own, or that the task is gone.
func (c *census) read(pid, tid int, name string) (Label, bool, error) {
	b, err := c.attribute(attribute{pid, tid, name})
	switch {
	case gone(err), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EINVAL):
		// EINVAL: it has asked for nothing, or it is another module's.
		return Label{}, false, nil
	case err != nil:
		return Label{}, false, fmt.Errorf("read the label of task %d: %w", tid, err)
	case bytes.IndexByte(b, ':') < 0: // most tasks, at no cost
		return Label{}, false, nil
	}
	l, err := ParseLabel(string(b))
	if err != nil {
		return Label{}, false, err
	}
	// A dead task keeps its label until its parent asks for its end.
	return l, l.namespaced() && !c.v.dead(pid, tid), nil
}

// attribute reads a file that is open from an earlier look, or opens it. Open,
// it is that task's, whoever gets its number after it.
func (c *census) attribute(a attribute) ([]byte, error) {
	fd, known := c.files[a]
	if known {
		b, err := readOpen(fd)
		if !errors.Is(err, unix.ESRCH) {
			return b, err
		}
		shut(fd)
		delete(c.files, a)
	}
	fd, err := c.v.openAttribute(a)
	if err != nil {
		return nil, err
	}
	b, err := readOpen(fd)
	if len(c.files) < maxKept {
		c.files[a] = fd
	} else {
		shut(fd)
	}
	return b, err
}

func (v *View) openAttribute(a attribute) (int, error) {
	dir := v.proc + "/" + strconv.Itoa(a.pid)
	if a.tid != a.pid {
		dir += "/task/" + strconv.Itoa(a.tid)
	}
	fd, err := openSmall(dir + "/attr/apparmor/" + a.name)
	if errors.Is(err, fs.ErrNotExist) {
		// Kernels before 5.8 have only the file that all modules share.
		fd, err = openSmall(dir + "/attr/" + a.name)
	}
	return fd, err
}

// showsPending says whether the kernel shows what another task has asked for,
// and not, as 6.1 does, what the reader has: it asks on one thread, looks from
// another, and lets the first one die. Where it cannot be tried, the kernel
// counts as one that does not. It takes a thread, so the answer is remembered;
// but not a no, which may be of the moment.
func (v *View) showsPending() bool {
	const name, yes = "shows-pending", "yes"
	if said, ok := v.recall(name); ok && said == yes {
		return true
	}
	shows := v.tryPending()
	if shows {
		v.remember(name, yes)
	}
	return shows
}

func (v *View) tryPending() bool {
	asked, looked := make(chan int), make(chan struct{})
	defer close(looked)
	go v.askAsBefore(asked, looked)
	tid := <-asked
	if tid == 0 {
		return false
	}
	b, err := readSmall(v.proc + "/self/task/" + strconv.Itoa(tid) + "/attr/apparmor/exec")
	return err == nil && len(b) > 0
}

// askAsBefore asks for the label that this process has, tells by which thread,
// or 0, and waits. The thread ends with the goroutine.
func (v *View) askAsBefore(asked chan<- int, looked <-chan struct{}) {
	runtime.LockOSThread()
	tid := unix.Gettid()
	if tid == unix.Getpid() { // the first thread stays: keep it busy while another asks
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		go func() {
			defer close(done)
			v.askAsBefore(asked, looked)
		}()
		<-done
		return
	}
	attr := v.proc + "/thread-self/attr/apparmor/"
	now, err := readSmall(attr + "current")
	var l Label
	if err == nil {
		l, err = ParseLabel(string(now))
	}
	if err == nil {
		l.Mode = ""
		err = writeOnce(attr+"exec", []byte("exec "+l.String()))
	}
	if err != nil {
		tid = 0
	}
	asked <- tid
	<-looked
}

// kthreadd is the process id of the kernel thread that starts the others.
const kthreadd = 2

// hasKernel says whether the kernel's threads are to be seen: in a container they
// are not.
func (v *View) hasKernel() bool { return v.kernelThread(kthreadd) }

// kernelThreads are the process ids of what kthreadd started: the kernel's own
// threads, most of what is in /proc on a small machine, and now and then a
// program that the kernel runs for itself, such as modprobe.
func (v *View) kernelThreads() map[int]bool {
	children, err := readSmall(v.proc + "/2/task/2/children")
	if err != nil {
		return nil
	}
	threads := map[int]bool{kthreadd: true}
	for _, word := range strings.Fields(string(children)) {
		if pid, err := strconv.Atoi(word); err == nil {
			threads[pid] = true
		}
	}
	return threads
}

// samePIDs says whether system calls mean the processes of /proc by its numbers.
func (v *View) samePIDs() bool {
	self, err := os.Readlink(v.proc + "/self")
	return err == nil && self == strconv.Itoa(os.Getpid())
}

// tellsFiles says whether hasFilesOf has an answer for the kernel's threads: not
// where the kernel cannot compare, or does not let this process. There each call
// would be in vain, and under a policy that denies it (ptrace read) a record.
func (v *View) tellsFiles() bool { return v.samePIDs() && hasFilesOf(kthreadd, kthreadd) }

// hasFilesOf says whether a process has the other's very table of open files.
// Those of kthreadd's children that have are threads of the kernel's: a program
// gets a table of its own when it is started, and one that ended has none. That is
// a system call where kernelThread takes three; false may be that the kernel does
// not tell (CONFIG_KCMP), or a thread that has files of its own.
func hasFilesOf(other, pid int) bool {
	const files = 2 // KCMP_FILES
	n, err := quick(unix.SYS_KCMP, uintptr(other), uintptr(pid), files, 0, 0)
	return err == nil && n == 0
}

// kernelThread says whether the process is a thread of the kernel's, by a flag
// that user space cannot set.
func (v *View) kernelThread(pid int) bool {
	const (
		flags    = 6        // of the fields behind the name in /proc/PID/stat
		pfThread = 0x200000 // PF_KTHREAD
	)
	stat, err := readSmall(v.proc + "/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	for range flags {
		_, rest, _ = bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
	}
	word, _, _ := bytes.Cut(rest, []byte(" "))
	n, err := strconv.ParseUint(string(word), 10, 64)
	return err == nil && n&pfThread != 0
}

// threads lists the threads of a process. Most have one, which the folder's
// link count tells in one system call: this runs over all of /proc.
func (v *View) threads(pid int) ([]int, error) {
	dir := v.proc + "/" + strconv.Itoa(pid) + "/task"
	// What may not be asked (a filter of system calls that does not know statx
	// says EPERM) is no reason to leave the process out: the folder can tell, too.
	if links, err := linkCount(dir); err == nil && links == 3 {
		return []int{pid}, nil
	}
	return numbered(dir)
}

// numbered lists the entries of a folder of /proc that are numbers.
func numbered(dir string) ([]int, error) {
	names, err := entries(dir)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// ProcessLabel is the label of a process's first thread, which one that has
// ended keeps until its parent asks for its end. It needs no securityfs.
func ProcessLabel(pid int) (Label, error) {
	v := View{proc: procfs}
	l, err := v.taskLabel(attribute{pid, pid, "current"})
	if err != nil {
		return l, fmt.Errorf("read the label of process %d: %w", pid, err)
	}
	return l, nil
}

func (v *View) taskLabel(a attribute) (Label, error) {
	fd, err := v.openAttribute(a)
	if err != nil {
		return Label{}, err
	}
	defer func() { _ = unix.Close(fd) }()
	b, err := readOpen(fd)
	if err != nil {
		return Label{}, err
	}
	return ParseLabel(string(b))
}

// namespaced says whether the label has a part below the view's own namespace.
func (l Label) namespaced() bool { return l.In("") }

// dead says whether the task has ended already: it is a zombie.
func (v *View) dead(pid, tid int) bool {
	b, err := readSmall(filepath.Join(v.proc, strconv.Itoa(pid), "task", strconv.Itoa(tid), "stat"))
	if err != nil {
		return gone(err)
	}
	// "TID (NAME) STATE …", and a name may have any character in it.
	state := string(b[strings.LastIndexByte(string(b), ')')+1:])
	state = strings.TrimSpace(state)
	return strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}

// describe adds what only people need to know.
func (v *View) describe(t *Task) {
	dir := filepath.Join(v.proc, strconv.Itoa(t.PID), "task", strconv.Itoa(t.TID))
	if b, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		t.Command = strings.TrimSuffix(string(b), "\n")
	}
	b, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, "NStgid:")
		if !ok {
			continue
		}
		for i, word := range strings.Fields(rest) {
			if n, err := strconv.Atoi(word); err == nil && i > 0 {
				t.Inside = append(t.Inside, n)
			}
		}
	}
}

func (t Task) String() string {
	s := fmt.Sprintf("%d (%s)", t.PID, t.Command)
	if t.TID != t.PID {
		s = fmt.Sprintf("%d/%d (%s)", t.PID, t.TID, t.Command)
	}
	if t.Pending {
		return s + ", which has asked for " + t.Label.String() + " for its next exec"
	}
	return s + " " + t.Label.String()
}
