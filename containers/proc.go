package containers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"proofhouse/nsmgr"
)

// task is what /proc/PID/stat says of a process, to any reader: other files
// there are an access by ptrace, which the container's policy may deny and log.
type task struct {
	state byte // Z for a zombie
	fresh bool // it has not executed a program of its own since it was forked
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

// parseStat reads "PID (NAME) STATE PPID … FLAGS …"; a name may have any
// character in it.
func parseStat(b []byte) (task, error) {
	const flags = 6 // of the fields behind the name
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) <= flags {
		return task{}, fmt.Errorf("%q is no process's state", b)
	}
	n, err := strconv.ParseUint(string(fields[flags]), 10, 64)
	if err != nil {
		return task{}, fmt.Errorf("%q is no process's state: %w", b, err)
	}
	return task{state: fields[0][0], fresh: n&forkNoExec != 0}, nil
}

// readBack waits until the process has executed its program and says what
// confines it then. A zombie that is still ours to wait for keeps its label,
// so a command that ends at once is seen as well. executed is false for one
// that ended without having executed anything.
func readBack(ctx context.Context, pid int, want nsmgr.Label) (got nsmgr.Label, executed bool, err error) {
	// LXC changes the label before the program is executed, and the policy may
	// name another profile for that program; so the label counts from then on.
	// The kernel takes the mark of a fork away a moment before it changes the
	// label of an execution.
	const doubt = 100 * time.Millisecond
	var since time.Time
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		t, err := readTask(pid)
		if err != nil {
			return got, false, fmt.Errorf("look at process %d: %w", pid, err)
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

// keeps says whether a label that a task got by executing a program still
// confines it as the wanted one does: by each of its namespaces, and not by
// the unconfined profile alone. The policy may name another profile of the same namespace
// for a program.
func keeps(want, got nsmgr.Label) bool {
	if same(want, got) {
		return true
	}
	has := map[nsmgr.Name]bool{}
	confined := false
	for _, p := range got.Parts {
		has[p.Namespace] = true
		confined = confined || p.Profile != nsmgr.Unconfined
	}
	need := map[nsmgr.Name]bool{}
	for _, p := range want.Parts {
		need[p.Namespace] = true
		if !has[p.Namespace] {
			return false
		}
	}
	return confined && len(need) == len(has)
}
