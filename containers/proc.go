// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"proofhouse/nsmgr"
)

// task is the state of a process in /proc/PID/stat. Any process may read that;
// other files there need ptrace access, which the container's policy may deny and
// log.
type task struct {
	state byte // Z for a zombie
	fresh bool // it has executed no program since it was forked
}

// forkNoExec is PF_FORKNOEXEC (include/linux/sched.h): forked and not executed
// anything yet.
const forkNoExec = 0x40

func readTask(pid int) (task, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return task{}, err
	}
	return parseStat(b)
}

// parseStat reads "PID (NAME) STATE PPID … FLAGS …". STATE is one letter; a name
// may have any character in it.
func parseStat(b []byte) (task, error) {
	const flags = 6 // index among the fields after the name
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) <= flags || len(fields[0]) != 1 || fields[0][0] < 'A' {
		return task{}, fmt.Errorf("unexpected content of /proc/PID/stat: %q", b)
	}
	n, err := strconv.ParseUint(string(fields[flags]), 10, 64)
	if err != nil {
		return task{}, fmt.Errorf("unexpected content of /proc/PID/stat: %q: %w", b, err)
	}
	return task{state: fields[0][0], fresh: n&forkNoExec != 0}, nil
}

// readBack waits until the process has executed its program and returns its label.
// A zombie keeps its label until it is waited for, so it also reads that of a
// command that ends at once. executed is false for a process that ended without
// having executed a program.
func readBack(ctx context.Context, pid int, want nsmgr.Label) (got nsmgr.Label, executed bool, err error) {
	// LXC changes the label before the program is executed, and the policy may
	// name another profile for that program, so only the label after it counts.
	// The kernel clears the fork flag a moment before it changes the label.
	const doubt = 100 * time.Millisecond
	var since time.Time
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		t, err := readTask(pid)
		if err != nil {
			return got, false, fmt.Errorf("read the state of process %d: %w", pid, err)
		}
		if got, err = nsmgr.ProcessLabel(pid); err != nil {
			return got, false, err
		}
		dead := t.state == 'Z' || t.state == 'X'
		switch {
		case t.fresh && dead:
			return got, false, nil
		case !t.fresh && (dead || same(got, want)):
			return got, true, nil
		case !t.fresh && since.IsZero():
			since = time.Now()
		case !t.fresh && time.Since(since) > doubt:
			return got, true, nil
		}
		select {
		case <-ctx.Done():
			return got, false, fmt.Errorf("wait for process %d to execute its program: %w", pid, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// keeps reports whether a label that a task got by executing a program still
// confines it by each namespace of the wanted label, and by no other. The
// policy may name another profile of the same namespace for a program. A
// namespace whose part of the label is unconfined does not confine the task,
// unless that was wanted. modeless reports whether a profile is in unconfined
// mode; it may be nil.
func keeps(want, got nsmgr.Label, modeless func(nsmgr.Part) bool) bool {
	if same(want, got) {
		return true
	}
	confines := func(l nsmgr.Label) map[nsmgr.Name]bool {
		by := map[nsmgr.Name]bool{}
		for _, p := range l.Parts {
			confined := p.Profile != nsmgr.Unconfined && p.Profile != "" && p.Profile != nsmgr.Hidden
			if confined && modeless != nil && !slices.Contains(want.Parts, p) {
				confined = !modeless(p)
			}
			by[p.Namespace] = by[p.Namespace] || confined
		}
		return by
	}
	wanted, has := confines(want), confines(got)
	if len(wanted) != len(has) {
		return false
	}
	for ns, confined := range wanted {
		if now, in := has[ns]; !in || confined && !now {
			return false
		}
	}
	return true
}

// unconfinedMode reports whether a profile is in unconfined mode, or cannot be
// read: such a profile confines nothing, whatever its name.
func unconfinedMode(p nsmgr.Part) bool {
	v, err := nsmgr.Open()
	if err != nil {
		return true
	}
	all, err := v.Profiles(p.Namespace)
	if err != nil {
		return true
	}
	for _, known := range all {
		if known.Name == p.Profile {
			return known.Mode == nsmgr.Unconfined
		}
	}
	// A learning profile, or one that was removed and is still enforced.
	return false
}
