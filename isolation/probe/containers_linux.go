// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errExit plus a number is the exit status of a command.
const errExit = syscall.Errno(0x7000)

// commandTimeout is the timeout of a command in multiples of that of a system call: starting
// a container takes hundreds of system calls.
const commandTimeout = 20

// run runs a shell command; its value is what it printed.
func (c *call) run() (int, string, syscall.Errno) {
	if len(c.words) == 0 {
		panic(badStep("no command to run"))
	}
	ctx, cancel := context.WithTimeout(c.x.ctx, commandTimeout*c.x.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", strings.Join(c.words, " "))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// LXC's monitor keeps the output open while its container runs.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	text := strings.TrimSpace(out.String())
	var ended *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, text, errHangs
	case errors.As(err, &ended):
		status := ended.ExitCode()
		if ws := ended.Sys().(syscall.WaitStatus); ws.Signaled() {
			status = 128 + int(ws.Signal())
		}
		return 0, text, errExit + syscall.Errno(status)
	case errors.Is(err, exec.ErrWaitDelay):
		return 0, text, 0
	}
	return 0, text, errnoOf(err)
}

// mark remembers a container's init.
func (c *call) mark() (_ int, _ string, e syscall.Errno) {
	c.x.marked, e = c.x.initPID(c.word(0))
	return 0, "", e
}

// initPID is the process id of the container's init on the host; ESRCH if the
// container is not running.
func (x *experiment) initPID(container string) (int, syscall.Errno) {
	out, err := exec.CommandContext(x.ctx, "lxc-info", "-n", container, "-p", "-H").Output()
	if err != nil {
		return 0, unix.ESRCH
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || pid <= 0 {
		return 0, unix.ESRCH
	}
	return pid, 0
}

// initLabel is the label of a container's init as the host sees it.
func (c *call) initLabel() (int, string, syscall.Errno) {
	pid, e := c.x.initPID(c.word(0))
	if e != 0 {
		return 0, "", e
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/apparmor/current", pid))
	return 0, trim(string(b)), errnoOf(err)
}

// killOf kills a container's init, or its parent, the monitor, and waits until it
// has ended.
func (c *call) killOf(monitor bool) (int, string, syscall.Errno) {
	pid, e := c.x.initPID(c.word(0))
	if e != 0 {
		return 0, "", e
	}
	if monitor {
		if pid = parentOf(pid); pid <= 1 {
			return 0, "", unix.ESRCH
		}
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return failed(err)
	}
	return 0, "", c.x.until(func() bool { return !runs(pid) })
}

// until waits for a condition, with the timeout of a command.
func (x *experiment) until(ok func() bool) syscall.Errno {
	for end := time.Now().Add(commandTimeout * x.timeout); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) || x.ctx.Err() != nil {
			return unix.ETIMEDOUT
		}
	}
	return 0
}

// statOf are the fields of /proc/PID/stat after the name: the state, the parent,
// ….
func statOf(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

func parentOf(pid int) int {
	if f := statOf(pid); len(f) > 1 {
		n, _ := strconv.Atoi(f[1])
		return n
	}
	return 0
}

func runs(pid int) bool {
	f := statOf(pid)
	return len(f) > 0 && f[0] != "Z" && f[0] != "X"
}

// reborn waits until the container has another init than the one marked, and
// gives its label.
func (c *call) reborn() (int, string, syscall.Errno) {
	e := c.x.until(func() bool {
		pid, e := c.x.initPID(c.word(0))
		// The label is its own once it has executed the container's program.
		return e == 0 && pid != c.x.marked && executed(pid)
	})
	if e != 0 {
		return 0, "", e
	}
	return c.initLabel()
}

// executed reports whether a process has executed a program since it was forked:
// PF_FORKNOEXEC (include/linux/sched.h) is not among its flags.
func executed(pid int) bool {
	f := statOf(pid)
	if len(f) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(f[6], 10, 64)
	return err == nil && flags&0x40 == 0
}

// stopped waits until LXC reports the container as stopped.
func (c *call) stopped() (int, string, syscall.Errno) {
	return 0, "", c.x.until(func() bool {
		out, err := exec.CommandContext(c.x.ctx, "lxc-info", "-n", c.word(0), "-s", "-H").Output()
		return err == nil && strings.TrimSpace(string(out)) == "STOPPED"
	})
}

// left compares with what the survey found: "nothing" is left or missing, or
// what is. With a name, it looks for what has the name in it.
func (c *call) left() (int, string, syscall.Errno) {
	before, name := c.x.surveyed, c.word(0)
	if name == "" && before == nil {
		panic(badStep("left without a survey"))
	}
	// What was killed ends a moment later. Looking several times matters more
	// than the time: the machine itself may have stood still.
	end := time.Now().Add(c.x.timeout / 2)
	for looks := 1; ; looks++ {
		now := survey()
		if name != "" {
			before = nil
			now = slices.DeleteFunc(now, func(s string) bool { return !strings.Contains(s, name) })
		}
		if diff := difference(before, now); diff == "nothing" || looks > 10 && time.Now().After(end) {
			return 0, diff, 0
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func difference(before, after []string) string {
	var list []string
	for _, s := range after {
		if !slices.Contains(before, s) {
			list = append(list, s)
		}
	}
	for _, s := range before {
		if !slices.Contains(after, s) {
			list = append(list, "no "+s)
		}
	}
	if list == nil {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// survey lists what containers may leave behind: namespaces and their profiles,
// mounts, cgroups, LXC's directories and processes, and confined tasks.
func survey() []string {
	list := append([]string{}, policyIn("")...)
	if b, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 4 {
				list = append(list, "mount "+f[4])
			}
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		// LXC creates lxc.pivot once for all containers.
		if err == nil && d.IsDir() && d.Name() != "lxc.pivot" {
			list = append(list, "cgroup "+path)
		}
		return nil
	})
	entries, _ := os.ReadDir("/var/lib/lxc")
	for _, e := range entries {
		list = append(list, "container "+e.Name())
	}
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || !runs(pid) {
			continue
		}
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(name, []byte("[lxc monitor]")) {
			list = append(list, "process "+trim(strings.ReplaceAll(string(name), "\x00", " ")))
		}
		if label, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/apparmor/current", pid)); err == nil && len(label) > 0 && trim(string(label)) != "unconfined" {
			list = append(list, "task in "+trim(string(label)))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// policyIn lists a namespace's profiles, and those of all namespaces below it.
func policyIn(ns string) (list []string) {
	profiles, _ := os.ReadDir(filepath.Join(policyDir(ns), "profiles"))
	for _, p := range profiles {
		if name, err := os.ReadFile(filepath.Join(policyDir(ns), "profiles", p.Name(), "name")); err == nil {
			list = append(list, "profile :"+ns+":"+trim(string(name)))
		}
	}
	spaces, _ := os.ReadDir(filepath.Join(policyDir(ns), "namespaces"))
	for _, s := range spaces {
		below := s.Name()
		if ns != "" {
			below = ns + "//" + below
		}
		list = append(append(list, "namespace "+below), policyIn(below)...)
	}
	return list
}
