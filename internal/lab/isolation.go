package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"proofhouse/isolation"
	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/reports"
)

// RowSeconds is what a row of the isolation matrix is expected to take.
const RowSeconds = 2

// Isolation tries one row of the isolation matrix on the build and writes down
// what came of it.
func (l *Lab) Isolation(ctx context.Context, b *kernels.Build, row isolation.Row) reports.Spec {
	spec := reports.Spec{ID: row.ID(), Kernel: b.ID(), Start: time.Now().UTC()}
	l.journal.SpecStarted(spec)
	l.runRow(ctx, b, row, &spec)
	spec.End = time.Now().UTC()
	l.journal.SpecEnded(spec)
	return spec
}

func (l *Lab) runRow(ctx context.Context, b *kernels.Build, row isolation.Row, spec *reports.Spec) {
	failed := func(why string) {
		spec.Results = append(spec.Results, reports.Result{ID: spec.ID, Status: reports.Error, Reason: why})
	}
	m, err := l.Machine(ctx, b)
	if err != nil {
		failed("no machine: " + err.Error())
		return
	}
	spec.Machine = l.current.ID
	l.hadRows = m
	k := l.kernel(b, m)
	if isolation.Lacks(k, row.Needs) != "" {
		spec.Results = row.Judge(k, nil, "")
		return
	}
	plan := row.Plan(k)
	if plan.Container != "" {
		if err := l.container(ctx, m, k); err != nil {
			failed("no container: " + err.Error())
			l.drop("")
			return
		}
	}
	if l.breakPlan != nil {
		l.breakPlan(&plan)
	}
	console, audit := m.Console().Mark(), m.Audit().Mark()
	found, seconds, err := l.probe(ctx, m, plan)
	spec.Seconds = seconds
	if syncErr := m.SyncAudit(ctx); syncErr != nil && err == nil {
		err = syncErr
	}
	why := l.aftermath(ctx, m, err, console, spec)
	spec.Results = row.Judge(k, found, m.Audit().Since(audit))
	switch {
	case spec.Crash != "" && strings.HasPrefix(spec.Crash, "WARNING") && row.Group == "limits":
		// That the kernel bears it without a warning is what these rows ask.
		spec.Results = append(spec.Results, reports.Result{ID: spec.ID + "/(kernel-log)", Status: reports.Fail, Expected: "no warning", Got: spec.Crash, Reason: "the kernel warned: " + spec.Crash})
	case spec.Crash != "":
		failed("the kernel crashed: " + spec.Crash)
	case ctx.Err() != nil:
		failed("interrupted: " + context.Cause(ctx).Error())
	case err != nil:
		failed(err.Error())
	}
	spec.Results = l.Plan.Expectations.Judge(&l.state(b).kernel, spec.Results, time.Now())
	l.keepAudit(ctx, b, m, audit, strings.ReplaceAll(spec.ID, "/", "-"), spec)
	if why != "" || err != nil {
		l.drop(why)
	}
}

// kernel is what the matrix asks of the kernel at hand.
func (l *Lab) kernel(b *kernels.Build, m machines.Machine) isolation.Kernel {
	k := &l.state(b).kernel
	return isolation.Kernel{Features: k.Features, Parser: k.Properties["parser"], Slowness: m.Info().Slowness}
}

// probe carries out a plan on the machine.
func (l *Lab) probe(ctx context.Context, m machines.Machine, plan isolation.Plan) (found []isolation.Found, seconds float64, err error) {
	// Compressed, as it repeats itself: a UML machine whose serial line gets
	// more at once than its terminal buffer of 4 KiB holds stops listening now
	// and then (measured on 7.2: throttled, and never unthrottled).
	var in bytes.Buffer
	z := gzip.NewWriter(&in)
	if err := errors.Join(json.NewEncoder(z).Encode(plan), z.Close()); err != nil {
		return nil, 0, err
	}
	var out, errOut bytes.Buffer
	// A cell takes some milliseconds, on hardware less than one; the life of a
	// container takes a second or two there, and so may a thousand rounds.
	res, err := m.Run(ctx, machines.Command{
		Args: []string{"probe"}, Stdin: &in, Stdout: &out, Stderr: &errOut,
		Env:      []string{"GODEBUG=asyncpreemptoff=1"},
		Deadline: scaled(m, 6*time.Second+time.Duration(len(plan.Cells))*50*time.Millisecond),
	})
	found, readErr := isolation.ReadFound(&out)
	switch {
	case err != nil:
	case res.Deadline || res.Signal != "" || res.Status != 0:
		err = fmt.Errorf("the probe: %v: %s", res, lastLines(errOut.String(), 12))
	default:
		err = readErr
	}
	return found, res.Usage.Wall.Seconds(), err
}

// container starts the container of the isolation matrix, once for each
// machine.
func (l *Lab) container(ctx context.Context, m machines.Machine, k isolation.Kernel) error {
	if l.hasContainer == m {
		return nil
	}
	world := isolation.World(k)
	label := isolation.InitLabel
	if l.breakWorld != nil {
		l.breakWorld(&world, &label)
	}
	if _, _, err := l.probe(ctx, m, world); err != nil {
		return err
	}
	name := isolation.Container
	config := fmt.Sprintf("lxc.net.0.type = empty\nlxc.apparmor.profile = %s\n", label)
	for _, c := range []struct {
		args  []string
		stdin string
	}{
		{args: []string{"lxc-create", "-n", name, "-t", "busybox"}},
		{args: []string{"tee", "-a", "/var/lib/lxc/" + name + "/config"}, stdin: config},
		{args: []string{"mkdir", "-p", "/var/lib/lxc/" + name + "/rootfs" + isolation.Folder}},
		{args: []string{"lxc-start", "-n", name}},
		{args: []string{"lxc-wait", "-n", name, "-s", "RUNNING", "-t", "60"}},
	} {
		var out bytes.Buffer
		res, err := m.Run(ctx, machines.Command{
			Args: c.args, Stdin: strings.NewReader(c.stdin), Stdout: &out, Stderr: &out, Detach: true, Deadline: scaled(m, 20*time.Second),
		})
		if err != nil {
			return err
		}
		if res.Status != 0 || res.Signal != "" || res.Deadline {
			return fmt.Errorf("%s: %v: %s", strings.Join(c.args, " "), res, lastLines(out.String(), 5))
		}
	}
	l.hasContainer = m
	return nil
}
