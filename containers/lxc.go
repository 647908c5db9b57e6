// SPDX-License-Identifier: Apache-2.0

//go:build cgo && lxc

package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/lxc/go-lxc"
	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

// Available returns an error if this program cannot manage containers.
func Available() error { return nil }

// Version returns the version of liblxc.
func Version() string { return lxc.Version() }

// systemPath is lxc.lxcpath, as LXC reads it from its configuration.
func systemPath(context.Context) (string, error) {
	if path := lxc.GlobalConfigItem("lxc.lxcpath"); filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	return DefaultPath, nil
}

// open returns liblxc's object of the container.
func (c Container) open() (*lxc.Container, error) {
	if err := CheckName(c.Name); err != nil {
		return nil, err
	}
	if err := needRoot(); err != nil {
		return nil, err
	}
	ct, err := lxc.NewContainer(c.Name, c.path())
	if err != nil {
		return nil, fmt.Errorf("open container %q: %w", c.Name, err)
	}
	return ct, nil
}

// needRoot returns an error for other users than root: LXC keeps their containers
// apart, and no policy of the host confines those.
func needRoot() error {
	if os.Geteuid() != 0 {
		return exit.BadInputf("manage containers: permission denied (run nsmgr as root)")
	}
	return nil
}

// there is open, for a container that must exist.
func (c Container) there() (*lxc.Container, error) {
	ct, err := c.open()
	if err != nil {
		return nil, err
	}
	if !ct.Defined() {
		_ = ct.Release()
		return nil, exit.BadInputf("no such container %q in %s (nsmgr container create)", c.Name, c.path())
	}
	return ct, nil
}

func item(ct *lxc.Container, key string) string {
	if v := ct.ConfigItem(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// List returns the names of the containers in path; "" means [SystemPath].
func List(path string) ([]string, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	return lxc.DefinedContainerNames(Container{Path: path}.path()), nil
}

// Status returns the state of the container.
func (c Container) Status(context.Context) (s Status, err error) {
	ct, err := c.there()
	if err != nil {
		return s, err
	}
	defer func() { _ = ct.Release() }()
	return c.status(ct), nil
}

func (c Container) status(ct *lxc.Container) Status {
	s := Status{
		Name: c.Name, State: ct.State().String(), Rootfs: item(ct, keyRootfs),
		Mapped: mappedTo(ct.ConfigItem(keyIDMap)) >= 0,
	}
	s.setLabel(item(ct, keyProfile))
	if s.PID = max(ct.InitPid(), 0); s.PID > 0 {
		if l, err := nsmgr.ProcessLabel(s.PID); err == nil {
			s.Confined = l.String()
			want, err := nsmgr.ParseLabel(s.Label)
			s.AsAsked = err == nil && same(want, l)
		}
	} else {
		s.Leftovers = c.leftovers(s.Rootfs).describe()
		if c.cutShort() {
			s.Leftovers = append(s.Leftovers, "creation or removal incomplete")
		}
	}
	return s
}

// Create creates the container. If that fails, nothing of it is left; after a
// kill, the next operation on it removes what is left.
func (c Container) Create(ctx context.Context, m Making) (err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.settle(); err != nil {
		return err
	}
	ct, err := c.open()
	if err != nil {
		return err
	}
	defer func() { _ = ct.Release() }()
	if ct.Defined() {
		return c.adopt(ctx, ct, m)
	}
	if err := ct.LoadConfigFile(defaultConfig()); err != nil {
		return exit.BadInputf("read LXC's %s: %w", defaultConfig(), err)
	}
	if m.Rootfs != "" {
		return c.createFrom(ctx, ct, m)
	}
	return c.createByTemplate(ctx, ct, m)
}

func apply(ct *lxc.Container, set []setting) error {
	for _, s := range set {
		if s.value == "" {
			_ = ct.ClearConfigItem(s.key)
			continue
		}
		if err := ct.SetConfigItem(s.key, s.value); err != nil {
			return fmt.Errorf("set %s = %s: %w", s.key, s.value, err)
		}
	}
	return nil
}

func defaultConfig() string {
	if f := lxc.GlobalConfigItem("lxc.default_config"); f != "" {
		return f
	}
	return "/etc/lxc/default.conf"
}

// settings returns the settings of a new container. ct has LXC's default
// configuration.
func settings(ct *lxc.Container, m Making) []setting {
	set := []setting{{keyProfile, ""}, {keyNesting, ""}, {keyProfile, m.Label.String()}}
	if m.Nesting {
		set = append(set, setting{keyNesting, "1"})
	}
	if link := item(ct, keyLink); link != "" && !exists(filepath.Join("/sys/class/net", link)) {
		set = append(set, setting{"lxc.net", ""}, setting{"lxc.net.0.type", "empty"})
	}
	return set
}

// finish sets the container's settings and ids, and saves its configuration
// atomically.
func (c Container) finish(ctx context.Context, ct *lxc.Container, m Making, set []setting) error {
	if m.Unprivileged && mappedTo(ct.ConfigItem(keyIDMap)) < 0 {
		// No other process may choose ids until these are saved.
		unlock, err := lockAt(ctx, idsLock, c.path())
		if err != nil {
			return err
		}
		defer unlock()
		mapped, err := c.mapping()
		if err != nil {
			return err
		}
		set = append(set, mapped...)
	}
	if err := apply(ct, set); err != nil {
		return err
	}
	fresh := c.config() + ".new"
	err := ct.SaveConfigFile(fresh)
	if err == nil {
		err = os.Rename(fresh, c.config())
	}
	if err != nil {
		_ = os.Remove(fresh)
	}
	return err
}

// mapping chooses a range of ids that no other container has.
func (c Container) mapping() (set []setting, err error) {
	names, err := List(c.Path)
	if err != nil {
		return nil, err
	}
	var used []int
	for _, name := range names {
		other, err := Container{name, c.Path}.open()
		if err != nil {
			return nil, err
		}
		if at := mappedTo(other.ConfigItem(keyIDMap)); at >= 0 {
			used = append(used, at)
		}
		_ = other.Release()
	}
	for _, of := range []struct{ kind, file string }{{"u", "/etc/subuid"}, {"g", "/etc/subgid"}} {
		first, count, err := subordinate(of.file)
		if err != nil {
			return nil, err
		}
		at, err := freeRange(first, count, used)
		if err != nil {
			return nil, err
		}
		set = append(set, setting{keyIDMap, fmt.Sprintf("%s 0 %d %d", of.kind, at, idRange)})
	}
	// The kernel maps the owners of files in the container's root mount, so the
	// files themselves are unchanged.
	return append(set, setting{keyOptions, "idmap=container"}), nil
}

func (c Container) createByTemplate(ctx context.Context, ct *lxc.Container, m Making) error {
	template := m.Template
	if template == "" {
		template = "busybox"
	}
	path, err := templatePath(template)
	if err != nil {
		return err
	}
	set := settings(ct, m)
	if err := apply(ct, set); err != nil {
		return err
	}
	// LXC's own creation is only a part of what was requested.
	if err := c.begin(isMade); err != nil {
		return err
	}
	ct.SetVerbosity(lxc.Verbose) // otherwise the template's output is lost
	said, err := c.capture(func() error {
		return ct.Create(lxc.TemplateOptions{Template: path, Backend: lxc.Directory, ExtraArgs: m.Args})
	})
	if err != nil {
		err = fmt.Errorf("create container %q with template %s: %w%s", c.Name, template, err, said)
	} else {
		// A template appends lines of its own, and creates files of root: users
		// are mapped only now.
		if m.Unprivileged {
			set = append(set, wholeBinds(ct.ConfigItem(keyMounts))...)
		}
		if err = c.finish(ctx, ct, m, set); err != nil {
			err = fmt.Errorf("configure container %q: %w", c.Name, err)
		}
	}
	if err != nil {
		return errors.Join(err, c.removeHalf())
	}
	return os.Remove(c.half())
}

// templatePath finds a template: a program's path, or a name in LXC's directory.
func templatePath(name string) (string, error) {
	path := name
	if !strings.Contains(name, "/") {
		path = filepath.Join("/usr/share/lxc/templates", "lxc-"+name)
	}
	if st, err := os.Stat(path); err != nil || st.IsDir() || st.Mode()&0o111 == 0 {
		return "", exit.BadInputf("template %q: no program %s (Debian: apt install lxc-templates)", name, path)
	}
	return path, nil
}

// createFrom creates a container with an existing root file system.
func (c Container) createFrom(ctx context.Context, ct *lxc.Container, m Making) error {
	rootfs, err := filepath.Abs(m.Rootfs)
	if err != nil {
		return err
	}
	if st, err := os.Stat(rootfs); err != nil {
		return exit.BadInputf("root file system: %w", err)
	} else if !st.IsDir() {
		return exit.BadInputf("root file system: %s is not a directory", rootfs)
	}
	var base []setting
	for _, include := range includes(m.Unprivileged) {
		base = append(base, setting{"lxc.include", include})
	}
	base = append(base,
		setting{keyRootfs, "dir:" + rootfs},
		setting{keyManaged, "0"}, // lxc-destroy leaves it too
		setting{"lxc.uts.name", c.Name},
	)
	if err := apply(ct, base); err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir(), 0o770); err != nil {
		return exit.BadInputf("create container %q: %w", c.Name, err)
	}
	// LXC recognises a container by its config.
	if err := c.finish(ctx, ct, m, settings(ct, m)); err != nil {
		_ = os.Remove(c.dir())
		return fmt.Errorf("create container %q: %w", c.Name, err)
	}
	return nil
}

// includes returns the files of LXC's configuration for a whole distribution.
func includes(unprivileged bool) []string {
	var found []string
	names := []string{"common.conf"}
	if unprivileged {
		names = append(names, "userns.conf")
	}
	for _, name := range names {
		if path := filepath.Join("/usr/share/lxc/config", name); exists(path) {
			found = append(found, path)
		}
	}
	return found
}

// adopt sets the label of an existing container.
func (c Container) adopt(ctx context.Context, ct *lxc.Container, m Making) error {
	switch {
	case m.Template != "" || m.Rootfs != "":
		return exit.BadInputf("container %q already exists", c.Name)
	case m.Unprivileged && mappedTo(ct.ConfigItem(keyIDMap)) < 0:
		return exit.BadInputf("container %q already exists, and is not unprivileged", c.Name)
	case ct.Running():
		return exit.BadInputf("container %q is running: stop it first", c.Name)
	}
	if err := c.finish(ctx, ct, m, []setting{{keyProfile, ""}, {keyProfile, m.Label.String()}}); err != nil {
		return fmt.Errorf("configure container %q: %w", c.Name, err)
	}
	return nil
}

// startTimeout is how long a container's init may take to execute its program, on
// a slow host.
const startTimeout = 30 * time.Second

// Start removes what a crash left of the container, starts it, and reads the
// label of its init back from the kernel. If that is not the configured label,
// the container is stopped, and the error is a [LabelError].
func (c Container) Start(ctx context.Context) (err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.settle(); err != nil {
		return err
	}
	ct, err := c.there()
	if err != nil {
		return err
	}
	defer func() { _ = ct.Release() }()
	want, err := wanted(c.Name, item(ct, keyProfile))
	if err != nil {
		return err
	}
	if ct.Running() {
		if !exists(c.mark()) {
			return c.alreadyRuns(ct, want)
		}
		// Its start was interrupted before its label was checked.
		if err := c.end(ctx, ct); err != nil {
			return err
		}
	}
	if err := c.clean(ctx, item(ct, keyRootfs), stopper(ct)); err != nil {
		return err
	}
	if err := os.WriteFile(c.mark(), nil, 0o600); err != nil {
		return fmt.Errorf("start container %q: %w", c.Name, err)
	}
	defer func() { _ = os.Remove(c.mark()) }()
	// Both depend on the program by default. The monitor is forked from this
	// process.
	for _, step := range []error{ct.WantDaemonize(true), ct.WantCloseAllFds(true)} {
		if step != nil {
			return fmt.Errorf("start container %q: %w", c.Name, step)
		}
	}
	back := home()
	said, err := c.logged(ct, ct.Start)
	back()
	if err == nil {
		err = c.verify(ctx, ct, want)
	} else {
		err = exit.Fail(fmt.Errorf("start container %q: %w%s", c.Name, err, said))
	}
	if err != nil {
		return errors.Join(err, c.end(context.WithoutCancel(ctx), ct))
	}
	return nil
}

func (c Container) alreadyRuns(ct *lxc.Container, want nsmgr.Label) error {
	if got, err := nsmgr.ProcessLabel(ct.InitPid()); err == nil && !same(got, want) {
		return exit.Fail(fmt.Errorf("container %q is already running, with the label %s instead of %s: stop it", c.Name, got, want))
	}
	return exit.BadInputf("container %q is already running", c.Name)
}

// verify reads back the label of the container's init.
func (c Container) verify(ctx context.Context, ct *lxc.Container, want nsmgr.Label) error {
	pid := ct.InitPid()
	if pid <= 0 {
		return exit.Fail(fmt.Errorf("container %q ended right after its start", c.Name))
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	got, executed, err := readBack(ctx, pid, want)
	switch {
	case err != nil:
		return exit.Fail(fmt.Errorf("container %q: check its init: %w", c.Name, err))
	case !executed:
		return exit.Fail(fmt.Errorf("container %q: LXC could not execute its init", c.Name))
	case !same(got, want):
		return exit.Fail(&LabelError{c.Name, "init", want, got})
	}
	return nil
}

// Run runs a command in the container, under the configured label, and returns how
// it ended. A command that has another label is killed, and the error is a
// [LabelError]. A command that has the right label is not killed when ctx ends:
// only Signals reach it.
func (c Container) Run(ctx context.Context, cmd Command) (End, error) {
	ct, err := c.there()
	if err != nil {
		return End{}, err
	}
	defer func() { _ = ct.Release() }()
	want, err := wanted(c.Name, item(ct, keyProfile))
	if err != nil {
		return End{}, err
	}
	if !ct.Running() {
		return End{}, exit.BadInputf("container %q is not running (nsmgr container start %[1]s)", c.Name)
	}
	// An attached command gets the label that init has: of a namespace that
	// was removed meanwhile, that is not the one of its name.
	init, err := nsmgr.ProcessLabel(ct.InitPid())
	if err != nil {
		return End{}, fmt.Errorf("container %q: %w", c.Name, err)
	}
	if !same(init, want) {
		return End{}, exit.Fail(fmt.Errorf("container %q: its init has the label %s, not %s: nothing is run under that", c.Name, init, want))
	}
	opts, closeFiles, err := attachOptions(cmd)
	if err != nil {
		return End{}, err
	}
	defer closeFiles()
	return c.attach(ctx, ct, cmd.Args, opts, want, cmd.Signals)
}

// attachOptions are go-lxc's. Groups is never set: it takes all of LXC's
// attach flags away, so that the command runs outside of the container's
// label, with the host's capabilities.
func attachOptions(cmd Command) (o lxc.AttachOptions, closeFiles func(), err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return o, nil, err
	}
	fd := func(f *os.File) uintptr {
		if f == nil {
			f = null
		}
		return f.Fd()
	}
	o = lxc.DefaultAttachOptions
	o.ClearEnv, o.Env = true, append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, cmd.Env...)
	o.StdinFd, o.StdoutFd, o.StderrFd = fd(cmd.Stdin), fd(cmd.Stdout), fd(cmd.Stderr)
	if cmd.Dir != "" {
		o.Cwd = cmd.Dir
	}
	return o, func() {
		_ = null.Close()
		runtime.KeepAlive(cmd)
	}, nil
}

// attach starts the command and waits for it itself: go-lxc's own waiting
// reports an end by a signal as status 0, and 255 as an error.
func (c Container) attach(ctx context.Context, ct *lxc.Container, args []string, o lxc.AttachOptions, want nsmgr.Label, signals <-chan os.Signal) (End, error) {
	pid, err := ct.RunCommandNoWait(args, o)
	if err == nil && pid <= 0 {
		err = fmt.Errorf("LXC returned the process id %d", pid) // kill(2) would take it for other processes
	}
	if err != nil {
		return End{}, exit.Fail(fmt.Errorf("container %q: run %s: %w", c.Name, args[0], err))
	}
	got, executed, err := readBack(ctx, pid, want)
	if err != nil || executed && !keeps(want, got, unconfinedMode) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = wait(pid)
		if err != nil {
			return End{}, exit.Fail(fmt.Errorf("container %q: run %s: %w", c.Name, args[0], err))
		}
		return End{}, exit.Fail(&LabelError{c.Name, args[0], want, got})
	}
	over := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for {
			select {
			case s := <-signals:
				if n, ok := s.(syscall.Signal); ok {
					_ = syscall.Kill(pid, n) // ours until it is waited for
				}
			case <-over:
				return
			}
		}
	}()
	// Its end is seen before its id is free for another process.
	err = unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	for errors.Is(err, unix.EINTR) {
		err = unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
	close(over)
	<-passed
	end, err := wait(pid)
	switch {
	case err != nil || executed:
		return end, err
	case end.Status == 126 || end.Status == 127: // LXC's own, as a shell's
		return end, exit.BadInputf("container %q: %s could not be executed in it (%v)", c.Name, args[0], end)
	}
	return end, exit.Fail(fmt.Errorf("container %q: LXC could not enter it to run %s (%v): check that its namespace exists (nsmgr show)", c.Name, args[0], end))
}

func wait(pid int) (End, error) {
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return End{}, fmt.Errorf("wait for process %d: %w", pid, err)
		case ws.Signaled():
			return End{Signal: ws.Signal()}, nil
		}
		return End{Status: ws.ExitStatus()}, nil
	}
}

// Stop shuts the container down, and kills what is left of it after the timeout; 0
// kills it at once. It returns when none of its tasks is left.
func (c Container) Stop(ctx context.Context, timeout time.Duration) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.settle(); err != nil {
		return err
	}
	ct, err := c.there()
	if err != nil {
		return err
	}
	defer func() { _ = ct.Release() }()
	if !ct.Running() && len(c.leftovers(item(ct, keyRootfs)).pids) == 0 {
		return exit.BadInputf("container %q is not running", c.Name)
	}
	if ct.Running() && timeout > 0 {
		_ = ct.Shutdown(timeout) // end looks at the result
	}
	return c.end(ctx, ct)
}

// end kills what is left of a container that ran, and waits until it is gone.
func (c Container) end(ctx context.Context, ct *lxc.Container) error {
	if ct.Running() {
		if err := ct.Stop(); err != nil && ct.Running() {
			// The monitor does not answer, or its signal is denied.
			c.leftovers(item(ct, keyRootfs)).kill()
			if !ct.Wait(lxc.STOPPED, cleanTimeout) {
				return exit.Fail(fmt.Errorf("stop container %q: %w", c.Name, err))
			}
		}
	}
	return c.clean(ctx, item(ct, keyRootfs), stopper(ct))
}

// stopper returns a function that kills the container's init if it is running.
func stopper(ct *lxc.Container) func() {
	return func() {
		if ct.Running() {
			_ = ct.Stop()
		}
	}
}

// Destroy stops the container and removes it. A root file system that is a
// directory of the user stays.
func (c Container) Destroy(ctx context.Context) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.settle(); err != nil {
		return err
	}
	ct, err := c.there()
	if err != nil {
		return err
	}
	defer func() { _ = ct.Release() }()
	if err := c.end(ctx, ct); err != nil {
		return err
	}
	if err := c.begin(isRemoved); err != nil {
		return err
	}
	if err := c.remove(ct); err != nil {
		_ = os.Remove(c.half()) // LXC refuses to remove one with snapshots
		return err
	}
	return c.removeHalf()
}

// remove has LXC remove the container and its storage.
func (c Container) remove(ct *lxc.Container) error {
	if c.foreign(item(ct, keyRootfs)) {
		// LXC removes nothing of a container whose storage it does not manage.
		if err := apply(ct, []setting{{keyRootfs, ""}, {keyManaged, "1"}}); err != nil {
			return fmt.Errorf("remove container %q: %w", c.Name, err)
		}
	}
	if said, err := c.logged(ct, ct.Destroy); err != nil {
		return exit.Fail(fmt.Errorf("remove container %q: %w%s", c.Name, err, said))
	}
	return nil
}

// settle removes what an interrupted creation or removal left. LXC removes it where
// it may have storage elsewhere.
func (c Container) settle() error {
	if !c.cutShort() {
		return nil
	}
	if b, err := os.ReadFile(c.half()); err == nil && string(b) == isRemoved && exists(c.config()) {
		ct, err := c.open()
		if err != nil {
			return err
		}
		defer func() { _ = ct.Release() }()
		rootfs := rootfsDir(item(ct, keyRootfs))
		if err := c.remove(ct); err != nil && !strings.HasPrefix(rootfs, c.dir()+"/") {
			return err
		}
	}
	return c.removeHalf()
}

// logged calls an operation of liblxc and returns the errors that it logged.
func (c Container) logged(ct *lxc.Container, do func() error) (said string, err error) {
	f, err := os.CreateTemp("", "nsmgr-lxc-")
	if err != nil {
		return "", err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	if err := ct.SetLogFile(f.Name()); err != nil {
		return "", fmt.Errorf("set LXC's log file: %w", err)
	}
	if err := ct.SetLogLevel(lxc.ERROR); err != nil {
		return "", fmt.Errorf("set LXC's log file: %w", err)
	}
	if err = do(); err != nil {
		b, _ := os.ReadFile(f.Name())
		said = logErrors(string(b))
	}
	return said, err
}

// capture keeps what an operation, and the programs that it starts, write to this
// process's output: a template is a shell script that prints messages.
func (c Container) capture(do func() error) (said string, err error) {
	f, err := os.CreateTemp("", "nsmgr-lxc-")
	if err != nil {
		return "", err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	restore, err := redirect(f)
	if err != nil {
		return "", err
	}
	err = do()
	restore()
	if err != nil {
		b, _ := os.ReadFile(f.Name())
		said = lastWords(string(b))
	}
	return said, err
}
