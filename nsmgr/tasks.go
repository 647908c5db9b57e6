package nsmgr

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
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
	var tasks []Task
	for _, pid := range processes {
		threads, err := numbered(filepath.Join(v.proc, strconv.Itoa(pid), "task"))
		if gone(err) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the tasks of process %d: %w", pid, err)
		}
		for _, tid := range threads {
			l, err := v.taskLabel(pid, tid)
			switch {
			case err == nil:
				tasks = append(tasks, Task{PID: pid, TID: tid, Label: l})
			case gone(err), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EINVAL):
				// EINVAL: a zombie, or another module's attribute.
			default:
				return nil, err
			}
		}
	}
	return tasks, nil
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

func (v *View) taskLabel(pid, tid int) (Label, error) {
	dir := filepath.Join(v.proc, strconv.Itoa(pid), "task", strconv.Itoa(tid), "attr")
	b, err := os.ReadFile(filepath.Join(dir, "apparmor", "current"))
	if errors.Is(err, fs.ErrNotExist) {
		// Kernels before 5.8 have only the file that all modules share.
		b, err = os.ReadFile(filepath.Join(dir, "current"))
	}
	if err != nil {
		return Label{}, err
	}
	return ParseLabel(string(b))
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
