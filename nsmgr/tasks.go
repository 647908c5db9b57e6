// SPDX-License-Identifier: Apache-2.0

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
	// Pending is true for a task that has requested the label for its next exec
	// and still has another one. Kernel 6.1 does not show the requests of other
	// tasks.
	Pending bool
}

// gone reports whether the error is that of a task that has ended.
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

// writeAttribute writes to an attribute of the calling thread, which the caller has
// locked to its goroutine.
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

// showsPending reports whether the kernel shows what another task has requested.
// Kernel 6.1 shows the request of the reader instead. One thread requests a label,
// another one reads that, and the first one ends. The answer is false if that
// cannot be tried. A true answer is remembered, because it takes a thread; a false
// one may be temporary.
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

// askAsBefore requests the label that this process has, sends the id of its
// thread, or 0 if that fails, and waits. The thread ends with the goroutine.
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

// hasKernel reports whether /proc shows kernel threads: in a container it does not.
func (v *View) hasKernel() bool { return v.kernelThread(kthreadd) }

// kernelThreads returns the process ids of the children of kthreadd: kernel
// threads, most of /proc on a small host, and sometimes a program that the kernel
// runs, such as modprobe.
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

// samePIDs reports whether the process ids in /proc are those of system calls.
func (v *View) samePIDs() bool {
	self, err := os.Readlink(v.proc + "/self")
	return err == nil && self == strconv.Itoa(os.Getpid())
}

// tellsFiles reports whether hasFilesOf works for kernel threads. It does not where
// the kernel cannot compare, or does not allow it: each call would fail, and be
// logged under a policy that denies it (ptrace read).
func (v *View) tellsFiles() bool { return v.samePIDs() && hasFilesOf(kthreadd, kthreadd) }

// hasFilesOf reports whether two processes share their table of open files. The
// children of kthreadd that share its table are kernel threads: a program gets its
// own table when it is started, and a task that ended has none. This takes one
// system call, kernelThread three. False also means that the kernel cannot compare
// (CONFIG_KCMP), or that the thread has files of its own.
func hasFilesOf(other, pid int) bool {
	const files = 2 // KCMP_FILES
	n, err := quick(unix.SYS_KCMP, uintptr(other), uintptr(pid), files, 0, 0)
	return err == nil && n == 0
}

// kernelThread reports whether the process is a kernel thread, by a flag that user
// space cannot set.
func (v *View) kernelThread(pid int) bool {
	const (
		flags    = 6        // fields after the name in /proc/PID/stat
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

// threads lists the threads of a process. Most have one, which the link count of
// the directory shows in one system call: this runs for all of /proc.
func (v *View) threads(pid int) ([]int, error) {
	dir := v.proc + "/" + strconv.Itoa(pid) + "/task"
	// Where statx is not allowed (a seccomp filter that does not know it returns
	// EPERM), the directory is read.
	if links, err := linkCount(dir); err == nil && links == 3 {
		return []int{pid}, nil
	}
	return numbered(dir)
}

// numbered lists the entries of a directory of /proc that are numbers.
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

// ProcessLabel returns the label of the first thread of a process. A process that
// has ended keeps it until its parent waits for it. It needs no securityfs. A name
// in the label that imitates a part in a namespace is not detected.
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

// namespaced reports whether the label has a part below the view's own namespace.
func (l Label) namespaced() bool { return l.In("") }

// lost reports whether the label is unconfined, within the namespace alone: that
// is what the removal of profiles leaves of a flat label.
func (l Label) lost(ns Name) bool {
	return l.Flat(ns) && !slices.ContainsFunc(l.Parts, func(p Part) bool { return p.Profile != Unconfined })
}

// dead reports whether the task has ended: it is a zombie, or does not exist.
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

// describe adds what is only for messages.
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
