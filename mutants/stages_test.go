// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/isolation"
	"proofhouse/regression"
	"proofhouse/reports"
	"proofhouse/runs"
	"proofhouse/runs/runner"
)

// A fault without an area would be tried with nothing that is about it.
func TestAreas(t *testing.T) {
	all, err := Table()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		near, rest := Near.specs(m), Rest.specs(m)
		if len(near) == 0 || len(Scripts.specs(m)) == 0 {
			t.Errorf("fault %d (%s, %s): no specs near it", m.Number, m.File, m.Function)
		}
		if len(near)+len(rest) != len(isolation.Rows()) {
			t.Errorf("fault %d: %d rows near it and %d others, of %d", m.Number, len(near), len(rest), len(isolation.Rows()))
		}
	}
	groups := map[string]bool{}
	for _, row := range isolation.Rows() {
		groups[row.Group] = true
	}
	for _, a := range areas {
		for _, g := range strings.Fields(a.groups) {
			if !groups[g] {
				t.Errorf("%s: no group %q", a.file, g)
			}
		}
		for _, s := range strings.Fields(a.scripts) {
			// Those two skipped where the durations were measured.
			if regression.DefaultSeconds(s) == regression.DefaultSeconds("no such script") && s != "userns" && s != "net_inet" {
				t.Errorf("%s: no script %q", a.file, s)
			}
		}
	}
}

func TestParseStage(t *testing.T) {
	if s, err := ParseStage("rest"); s != Rest || err != nil {
		t.Errorf("got %q, %v", s, err)
	}
	if _, err := ParseStage("all"); exit.Status(err) != exit.Usage {
		t.Errorf("got %v", err)
	}
}

func TestChoose(t *testing.T) {
	var cfg runs.Config
	choose(&cfg, []string{"isolation/file/read", "isolation/view/flags"})
	if got := strings.Join(cfg.Rows, " "); got != "file/read view/flags" || cfg.Scripts != nil {
		t.Errorf("rows %q, scripts %q", cfg.Rows, cfg.Scripts)
	}
	choose(&cfg, []string{"regression/open"})
	if got := strings.Join(cfg.Scripts, " "); got != "open" || cfg.Rows != nil {
		t.Errorf("rows %q, scripts %q", cfg.Rows, cfg.Scripts)
	}
}

func TestOnly(t *testing.T) {
	faults := []Mutant{{Number: 3}, {Number: 7}}
	if got, err := Only(faults, "7"); err != nil || len(got) != 1 || got[0].Number != 7 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := Only(faults, ""); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"4", "x", "3,"} {
		if _, err := Only(faults, bad); exit.Status(err) != exit.Usage {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

// The stages of a fault are one outcome; another build begins anew.
func TestMerge(t *testing.T) {
	all := merge([]Outcome{
		{Number: 0, Build: "x", Stage: Near, Good: []string{"b"}, Ran: []string{"s"}},
		{Number: 0, Build: "x", Stage: Scripts, Good: []string{"a"}, Ran: []string{"r"}},
		{Number: 1, Build: "w", Stage: Near, Caught: []string{"isolation/a/b"}},
		{Number: 1, Build: "x", Stage: Near, Ran: []string{"s"}},
		{Number: 1, Build: "x", Stage: Scripts, Ran: []string{"r"}, Caught: []string{"regression/open"}},
		{Number: 2, Build: "x", Caught: []string{"isolation/a/b"}},
		{Number: 2, Build: "x"},
	})
	if !slices.Equal(all[0].Good, []string{"a", "b"}) || !slices.Equal(all[0].Ran, []string{"r", "s"}) {
		t.Errorf("baseline: %+v", all[0])
	}
	if o := all[1]; !slices.Equal(o.Caught, []string{"regression/open"}) || len(o.CaughtBy(reports.Isolation)) != 0 || len(o.CaughtBy(reports.Regression)) != 1 {
		t.Errorf("fault 1: %+v", o)
	}
	if all[2].Verdict() != "survived" {
		t.Errorf("fault 2: %+v", all[2])
	}
}

// Shards are joined, with all that was good without a fault.
func TestJoin(t *testing.T) {
	all := map[int]Outcome{0: {Good: []string{"a"}}, 1: {Caught: []string{"x"}}}
	all[3] = Outcome{Stage: Near, Build: "x", Caught: []string{"z"}}
	Join(all, map[int]Outcome{0: {Good: []string{"b"}}, 1: {}, 2: {Caught: []string{"y"}}, 3: {Stage: Rest, Build: "x"}})
	if !slices.Equal(all[0].Good, []string{"a", "b"}) || all[1].Caught != nil || len(all[2].Caught) != 1 || len(all[3].Caught) != 1 {
		t.Errorf("%+v", all)
	}
}

// What only stress caught is tried once more.
func TestDoubtful(t *testing.T) {
	for _, c := range []struct {
		caught []string
		want   bool
	}{
		{nil, false},
		{[]string{"isolation/limits/races"}, true},
		{[]string{"isolation/limits/races", "isolation/live/hats"}, true},
		{[]string{"isolation/limits/races", "isolation/file/read"}, false},
		{[]string{"isolation/live/reload"}, false},
	} {
		if got := doubtful(c.caught); got != c.want {
			t.Errorf("%q: got %v", c.caught, got)
		}
	}
}

// A run ends at the first catch, or where nothing works.
func TestStopper(t *testing.T) {
	result := func(spec string, s reports.Status) reports.Event {
		return reports.Event{Event: reports.SpecResults, Spec: &reports.Spec{ID: spec}, Results: []reports.Result{{ID: spec + "/x", Status: s}}}
	}
	expected := map[string]bool{}
	var broken, never []reports.Event
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		broken = append(broken, result("isolation/file/"+n, reports.Error))
		never = append(never, result("isolation/mount/"+n, reports.Error))
		expected["isolation/file/"+n] = true
	}
	for _, c := range []struct {
		name   string
		events []reports.Event
		first  bool
		want   error
	}{
		{"passes", []reports.Event{result("isolation/file/a", reports.Pass)}, true, nil},
		{"fails", []reports.Event{result("isolation/file/a", reports.Fail)}, true, errCaught},
		{"fails, and all are to be compared", []reports.Event{result("isolation/file/a", reports.Fail)}, false, nil},
		{"fails as expected", []reports.Event{result("isolation/file/known", reports.Fail)}, true, nil},
		{"some errors", broken[1:], true, nil},
		{"errors only", broken, true, errWedged},
		{"errors that are there without the fault", never, true, nil},
		{"errors, and one that works", append([]reports.Event{result("isolation/file/z", reports.Pass)}, broken...), true, nil},
	} {
		ctx, stop := context.WithCancelCause(t.Context())
		s := &stopper{stop: stop, first: c.first, good: map[string]bool{"isolation/file/a/x": true}, expected: expected, broken: map[string]bool{}}
		s.take(c.events)
		if got := context.Cause(ctx); !errors.Is(got, c.want) || (c.want == nil) != (got == nil) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		stop(nil)
	}
}

// Of a run that was stopped only what ended counts: what had no turn is neither
// good nor broken.
func TestStoppedOutcome(t *testing.T) {
	good := []string{"isolation/file/a/x", "isolation/file/b/x"}
	run := &reports.Run{CutShort: true, Kernels: []reports.Kernel{*kernelOf(map[string]reports.Status{"isolation/file/a/x": reports.Fail})}}
	o, err := stoppedOutcome(1, good, nil, run, errCaught)
	if err != nil || !slices.Equal(o.Caught, []string{"isolation/file/a"}) || o.Broken != nil {
		t.Errorf("caught: %+v, %v", o, err)
	}
	run = &reports.Run{CutShort: true, Kernels: []reports.Kernel{*kernelOf(map[string]reports.Status{"isolation/file/a/x": reports.Error})}}
	if o, err = stoppedOutcome(1, good, nil, run, errWedged); err != nil || !slices.Equal(o.Broken, []string{"isolation/file/a"}) || o.Caught != nil {
		t.Errorf("wedged: %+v, %v", o, err)
	}
	if _, err = stoppedOutcome(1, good, nil, nil, errCaught); err == nil {
		t.Error("no run: no error")
	}
}

// The recorded outcomes are of faults of the table, and of specs that exist: a row
// that is renamed, or a fault that is argued away, must not leave its score
// behind.
func TestOutcomesFile(t *testing.T) {
	text, err := os.ReadFile("outcomes.tsv")
	if err != nil {
		t.Fatal(err)
	}
	faults, err := Table()
	if err != nil {
		t.Fatal(err)
	}
	rows := rowIDs()
	for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 3 {
			t.Errorf("line %d: %d fields", n+1, len(f))
			continue
		}
		i := slices.IndexFunc(faults, func(m Mutant) bool { return strconv.Itoa(m.Number) == f[0] })
		if i < 0 {
			t.Errorf("line %d: no fault %s", n+1, f[0])
			continue
		}
		if (f[1] == "equivalent") != (faults[i].Equivalent() != "") {
			t.Errorf("fault %s: %s, and the note of the table is %q", f[0], f[1], faults[i].Note)
		}
		for _, id := range strings.Fields(f[2]) {
			if reports.ID(id).In(reports.Isolation) && !slices.Contains(rows, id) {
				t.Errorf("fault %s: no row %s", f[0], id)
			}
		}
	}
}

// suiteOf replaces the suite of a campaign.
func suiteOf(t *testing.T, run func(watch *stopper) (*reports.Run, error)) {
	t.Helper()
	old := runSuite
	t.Cleanup(func() { runSuite = old })
	runSuite = func(_ context.Context, _ runner.Options, w runner.Watcher) (*reports.Run, []string, error) {
		r, err := run(w.(*stopper))
		return r, nil, err
	}
}

// A run that is stopped where no test works, and in which nothing that was good is
// broken, is repeated once to its end, not for ever.
func TestStoppedForNothing(t *testing.T) {
	var events []reports.Event
	kernel := reports.Kernel{}
	var good []string
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		spec := reports.Spec{ID: "isolation/file/" + n, Results: []reports.Result{
			{ID: "isolation/file/" + n + "/x", Status: reports.Skip}, {ID: "isolation/file/" + n + "/y", Status: reports.Error},
		}}
		events = append(events, reports.Event{Event: reports.SpecEnded, Spec: &spec})
		kernel.Specs = append(kernel.Specs, spec)
		good = append(good, "isolation/file/"+n+"/x")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	runs := 0
	suiteOf(t, func(watch *stopper) (*reports.Run, error) {
		if runs++; runs > 3 {
			cancel()
		}
		watch.take(events)
		return &reports.Run{Kernels: []reports.Kernel{kernel}}, nil
	})
	c := &Campaign{Dir: t.TempDir()}
	if o, err := c.try(ctx, 1, nil, Outcome{Good: good}, atCatch); err != nil || runs > 3 {
		t.Errorf("after %d runs: %+v, %v", runs, o, err)
	}
}

// Where the kernel is refused when a fault is tried once more, the fault did not
// survive.
func TestRefusedOnceMore(t *testing.T) {
	good := "isolation/file/a/x"
	runs := 0
	c := &Campaign{Dir: t.TempDir(), Watch: silent{}}
	p := &progress{Campaign: c, known: map[int]Outcome{0: {Good: []string{good}}}}
	suiteOf(t, func(*stopper) (*reports.Run, error) {
		if runs++; runs == 1 {
			return &reports.Run{Kernels: []reports.Kernel{*kernelOf(map[string]reports.Status{good: reports.Error})}}, nil
		}
		dir := filepath.Join(c.Dir, "fault-1")
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "journal-1.jsonl"), nil, 0o600)); err != nil {
			return nil, err
		}
		return nil, errors.New("the kernel does not boot")
	})
	var err error
	if p.record, err = openRecord(c.Dir); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.record.Close() }()
	if err := p.attempt(t.Context(), 1, Near, []string{"isolation/file/a"}); err != nil {
		t.Fatal(err)
	}
	if o := p.known[1]; runs != 2 || o.Verdict() != "broken" {
		t.Errorf("after %d runs: %s, %+v", runs, o.Verdict(), o)
	}
}

// silent is a Watcher that shows nothing.
type silent struct{}

func (silent) Step(string)                    {}
func (silent) Lines(...string)                {}
func (silent) Follow(context.Context, string) {}
