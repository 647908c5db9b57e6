// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/regression"
	"proofhouse/reports"
)

// e2eKernels are the kernels that the tests here boot: one of each kind of
// machine.
var e2eKernels = []string{DefaultKernel, "debian:trixie"}

// onKernel opens a bench on a real kernel, with the run in a temporary directory.
func onKernel(t *testing.T, spec string) *Bench {
	t.Helper()
	return onKernelWith(t, Config{Kernels: []string{spec}})
}

func onKernelWith(t *testing.T, cfg Config) *Bench {
	t.Helper()
	if os.Getenv("PROOFHOUSE_E2E") == "" {
		t.Skip("boots a kernel: make test")
	}
	cfg.Out = t.TempDir()
	plan, err := Prepare(context.Background(), cfg, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(plan, t.TempDir(), 1, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	l.RunStarted(nil, 1)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// place puts a script of ours among the upstream ones, in the machine that
// runs now.
func (l *Bench) place(t *testing.T, name, text string) regression.Script {
	t.Helper()
	m, err := l.Machine(context.Background(), l.Plan.Builds[0])
	if err != nil {
		t.Fatal(err)
	}
	res, err := m.Run(context.Background(), machines.Command{
		Args: []string{"tee", regression.TestDir + "/" + name + ".sh"}, Stdin: strings.NewReader(text),
	})
	if err != nil || res.Status != 0 {
		t.Fatal(res, err)
	}
	return regression.Script{Name: name}
}

func (l *Bench) run(t *testing.T, s regression.Script) reports.Spec {
	t.Helper()
	spec := l.Script(context.Background(), l.Plan.Builds[0], s)
	t.Logf("%s: %.1f s, crash %q, %d results", spec.ID, spec.Seconds, spec.Crash, len(spec.Results))
	return spec
}

// want demands that the spec has results of these statuses and no others.
func want(t *testing.T, spec reports.Spec, statuses ...reports.Status) {
	t.Helper()
	counts := reports.Counts{}
	for _, r := range spec.Results {
		counts[r.Status]++
	}
	for _, s := range statuses {
		if counts[s] == 0 {
			t.Errorf("%s: no %s", spec.ID, s)
		}
		delete(counts, s)
	}
	if len(counts) > 0 {
		t.Errorf("%s: also %v: %+v", spec.ID, counts, spec.Results)
	}
}

// One kernel after the other: a script that passes, one whose kernel panics,
// one that hangs, and one that passes again: nothing of the run is lost.
func TestE2ESurvives(t *testing.T) {
	for _, kernel := range e2eKernels {
		t.Run(kernel, func(t *testing.T) {
			l := onKernel(t, kernel)
			open := regression.Script{Name: "open"}
			want(t, l.run(t, open), reports.Pass)

			// Many short sleeps, as what it printed is to come out before the panic:
			// in one long one the whole machine may stand still.
			crashed := l.run(t, l.place(t, "ours_panic", "echo 'ok: before the panic'\nfor i in {1..20}; do sleep 0.05; done\necho c > /proc/sysrq-trigger\nsleep 60\n"))
			want(t, crashed, reports.Pass, reports.Error)
			if crashed.Crash != "panic: sysrq triggered crash" || !strings.Contains(crashed.Console, "Kernel panic") {
				t.Errorf("crash %q, console %q", crashed.Crash, crashed.Console)
			}

			// Long enough for it to begin, on a machine that has other work, too.
			l.faults.deadline = func(m machines.Machine, _ float64) time.Duration {
				return 10*time.Second + scaled(m, 300*time.Millisecond)
			}
			hung := l.run(t, l.place(t, "ours_hang", "echo 'ok: before the hang'\nsleep 1000 &\nsetsid sleep 1000 &\nsleep 1000\n"))
			want(t, hung, reports.Pass, reports.Error)
			l.faults.deadline = nil

			want(t, l.run(t, open), reports.Pass)
			run, err := reports.Read(l.Dir)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(run.Kernels[0].Specs); n != 4 {
				t.Errorf("the journal has %d specs, not 4", n)
			}
		})
	}
}

// What the kernel logs while a script runs is kept with it, all of it: printk
// would drop all but ten records in five seconds.
func TestE2EAuditIsWhole(t *testing.T) {
	l := onKernel(t, DefaultKernel)
	const denials = 500
	spec := l.run(t, l.place(t, "ours_audit", `
printf 'abi <kernel>,\nprofile ours_audit { file, audit deny /etc/hostname r, }\n' | apparmor_parser -rK || exit 2
aa-exec -p ours_audit -- perl -e 'for (1 .. `+strconv.Itoa(denials)+`) { open(my $f, "<", "/etc/hostname") and exit 3 }' || exit 2
echo 'ok: done'
`))
	want(t, spec, reports.Pass)
	b, err := os.ReadFile(filepath.Join(l.Dir, spec.Audit))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), `apparmor="DENIED" operation="open"`); n != denials {
		t.Errorf("%d denials are kept, not %d", n, denials)
	}
}

// A kernel that only complains must fail where it should have denied: FAIL,
// not ERROR and not PASS.
func TestE2EComplainFails(t *testing.T) {
	l := onKernel(t, DefaultKernel+",append=apparmor.mode=complain")
	spec := l.run(t, regression.Script{Name: "open"})
	counts := reports.Counts{}
	for _, r := range spec.Results {
		counts[r.Status]++
	}
	if counts[reports.Fail] == 0 || counts[reports.Error] > 0 {
		t.Errorf("%v, want FAILs and no ERROR", counts)
	}
	if len(spec.Denials) == 0 {
		t.Error("no record of what was allowed is kept with the failures")
	}
}

func TestE2ERefusesWithoutAppArmor(t *testing.T) {
	l := onKernel(t, DefaultKernel+",append=apparmor=0")
	_, err := l.Machine(context.Background(), l.Plan.Builds[0])
	if err == nil || !strings.Contains(err.Error(), "runs without AppArmor: its command line has apparmor=0") {
		t.Errorf("got %v", err)
	}
}

// A kernel without a virtio console has its channel on a second serial port.
func TestE2ESerialChannel(t *testing.T) {
	l := onKernel(t, "debian:trixie")
	whole := l.Plan.Builds[0]
	// The same kernel, of which nothing is known, without that module.
	modules := t.TempDir()
	if err := os.CopyFS(modules, os.DirFS(whole.Modules)); err != nil {
		t.Fatal(err)
	}
	dep, err := os.ReadFile(filepath.Join(whole.Modules, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.DeleteFunc(strings.Split(string(dep), "\n"), func(l string) bool { return strings.Contains(l, "virtio_console") })
	if err := os.WriteFile(filepath.Join(modules, "modules.dep"), []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	opts := l.Plan.Options(whole)
	opts.Kernel = &kernels.Build{Spec: whole.Spec, Kind: whole.Kind, Arch: whole.Arch, Image: whole.Image, Modules: modules, Release: whole.Release, SHA256: whole.SHA256}
	m, err := machines.Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	out, err := machines.Output(context.Background(), m, 5*time.Minute, "sh", "-c", "ls /dev/vport* 2>/dev/null; head -c 30000 /dev/zero | base64 -w 0")
	if err != nil || len(out) != 40000 || strings.Trim(out, "A") != "" {
		t.Errorf("%d bytes came through, %v", len(out), err)
	}
}
