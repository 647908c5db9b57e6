// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/machines/wire"
	"proofhouse/regression"
	"proofhouse/reports"
)

// Script runs one upstream script on the build and writes its results to the
// journal. Afterwards the machine is usable for the next script, or closed.
func (l *Bench) Script(ctx context.Context, b *kernels.Build, script regression.Script) reports.Spec {
	spec := reports.Spec{ID: SpecID(script.Name), Kernel: b.ID(), Start: time.Now().UTC()}
	l.journal.SpecStarted(spec)
	skipped, unmet := script.Unmet(l.lacks(b))
	switch {
	case unmet:
		spec.Results = []reports.Result{skipped}
	case script.NotRun != "":
		spec.Results = []reports.Result{script.Skipped()}
	default:
		l.runScript(ctx, b, script, &spec)
	}
	spec.End = time.Now().UTC()
	l.journal.SpecEnded(spec)
	l.log.Debug("test ended", "test", spec.ID, "kernel", spec.Kernel, "results", len(spec.Results), "crash", spec.Crash)
	return spec
}

func (l *Bench) runScript(ctx context.Context, b *kernels.Build, script regression.Script, spec *reports.Spec) {
	name := script.Name
	m, err := l.machineFor(ctx, b, scripts)
	if err != nil {
		spec.Results = []reports.Result{broken(name, "no machine: "+err.Error())}
		return
	}
	spec.Machine = m.record.ID
	audit := m.Audit().Mark()
	file, err := l.create(b, name+".log")
	if err != nil {
		spec.Results = []reports.Result{broken(name, "create the file for its output: "+err.Error())}
		return
	}
	out := newOutput(file)
	res, err := m.Run(ctx, machines.Command{
		Args: []string{"bash", name + ".sh"}, Dir: regression.TestDir,
		// TMPDIR is for what the scripts' helpers make beside the scripts' own.
		Env:    []string{"VERBOSE=1", "TMPDIR=/tmp"},
		Stdout: out, Stderr: out,
		Deadline: l.deadline(m, regression.DefaultSeconds(name)),
	})
	if cerr := out.close(); cerr == nil {
		spec.Output = l.relative(file.Name())
	} else {
		l.say(fmt.Sprintf("%s: write its output: %v", spec.ID, cerr))
	}
	spec.Seconds = res.Usage.Wall.Seconds()
	ended := regression.Exit{Status: res.Status, Signal: res.Signal, Deadline: res.Deadline}
	why := l.aftermath(ctx, m, err, spec)
	l.countTest(ctx, m, spec, nil)
	if why == "" {
		why = tidy(ctx, m)
	}
	ended.Crash = spec.Crash
	spec.Results = script.Parse(out.bytes(), ended)
	if reasons := doubts(ctx, err, why, spec.Crash, out); len(reasons) > 0 {
		spec.Results = withDoubts(spec.Results, name, reasons)
	}
	kernel := &l.state(b).kernel
	spec.Results = regression.WhoLacks(spec.Results, kernel.Features)
	spec.Results = regression.Lacking(spec.Results, l.lacks(b))
	spec.Results = l.Plan.Expectations.Judge(kernel, spec.Results, time.Now())
	l.keepAudit(ctx, b, m, audit, name, spec)
	l.keep(ctx, m, spec)
	if why != "" || troubled(spec.Results) {
		l.drop(why) // what a script that failed left behind is not to reach the next
	}
}

// tidy removes the policy that a script left on a board. A virtual machine takes it
// with it.
func tidy(ctx context.Context, m *bench) (why string) {
	t, ok := m.Machine.(interface {
		Tidy(context.Context) ([]string, error)
	})
	if !ok {
		return ""
	}
	removed, err := t.Tidy(ctx)
	if len(removed) > 0 {
		m.log.Debug("tidied", "removed", removed)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// doubts returns the reasons, other than a crash, why the results of a script
// are incomplete or uncertain, whatever it printed and returned.
func doubts(ctx context.Context, runErr error, why, crash string, out *output) (reasons []string) {
	switch {
	case ctx.Err() != nil:
		// Even if the script ended: the kernel was not examined.
		reasons = append(reasons, "interrupted: "+context.Cause(ctx).Error())
	case crash != "": // already in the results
	case runErr != nil:
		reasons = append(reasons, runErr.Error())
	case why != "":
		reasons = append(reasons, "after the script: "+why)
	}
	if n := out.cut(); n > 0 {
		reasons = append(reasons, fmt.Sprintf("output longer than %d MiB: %d bytes and the subtests in them were cut", out.limit>>20, n))
	}
	return reasons
}

// withDoubts makes the result about the script as a whole an ERROR with these
// reasons. If it was an ERROR already, its reason comes last.
func withDoubts(results []reports.Result, script string, reasons []string) []reports.Result {
	whole := broken(script, "")
	var kept []reports.Result
	for _, r := range results {
		if r.ID != whole.ID {
			kept = append(kept, r)
			continue
		}
		whole.Output = r.Output
		if r.Status == reports.Error {
			reasons = append(reasons, r.Reason)
		}
	}
	whole.Reason = strings.Join(reasons, "; ")
	return append(kept, whole)
}

// deadline returns how long a script may run on the machine.
func (l *Bench) deadline(m machines.Machine, expected float64) time.Duration {
	if l.faults.deadline != nil {
		return l.faults.deadline(m, expected)
	}
	return scriptDeadline(m, expected)
}

// lacks returns the prerequisites that the kernel or the machine lacks. Those of
// the machine are known once it was examined.
func (l *Bench) lacks(b *kernels.Build) map[string]bool {
	lacks := regression.KernelLacks(b.Off)
	lacks[regression.IOPorts] = l.state(b).noPorts
	return lacks
}

// broken returns the ERROR of a script that could not be run.
func broken(script, reason string) reports.Result {
	return reports.Result{ID: regression.ScriptID(script), Status: reports.Error, Reason: reason}
}

// troubled reports whether a result is a FAIL or an ERROR: the machine must not
// be used again.
func troubled(results []reports.Result) bool {
	for _, r := range results {
		if r.Status == reports.Fail || r.Status == reports.Error {
			return true
		}
	}
	return false
}

// explained reports whether the report shows the denials of the spec: if there
// is a failure, expected or not.
func explained(results []reports.Result) bool {
	return troubled(results) || slices.ContainsFunc(results, func(r reports.Result) bool {
		return r.Known != nil && r.Known.Found == reports.Fail
	})
}

const (
	scriptDir = "scripts"
	// plainAudit is the size in bytes from which records are compressed:
	// link_subset alone causes 80 MB of them.
	plainAudit = 1 << 20
	// maxDenials is how many denials of a spec are in the report. The file has
	// all of them.
	maxDenials = 100
)

func (l *Bench) create(b *kernels.Build, name string) (*os.File, error) {
	dir := filepath.Join(l.Dir, b.ID(), scriptDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, _, err := reports.CreateNumbered(filepath.Join(dir, name))
	return f, err
}

func (l *Bench) relative(file string) string {
	if rel, err := filepath.Rel(l.Dir, file); err == nil {
		return rel
	}
	return file
}

// keepAudit writes the audit records of the test to a file, and copies the
// denials to the spec.
func (l *Bench) keepAudit(ctx context.Context, b *kernels.Build, m machines.Machine, mark int, name string, spec *reports.Spec) {
	if spec.Crash == "" && ctx.Err() == nil {
		if err := m.SyncAudit(ctx); err != nil {
			l.say(fmt.Sprintf("%s: audit records may be incomplete: %v", spec.ID, err))
		}
	}
	text := m.Audit().Since(mark)
	if text == "" {
		return
	}
	if strings.Contains(text, wire.RecordsLost) {
		l.say(spec.ID + ": audit records were lost: the kernel logged faster than they could be read")
	}
	file, err := l.writeAudit(b, name, text)
	if err != nil {
		l.say(fmt.Sprintf("%s: write the audit records: %v", spec.ID, err))
	} else {
		spec.Audit = l.relative(file)
	}
	if !explained(spec.Results) {
		return
	}
	for line := range strings.Lines(text) {
		if !strings.Contains(line, `apparmor="DENIED"`) && !strings.Contains(line, `apparmor="ALLOWED"`) {
			continue
		}
		if len(spec.Denials) == maxDenials {
			spec.Denials = append(spec.Denials, "… more in "+spec.Audit)
			return
		}
		spec.Denials = append(spec.Denials, strings.TrimSpace(line))
	}
}

func (l *Bench) writeAudit(b *kernels.Build, name, text string) (file string, err error) {
	name += ".audit.log"
	if len(text) >= plainAudit {
		name += ".gz"
	}
	f, err := l.create(b, name)
	if err != nil {
		return "", err
	}
	var w io.WriteCloser = f
	if strings.HasSuffix(name, ".gz") {
		w = gzip.NewWriter(f)
		defer func() { err = errors.Join(err, f.Close()) }()
	}
	_, err = io.WriteString(w, text)
	return f.Name(), errors.Join(err, w.Close())
}
