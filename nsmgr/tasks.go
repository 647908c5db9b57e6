package nsmgr

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
}

// gone are the errors of a task that ended while we looked.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// Tasks are the tasks whose label has a part in the namespace or below it.
func (v *View) Tasks(ns Name) ([]Task, error) {
	all, err := v.allTasks()
	if err != nil {
		return nil, err
	}
	in := slices.DeleteFunc(all, func(t Task) bool { return !t.Label.In(ns) })
	for i := range in {
		v.describe(&in[i])
	}
	return in, nil
}

// allTasks reads the label of every task that /proc shows. It leaves out those
// whose label this process may not read: they are not in a namespace of its
// view, or the kernel would have shown them (within a namespace, a host
// task's label is EACCES).
func (v *View) allTasks() ([]Task, error) {
	processes, err := numbered(v.proc)
	if err != nil {
		return nil, fmt.Errorf("list the tasks: %w", err)
	}
	kernels := v.kernelThreads()
	var tasks []Task
	for _, pid := range processes {
		if kernels[pid] && v.bodiless(pid) {
			continue
		}
		threads, err := v.threads(pid)
		if gone(err) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the tasks of process %d: %w", pid, err)
		}
		for _, tid := range threads {
			l, err := v.taskLabel(pid, tid)
			switch {
			case err == nil && l.namespaced() && v.dead(pid, tid):
				// It keeps its label until its parent asks for its end.
			case err == nil:
				tasks = append(tasks, Task{PID: pid, TID: tid, Label: l})
			case gone(err), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EINVAL):
				// EINVAL: another module's attribute.
			default:
				return nil, err
			}
		}
	}
	return tasks, nil
}

// kernelThreads are the process ids of what kthreadd started: the kernel's own
// threads, most of what is in /proc on a small machine, and now and then a
// program that the kernel runs for itself, such as modprobe. It is empty where
// they are not to be seen, as in a container.
func (v *View) kernelThreads() map[int]bool {
	const (
		kthreadd = 2
		flags    = 6        // of the fields behind the name in /proc/PID/stat
		pfThread = 0x200000 // PF_KTHREAD: user space cannot set it
	)
	dir := filepath.Join(v.proc, strconv.Itoa(kthreadd), "task", strconv.Itoa(kthreadd))
	stat, err := readSmall(filepath.Join(dir, "stat"))
	if err != nil {
		return nil
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= flags {
		return nil
	}
	if n, err := strconv.ParseUint(fields[flags], 10, 64); err != nil || n&pfThread == 0 {
		return nil
	}
	children, err := readSmall(filepath.Join(dir, "children"))
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

// bodiless says whether the process has neither a program nor a second thread:
// among what kthreadd started, that is a thread of the kernel's, which no
// policy confines.
func (v *View) bodiless(pid int) bool {
	dir := filepath.Join(v.proc, strconv.Itoa(pid))
	var to [1]byte
	if _, err := unix.Readlink(filepath.Join(dir, "exe"), to[:]); !errors.Is(err, unix.ENOENT) {
		return false
	}
	var st unix.Stat_t
	return unix.Stat(filepath.Join(dir, "task"), &st) == nil && st.Nlink == 3
}

// threads lists the threads of a process. Most have one, which the folder's
// link count tells in one system call: this runs over all of /proc.
func (v *View) threads(pid int) ([]int, error) {
	dir := filepath.Join(v.proc, strconv.Itoa(pid), "task")
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, err
	}
	if st.Nlink == 3 {
		return []int{pid}, nil
	}
	return numbered(dir)
}

// numbered lists the entries of a folder of /proc that are numbers.
func numbered(dir string) ([]int, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
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
	l, err := v.taskLabel(pid, pid)
	if err != nil {
		return l, fmt.Errorf("read the label of process %d: %w", pid, err)
	}
	return l, nil
}

func (v *View) taskLabel(pid, tid int) (Label, error) {
	dir := filepath.Join(v.proc, strconv.Itoa(pid), "task", strconv.Itoa(tid), "attr")
	b, err := readSmall(filepath.Join(dir, "apparmor", "current"))
	if errors.Is(err, fs.ErrNotExist) {
		// Kernels before 5.8 have only the file that all modules share.
		b, err = readSmall(filepath.Join(dir, "current"))
	}
	if err != nil {
		return Label{}, err
	}
	return ParseLabel(string(b))
}

// maxSmall is more than any file of the kernel's that is read here has: the
// longest are labels, and feature masks.
const maxSmall = 64 << 10

var smallBuffers = sync.Pool{New: func() any { b := make([]byte, maxSmall); return &b }}

// readSmall reads a file that the kernel makes up, which it hands out whole in
// one read: three system calls where os.ReadFile has six. That counts where
// thousands are read and a system call is dear, as on User Mode Linux.
func readSmall(path string) ([]byte, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	buffer, _ := smallBuffers.Get().(*[]byte)
	defer smallBuffers.Put(buffer)
	n, err := retry(func() (int, error) { return unix.Read(fd, *buffer) })
	if err != nil {
		return nil, err
	}
	return bytes.Clone((*buffer)[:n]), nil
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
	return s + " " + t.Label.String()
}
