// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/reports"
	"proofhouse/runs"
	"proofhouse/runs/runner"
)

// Campaign runs the suite once for each fault and once without one.
type Campaign struct {
	Config runs.Config // without kernels
	// Kernel is the spec of a kernel that Plant's tree was built to, for User
	// Mode Linux or QEMU.
	Kernel string
	// LabelFilter selects the specs, as Ginkgo's; "" selects all.
	LabelFilter string
	// Dir keeps the runs and their outcomes. A campaign in the same directory
	// continues where it stopped.
	Dir   string
	Procs int
	Watch runner.Watcher
	// Keep keeps the directories of all runs, not only of the baseline.
	Keep bool
}

// Outcome is what the suite made of one fault.
type Outcome struct {
	Number int `json:"number"` // 0: the baseline
	// Build and Filter say what was run: an outcome counts only for the same.
	Build  string `json:"build"`
	Filter string `json:"filter"`
	// Caught are the specs with a result that was good without the fault and is
	// FAIL with it.
	Caught []string `json:"caught,omitempty"`
	// Broken are the specs with a result that was good without the fault and is
	// an ERROR or missing with it: the kernel crashed, hung or did not boot.
	Broken []string `json:"broken,omitempty"`
	// Refused says why there was no run at all, such as a kernel that does not
	// boot.
	Refused string `json:"refused,omitempty"`
	// Good are the results that were good in the baseline, for Number 0.
	Good []string `json:"good,omitempty"`
}

// Verdict is "caught", "broken", or "survived". Broken is noticed, too, but by
// a crash and not by a check.
func (o Outcome) Verdict() string {
	switch {
	case len(o.Caught) > 0:
		return "caught"
	case len(o.Broken) > 0 || o.Refused != "":
		return "broken"
	}
	return "survived"
}

// outcomesFile is the record of a campaign, one JSON object a line.
const outcomesFile = "outcomes.jsonl"

// Run tries the faults that have no outcome yet, in their order, and returns
// the outcomes of all that were asked for, by number.
func (c *Campaign) Run(ctx context.Context, faults []Mutant) (map[int]Outcome, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, exit.BadInputf("make the directory of the campaign: %w", err)
	}
	build, err := kernels.Resolve(ctx, c.Kernel, c.Watch.Step)
	if err != nil {
		return nil, err
	}
	known, err := ReadOutcomes(c.Dir)
	if err != nil {
		return nil, err
	}
	current := func(number int) bool {
		o, ok := known[number]
		return ok && o.Build == build.SHA256 && o.Filter == c.LabelFilter
	}
	record, err := openRecord(c.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = record.Close() }()
	numbers := []int{0}
	for _, m := range faults {
		numbers = append(numbers, m.Number)
	}
	for i, n := range numbers {
		if current(n) {
			continue
		}
		c.Watch.Step(fmt.Sprintf("fault %d (%d of %d)", n, i, len(faults)))
		o, err := c.try(ctx, n, known[0].Good)
		if err != nil {
			return known, err
		}
		o.Build, o.Filter = build.SHA256, c.LabelFilter
		line, err := json.Marshal(o)
		if err != nil {
			return known, err
		}
		if _, err := record.Write(append(line, '\n')); err != nil {
			return known, fmt.Errorf("record the outcome of fault %d: %w", n, err)
		}
		known[n] = o
	}
	asked := map[int]Outcome{}
	for _, n := range numbers {
		asked[n] = known[n]
	}
	return asked, nil
}

// errBaseline is the error of a campaign that cannot tell anything.
var errBaseline = errors.New("the kernel without a fault")

func (c *Campaign) try(ctx context.Context, number int, good []string) (Outcome, error) {
	o := Outcome{Number: number}
	cfg := c.Config
	cfg.Kernels = []string{fmt.Sprintf("%s,append=apparmor.mutant=%d", c.Kernel, number)}
	dir := filepath.Join(c.Dir, fmt.Sprintf("fault-%d", number))
	if err := os.RemoveAll(dir); err != nil { // of a campaign that was killed
		return o, err
	}
	options := runner.Options{Config: cfg, Dir: dir, Procs: c.Procs, LabelFilter: c.LabelFilter}
	run, _, err := runner.Run(ctx, options, c.Watch)
	if ctx.Err() != nil {
		return o, context.Cause(ctx)
	}
	if o, err = outcomeOf(number, good, run, started(dir), err); err != nil {
		return o, fmt.Errorf("%w: see %s", err, dir)
	}
	if number == 0 {
		return o, nil
	}
	if !c.Keep {
		return o, os.RemoveAll(dir)
	}
	return o, nil
}

// started reports whether the suite started in the directory of a run. What is
// refused then is the kernel: it does not boot, or runs without AppArmor.
func started(dir string) bool {
	journals, _ := filepath.Glob(filepath.Join(dir, "journal-*.jsonl"))
	return len(journals) > 0
}

// outcomeOf returns what the suite made of a fault, 0 being the baseline, by the
// run, whether the suite started, and the error of it. An error of the host says nothing about the fault,
// and must not become an outcome: the fault is tried again.
func outcomeOf(number int, good []string, run *reports.Run, started bool, err error) (Outcome, error) {
	o := Outcome{Number: number}
	switch {
	case number == 0 && err != nil:
		return o, fmt.Errorf("%w: %w", errBaseline, err)
	case run == nil && exit.Status(err) == exit.Usage && !started:
		return o, err // of the caller's, not of the kernel's
	case run == nil:
		o.Refused = err.Error()
		return o, nil
	case err != nil:
		return o, fmt.Errorf("fault %d: %w", number, err)
	case run.CutShort:
		return o, fmt.Errorf("fault %d: the run was cut short", number)
	case number == 0 && len(run.Doubts) > 0:
		return o, fmt.Errorf("%w: %s", errBaseline, run.Doubts[0])
	case number == 0 && len(run.Kernels) != 1:
		return o, fmt.Errorf("%w: the run has %d kernels", errBaseline, len(run.Kernels))
	case len(run.Kernels) != 1:
		o.Refused = fmt.Sprintf("the run has %d kernels", len(run.Kernels))
	case number == 0:
		if o.Good = goodResults(&run.Kernels[0]); len(o.Good) == 0 {
			return o, fmt.Errorf("%w passes nothing", errBaseline)
		}
	default:
		o.Caught, o.Broken = compare(good, &run.Kernels[0])
	}
	return o, nil
}

// openRecord opens the record of the campaign in dir to append to it. A last line
// that was cut by a kill is removed: the next outcome would become a part of it.
func openRecord(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, outcomesFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, exit.BadInputf("open the record of the campaign: %w", err)
	}
	text, err := io.ReadAll(f)
	if err == nil {
		err = f.Truncate(int64(bytes.LastIndexByte(text, '\n') + 1))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the record of the campaign: %w", err), f.Close())
	}
	return f, nil
}

// good reports whether a status says that the kernel did what it should.
func isGood(s reports.Status) bool {
	return s == reports.Pass || s == reports.XFail || s == reports.XPass
}

// statuses returns the worst status of each result.
func statuses(k *reports.Kernel) map[string]reports.Status {
	all := map[string]reports.Status{}
	for _, spec := range k.Specs {
		for _, r := range spec.Results {
			if old, ok := all[r.ID]; !ok || isGood(old) || r.Status == reports.Fail {
				all[r.ID] = r.Status
			}
		}
	}
	return all
}

func goodResults(k *reports.Kernel) []string {
	all := statuses(k)
	maps.DeleteFunc(all, func(_ string, s reports.Status) bool { return !isGood(s) })
	return slices.Sorted(maps.Keys(all))
}

// compare returns the specs that noticed the fault.
func compare(good []string, k *reports.Kernel) (caught, broken []string) {
	now := statuses(k)
	expected := map[string]bool{}
	add := func(list *[]string, id string) {
		spec := specOf(id)
		if !slices.Contains(*list, spec) {
			*list = append(*list, spec)
		}
	}
	for _, id := range good {
		expected[id] = true
		switch s, ok := now[id]; {
		case s == reports.Fail:
			add(&caught, id)
		case !ok || s == reports.Error:
			add(&broken, id)
		}
	}
	// A failure under an ID of its own, such as the kernel's complaint.
	for id, s := range now {
		if s == reports.Fail && !expected[id] {
			add(&caught, id)
		}
	}
	slices.Sort(caught)
	slices.Sort(broken)
	return caught, broken
}

// specOf returns the ID of the spec that has the result.
func specOf(id string) string {
	parts := 2
	if reports.ID(id).In(reports.Isolation) {
		parts = 3
	}
	fields := strings.SplitN(id, "/", parts+1)
	return strings.Join(fields[:min(parts, len(fields))], "/")
}

// ReadOutcomes reads the record of a campaign; of two outcomes of one fault
// the later counts. A last line that was cut by a kill is ignored: that fault is
// tried again.
func ReadOutcomes(dir string) (map[int]Outcome, error) {
	f, err := os.Open(filepath.Join(dir, outcomesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return map[int]Outcome{}, nil
	} else if err != nil {
		return nil, exit.BadInputf("read the campaign: %w", err)
	}
	defer func() { _ = f.Close() }()
	return readOutcomes(f)
}

func readOutcomes(r io.Reader) (map[int]Outcome, error) {
	all := map[int]Outcome{}
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the campaign: %s line %d: %w", outcomesFile, n, err)
		}
		var o Outcome
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			return nil, exit.BadInputf("read the campaign: %s line %d: %w", outcomesFile, n, err)
		}
		all[o.Number] = o
	}
}
