// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"proofhouse/internal/kmsg"
	"proofhouse/isolation"
	"proofhouse/isolation/defects"
	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/machines/crash"
	"proofhouse/machines/wire"
	"proofhouse/reports"
)

// RowSeconds is the expected duration of an isolation row.
const RowSeconds = 2

// probed is what the probe carries out as one spec: a row of the isolation
// matrix, or the check of a known defect.
type probed interface {
	ID() string
	// Lacking is what the kernel lacks for it, or "".
	Lacking(k isolation.Kernel) string
	Plan(k isolation.Kernel) isolation.Plan
	Judge(k isolation.Kernel, found []isolation.Found, audit string) []reports.Result
	// Survives reports whether a crash of the kernel is a FAIL.
	Survives() bool
	// Alone reports whether it needs a machine of its own.
	Alone() bool
}

// Isolation runs one row of the isolation matrix on the build and writes its
// results to the journal.
func (l *Bench) Isolation(ctx context.Context, b *kernels.Build, row isolation.Row) reports.Spec {
	return l.probeSpec(ctx, b, row, rows)
}

// Defect checks whether the build has the fix of a known defect, and writes down
// what came of it. One that may crash the kernel gets a machine of its own.
func (l *Bench) Defect(ctx context.Context, b *kernels.Build, d defects.Defect) reports.Spec {
	if d.Alone() {
		l.drop("")
		defer l.drop("")
	}
	return l.probeSpec(ctx, b, d, checks)
}

func (l *Bench) probeSpec(ctx context.Context, b *kernels.Build, row probed, h half) reports.Spec {
	spec := reports.Spec{ID: row.ID(), Kernel: b.ID(), Start: time.Now().UTC()}
	l.journal.SpecStarted(spec)
	l.runRow(ctx, b, row, h, &spec)
	spec.End = time.Now().UTC()
	l.journal.SpecEnded(spec)
	l.log.Debug("test ended", "test", spec.ID, "kernel", spec.Kernel, "results", len(spec.Results), "crash", spec.Crash)
	return spec
}

func (l *Bench) runRow(ctx context.Context, b *kernels.Build, row probed, h half, spec *reports.Spec) {
	failed := func(why string) {
		spec.Results = append(spec.Results, reports.Result{ID: spec.ID, Status: reports.Error, Reason: why})
	}
	m, err := l.machineFor(ctx, b, h)
	if err != nil {
		failed("no machine: " + err.Error())
		return
	}
	spec.Machine = m.record.ID
	k := l.kernel(b, m)
	if row.Lacking(k) != "" {
		spec.Results = row.Judge(k, nil, "")
		return
	}
	if b.Board != nil && !b.Board.Crash && (row.Survives() || row.Alone()) {
		spec.Results = []reports.Result{{
			ID: spec.ID, Status: reports.Skip, Lacks: "machine: permission to crash the board",
			Reason: "may crash the kernel: not run on a board without crash=yes",
		}}
		return
	}
	plan := row.Plan(k)
	console := m.read
	if plan.Container != "" && l.state(b).noLXC {
		spec.Results = []reports.Result{{
			ID: spec.ID, Status: reports.Skip, Lacks: "board: lxc",
			Reason: "needs a container, and the board's userspace has no LXC",
		}}
		return
	}
	if plan.Container != "" {
		if err := l.container(ctx, m, k, plan.Container); err != nil {
			failed("no container: " + err.Error())
			// A complaint of the kernel belongs to this row, not to the next.
			why := l.aftermath(ctx, m, nil, spec)
			l.countTest(ctx, m, spec, nil)
			if spec.Crash != "" {
				failed("the kernel crashed: " + spec.Crash)
			}
			if why != "" || m.containers[isolation.Container] != nil {
				l.drop(why)
			}
			return
		}
	}
	if l.faults.plan != nil {
		l.faults.plan(&plan)
	}
	audit := m.Audit().Mark()
	found, seconds, err := l.probe(ctx, m, plan)
	spec.Seconds = seconds
	syncErr := m.SyncAudit(ctx)
	if err == nil {
		err = syncErr
	}
	why := l.aftermath(ctx, m, err, spec)
	l.countTest(ctx, m, spec, m.containerCounts[plan.Container])
	records := m.Audit().Since(audit)
	if syncErr != nil {
		records += isolation.LostRecords(syncErr.Error())
	}
	if notice := lostNotice(m.Console().Since(console)); notice != "" {
		records += isolation.LostRecords(notice)
	}
	spec.Results = row.Judge(k, found, records)
	switch {
	case spec.Crash != "" && row.Survives():
		text := m.Console().Since(console)
		crashes := complaints(spec, text)
		stopped := stops(crashes)
		spec.Results = crashResults(spec.ID, crashes, stopped, spec.Results)
		if err != nil && !stopped {
			failed(err.Error())
		}
	case spec.Crash != "":
		failed("the kernel crashed: " + spec.Crash)
	case ctx.Err() != nil:
		failed("interrupted: " + context.Cause(ctx).Error())
	case err != nil:
		failed(err.Error())
	case why != "":
		failed("after the probe: " + why)
	}
	if strings.Contains(records, wire.RecordsLost) {
		failed("audit records were lost: no cell's records can be judged")
	}
	spec.Results = l.Plan.Expectations.Judge(&l.state(b).kernel, spec.Results, time.Now())
	l.keepAudit(ctx, b, m, audit, strings.ReplaceAll(spec.ID, "/", "-"), spec)
	l.keep(ctx, m, spec)
	if why != "" || err != nil {
		l.drop(why)
	}
}

// lostNotice returns the line of the console by which the kernel reports dropped
// audit records (kernel/audit.c, audit_log_lost), or "".
func lostNotice(console string) string {
	for line := range strings.Lines(console) {
		if kmsg.LostRecords(line) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// kernel returns what the isolation matrix needs to know of the kernel.
func (l *Bench) kernel(b *kernels.Build, m machines.Machine) isolation.Kernel {
	k := &l.state(b).kernel
	return isolation.Kernel{Features: k.Features, Parser: k.Properties["parser"], Slowness: m.Info().Slowness, Off: b.Off}
}

var errOops = errors.New("a kernel oops killed a task, and the probe is stuck")

// unlessOops cancels the context with errOops when the console shows that an
// oops killed a task and the context is still in use some checks later: the
// probe then waits for a lock that the task held, and never returns.
func unlessOops(ctx context.Context, console func() string, every time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		const checks = 5
		for left := checks; left > 0; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if left < checks || crash.Died(console()) {
				left--
			}
		}
		cancel(errOops)
	}()
	return ctx, func() { cancel(nil) }
}

// probe runs a plan on the machine.
func (l *Bench) probe(ctx context.Context, m machines.Machine, plan isolation.Plan) (found []isolation.Found, seconds float64, err error) {
	mark := m.Console().Mark()
	ctx, cancel := unlessOops(ctx, func() string { return m.Console().Since(mark) }, time.Second)
	defer cancel()
	// Compressed, as a plan is repetitive: a serial line of UML that gets more
	// than its terminal buffer of 4 KiB at once sometimes stops reading
	// (measured on 7.2: throttled, and never unthrottled).
	var in bytes.Buffer
	z := gzip.NewWriter(&in)
	if err := errors.Join(json.NewEncoder(z).Encode(plan), z.Close()); err != nil {
		return nil, 0, err
	}
	out, errOut := newOutput(nil), newOutput(nil)
	// A cell takes less than a millisecond on hardware; cells that start
	// containers or do a thousand rounds take one or two seconds. The machine
	// may be busier than when its slowness was measured.
	res, err := m.Run(ctx, machines.Command{
		Args: []string{"probe"}, Stdin: &in, Stdout: out, Stderr: errOut,
		Env:      []string{"GODEBUG=asyncpreemptoff=1"},
		Deadline: scaled(m, 15*time.Second+time.Duration(len(plan.Cells))*50*time.Millisecond),
	})
	found, readErr := isolation.ReadFound(bytes.NewReader(out.bytes()))
	switch {
	case err != nil:
	case res.Deadline || res.Signal != "" || res.Status != 0:
		err = fmt.Errorf("the probe: %v: %s", res, lastLines(errOut.String(), 12))
	case out.cut() > 0:
		err = fmt.Errorf("output of the probe longer than %d MiB: its report is incomplete", maxOutput>>20)
	default:
		err = readErr
	}
	return found, res.Usage.Wall.Seconds(), err
}

// container starts a container of the isolation matrix, once on each machine.
func (l *Bench) container(ctx context.Context, m *bench, k isolation.Kernel, name string) error {
	err, tried := m.containers[name]
	if !tried {
		err = l.startContainer(ctx, m, k, name)
		if err == nil {
			l.countContainer(ctx, m, name)
		}
		if m.containers == nil {
			m.containers = map[string]error{}
		}
		m.containers[name] = err
	}
	return err
}

func (l *Bench) startContainer(ctx context.Context, m *bench, k isolation.Kernel, name string) error {
	label := isolation.InitLabel
	if name == isolation.Unprivileged {
		// It is a copy of the other one.
		if err := l.container(ctx, m, k, isolation.Container); err != nil {
			return err
		}
	} else {
		world := isolation.World(k)
		if l.faults.world != nil {
			l.faults.world(&world, &label)
		}
		if _, _, err := l.probe(ctx, m, world); err != nil {
			return err
		}
	}
	commands := isolation.ContainerCommands(name, label)
	if name == isolation.Unprivileged && l.faults.unprivileged != nil {
		l.faults.unprivileged(commands)
	}
	for _, args := range commands {
		out := newOutput(nil)
		res, err := m.Run(ctx, machines.Command{Args: args, Stdout: out, Stderr: out, Detach: true, Deadline: scaled(m, 20*time.Second)})
		if err != nil {
			return err
		}
		if res.Status != 0 || res.Signal != "" || res.Deadline {
			return fmt.Errorf("%s: %v: %s", strings.Join(args, " "), res, lastLines(out.String(), 5))
		}
	}
	return nil
}
