// SPDX-License-Identifier: Apache-2.0

// Package probe carries out a plan of package isolation on the kernel that it runs
// on, and reports each cell. Its tasks are forked processes that make no system
// call but those of their steps, so that each record that the kernel logs for a
// task is about the plan. What does not live here: what is expected (isolation),
// and how the probe gets onto a machine (runs).
package probe

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/isolation"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// experiment is a plan in progress.
type experiment struct {
	ctx      context.Context
	plan     isolation.Plan
	timeout  time.Duration
	compiled [][]byte // beside plan.Policy
	init     int      // pid of the container's init
	spaces   map[string]int
	home     int // our own PID namespace
	made     []string
	loaded   map[string][]string // profiles by namespace, to be removed

	tasks []*task

	marked   int               // the process id of a container's init
	surveyed []string          // what existed at the survey
	free     string            // the namespace whose policy may change
	holds    map[string]string // the policy outside it, by namespace
	churned  func() error      // ends the replacements in the background, if any
}

type task struct {
	spec  isolation.Task
	child *child
	vars  map[string]int
	attr  uintptr // descriptor of its own attr/current
}

// Run reads a plan as JSON compressed by gzip, and writes one line of JSON for
// each cell.
func Run(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	// A fork copies the memory of Go: keep it small and unchanged.
	debug.SetGCPercent(-1)
	x := &experiment{ctx: ctx, spaces: map[string]int{}, loaded: map[string][]string{}}
	z, err := gzip.NewReader(in)
	if err == nil {
		err = json.NewDecoder(z).Decode(&x.plan)
	}
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	x.timeout = time.Duration(max(1, x.plan.Timeout) * float64(time.Second))
	defer func() { err = errors.Join(err, x.undo()) }()
	if err := x.prepare(); err != nil {
		return err
	}
	w, flushed := bufio.NewWriterSize(out, 64<<10), time.Now()
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i, c := range x.plan.Cells {
		if err := enc.Encode(x.cell(c)); err != nil {
			return err
		}
		if i%64 == 63 {
			runtime.GC()
		}
		// A cell that hangs or crashes the kernel must not lose the reports
		// before it; many small writes are slow on a serial line.
		if time.Since(flushed) > time.Second {
			if err := w.Flush(); err != nil {
				return err
			}
			flushed = time.Now()
		}
	}
	return w.Flush()
}

// prepare creates the namespaces, compiles and loads the policy, creates the
// host's directory for files of the cells, and opens the container's namespaces.
func (x *experiment) prepare() error {
	for _, ns := range x.plan.Namespaces {
		err := os.Mkdir(policyDir(ns), 0o755)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("create namespace %q: %w", ns, err)
		}
		x.made = append(x.made, ns)
	}
	if err := x.compile(); err != nil {
		return err
	}
	for i, p := range x.plan.Policy {
		if p.Name != "" {
			continue
		}
		if err := x.load(i); err != nil {
			return fmt.Errorf("load policy into namespace %q: %w", p.Namespace, err)
		}
	}
	if err := os.MkdirAll(isolation.Directory, 0o755); err != nil {
		return err
	}
	if x.plan.Container == "" {
		return nil
	}
	return x.enterable()
}

// compile compiles all texts at once.
func (x *experiment) compile() error {
	if len(x.plan.Policy) == 0 {
		return nil
	}
	v, err := nsmgr.Open()
	if err != nil {
		return err
	}
	f, err := v.Features()
	if err != nil {
		return err
	}
	c, err := profiles.NewCompiler(f)
	if err != nil {
		return err
	}
	texts := make([]profiles.Source, len(x.plan.Policy))
	for i, p := range x.plan.Policy {
		texts[i] = profiles.Source{Origin: fmt.Sprintf("policy-%d", i), Text: []byte(p.Text)}
	}
	compiled, err := c.Texts(x.ctx, texts...)
	if wrong := (*profiles.CompileError)(nil); errors.As(err, &wrong) {
		i := slices.IndexFunc(texts, func(s profiles.Source) bool { return s.Origin == wrong.Origin })
		return fmt.Errorf("%w in\n%s", err, texts[max(0, i)].Text)
	}
	for _, b := range compiled {
		x.compiled = append(x.compiled, b.Data)
	}
	return err
}

// load loads or replaces the policy with that index, and remembers its profiles
// for undo.
func (x *experiment) load(i int) error {
	p := x.plan.Policy[i]
	if err := write(filepath.Join(policyDir(p.Namespace), ".replace"), x.compiled[i]); err != nil {
		return err
	}
	for line := range strings.Lines(p.Text) {
		f := strings.Fields(line)
		if len(f) > 1 && f[0] == "profile" && !strings.HasPrefix(line, " ") && !slices.Contains(x.loaded[p.Namespace], f[1]) {
			x.loaded[p.Namespace] = append(x.loaded[p.Namespace], f[1])
		}
	}
	return nil
}

// enterable opens the namespaces of the container's init.
func (x *experiment) enterable() error {
	out, err := exec.CommandContext(x.ctx, "lxc-info", "-n", x.plan.Container, "-p", "-H").Output()
	if err != nil {
		return fmt.Errorf("find the init of container %s: %w", x.plan.Container, err)
	}
	if x.init, err = strconv.Atoi(strings.TrimSpace(string(out))); err != nil {
		return fmt.Errorf("container %s is not running", x.plan.Container)
	}
	for _, ns := range []string{"user", "mnt", "ipc", "uts", "net", "cgroup", "pid"} {
		theirs, err := os.Stat(fmt.Sprintf("/proc/%d/ns/%s", x.init, ns))
		if err != nil {
			continue // a kernel without it
		}
		if ours, err := os.Stat("/proc/self/ns/" + ns); err == nil && os.SameFile(ours, theirs) {
			continue
		}
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", x.init, ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open the container's %s namespace: %w", ns, err)
		}
		x.spaces[ns] = fd
	}
	if _, user := x.spaces["user"]; user != x.plan.Unprivileged {
		return fmt.Errorf("container %s: has a user namespace: %v, and the plan needs %v", x.plan.Container, user, x.plan.Unprivileged)
	}
	x.home, err = unix.Open("/proc/self/ns/pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return err
}

// undo removes what the plan created, without what the container needs: see
// isolation.Lasting.
func (x *experiment) undo() error {
	for ns, names := range x.loaded {
		for _, name := range names {
			if !isolation.Lasting(ns, name) {
				_ = write(filepath.Join(policyDir(ns), ".remove"), []byte(name))
			}
		}
	}
	for _, ns := range slices.Backward(x.made) {
		if !isolation.Lasting(ns, "") {
			if err := os.Remove(policyDir(ns)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove namespace %q: %w", ns, err)
			}
		}
	}
	return nil
}

// taskNamed is the cell's task of that name.
func (x *experiment) taskNamed(name string) *task {
	for _, t := range x.tasks {
		if t.spec.Name == name {
			return t
		}
	}
	panic(badStep("no task " + strconv.Quote(name)))
}

// cell carries out one cell.
func (x *experiment) cell(c isolation.Cell) (f isolation.Found) {
	f = isolation.Found{Key: c.Key, PIDs: map[string]int{}, Labels: map[string]string{}}
	x.tasks = nil
	defer func() {
		if r := recover(); r != nil {
			bad, ok := r.(badStep)
			if !ok {
				panic(r)
			}
			f.Trouble = string(bad)
		}
		// A traced task ends only after its tracer.
		for _, t := range x.tasks {
			if !t.child.dead {
				_ = unix.Kill(t.child.pid, unix.SIGKILL)
			}
		}
		for _, t := range x.tasks {
			t.child.end()
		}
		for _, step := range c.Clean {
			_, _, _ = x.step(step)
		}
	}()
	if x.init != 0 {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/attr/apparmor/current", x.init))
		f.Init = trim(string(b))
	}
	for _, spec := range c.Tasks {
		t, err := x.start(spec)
		if t != nil {
			x.tasks = append(x.tasks, t)
			f.PIDs[spec.Name] = t.child.pid
		}
		if err != nil {
			f.Trouble = fmt.Sprintf("start task %s: %v", spec.Name, err)
			return f
		}
	}
	for _, step := range c.Prepare {
		if _, e, value := x.step(step); e != 0 {
			f.Prepared = &isolation.Done{Step: step, Errno: errnoName(e), Value: value}
			return f
		}
	}
	for _, t := range x.tasks {
		if e := t.confine(); e != 0 {
			if f.Refused == nil {
				f.Refused = map[string]string{}
			}
			f.Refused[t.spec.Name] = errnoName(e)
		}
	}
	if f.Refused != nil {
		return f
	}
	for _, step := range c.Do {
		_, e, value := x.step(step)
		f.Done = append(f.Done, isolation.Done{Step: step, Errno: errnoName(e), Value: value})
		if e != 0 && c.Stop {
			break
		}
	}
	for _, t := range x.tasks {
		if t.child.reaped() {
			f.Labels[t.spec.Name] = "dead: " + end(t.child.status)
		} else {
			f.Labels[t.spec.Name] = t.child.label()
		}
	}
	return f
}

func end(st unix.WaitStatus) string {
	if st.Signaled() {
		return unix.SignalName(st.Signal())
	}
	return fmt.Sprintf("exit status %d", st.ExitStatus())
}

// start forks a task and moves it into its namespaces, unconfined.
func (x *experiment) start(spec isolation.Task) (*task, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	inside := spec.Where != isolation.OnHost
	if inside && x.init == 0 {
		return nil, errors.New("the plan has no container")
	}
	if pid, ok := x.spaces["pid"]; ok && spec.Where == isolation.InContainer {
		if err := unix.Setns(pid, unix.CLONE_NEWPID); err != nil {
			return nil, fmt.Errorf("enter the container's pid namespace: %w", err)
		}
		defer func() { _ = unix.Setns(x.home, unix.CLONE_NEWPID) }()
	}
	c, err := fork(x.timeout)
	if err != nil {
		return nil, err
	}
	t := &task{spec: spec, child: c, vars: map[string]int{}}
	// Its own attribute file, while the host's /proc is mounted.
	fd, e := c.sys(unix.SYS_OPENAT, at, c.str("/proc/thread-self/attr/apparmor/current"), unix.O_RDWR, 0)
	if e != 0 {
		return t, fmt.Errorf("open its attributes: %w", e)
	}
	if inside {
		for _, ns := range []string{"user", "mnt", "ipc", "uts", "net", "cgroup"} {
			fd, ok := x.spaces[ns]
			if !ok {
				continue
			}
			if _, e := c.sys(unix.SYS_SETNS, uintptr(fd), 0); e != 0 {
				return t, fmt.Errorf("enter the container's %s namespace: %w", ns, e)
			}
		}
	}
	if inside && x.plan.Unprivileged {
		for _, call := range [][4]uintptr{
			{unix.SYS_SETRESGID, 0, 0, 0}, {unix.SYS_SETRESUID, 0, 0, 0},
			// A process that changed its user is not dumpable: its /proc files
			// belong to root, not to itself.
			{unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0},
		} {
			if _, e := c.sys(call[0], call[1:]...); e != 0 {
				return t, fmt.Errorf("become the container's root: %w", e)
			}
		}
	}
	// It keeps no descriptor of the probe.
	const last = uintptr(^uint32(0))
	for _, r := range [][2]uintptr{{0, fd - 1}, {fd + 1, last}} {
		if r[0] > r[1] {
			continue
		}
		if _, e := c.sys(unix.SYS_CLOSE_RANGE, r[0], r[1], 0); e != 0 {
			return t, fmt.Errorf("close what it inherited: %w", e)
		}
	}
	t.attr = fd
	return t, nil
}

// confine changes the task to its label.
func (t *task) confine() syscall.Errno {
	c := t.child
	defer func() { _, _ = c.sys(unix.SYS_CLOSE, t.attr) }()
	if t.spec.Label == "" {
		return 0
	}
	command := "changeprofile " + t.spec.Label
	_, e := c.sys(unix.SYS_WRITE, t.attr, c.str(command), uintptr(len(command)))
	return e
}

// step does one step: "[TASK:] [VARIABLE =] [try] OPERATION [PARAMETER…]".
// Package isolation documents the language.
func (x *experiment) step(text string) (n int, e syscall.Errno, value string) {
	words := strings.Fields(text)
	who := ""
	if len(words) > 0 && strings.HasSuffix(words[0], ":") {
		who, words = strings.TrimSuffix(words[0], ":"), words[1:]
	}
	variable := ""
	if len(words) > 1 && words[1] == "=" {
		variable, words = words[0], words[2:]
	}
	try := len(words) > 1 && words[0] == "try" // its failure is ignored
	if try {
		words = words[1:]
	}
	if len(words) == 0 {
		panic(badStep("step " + strconv.Quote(text) + " names no operation"))
	}
	c := &call{x: x, words: words[1:]}
	operations := managerOperations
	if who != isolation.Manager {
		operations = taskOperations
		if who == "" && len(x.tasks) > 0 {
			c.here = x.tasks[0]
		} else {
			c.here = x.taskNamed(who)
		}
		c.child, c.vars = c.here.child, c.here.vars
	}
	op := find(operations, words[0])
	if op == nil {
		panic(badStep("step " + strconv.Quote(text) + ": unknown operation " + words[0]))
	}
	n, value, e = op.do(c)
	if try {
		e = 0
	}
	if e == 0 && variable != "" && c.vars != nil {
		c.vars[variable] = n
	}
	return n, e, value
}

func policyDir(ns string) string {
	dir := apparmor("policy")
	if ns != "" {
		for part := range strings.SplitSeq(ns, "//") {
			dir = filepath.Join(dir, "namespaces", part)
		}
	}
	return dir
}

// write makes one write(2), as a policy load must be.
func write(path string, data []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, data)
	return errors.Join(err, unix.Close(fd))
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}
