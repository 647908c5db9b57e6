// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/reports"
)

// process is one of those that a run consists of.
type process struct {
	pid, parent int
	line        string
}

// processes are those below pid, itself included.
func processes(t *testing.T, pid int) (list []process) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	all := map[int]process{}
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var p process
		if p.pid, err = strconv.Atoi(filepath.Base(filepath.Dir(file))); err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if fields[0] == "Z" {
			continue
		}
		p.parent, _ = strconv.Atoi(fields[1])
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		p.line = string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		all[p.pid] = p
	}
	for _, p := range all {
		for up := p.pid; up > 1; up = all[up].parent {
			if up == pid {
				list = append(list, p)
				break
			}
		}
	}
	slices.SortFunc(list, func(a, b process) int { return a.pid - b.pid })
	return list
}

// kind says which process of a run it is, or "".
func (p process) kind() string {
	switch {
	case strings.Contains(p.line, "uml_dir="):
		return "virtual machine"
	case strings.Contains(p.line, "/suite.test "):
		if strings.Contains(p.line, "/ginkgo run") {
			return "ginkgo"
		}
		return "suite"
	case strings.Contains(p.line, "/proofhouse run"):
		return "proofhouse"
	}
	return ""
}

const interrupt = syscall.SIGINT

// processesOf are the processes of a kind below pid.
func processesOf(t *testing.T, pid int, kind string) []process {
	t.Helper()
	return slices.DeleteFunc(processes(t, pid), func(p process) bool { return p.kind() != kind })
}

// written are the specs that a run's journals have with their end, read without
// the code under test.
func written(t *testing.T, dir string) (specs []reports.Spec) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "journal-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewReader(bytes.NewReader(text)); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			var e struct {
				Event string        `json:"event"`
				Spec  *reports.Spec `json:"spec"`
			}
			if json.Unmarshal(line, &e) == nil && e.Event == "spec-ended" && e.Spec != nil {
				specs = append(specs, *e.Spec)
			}
		}
	}
	return specs
}

// At a random moment of a run, one of its processes is killed, stopped or
// interrupted, or the disk is full. No run is a PASS that did not end well, no
// result is lost that was written, nothing is left behind, and the next run
// works.
func TestE2EFaultsInRuns(t *testing.T) {
	bin := binary(t)
	n, seed := 8, uint64(time.Now().UnixNano())
	for name, to := range map[string]func(string) error{
		"PROOFHOUSE_FAULTS":      func(s string) (err error) { n, err = strconv.Atoi(s); return err },
		"PROOFHOUSE_FAULTS_SEED": func(s string) (err error) { seed, err = strconv.ParseUint(s, 10, 64); return err },
	} {
		if s := os.Getenv(name); s != "" {
			if err := to(s); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	t.Logf("PROOFHOUSE_FAULTS_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	args := []string{"run", "--script", "open,chdir", "--row", "file/read", "--procs", "2", "--out"}
	whole := func() (time.Duration, reports.Run) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "run")
		begun := time.Now()
		if got := proofhouse(t, "", append(args, dir)...); got.status != exit.OK {
			t.Fatalf("a run without a fault: %+v", got)
		}
		return time.Since(begun), readResults(t, dir)
	}
	took, good := whole()
	passes := map[string]int{}
	for _, s := range good.Kernels[0].Specs {
		passes[s.ID] = len(s.Results)
	}
	const limit = 14 * time.Minute // two campaigns in half an hour
	end := time.Now().Add(limit)
	kinds := []string{"proofhouse", "ginkgo", "suite", "virtual machine", "interrupt", "full disk", "stop and continue"}
	type tally struct{ faults, struck, ok int }
	counts := map[string]*tally{}
	done := 0
	for ; done < n && time.Now().Before(end) && !t.Failed(); done++ {
		kind := kinds[done%len(kinds)]
		if n > 2*len(kinds) {
			kind = kinds[random.IntN(len(kinds))]
		}
		c := counts[kind]
		if c == nil {
			c = &tally{}
			counts[kind] = c
		}
		c.faults++
		dir := filepath.Join(t.TempDir(), "run")
		delay := time.Duration(random.Int64N(int64(took)))
		cmd := exec.Command(bin, append(args, dir)...)
		if kind == "full disk" {
			// 16 to 160 KiB: room for a part of the run.
			const script = `mount -t tmpfs -o size="$1"k none "$2" || exit 99; shift; d=$1; shift; "$@"; s=$?; cp -a "$d/run" "$d.kept"; exit $s`
			mnt := filepath.Join(t.TempDir(), "full")
			if err := os.Mkdir(mnt, 0o755); err != nil {
				t.Fatal(err)
			}
			dir = mnt + ".kept"
			cmd = exec.Command("unshare", append([]string{"--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", strconv.Itoa(16 + random.IntN(144)), mnt, bin}, append(args, mnt+"/run")...)...)
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		time.Sleep(delay)
		family := processes(t, cmd.Process.Pid)
		struck := strike(kind, cmd.Process.Pid, family, random)
		if struck {
			c.struck++
		}
		select {
		case <-ended: //nolint:errcheck // the exit status is read below
		case <-time.After(10 * time.Minute):
			t.Fatalf("%s after %v: the run does not end\n%s", kind, delay, out.String())
		}
		status := cmd.ProcessState.ExitCode()
		if status == 99 && kind == "full disk" {
			t.Log("no full disk: a tmpfs cannot be mounted here")
			continue
		}
		t.Logf("%d: %s after %v of %v: struck %v, exit status %d", done, kind, delay, took, struck, status)
		if strings.Contains(out.String(), "goroutine ") {
			t.Errorf("%s after %v: a panic:\n%s", kind, delay, out.String())
		}
		if status == exit.OK {
			c.ok++
		}
		judge(t, fmt.Sprintf("%s after %v", kind, delay), dir, status, passes)
		gone(t, family)
	}
	for _, kind := range kinds {
		if c := counts[kind]; c != nil {
			t.Logf("%-18s %3d faults, %3d struck a run, %3d runs were a PASS all the same", kind, c.faults, c.struck, c.ok)
		}
	}
	t.Logf("%d faults of %d", done, n)
	whole()
}

// strike does the damage. It reports whether there was something to damage.
func strike(kind string, run int, family []process, random *rand.Rand) bool {
	var pids []int
	for _, p := range family {
		if p.kind() == kind || kind == "stop and continue" && p.kind() == "virtual machine" {
			pids = append(pids, p.pid)
		}
	}
	switch {
	case len(family) == 0:
		return false
	case kind == "full disk":
		return true
	case kind == "interrupt":
		return syscall.Kill(run, syscall.SIGINT) == nil
	case len(pids) == 0:
		return false
	}
	pid := pids[random.IntN(len(pids))]
	if kind != "stop and continue" {
		return syscall.Kill(pid, syscall.SIGKILL) == nil
	}
	err := syscall.Kill(pid, syscall.SIGSTOP)
	time.Sleep(time.Second)
	_ = syscall.Kill(pid, syscall.SIGCONT)
	return err == nil
}

// judge holds what is left of a run against what its journals say.
func judge(t *testing.T, what, dir string, status int, passes map[string]int) {
	t.Helper()
	ended := written(t, dir)
	run, err := reports.Read(dir)
	if err != nil {
		// It had not begun, and nothing can be lost.
		if len(ended) > 0 || status == exit.OK {
			t.Errorf("%s: exit status %d, %d specs written, and the run cannot be read: %v", what, status, len(ended), err)
		}
		return
	}
	// No result is lost that was written.
	for _, s := range ended {
		found := false
		for i := range run.Kernels {
			for _, r := range run.Kernels[i].Specs {
				found = found || r.ID == s.ID && r.Kernel == s.Kernel && r.Start.Equal(s.Start) && reflect.DeepEqual(r.Results, s.Results)
			}
		}
		if !found {
			t.Errorf("%s: %s is in the journal, and not in the run", what, s.ID)
		}
	}
	// No PASS that was not earned: all specs ended, each with all its PASSes.
	verdict, line := reports.Verdict(run)
	whole := true
	for id, n := range passes {
		i := slices.IndexFunc(ended, func(s reports.Spec) bool { return s.ID == id })
		whole = whole && i >= 0 && len(ended[i].Results) == n && !slices.ContainsFunc(ended[i].Results, func(r reports.Result) bool { return r.Status != reports.Pass })
	}
	if !whole && (status == exit.OK || verdict == exit.OK) {
		t.Errorf("%s: exit status %d, %s, and not all has passed", what, status, line)
	}
	// It can be shown, and says the same.
	if got := proofhouse(t, "", "report", dir); got.status != verdict {
		t.Errorf("%s: report says %d, the verdict is %d\n%s%s", what, got.status, verdict, got.stdout, got.stderr)
	}
}

// gone demands that no process of the run outlives it.
func gone(t *testing.T, family []process) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var left []string
		for _, p := range family {
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
			if err == nil && len(line) > 0 && string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})) == p.line {
				left = append(left, p.kind()+" "+strconv.Itoa(p.pid))
			} else if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("left behind: %q", left)
			return
		}
	}
}
