// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/isolation"
	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/machines/wire"
	"proofhouse/regression"
	"proofhouse/reports"
)

// scripted is a machine that prints what it is told to.
type scripted struct {
	console, audit machines.Log
	info           machines.Info
	prints         string
	err            error  // of Run
	sane           error  // of Sane
	after          func() // when a command ended
	status         machines.Result
	ran            [][]string
}

func (d *scripted) Run(_ context.Context, c machines.Command) (machines.Result, error) {
	d.ran = append(d.ran, c.Args)
	_, _ = io.WriteString(c.Stdout, d.prints)
	if d.after != nil {
		d.after()
	}
	return d.status, d.err
}
func (d *scripted) Console() *machines.Log          { return &d.console }
func (d *scripted) Audit() *machines.Log            { return &d.audit }
func (d *scripted) SyncAudit(context.Context) error { return nil }
func (d *scripted) Sane(context.Context) error      { return d.sane }
func (d *scripted) Info() machines.Info             { return d.info }
func (d *scripted) Close() error                    { return nil }

// onScripted opens a bench whose only machine is m.
func onScripted(t *testing.T, m *scripted, planned ...string) (*Bench, *kernels.Build) {
	t.Helper()
	m.info.Kind, m.info.Slowness = "qemu", 1
	b := &kernels.Build{Kind: kernels.BzImage, Release: "7.9.9", SHA256: "0123456789abcdef", Spec: "bzImage"}
	l, err := Open(&Plan{Builds: []*kernels.Build{b}}, t.TempDir(), 1, func(s string) { t.Log("say:", s) })
	if err != nil {
		t.Fatal(err)
	}
	var plan []reports.Planned
	for _, id := range planned {
		plan = append(plan, reports.Planned{ID: id, Kernel: b.ID()})
	}
	l.RunStarted(plan, 1)
	l.machine = &bench{Machine: m, log: l.log, build: b, record: reports.Machine{ID: "qemu-1.1", Kernel: b.ID()}}
	l.journal.MachineOpened(l.machine.record)
	l.state(b).described = true
	return l, b
}

func verdictOf(t *testing.T, l *Bench) (int, *reports.Run) {
	t.Helper()
	l.RunEnded()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	run, err := reports.Read(l.Dir)
	if err != nil {
		t.Fatal(err)
	}
	status, line := reports.Verdict(run)
	t.Logf("exit status %d: %s", status, line)
	return status, run
}

const twoPasses = "ok (pass): A\nok (fail): B\n"

// What is cut from the console while no test is running may have been a
// complaint, too.
func TestConsoleFloodBetweenTests(t *testing.T) {
	for _, when := range []string{"while it boots", "after the last"} {
		t.Run(when, func(t *testing.T) {
			m := &scripted{prints: twoPasses}
			l, b := onScripted(t, m, "regression/open")
			flood := func() {
				line := []byte(strings.Repeat("flood ", 1<<10) + "\n")
				for range 2 << 10 {
					_, _ = m.console.Write(line)
				}
			}
			if when == "while it boots" {
				flood()
			}
			l.unclaimed(l.machine, "while it booted")
			l.Script(context.Background(), b, regression.Script{Name: "open", Speaks: true})
			if when == "after the last" {
				flood()
			}
			l.drop("")
			if status, run := verdictOf(t, l); status != exit.NoVerdict {
				t.Errorf("exit status %d: %+v", status, run.Kernels[0].Specs)
			}
		})
	}
}

// A warning does not explain why the probe did not come back: the row would pass
// without its cells where the warning is expected.
func TestWarningExcusesNoLoss(t *testing.T) {
	for title, c := range map[string]struct {
		console string
		errors  bool
	}{
		"a warning":                              {complaintText, true},
		"a warning, and what looks like an oops": {complaintText + "---[ end trace 0 ]---\nprogram: [#1]\n", true},
		"a panic":                                {"[   12.3] Kernel panic - not syncing: Fatal exception\n", false},
		"a lockup":                               {"[   12.3] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [probe:107]\n", false},
	} {
		t.Run(title, func(t *testing.T) {
			m := &scripted{err: fmt.Errorf("%w: no answer", machines.ErrLost)}
			m.after = func() { _, _ = m.console.Write([]byte("Linux version 7.9.9\n" + c.console)) }
			l, b := onScripted(t, m, "isolation/limits/y")
			row := isolation.Row{Group: "limits", Name: "y", CrashFails: true, Cases: []isolation.Case{{Name: "a"}}}
			spec := l.Isolation(context.Background(), b, row)
			missing, lost, failed := false, false, false
			for _, r := range spec.Results {
				missing = missing || r.ID == "isolation/limits/y/a" && r.Status == reports.Error
				lost = lost || r.ID == "isolation/limits/y" && r.Status == reports.Error
				failed = failed || r.Status == reports.Fail
			}
			if missing != c.errors || lost != c.errors || !failed {
				t.Errorf("%+v", spec.Results)
			}
		})
	}
}

// A script passes only if the machine answers after it, its taint can be read,
// the kernel did not complain, the output came whole and the status fits.
func TestScriptPassIsEarned(t *testing.T) {
	lost := fmt.Errorf("%w: no answer within 20s", machines.ErrLost)
	cancelled, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("^C"))
	for name, c := range map[string]struct {
		m   *scripted
		ctx context.Context
		ok  bool
	}{
		"all is well":                            {m: &scripted{}, ok: true},
		"the kernel dies without a word":         {m: &scripted{sane: lost}},
		"the taint cannot be read":               {m: &scripted{sane: fmt.Errorf("%w: taint state unavailable", machines.ErrInsane)}},
		"Sane fails in a way that is not known":  {m: &scripted{sane: errors.New("no answer")}},
		"the command's end is not known":         {m: &scripted{err: lost}},
		"it exits with 1 and printed no failure": {m: &scripted{status: machines.Result{Status: 1}}},
		"it is killed":                           {m: &scripted{status: machines.Result{Signal: "KILL"}}},
		"its time is over":                       {m: &scripted{status: machines.Result{Deadline: true}}},
		"interrupted when it had ended":          {m: &scripted{}, ctx: cancelled},
		"it prints too much":                     {m: &scripted{prints: twoPasses + strings.Repeat("noise noise noise noise noise\n", 1<<20) + twoPasses}},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.m
			if m.prints == "" {
				m.prints = twoPasses
			}
			l, b := onScripted(t, m, "regression/open")
			ctx := c.ctx
			if ctx == nil {
				ctx = context.Background()
			}
			spec := l.Script(ctx, b, regression.Script{Name: "open", Speaks: true})
			if !c.ok && !troubled(spec.Results) {
				t.Errorf("%+v", spec.Results)
			}
			if status, _ := verdictOf(t, l); (status == exit.OK) != c.ok {
				t.Errorf("exit status %d", status)
			}
		})
	}
}

// What is cut from the console may have been a complaint.
func TestConsoleFlood(t *testing.T) {
	m := &scripted{prints: twoPasses}
	l, b := onScripted(t, m, "regression/open")
	m.after = func() {
		line := []byte(strings.Repeat("flood ", 1<<10) + "\n")
		for range 2 << 10 {
			_, _ = m.console.Write(line)
		}
	}
	spec := l.Script(context.Background(), b, regression.Script{Name: "open", Speaks: true})
	if !troubled(spec.Results) {
		t.Errorf("%+v", spec.Results)
	}
	if status, _ := verdictOf(t, l); status == exit.OK {
		t.Errorf("exit status %d", status)
	}
}

const complaintText = "[   10.0] WARNING: CPU: 0 PID: 1 at security/apparmor/policy.c:77 aa_put_profile+0x1f/0x30\n"

// A complaint of the kernel is in the verdict whenever it was made: during a
// script, while it booted, between two scripts, after the last one.
func TestComplaintsAreInTheVerdict(t *testing.T) {
	for name, c := range map[string]struct{ before, during, between, after string }{
		"during a script":                {during: complaintText},
		"while it boots":                 {before: complaintText},
		"between two":                    {between: complaintText},
		"after the last":                 {after: complaintText},
		"in a line that comes in halves": {during: complaintText[:14], between: complaintText[14:]},
	} {
		t.Run(name, func(t *testing.T) {
			m := &scripted{prints: twoPasses}
			say := func(text string) { _, _ = m.console.Write([]byte(text)) }
			l, b := onScripted(t, m, "regression/open", "regression/pipe")
			say("Linux version 7.9.9\n" + c.before)
			l.unclaimed(l.machine, "while it booted")
			m.after = func() { say(c.during); m.after = nil }
			l.Script(context.Background(), b, regression.Script{Name: "open", Speaks: true})
			if l.machine != nil {
				say(c.between)
				l.Script(context.Background(), b, regression.Script{Name: "pipe", Speaks: true})
			}
			if l.machine != nil {
				say(c.after)
			}
			l.drop("")
			status, run := verdictOf(t, l)
			found := 0
			for _, s := range run.Kernels[0].Specs {
				for _, r := range s.Results {
					if r.Status == reports.Fail || r.Status == reports.Error {
						if !strings.Contains(r.Reason, "aa_put_profile") {
							continue
						}
						found++
					}
				}
			}
			if status == exit.OK || found != 1 {
				t.Errorf("exit status %d, the complaint is in %d results", status, found)
			}
		})
	}
}

// What a kernel was tainted by before the first test is no PASS either.
func TestTaintAtBoot(t *testing.T) {
	m := &scripted{prints: twoPasses, info: machines.Info{Taint: 1 << 9}}
	l, b := onScripted(t, m, "regression/open")
	l.unclaimed(l.machine, "while it booted")
	l.Script(context.Background(), b, regression.Script{Name: "open", Speaks: true})
	if status, run := verdictOf(t, l); status != exit.Failed || run.Kernels[0].Specs[0].Results[0].ID != "kernel/log/tainted" {
		t.Errorf("exit status %d: %+v", status, run.Kernels[0].Specs[0])
	}
}

// A busy host is not the kernel's fault, and is no PASS either.
func TestHostDependentComplaint(t *testing.T) {
	for title, want := range map[string]reports.Status{
		"RCU stall": reports.Error, "soft lockup": reports.Error, "task swapper hung": reports.Error,
		"KASAN: slab-use-after-free in aa_label_match": reports.Fail, "WARNING in aa_put_profile": reports.Fail,
	} {
		if got := complaint(kernelLog, title, "while it booted"); got.Status != want {
			t.Errorf("%s: %s, want %s", title, got.Status, want)
		}
	}
}

// The same for a row of the isolation matrix: without all audit records, or
// without an answer after the probe, its cells may not be the whole truth.
func TestRowPassIsEarned(t *testing.T) {
	for name, c := range map[string]struct {
		m     *scripted
		audit string
		says  string
	}{
		"records were lost":              {m: &scripted{}, audit: wire.RecordsLost + ": the kernel logged faster than they could be read\n", says: "audit records were lost"},
		"the kernel dies without a word": {m: &scripted{sane: fmt.Errorf("%w: no answer", machines.ErrLost)}, says: "after the probe"},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.m
			m.after = func() { _, _ = m.audit.Write([]byte(c.audit)) }
			l, b := onScripted(t, m, "isolation/x/y")
			row := isolation.Row{Group: "x", Name: "y", Cases: []isolation.Case{{Name: "a"}}}
			spec := l.Isolation(context.Background(), b, row)
			found := false
			for _, r := range spec.Results {
				found = found || r.ID == "isolation/x/y" && r.Status == reports.Error && strings.Contains(r.Reason, c.says)
			}
			if !found {
				t.Errorf("%+v", spec.Results)
			}
		})
	}
}
