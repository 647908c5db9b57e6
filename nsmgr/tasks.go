package nsmgr

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"proofhouse/internal/printable"
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

// Tasks returns the tasks whose label has a part in the namespace or below it,
// and those that have requested such a label for their next exec. It returns
// what this process can see: [View.SeesAllTasks] reports whether that is all.
func (v *View) Tasks(ns Name) ([]Task, error) {
	c := v.census()
	defer c.close()
	return c.tasks(ns)
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

// writeAttribute writes to a file of the calling thread's: the caller has locked
// it to its goroutine.
func (v *View) writeAttribute(name, text string) error {
	dir := v.proc + "/thread-self/attr/"
	err := writeOnce(dir+"apparmor/"+name, []byte(text))
	if errors.Is(err, fs.ErrNotExist) && unix.Access(dir+"apparmor", unix.F_OK) != nil {
		err = writeOnce(dir+name, []byte(text)) // kernels before 5.8
	}
	return err
}

// process returns the process that a thread belongs to; the thread's own id if
// that is not known.
func (v *View) process(tid int) int {
	if pid := v.statusNumber(tid, "Tgid:"); pid != 0 {
		return pid
	}
	return tid
}

// statusNumber returns the number in a line of /proc/ID/status; 0 if that is not
// known.
func (v *View) statusNumber(id int, line string) int {
	b, err := readSmall(v.proc + "/" + strconv.Itoa(id) + "/status")
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, line); ok {
			n, err := strconv.Atoi(strings.TrimSpace(rest))
			if err == nil {
				return n
			}
		}
	}
	return 0
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
	now, err := readSmall(v.proc + "/thread-self/attr/apparmor/current")
	var l Label
	if err == nil {
		l, err = ParseLabel(string(now))
	}
	if err == nil {
		l.Mode = ""
		err = v.writeAttribute("exec", "exec "+l.String())
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

// ProcessLabel returns the label of a process's first thread, which one that has
// ended keeps until its parent asks for its end. It needs no securityfs. The
// text is taken as it reads: a name in it that imitates a part in a namespace is
// not detected.
func ProcessLabel(pid int) (Label, error) {
	v := View{proc: procfs}
	fd, err := v.openAttribute(attribute{pid, pid, "current"})
	var b []byte
	if err == nil {
		b, err = readOpen(fd)
		shut(fd)
	}
	if err != nil {
		return Label{}, fmt.Errorf("read the label of process %d: %w", pid, err)
	}
	return readLabel(string(b), func(Name) (bool, error) { return true, nil })
}

// namespaced says whether the label has a part below the view's own namespace.
func (l Label) namespaced() bool { return l.In("") }

// lost reports whether the label is unconfined, within the namespace alone: that
// is what the removal of profiles leaves of a flat label.
func (l Label) lost(ns Name) bool {
	return l.Flat(ns) && !slices.ContainsFunc(l.Parts, func(p Part) bool { return p.Profile != Unconfined })
}

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

// String returns the task as messages name it, safe to print on a terminal: both
// the command's name and the label are chosen by others.
func (t Task) String() string {
	id := strconv.Itoa(t.PID)
	if t.TID != t.PID {
		id += "/" + strconv.Itoa(t.TID)
	}
	label := t.Label.String()
	if t.Label.Unverified {
		label += " (unverified)"
	}
	s := fmt.Sprintf("%s (%s) %s", id, t.Command, label)
	if t.Pending {
		s = fmt.Sprintf("%s (%s), which has requested %s for its next exec", id, t.Command, label)
	}
	return printable.Text(s)
}
