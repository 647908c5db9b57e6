// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"proofhouse/internal/child"
	"proofhouse/internal/sandbox"
	"proofhouse/machines/crash"
	"proofhouse/machines/wire"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// vm is a virtual machine: a process with a console and a channel.
type vm struct {
	*client
	info    Info
	console *Log
	cmd     *exec.Cmd
	kill    context.CancelFunc
	exited  chan struct{} // closed when the process has ended
	dir     *runDir
	taint   int64 // after the boot
}

// launch is a process to start as a vm.
type launch struct {
	sandbox sandbox.Spec // the program and what it may reach
	args    []string
	env     []string
	channel *os.File // the guest's end of the channel: file descriptor 3 of the process
	// pinned keeps it on one processor of the host.
	pinned bool
	paced  bool // see client
}

// socketPair makes the two ends of a channel.
func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	f := os.NewFile(uintptr(fds[0]), "channel")
	defer func() { _ = f.Close() }()
	theirs = os.NewFile(uintptr(fds[1]), "channel")
	if ours, err = net.FileConn(f); err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// confine makes the command that starts a machine's process in its sandbox.
var confine = sandbox.Spec.Command

// gapsNote has the sandbox's gaps noted once.
var gapsNote sync.Once

// boot starts the process and waits for the channel. If it fails, it leaves nothing
// behind.
func boot(ctx context.Context, o Options, l launch, ours net.Conn, key ssh.PublicKey, dir *runDir, info Info, begun time.Time) (_ *vm, err error) {
	console, audit, err := openLogs(o)
	if err != nil {
		return nil, err
	}
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	m := &vm{info: info, console: console, kill: kill, exited: make(chan struct{}), dir: dir}
	l.sandbox.Files = 1 // the channel
	m.cmd, err = confine(l.sandbox, life, l.args...)
	if err != nil {
		kill()
		_ = l.channel.Close()
		console.close()
		audit.close()
		return nil, fmt.Errorf("start %s: %w", l.sandbox.Program, err)
	}
	m.cmd.Env = append(m.cmd.Env, l.env...)
	m.cmd.Dir = dir.guest
	m.info.Sandbox = sandbox.Supported().String()
	gapsNote.Do(func() {
		for _, g := range sandbox.Supported().Gaps() {
			o.Progress("the sandbox of the machine is incomplete: " + g)
		}
	})
	m.cmd.ExtraFiles = []*os.File{l.channel}
	m.cmd.Stdout, m.cmd.Stderr = console, console
	m.info.Boot.Prepare = time.Since(begun)
	begun = time.Now()
	err = m.cmd.Start()
	_ = l.channel.Close()
	if err != nil {
		kill()
		console.close()
		audit.close()
		return nil, fmt.Errorf("start %s: %w", l.sandbox.Program, err)
	}
	if l.pinned {
		dir.pin(ctx, m.cmd.Process.Pid)
	}
	// Two files may have the full size: the memory, and what is written to the disk.
	go watchUsage(m.cmd.Process.Pid, l.sandbox.WriteDirs, 2*l.sandbox.MaxFile, m.exited, time.Second, func(reason string) {
		_, _ = fmt.Fprintf(console, "\nproofhouse: the machine was killed: its process %s\n", reason)
		kill()
	})
	go func() {
		_ = child.Wait(m.cmd)
		_ = ours.Close()
		console.close()
		audit.close()
		close(m.exited)
	}()
	defer func() {
		if err != nil {
			_ = m.Close()
		}
	}()
	stop := context.AfterFunc(ctx, kill)
	defer stop()
	timer := time.AfterFunc(o.BootTimeout, kill)
	conn, err := awaitBanner(ours)
	stopped := timer.Stop()
	if err != nil {
		<-m.exited
		switch {
		case context.Cause(ctx) != nil:
			return nil, context.Cause(ctx)
		case !stopped:
			return nil, fmt.Errorf("kernel %s: the boot timed out after %v: %s", o.Kernel.Spec, o.BootTimeout, lastWords(console))
		}
		return nil, fmt.Errorf("kernel %s did not boot: %s", o.Kernel.Spec, lastWords(console))
	}
	m.info.Boot.Start = time.Since(begun)
	begun = time.Now()
	timer = time.AfterFunc(o.BootTimeout, kill)
	m.client, err = dial(conn, key, audit)
	timer.Stop()
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w: %s", o.Kernel.Spec, err, lastWords(console))
	}
	m.paced = l.paced
	m.info.Boot.Channel = time.Since(begun)
	begun = time.Now()
	if err := m.measure(ctx, o.BootTimeout); err != nil {
		return nil, fmt.Errorf("kernel %s: %w: %s", o.Kernel.Spec, err, lastWords(console))
	}
	m.info.Boot.Measure = time.Since(begun)
	return m, nil
}

// starts is how many processes measure starts.
const starts = 8

// measure finds the slowness factor, and the taint after the boot (out-of-tree
// modules, a firmware bug), which no command here caused.
func (m *vm) measure(ctx context.Context, limit time.Duration) error {
	const loop = `i=0; while [ $i -lt "$1" ]; do /bin/true; i=$((i+1)); done`
	res, err := m.run(ctx, Command{Args: []string{"/bin/sh", "-c", loop, "sh", strconv.Itoa(starts)}, Deadline: limit})
	if err == nil && (res.Status != 0 || res.Signal != "") {
		err = errors.New(res.String())
	}
	if err != nil {
		return fmt.Errorf("measure how long a process takes to start: %w", err)
	}
	m.info.Slowness = max(1, float64(res.Usage.Wall)/starts/float64(time.Millisecond))
	m.slowness = m.info.Slowness
	m.taint, err = m.tainted(ctx)
	m.info.Taint = m.taint
	return err
}

// The bits of /proc/sys/kernel/tainted that mean trouble: machine check,
// bad page, oops, warning, soft lockup (Documentation/admin-guide/tainted-kernels.rst).
const troubleMask = 1<<4 | 1<<5 | 1<<7 | 1<<9 | 1<<14

func (m *vm) tainted(ctx context.Context) (int64, error) {
	ok, reply, err := m.request(ctx, wire.TaintRequest, nil)
	if err == nil && !ok {
		err = errors.New("taint state unavailable")
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(reply)), 10, 64)
	return n & troubleMask, err
}

func (m *vm) Run(ctx context.Context, c Command) (Result, error) {
	res, err := m.run(ctx, c)
	if errors.Is(err, ErrLost) {
		m.settle()
	}
	return res, err
}

// settle waits until a crashing kernel has written why.
func (m *vm) settle() {
	select {
	case <-m.exited:
	case <-time.After(m.grace()):
	}
}

func (m *vm) Sane(ctx context.Context) error {
	taint, err := m.tainted(ctx)
	if errors.Is(err, ErrLost) {
		m.settle()
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInsane, err)
	}
	if taint&^m.taint != 0 {
		return fmt.Errorf("%w: the kernel was tainted (%#x)", ErrInsane, taint)
	}
	return nil
}

func (m *vm) Console() *Log                       { return m.console }
func (m *vm) Audit() *Log                         { return m.audit }
func (m *vm) SyncAudit(ctx context.Context) error { return m.syncAudit(ctx) }
func (m *vm) Info() Info                          { return m.info }

// Close kills the process group and removes the machine's directory.
func (m *vm) Close() error {
	m.kill()
	<-m.exited
	return m.dir.remove()
}

// lastWords is why a kernel did not boot, as far as its console shows: a crash, an
// error of guest-init, or the last line.
func lastWords(console *Log) string {
	text := console.Since(0)
	if c, ok := crash.Find(text); ok {
		return c.Title
	}
	const initPrefix = "proofhouse: "
	complaint, last := "", "the console is empty"
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if i := strings.Index(line, initPrefix); i >= 0 {
			complaint = line[i+len(initPrefix):]
		}
		if line != "" {
			last = "the console ends with: " + line
		}
	}
	if complaint != "" {
		return complaint
	}
	return last
}

// initFor is the configuration of guest-init, without the disks.
func initFor(o Options, seed []byte, channel string) wire.Init {
	cfg := wire.Init{Channel: channel, HostKey: seed, Prepare: o.Prepare, Systemd: o.Systemd, Wait: 20 * time.Second}
	for name := range o.Tools {
		cfg.Tools = append(cfg.Tools, name)
	}
	return cfg
}
