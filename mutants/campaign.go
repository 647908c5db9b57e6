// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"bufio"
	"bytes"
	"cmp"
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
	"time"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/reports"
	"proofhouse/runs"
	"proofhouse/runs/runner"
)

// Campaign runs the suite for each fault and without one.
//
// A fault is tried in stages: with the rows of the isolation matrix that are
// about its function, then with the other rows, then with the upstream scripts
// about its function; the stages end when a check caught the fault.
type Campaign struct {
	Config runs.Config // without kernels
	// Kernel is the spec of a kernel that Plant's tree was built to, for User
	// Mode Linux or QEMU.
	Kernel string
	// LabelFilter selects the specs, as Ginkgo's, of one run for each fault; ""
	// is to try in stages.
	LabelFilter string
	// Stages are those to try; none: all.
	Stages []Stage
	// All tries each fault with all specs of all stages, also after a check
	// caught it: only then can the specs be compared.
	All bool
	// Again tries the faults that survived once more, with all specs. Otherwise
	// they are tried with those specs that are new.
	Again bool
	// Limit is how long new runs are started; 0: no limit.
	Limit time.Duration
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
	// Good are the results that were good in the baseline, for Number 0, and
	// Known those of them that are expected failures. Bad are those that failed,
	// could not be told or were skipped: their failure says nothing about a fault.
	Good  []string `json:"good,omitempty"`
	Known []string `json:"known,omitempty"`
	Bad   []string `json:"bad,omitempty"`
	// Stage is what was tried, and Ran the specs of it: of a fault that is tried
	// in stages there is one record for each stage.
	Stage Stage    `json:"stage,omitempty"`
	Ran   []string `json:"ran,omitempty"`
	// Stopped says why the run was ended before all of Ran had run.
	Stopped string `json:"stopped,omitempty"`
}

// join adds what a later stage found.
func (o *Outcome) join(later Outcome) {
	add := func(to *[]string, from []string) {
		*to = append(slices.Clone(*to), from...)
		slices.Sort(*to)
		*to = slices.Compact(*to)
	}
	add(&o.Caught, later.Caught)
	add(&o.Broken, later.Broken)
	add(&o.Good, later.Good)
	add(&o.Known, later.Known)
	add(&o.Bad, later.Bad)
	add(&o.Ran, later.Ran)
	o.Refused = cmp.Or(o.Refused, later.Refused)
	o.Stopped = cmp.Or(o.Stopped, later.Stopped)
}

// confirm replaces what was found by what was found once more.
func (o *Outcome) confirm(again Outcome) {
	o.Caught, o.Broken, o.Refused = again.Caught, again.Broken, again.Refused
}

// CaughtBy returns the specs of a suite that caught the fault.
func (o Outcome) CaughtBy(suite reports.Root) []string {
	var specs []string
	for _, id := range o.Caught {
		if reports.ID(id).In(suite) {
			specs = append(specs, id)
		}
	}
	return specs
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

// triedBy reports whether the fault was tried with a spec of which anything was good
// in the baseline: only such a spec can tell.
func (o Outcome) triedBy(baseline Outcome) bool {
	if o.Verdict() != "survived" || len(o.Ran) == 0 || len(baseline.Good) == 0 {
		return true
	}
	good := specsOf(baseline.Good)
	return slices.ContainsFunc(o.Ran, func(id string) bool { return slices.Contains(good, id) })
}

// outcomesFile is the record of a campaign, one JSON object a line.
const outcomesFile = "outcomes.jsonl"

// ErrLimit is the error of a campaign whose time limit ended it.
var ErrLimit = errors.New("the time limit ended the campaign")

// Run tries the faults that have no outcome yet, in their order, and returns
// the outcomes of all that were asked for, by number. Those of faults that were
// not tried are missing.
func (c *Campaign) Run(ctx context.Context, faults []Mutant) (map[int]Outcome, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, exit.BadInputf("make the directory of the campaign: %w", err)
	}
	build, err := kernels.Resolve(ctx, c.Kernel, c.Watch.Step)
	if err != nil {
		return nil, err
	}
	if err := planted(ctx, build); err != nil {
		return nil, err
	}
	list, err := readRecord(c.Dir)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(o Outcome) bool {
		return o.Build != build.SHA256 || o.Filter != c.LabelFilter || c.LabelFilter == "" && o.Stage == ""
	})
	p := progress{Campaign: c, build: build.SHA256, known: merge(list), started: time.Now()}
	if p.record, err = openRecord(c.Dir); err != nil {
		return nil, err
	}
	defer func() { _ = p.record.Close() }()
	for i, m := range faults {
		p.place = fmt.Sprintf("fault %d (%d of %d)", m.Number, i+1, len(faults))
		if err = p.fault(ctx, m); err != nil {
			break
		}
	}
	asked := map[int]Outcome{0: p.known[0]}
	for _, m := range faults {
		if o, ok := p.known[m.Number]; ok {
			asked[m.Number] = o
		}
	}
	return asked, err
}

// planted refuses a kernel without the switch: it ignores the parameter, and each fault
// would survive.
func planted(ctx context.Context, build *kernels.Build) error {
	const name = "apparmor.mutant"
	has, err := build.HasParameter(ctx, name)
	if err == nil && !has {
		err = exit.BadInputf("it has no parameter %s: build it from a tree of `proofhouse mutants plant`", name)
	}
	if err != nil {
		return fmt.Errorf("kernel with faults: %w", err)
	}
	return nil
}

// progress is a campaign that runs.
type progress struct {
	*Campaign
	build   string
	known   map[int]Outcome
	record  *os.File
	started time.Time
	place   string
}

// fault tries one fault, as far as it was not.
func (p *progress) fault(ctx context.Context, m Mutant) error {
	if p.LabelFilter != "" {
		for _, n := range []int{0, m.Number} {
			if _, ok := p.known[n]; ok {
				continue
			}
			if err := p.attempt(ctx, n, "", nil); err != nil {
				return err
			}
		}
		return nil
	}
	again := p.Again && p.known[m.Number].Verdict() == "survived"
	for _, s := range stages {
		if len(p.Stages) > 0 && !slices.Contains(p.Stages, s) {
			continue
		}
		o := p.known[m.Number]
		if o.Refused != "" || o.Stopped == errWedged.Error() || !p.All && o.Verdict() == "caught" {
			return nil
		}
		todo := s.specs(m)
		if !again {
			todo = without(todo, o.Ran)
		}
		if len(todo) == 0 {
			continue
		}
		all := todo
		if s != Scripts {
			all = rowIDs()
		}
		if missing := without(all, p.known[0].Ran); len(missing) > 0 {
			if err := p.attempt(ctx, 0, s, missing); err != nil {
				return err
			}
		}
		if err := p.attempt(ctx, m.Number, s, todo); err != nil {
			return err
		}
	}
	return nil
}

// without returns what is in list and not in other.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

// attempt runs specs on one fault and records the outcome.
func (p *progress) attempt(ctx context.Context, number int, s Stage, specs []string) error {
	if p.Limit > 0 && time.Since(p.started) > p.Limit {
		return ErrLimit
	}
	where := p.place
	if number == 0 {
		where = "no fault"
	}
	if s != "" {
		where += fmt.Sprintf(": stage %s, %d specs", s, len(specs))
	}
	p.Watch.Step(where)
	until := atWedge
	if !p.All && s != "" {
		until = atCatch
	}
	o, err := p.try(ctx, number, specs, p.known[0], until)
	// Errors of some specs alone, too, may be the host's.
	errors := len(o.Caught) == 0 && len(o.Broken) > 0 && o.Stopped == ""
	if err == nil && number != 0 && s != "" && (doubtful(o.Caught) || errors) {
		var again Outcome
		p.Watch.Step(p.place + ": once more, as a busy host can do the same")
		if again, err = p.try(ctx, number, slices.Concat(o.Caught, o.Broken), p.known[0], until); err == nil {
			o.confirm(again)
		}
	}
	if err != nil {
		return err
	}
	o.Build, o.Filter, o.Stage, o.Ran = p.build, p.LabelFilter, s, specs
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if _, err := p.record.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("record the outcome of fault %d: %w", number, err)
	}
	old, ok := p.known[number]
	if ok && s != "" {
		old.join(o)
		o = old
	}
	p.known[number] = o
	return nil
}

// doubtful reports whether only rows caught a fault that a kernel without faults
// may fail, too, where the host is too busy: they stress the kernel, and a stall
// is a FAIL of theirs.
func doubtful(caught []string) bool {
	return len(caught) > 0 && !slices.ContainsFunc(caught, func(id string) bool {
		return id != "isolation/live/hats" && !strings.HasPrefix(id, "isolation/limits/")
	})
}

// errBaseline is the error of a campaign that cannot tell anything.
var errBaseline = errors.New("the kernel without a fault")

// ending is where a run may be stopped before its end.
type ending int

const (
	atEnd   ending = iota // nowhere
	atWedge               // where no test works
	atCatch               // there, or at the first catch
)

// runSuite is replaced by tests.
var runSuite = runner.Run

// try runs specs, or what the label filter selects, on one fault.
func (c *Campaign) try(ctx context.Context, number int, specs []string, baseline Outcome, until ending) (Outcome, error) {
	o := Outcome{Number: number}
	cfg := c.Config
	cfg.Kernels = []string{fmt.Sprintf("%s,append=apparmor.mutant=%d", c.Kernel, number)}
	good := baseline.Good
	if specs != nil {
		choose(&cfg, specs)
		good = slices.DeleteFunc(slices.Clone(good), func(id string) bool { return !slices.Contains(specs, specOf(id)) })
	}
	dir := filepath.Join(c.Dir, fmt.Sprintf("fault-%d", number))
	if err := os.RemoveAll(dir); err != nil { // of a campaign that was killed
		return o, err
	}
	options := runner.Options{Config: cfg, Dir: dir, Procs: c.Procs, LabelFilter: c.LabelFilter}
	watched, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watch := &stopper{Watcher: c.Watch, stop: stop, first: until == atCatch, good: map[string]bool{}, expected: map[string]bool{}, broken: map[string]bool{}}
	for _, id := range without(good, baseline.Known) {
		watch.good[id] = true
	}
	for _, id := range good {
		watch.expected[specOf(id)] = true
	}
	if number == 0 || until == atEnd {
		watch.stop = func(error) {}
	}
	run, _, err := runSuite(watched, options, watch)
	if ctx.Err() != nil {
		return o, context.Cause(ctx)
	}
	if stopped := context.Cause(watched); stopped != nil {
		o, err = stoppedOutcome(number, good, baseline.Bad, run, stopped)
		if err == nil && len(o.Caught)+len(o.Broken) == 0 {
			// The review of the run sees an expected failure there, or nothing that
			// was good without the fault.
			return c.try(ctx, number, specs, baseline, until-1)
		}
	} else {
		o, err = outcomeOf(number, good, baseline.Bad, run, started(dir), err)
	}
	if err != nil {
		return o, fmt.Errorf("%w: see %s", err, dir)
	}
	if number == 0 || c.Keep {
		return o, nil
	}
	return o, os.RemoveAll(dir)
}

// stoppedOutcome returns the outcome of a run that was stopped: only what had
// ended counts.
func stoppedOutcome(number int, good, bad []string, run *reports.Run, why error) (Outcome, error) {
	o := Outcome{Number: number, Stopped: why.Error()}
	if run == nil || len(run.Kernels) != 1 {
		return o, fmt.Errorf("fault %d: the run that was stopped has no results", number)
	}
	caught, broken := compare(good, bad, &run.Kernels[0])
	ran := map[string]bool{}
	for _, spec := range run.Kernels[0].Specs {
		ran[spec.ID] = true
	}
	o.Caught = caught
	if errors.Is(why, errWedged) {
		o.Broken = slices.DeleteFunc(broken, func(id string) bool { return !ran[id] })
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
func outcomeOf(number int, good, bad []string, run *reports.Run, started bool, err error) (Outcome, error) {
	o := Outcome{Number: number}
	switch {
	case number == 0 && err != nil:
		return o, fmt.Errorf("%w: %w", errBaseline, err)
	case run == nil && !started:
		return o, err // of the caller's or of the host's, not of the kernel's
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
		o.Known = resultsWith(&run.Kernels[0], reports.XFail, reports.XPass)
		o.Bad = resultsWith(&run.Kernels[0], reports.Fail, reports.Error, reports.Skip)
	default:
		o.Caught, o.Broken = compare(good, bad, &run.Kernels[0])
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

// resultsWith returns the results with one of the statuses.
func resultsWith(k *reports.Kernel, with ...reports.Status) []string {
	all := statuses(k)
	maps.DeleteFunc(all, func(_ string, s reports.Status) bool { return !slices.Contains(with, s) })
	return slices.Sorted(maps.Keys(all))
}

// compare returns the specs that noticed the fault. What was bad without it does not
// count, nor any result of a spec of which nothing was good without it.
func compare(good, bad []string, k *reports.Kernel) (caught, broken []string) {
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
	silent := without(specsOf(bad), specsOf(good))
	// A failure under an ID of its own, such as the kernel's complaint.
	for id, s := range now {
		if s == reports.Fail && !expected[id] && !slices.Contains(bad, id) && !slices.Contains(silent, specOf(id)) {
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

// ReadOutcomes reads the record of a campaign, by number. Of two outcomes of one
// fault the later counts; the stages of one build are joined.
func ReadOutcomes(dir string) (map[int]Outcome, error) {
	list, err := readRecord(dir)
	return merge(list), err
}

// Join adds the outcomes of another shard. What was good without a fault in any of
// them is joined, and so are the stages of a fault on one build; else the later
// outcome of a fault counts.
func Join(all, more map[int]Outcome) {
	for n, o := range more {
		old, ok := all[n]
		if ok && (n == 0 || o.Stage != "" && old.Stage != "" && o.Build == old.Build) {
			old.join(o)
			o = old
		}
		all[n] = o
	}
}

// merge joins the stages of each fault.
func merge(list []Outcome) map[int]Outcome {
	all := map[int]Outcome{}
	for _, o := range list {
		old, ok := all[o.Number]
		if ok && o.Stage != "" && old.Stage != "" && old.Build == o.Build {
			old.join(o)
			o = old
		}
		all[o.Number] = o
	}
	return all
}

// readRecord reads the record of a campaign. A last line that was cut by a kill is
// ignored: that fault is tried again.
func readRecord(dir string) ([]Outcome, error) {
	f, err := os.Open(filepath.Join(dir, outcomesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, exit.BadInputf("read the campaign: %w", err)
	}
	defer func() { _ = f.Close() }()
	return readOutcomes(f)
}

func readOutcomes(r io.Reader) ([]Outcome, error) {
	var all []Outcome
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
		all = append(all, o)
	}
}
