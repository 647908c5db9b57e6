// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
	"proofhouse/machines"
	"proofhouse/regression"
	"proofhouse/reports"
)

// guestFault is something that goes wrong with a machine while a script runs.
type guestFault struct {
	name string
	// deadly faults leave no machine that could vouch for the script: its spec
	// must not be a PASS if the fault came before its end.
	deadly bool
	inject func(t *testing.T, m machines.Machine)
}

// inGuest runs a shell command on the machine, and does not wait for long: the
// machine may not outlive it.
func inGuest(command string) func(*testing.T, machines.Machine) {
	return func(t *testing.T, m machines.Machine) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		res, err := m.Run(ctx, machines.Command{Args: []string{"sh", "-c", command}})
		t.Logf("in the guest: %v, %v", res, err)
	}
}

func signalVM(signals ...syscall.Signal) func(*testing.T, machines.Machine) {
	return func(t *testing.T, _ machines.Machine) {
		for i, s := range signals {
			if i > 0 {
				time.Sleep(2 * time.Second)
			}
			pids := virtualMachines(t)
			if len(pids) == 0 {
				t.Error("no virtual machine found")
			}
			for _, pid := range pids {
				_ = syscall.Kill(-pid, s)
			}
		}
	}
}

var guestFaults = []guestFault{
	{"panic", true, inGuest("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger")},
	// User space says it in the kernel's words, on the kernel's console, and
	// sets the taint of an oops.
	{"oops", true, inGuest(`printf '<1>BUG: kernel NULL pointer dereference, address: 0000000000000010\n' > /dev/kmsg; printf '<1>Oops: 0002 [#1] SMP\n' > /dev/kmsg; echo 128 > /proc/sys/kernel/tainted`)},
	{"taint without a word", true, inGuest("echo 512 > /proc/sys/kernel/tainted")},
	{"silent reset", true, inGuest("echo 1 > /proc/sys/kernel/sysrq; echo b > /proc/sysrq-trigger")},
	{"power off", true, inGuest("echo 1 > /proc/sys/kernel/sysrq; echo o > /proc/sysrq-trigger")},
	{"kill -9 of the virtual machine", true, signalVM(syscall.SIGKILL)},
	{"SIGSTOP of the virtual machine", true, signalVM(syscall.SIGSTOP)},
	{"SIGSTOP and SIGCONT", false, signalVM(syscall.SIGSTOP, syscall.SIGCONT)},
	{"console flood", false, inGuest("head -c 20M /dev/zero | tr '\\0' '\\n' | sed 's/^/flood/' > /dev/console")},
	{"clock jump", false, inGuest("date -s '2037-01-01'; sleep 0.3; date -s '1999-01-01'")},
	{"memory hog", false, inGuest("timeout 2 tail /dev/zero")},
	{"disk full", false, inGuest("dd if=/dev/zero of=/fill bs=1M 2>/dev/null; sleep 0.3; rm -f /fill")},
}

// virtualMachines are the processes of machines that this test has open.
func virtualMachines(t *testing.T) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			continue
		}
		line, err := os.ReadFile(f)
		if err == nil && bytes.Contains(line, []byte("uml_dir=")) && leaderOf(pid) == pid && descends(pid, os.Getpid()) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func leaderOf(pid int) int {
	pgid, err := syscall.Getpgid(pid)
	if err != nil {
		return 0
	}
	return pgid
}

// descends reports whether the process is below the ancestor.
func descends(pid, ancestor int) bool {
	for pid > 1 {
		if pid == ancestor {
			return true
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return false
		}
		// pid (name) state ppid
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if pid, err = strconv.Atoi(fields[1]); err != nil {
			return false
		}
	}
	return false
}

// faultCount returns how many faults a campaign tries and for how long: a few
// in make test, and as many as PROOFHOUSE_FAULTS says in make test-faults.
func faultCount(t *testing.T, few int) (n int, end time.Time, random *rand.Rand) {
	t.Helper()
	n = few
	if s := os.Getenv("PROOFHOUSE_FAULTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("PROOFHOUSE_FAULTS: %v", err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PROOFHOUSE_FAULTS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("PROOFHOUSE_FAULTS_SEED: %v", err)
		}
	}
	t.Logf("PROOFHOUSE_FAULTS_SEED=%d", seed)
	const limit = 14 * time.Minute // two campaigns in half an hour
	return n, time.Now().Add(limit), rand.New(rand.NewPCG(seed, 0))
}

func openLoops(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(files, "\n") + "\n" + string(mounts)
}

// At random moments of a script, all that can go wrong with a machine does. No
// spec is a PASS that did not end well, none is lost, the next script passes,
// and nothing is left behind.
func TestE2EFaultsInGuests(t *testing.T) {
	l := onKernel(t, DefaultKernel)
	n, end, random := faultCount(t, len(guestFaults))
	b := l.Plan.Builds[0]
	before := openLoops(t)
	script := regression.Script{Name: "open", Speaks: true}
	next := regression.Script{Name: "chdir", Speaks: true}
	baseline := map[string][]string{}
	var took time.Duration
	for _, s := range []regression.Script{next, script} { // the first one boots
		begun := time.Now()
		spec := l.Script(context.Background(), b, s)
		want(t, spec, reports.Pass)
		for _, r := range spec.Results {
			baseline[s.Name] = append(baseline[s.Name], r.ID)
		}
		took = time.Since(begun)
	}
	// What hangs is to be found soon: a fault a minute would be too few.
	l.faults.deadline = func(machines.Machine, float64) time.Duration { return 5*took + 10*time.Second }
	specs := 2
	counts := map[string][3]int{} // faults, those before the script's end, those with an ERROR
	done := 0
	for ; done < n && time.Now().Before(end) && !t.Failed(); done++ {
		f := guestFaults[done%len(guestFaults)]
		if n > 2*len(guestFaults) {
			f = guestFaults[random.IntN(len(guestFaults))]
		}
		delay := time.Duration(random.Int64N(int64(took)))
		m, err := l.Machine(context.Background(), b)
		if err != nil {
			t.Fatal(err)
		}
		injected := make(chan time.Time, 1)
		go func() {
			time.Sleep(delay)
			f.inject(t, m)
			injected <- time.Now()
		}()
		spec := l.Script(context.Background(), b, script)
		ended := time.Now()
		at := <-injected
		specs++
		c := counts[f.name]
		c[0]++
		bad := troubled(spec.Results)
		// The machine is examined at the script's very end: a fault that came
		// while that went on may be one for the next test.
		before := at.Before(ended.Add(-time.Second))
		if before {
			c[1]++
		}
		if bad {
			c[2]++
		}
		counts[f.name] = c
		t.Logf("%d: %s after %v: %d results, trouble %v, crash %q", done, f.name, delay, len(spec.Results), bad, spec.Crash)
		if f.deadly && before && !bad {
			t.Errorf("%s after %v: every result is a PASS: %+v", f.name, delay, spec.Results)
		}
		if !bad && len(spec.Results) != len(baseline[script.Name]) {
			t.Errorf("%s after %v: no ERROR, and %d results of %d", f.name, delay, len(spec.Results), len(baseline[script.Name]))
		}
		for _, r := range spec.Results {
			if r.Status == reports.Pass && !slices.Contains(baseline[script.Name], r.ID) {
				t.Errorf("%s after %v: a result that there is not: %+v", f.name, delay, r)
			}
			if r.Status == reports.Fail && f.deadly {
				t.Logf("%s after %v: %s: %s", f.name, delay, r.ID, r.Reason)
			}
		}
		// The next one works. A machine that a late fault struck is found out
		// by it, and the one after it works.
		for try := range 2 {
			again := l.Script(context.Background(), b, next)
			specs++
			if !troubled(again.Results) && len(again.Results) == len(baseline[next.Name]) {
				break
			}
			if try == 1 || before && f.deadly {
				t.Errorf("after %s after %v: the next script: %+v", f.name, delay, again.Results)
			}
		}
	}
	for name, c := range counts {
		t.Logf("%-32s %3d faults, %3d before the script's end, %3d with an ERROR or FAIL", name, c[0], c[1], c[2])
	}
	t.Logf("%d faults of %d, %d specs", done, n, specs)
	if done == 0 {
		t.Error("no fault was tried")
	}
	l.drop("")
	run, err := reports.Read(l.Dir)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, s := range run.Kernels[0].Specs {
		if reports.ID(s.ID).In(reports.Regression) {
			kept++
			if s.End.IsZero() || len(s.Results) == 0 {
				t.Errorf("%s, attempt %d, has no end", s.ID, s.Attempt)
			}
		}
	}
	if kept != specs {
		t.Errorf("the journal has %d specs of %d", kept, specs)
	}
	if status, line := reports.Verdict(run); status == exit.OK {
		t.Errorf("the verdict is %s", line)
	}
	if left := virtualMachines(t); len(left) > 0 {
		t.Errorf("virtual machines are left: %v", left)
	}
	if after := openLoops(t); after != before {
		t.Errorf("mounts or loop devices are left:\n%s", after)
	}
	mine, err := filepath.Glob(filepath.Join(cache.Root(), "run", "machine-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range mine {
		if unlock, err := tryLock(filepath.Join(d, ".lock")); err == nil {
			unlock()
			t.Errorf("a machine's directory is left: %s", d)
		}
	}
}

// tryLock locks a file that nobody holds.
func tryLock(file string) (func(), error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	return cache.Lock(ctx, file)
}
