// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"proofhouse/machines/wire"
)

const cgroupRoot = "/sys/fs/cgroup"

// commands numbers the cgroups.
var commands atomic.Int64

// command is a process with everything that it starts, kept together by a
// cgroup where the kernel has cgroups (version 2), else by its session.
type command struct {
	cmd           *exec.Cmd
	detach, merge bool
	cgroup        string // "" = none
	err           error  // it was never started

	begun  time.Time
	output sync.WaitGroup
	pipes  []pipe // of the command's output
}

// pipe is our end of one, and where what comes out of it goes.
type pipe struct {
	r *os.File
	w io.Writer
}

func newCommand(words []string, p wire.Process) (*command, error) {
	c := &command{cmd: exec.Command(words[0], words[1:]...), detach: p.Detach, merge: p.Merge}
	c.cmd.Dir = p.Dir
	if c.cmd.Dir == "" {
		c.cmd.Dir = "/root"
	}
	c.cmd.Env = append(os.Environ(), p.Env...)
	if c.cmd.Err != nil {
		return nil, c.cmd.Err
	}
	return c, nil
}

// failed is a command that could not be started.
func failed(err error) *command { return &command{err: err} }

// begin starts the process in a cgroup of its own.
func (c *command) begin(attr *syscall.SysProcAttr) error {
	attr.Pdeathsig = syscall.SIGKILL
	c.cmd.SysProcAttr = attr
	dir := filepath.Join(cgroupRoot, fmt.Sprintf("proofhouse-%d-%d", os.Getpid(), commands.Add(1)))
	if exists(filepath.Join(cgroupRoot, "cgroup.procs")) && os.Mkdir(dir, 0o755) == nil {
		c.cgroup = dir
		f, err := os.Open(dir)
		if err == nil {
			defer func() { _ = f.Close() }()
			attr.UseCgroupFD, attr.CgroupFD = true, int(f.Fd())
		}
	}
	c.begun = time.Now()
	err := c.cmd.Start()
	if err != nil && c.cgroup != "" {
		_ = os.Remove(c.cgroup)
	}
	return err
}

func (c *command) start(stdout, stderr io.Writer, stdin io.Reader) error {
	outR, outW, err := os.Pipe()
	if err != nil {
		return err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return err
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return err
	}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = inR, outW, errW
	if c.merge {
		c.cmd.Stderr = outW
	}
	err = c.begin(&syscall.SysProcAttr{Setsid: true})
	for _, f := range []*os.File{inR, outW, errW} {
		_ = f.Close()
	}
	if err != nil {
		for _, f := range []*os.File{inW, outR, errR} {
			_ = f.Close()
		}
		return err
	}
	go func() {
		_, _ = io.Copy(inW, stdin)
		_ = inW.Close()
	}()
	c.copyOut(stdout, outR)
	c.copyOut(stderr, errR)
	return nil
}

func (c *command) copyOut(w io.Writer, r *os.File) {
	c.pipes = append(c.pipes, pipe{r, w})
	c.output.Go(func() { _, _ = io.Copy(w, r) })
}

func (c *command) startPTY(size *pty.Winsize, rw io.ReadWriter) (*os.File, error) {
	pt, tty, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = tty.Close() }()
	if err := pty.Setsize(pt, size); err != nil {
		return nil, err
	}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = tty, tty, tty
	if err := c.begin(&syscall.SysProcAttr{Setsid: true, Setctty: true}); err != nil {
		_ = pt.Close()
		return nil, err
	}
	go func() { _, _ = io.Copy(pt, rw) }()
	c.output.Go(func() { _, _ = io.Copy(rw, pt) })
	return pt, nil
}

// grace is how long a detached command's output is read after the command ended. The
// processes that it left running may keep the output open for ever.
const grace = 200 * time.Millisecond

// wait returns how the command ended, after all its output was sent.
func (c *command) wait() (syscall.WaitStatus, wire.Usage) {
	if c.err != nil {
		if errors.Is(c.err, exec.ErrNotFound) || errors.Is(c.err, fs.ErrNotExist) {
			return 127 << 8, wire.Usage{}
		}
		return 126 << 8, wire.Usage{}
	}
	err := c.cmd.Wait()
	usage := wire.Usage{Wall: time.Since(c.begun)}
	state := c.cmd.ProcessState
	if state == nil {
		console("wait for %s: %v", c.cmd.Path, err)
		return 126 << 8, usage
	}
	usage.User, usage.Sys = state.UserTime(), state.SystemTime()
	if c.detach {
		done := make(chan struct{})
		go func() { c.output.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(grace):
			c.drain(done)
		}
	} else {
		c.kill()
		c.output.Wait()
	}
	for _, p := range c.pipes {
		_ = p.r.Close()
	}
	c.removeCgroup()
	return state.Sys().(syscall.WaitStatus), usage
}

// drain sends what is left in the pipes: on a busy machine the grace may end before
// everything that the command wrote was read. done is closed when copying ends.
func (c *command) drain(done <-chan struct{}) {
	if len(c.pipes) == 0 { // it had a terminal
		return
	}
	for _, p := range c.pipes {
		if p.r.SetReadDeadline(time.Now()) != nil { // it ends the copying
			return
		}
	}
	<-done
	rest := make([]byte, 64<<10) // what a pipe holds
	for _, p := range c.pipes {
		raw, err := p.r.SyscallConn()
		if err != nil {
			continue
		}
		n := 0
		_ = raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), rest) }) // it does not block
		_, _ = p.w.Write(rest[:max(n, 0)])
	}
}

// kill kills the process and everything that it started, wherever that is in the
// process tree.
func (c *command) kill() {
	if c.err != nil || c.cmd.Process == nil {
		return
	}
	_ = unix.Kill(-c.cmd.Process.Pid, unix.SIGKILL)
	if c.cgroup != "" && os.WriteFile(filepath.Join(c.cgroup, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	// No cgroup: kill by session, which a daemon escapes.
	procs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, p := range procs {
		b, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		// pid (comm) state ppid pgrp session …; comm may hold anything.
		_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
		f := strings.Fields(rest)
		if len(f) > 3 && f[3] == strconv.Itoa(c.cmd.Process.Pid) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p))); err == nil {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

// removeCgroup removes the empty cgroup. Killed processes leave it a moment later;
// the processes of a detached command stay in it.
func (c *command) removeCgroup() {
	if c.cgroup == "" || c.detach {
		return
	}
	for range 20 {
		if err := os.Remove(c.cgroup); !errors.Is(err, unix.EBUSY) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
