// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/exit"
)

func TestReadBadInput(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(dir string)
		want    string
	}{
		"no directory": {func(dir string) { _ = os.Remove(dir) }, "run: no such file or directory: want the directory of a run"},
		"a file": {func(dir string) {
			_ = os.Remove(dir)
			_ = os.WriteFile(dir, nil, 0o644)
		}, "run: not a directory: want the directory of a run"},
		"no journal": {func(string) {}, "it has no journal"},
		"newer format": {func(dir string) {
			writeJournal(t, dir, 1, `{"event":"process-started","time":"2030-01-01T00:00:00Z","format":3}`)
		}, "journal-1.jsonl: written by a newer proofhouse: format 3, this one reads 2"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			c.prepare(dir)
			_, err := Read(dir)
			if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("status %d, %v; want %q", exit.Status(err), err, c.want)
			}
		})
	}
}

// TestReadRemarks reads lines that are not what they should be.
func TestReadRemarks(t *testing.T) {
	for line, want := range map[string]string{
		`{"event":"spec-sta`:     "line 2 is ignored: it was cut, as by a kill",
		`not JSON`:               "line 2 is ignored: invalid character",
		`{"event":"spec-ended"}`: `event "spec-ended" is incomplete`,
		`{"event":"haircut"}`:    `unknown event "haircut"`,
		`{"event":"kernel","kernel":{"release":"6.12"}}`:  `event "kernel" is incomplete`,
		`{"event":"spec-started","spec":{"id":7}}`:        "line 2 is ignored: json",
		`{"event":"process-started","time":"2026-01-01"}`: "line 2 is ignored: ",
	} {
		j, err := decode(3, []byte(`{"event":"process-started","time":"2026-01-01T00:00:00Z","format":1}`+"\n"+line))
		if err != nil {
			t.Fatal(err)
		}
		j.remarks = append(j.remarks, j.doubts...)
		if len(j.remarks) != 1 || !strings.Contains(j.remarks[0], want) || !strings.HasPrefix(j.remarks[0], "journal-3.jsonl: ") {
			t.Errorf("%s: remarks %q, want %q", line, j.remarks, want)
		}
		if len(j.events) != 1 {
			t.Errorf("%s: %d events", line, len(j.events))
		}
	}
}

// TestMergeOrder: what a run is does not depend on who ran which spec, and the
// order in which the files are found does not matter either.
func TestMergeOrder(t *testing.T) {
	one, two := newSample("v1", []Kernel{uml()}, "a", "b", "c"), newSample("v1", []Kernel{uml()}, "a", "b", "c")
	one.spec(1, uml().ID, "a", 1, passes(2)...)
	one.spec(2, uml().ID, "b", 1, passes(3)...)
	one.spec(1, uml().ID, "c", 1, passes(1)...)
	two.spec(2, uml().ID, "c", 1, passes(1)...)
	two.spec(2, uml().ID, "a", 1, passes(2)...)
	two.spec(1, uml().ID, "b", 1, passes(3)...)
	ids := func(r *Run) (list []string) {
		for _, s := range r.Kernels[0].Specs {
			for _, x := range s.Results {
				list = append(list, x.ID)
			}
		}
		return list
	}
	a, b := ids(one.end().run()), ids(two.end().run())
	if len(a) != 6 || !reflect.DeepEqual(a, b) {
		t.Errorf("%q\n%q", a, b)
	}
}

// TestKernelMerge: several processes open the same kernel.
func TestKernelMerge(t *testing.T) {
	s := newSample("v1", []Kernel{{ID: "k", Spec: "debian:trixie"}}, "open")
	s.event(2, Event{Event: KernelOpened, Kernel: &Kernel{ID: "k", Release: "6.12", Gaps: []string{"b"}, Properties: map[string]string{"slowness": "9", "taint": "0"}}})
	s.event(1, Event{Event: KernelOpened, Kernel: &Kernel{ID: "k", Gaps: []string{"b", "a"}, Properties: map[string]string{"slowness": "2"}}})
	s.event(1, Event{Event: KernelOpened, Kernel: &Kernel{ID: "k", Properties: map[string]string{"slowness": "3", "guest": "forky"}}})
	run := s.end().run()
	want := Kernel{
		ID: "k", Spec: "debian:trixie", Release: "6.12", Gaps: []string{"a", "b"},
		Properties: map[string]string{"slowness": "3", "guest": "forky", "taint": "0"},
		NotRun:     []string{"regression/open"},
	}
	if len(run.Kernels) != 1 || !reflect.DeepEqual(run.Kernels[0], want) {
		t.Errorf("%+v", run.Kernels)
	}
}

// TestStreamedResults: results may come one by one, and the end may repeat
// them all or none.
func TestStreamedResults(t *testing.T) {
	for name, last := range map[string][]Result{
		"none": nil,
		"all":  {{ID: "regression/a/1", Status: Pass}, {ID: "regression/a/2", Status: Fail}},
	} {
		s := newSample("v1", []Kernel{uml()}, "a")
		spec := s.begin(1, uml().ID, "a")
		for _, r := range []Result{{ID: "regression/a/1", Status: Pass}, {ID: "regression/a/2", Status: Fail}} {
			s.event(1, Event{Event: SpecResults, Spec: &Spec{ID: spec.ID, Kernel: spec.Kernel}, Results: []Result{r}})
		}
		s.event(1, Event{Event: SpecEnded, Spec: &Spec{ID: spec.ID, Kernel: spec.Kernel, End: at(3), Results: last}})
		got := s.end().run().Kernels[0].Specs[0]
		if len(got.Results) != 2 || got.Results[1].Status != Fail || !got.Start.Equal(at(0)) || !got.End.Equal(at(3)) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestRepeat runs the same plan twice, and kills the second round.
func TestRepeat(t *testing.T) {
	s := newSample("v1", []Kernel{uml()}, "a", "b")
	plan := s.journals[1][1]
	s.spec(1, uml().ID, "a", 1, Result{ID: "x", Status: Fail}, Result{ID: "y", Status: Pass})
	s.spec(1, uml().ID, "b", 1, passes(1)...)
	s.end()
	if run := s.run(); run.CutShort || run.Planned != 2 {
		t.Fatalf("first round: %+v", run)
	}
	s.event(1, Event{Event: ProcessStarted, Format: FormatVersion})
	s.clock[1]++
	s.event(1, plan)
	s.spec(1, uml().ID, "a", 1, Result{ID: "x", Status: Pass}, Result{ID: "y", Status: Pass})
	run := s.run()
	out := run.Kernels[0].Outcomes()
	if !run.CutShort || run.Planned != 4 || !run.Ended.IsZero() || len(out) != 2 {
		t.Fatalf("second round: %+v", run)
	}
	a, b := out[0], out[1]
	if len(a.Attempts) != 2 || a.Attempts[1].Attempt != 2 || !a.Flaky() || a.Status() != Fail || a.NotRun != 0 {
		t.Errorf("a: %+v", a)
	}
	if x, y := a.Subtests[0], a.Subtests[1]; x.attempts() != "FAIL, PASS" || x.Status != Fail || y.Flaky() {
		t.Errorf("subtests of a: %+v", a.Subtests)
	}
	if b.NotRun != 1 || b.Status() != Error {
		t.Errorf("b: %+v", b)
	}
}

// TestOddSpecs are specs that the harness should not have written down like
// this: none may be taken for a pass.
func TestOddSpecs(t *testing.T) {
	for name, c := range map[string]struct {
		results []Result
		want    Subtest
	}{
		"no result":      {nil, Subtest{Result: Result{ID: "regression/a/(script)", Status: Error, Reason: "it ended without a result"}}},
		"unknown status": {[]Result{{ID: "x", Status: "GREAT"}}, Subtest{Result: Result{ID: "regression/a/x", Status: Error, Reason: `unknown status "GREAT"`}}},
		"no status":      {[]Result{{ID: "x"}}, Subtest{Result: Result{ID: "regression/a/x", Status: Error, Reason: `unknown status ""`}}},
	} {
		s := newSample("v1", []Kernel{uml()}, "a")
		s.spec(1, uml().ID, "a", 1, c.results...)
		got := s.end().run().Kernels[0].Outcomes()[0].Subtests
		c.want.Attempts = []Status{Error}
		if len(got) != 1 || !reflect.DeepEqual(got[0], c.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	twice := subtests([]Spec{{Results: []Result{{ID: "x #2", Status: Pass}, {ID: "x", Status: Pass}, {ID: "x", Status: Fail}}}})
	if len(twice) != 3 || twice[2].ID != "x #3" || twice[2].Status != Fail {
		t.Errorf("a description that comes twice: %+v", twice)
	}
}

// TestDeadProcess: one process died, and the run went on to its end.
func TestDeadProcess(t *testing.T) {
	s := newSample("v1", []Kernel{uml()}, "a", "b")
	s.begin(2, uml().ID, "a")
	s.spec(1, uml().ID, "b", 1, passes(1)...)
	s.event(1, Event{Event: RunEnded})
	s.event(1, Event{Event: ProcessEnded})
	run := s.run()
	if run.CutShort || !reflect.DeepEqual(run.Notes(), []string{"process 2 has no end: it was killed, or it crashed"}) {
		t.Errorf("cut short %v, remarks %q", run.CutShort, run.Notes())
	}
	if r := run.Kernels[0].Specs[0].Results[0]; r.Status != Error || r.Reason != "the process that ran it died" {
		t.Errorf("%+v", r)
	}
}

func TestVerdict(t *testing.T) {
	for name, want := range map[string]struct {
		status int
		line   string
	}{
		"pass":    {exit.OK, "PASS: 662 subtests passed on 6.12.94+deb13-cloud-amd64"},
		"fail":    {exit.Failed, "FAIL: 1 of 26 subtests failed on 6.12.94+deb13-cloud-amd64"},
		"error":   {exit.NoVerdict, "NO VERDICT: 1 error on 7.2.7"},
		"mixed":   {exit.Failed, "FAIL: 28 of 90 subtests failed on 2 kernels; 1 error"},
		"killed":  {exit.NoVerdict, "NO VERDICT: the run was cut short, 1 error, 2 of 4 scripts not run on 7.2.7"},
		"skip":    {exit.NoVerdict, "NO VERDICT: nothing passed on 7.2.7"},
		"nothing": {exit.NoVerdict, "NO VERDICT: nothing ran on 7.2.7"},
	} {
		if status, line := Verdict(samples[name]().run()); status != want.status || line != want.line {
			t.Errorf("%s: %d %q, want %d %q", name, status, line, want.status, want.line)
		}
	}
	if status, line := Verdict(&Run{}); status != exit.NoVerdict {
		t.Errorf("an empty run: %d %q", status, line)
	}
	// One kernel that passed does not speak for another that skipped all.
	two := samples["pass"]().run()
	two.Kernels = append(two.Kernels, samples["skip"]().run().Kernels...)
	if status, line := Verdict(two); status != exit.NoVerdict || line != "NO VERDICT: nothing passed on 7.2.7" {
		t.Errorf("one kernel without a pass: %d %q", status, line)
	}
	// All that is known passed, and it is not known whether that was all.
	unplanned := samples["pass"]().run()
	unplanned.CutShort, unplanned.Planned = true, 0
	if status, line := Verdict(unplanned); status != exit.NoVerdict {
		t.Errorf("cut short without a plan: %d %q", status, line)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	samples["mixed"]().write(t, dir)
	run, files, err := Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, d := range []string{"", uml().ID, trixie().ID} {
		want = append(want, filepath.Join(dir, d, "results.json"), filepath.Join(dir, d, "junit.xml"))
	}
	if !reflect.DeepEqual(files, want) {
		t.Errorf("files %q", files)
	}
	for _, f := range want {
		if st, err := os.Stat(f); err != nil || st.Mode() != 0o644 {
			t.Errorf("%s: %v %v", f, st, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); left != nil {
		t.Errorf("left behind: %q", left)
	}
	var doc struct {
		Status  int    `json:"status"`
		Verdict string `json:"verdict"`
		Run
	}
	b, err := os.ReadFile(want[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Status != exit.Failed || !strings.HasPrefix(doc.Verdict, "FAIL: ") || !reflect.DeepEqual(&doc.Run, run) {
		t.Errorf("results.json reads back as %d %q\n%+v\nwant\n%+v", doc.Status, doc.Verdict, doc.Run, run)
	}
}

func TestWriteStaysInside(t *testing.T) {
	for _, id := range []string{"../elsewhere", "/tmp/x", ".", "..", ".hidden"} {
		dir := t.TempDir()
		s := newSample("v1", []Kernel{{ID: id}}, "a")
		s.write(t, dir)
		if _, _, err := Write(dir); exit.Status(err) != exit.Usage {
			t.Errorf("kernel id %q: %v", id, err)
		}
	}
}

// TestReplaceKeepsTheOld: a report that cannot be written leaves the one before.
func TestReplaceKeepsTheOld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "junit.xml")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceFile(filepath.Dir(path), filepath.Base(path), func(w io.Writer) error {
		_, _ = w.Write([]byte("half"))
		return os.ErrInvalid
	}); err == nil {
		t.Error("no error")
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("%q", b)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

func TestTail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	tail := NewTail(dir)
	next := func(want ...Kind) {
		t.Helper()
		events, err := tail.Next()
		if err != nil {
			t.Fatal(err)
		}
		var got []Kind
		for _, e := range events {
			got = append(got, e.Event)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	next()
	j, err := Create(dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	next(ProcessStarted)
	next()
	j.SpecStarted(Spec{ID: "a"})
	j.SpecEnded(Spec{ID: "a"})
	if _, err := j.f.WriteString(`{"event":"run-e`); err != nil { // a write in progress
		t.Fatal(err)
	}
	next(SpecStarted, SpecEnded)
	if _, err := j.f.WriteString("nded\"}\n"); err != nil {
		t.Fatal(err)
	}
	next(RunEnded)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	next(ProcessEnded)
}

func TestLastDurations(t *testing.T) {
	out := t.TempDir()
	put := func(name string, s *sample, age time.Duration) {
		dir := filepath.Join(out, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, events := range s.journals {
			for i := range events {
				events[i].Time = events[i].Time.Add(-age)
			}
		}
		s.write(t, dir)
		if _, _, err := Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	one := func(k Kernel, seconds map[string]float64) *sample {
		s := newSample("v1", []Kernel{k})
		for id, n := range seconds {
			s.spec(1, k.ID, id, n, passes(1)...)
		}
		return s.end()
	}
	put("old", one(uml(), map[string]float64{"open": 3, "old": 7}), 48*time.Hour)
	put("new", one(uml(), map[string]float64{"open": 4}), time.Hour)
	put("tcg", one(trixie(), map[string]float64{"open": 12, "slow": 60}), 0)
	broken := newSample("v1", []Kernel{uml()})
	broken.spec(1, uml().ID, "open", 900, Result{ID: "(script)", Status: Error})
	put("broken", broken.end(), time.Minute)
	if err := os.MkdirAll(filepath.Join(out, "rubbish"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "rubbish", ResultsFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]map[string]float64{
		"uml":      {"regression/open": 4, "regression/old": 7, "regression/slow": 60},
		"qemu/tcg": {"regression/open": 12, "regression/old": 7, "regression/slow": 60},
	} {
		if got := LastDurations(out, kind); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
	if got := LastDurations(filepath.Join(out, "none"), "uml"); len(got) != 0 {
		t.Errorf("no runs: %v", got)
	}
	if err := os.Symlink("tcg", filepath.Join(out, "latest")); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range History(filepath.Join(out, "tcg"), start) {
		names = append(names, filepath.Base(p.Dir))
	}
	if want := []string{"broken", "new", "old"}; !slices.Equal(names, want) {
		t.Errorf("history %v, want %v", names, want)
	}
}

// FuzzRead: whatever a journal holds, reading it does not fail but for a newer
// format, no planned spec is lost, and every report can be written.
func FuzzRead(f *testing.F) {
	for name, make := range samples {
		if name == "pass" { // large, and has nothing that the others lack
			continue
		}
		for _, events := range make().journals {
			var text []byte
			for _, e := range events {
				line, _ := encodeLine(e)
				text = append(text, line...)
			}
			f.Add(text)
			f.Add(text[:len(text)*2/3])
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := decode(1, text)
		if err != nil {
			return
		}
		run := merge([]journal{j})
		planned, ran := map[specKey]bool{}, map[specKey]bool{}
		for _, e := range j.events {
			if e.Event == RunStarted {
				for _, p := range e.Run.Planned {
					planned[specKey{p.Kernel, p.ID}] = true
				}
			}
		}
		for _, k := range run.Kernels {
			for _, o := range k.Outcomes() {
				ran[specKey{k.ID, o.ID}] = true
				if len(o.Attempts) > 0 && len(o.Subtests) == 0 {
					t.Errorf("%q ran and has no result", o.ID)
				}
			}
		}
		for key := range planned {
			if !ran[key] {
				t.Errorf("%q was planned and is lost", key)
			}
		}
		var b bytes.Buffer
		if err := JSON(&b, run); err != nil {
			t.Error(err)
		}
		if err := Terminal(&b, run, Style{Width: 80}); err != nil {
			t.Error(err)
		}
		b.Reset()
		if err := JUnit(&b, run); err != nil {
			t.Error(err)
		}
		checkJUnit(t, b.Bytes())
	})
}

// TestNoun: what a run's parts are called depends on what they all are.
func TestNoun(t *testing.T) {
	for _, c := range []struct {
		ids  []string
		want string
	}{
		{nil, "test"},
		{[]string{"regression/open", "regression/swap"}, "script"},
		{[]string{"isolation/file/read"}, "row"},
		{[]string{"regression/open", "isolation/file/read"}, "test"},
		{[]string{"other/x", "other/y"}, "test"},
	} {
		if got := Noun(c.ids...); got != c.want {
			t.Errorf("%v: %q, want %q", c.ids, got, c.want)
		}
	}
}

// TestRowKilled: a row of the isolation matrix is called one, too, where it was
// cut short or never started.
func TestRowKilled(t *testing.T) {
	dir := t.TempDir()
	j, err := Create(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	j.RunStarted(RunStart{Planned: []Planned{{ID: "isolation/file/read", Kernel: "k"}, {ID: "isolation/file/write", Kernel: "k"}}})
	j.SpecStarted(Spec{ID: "isolation/file/read", Kernel: "k"})
	run, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if id := run.Kernels[0].Specs[0].Results[0].ID; id != "isolation/file/read/(row)" {
		t.Error(id)
	}
	if _, line := Verdict(run); line != "NO VERDICT: the run was cut short, 1 error, 1 of 2 rows not run on k" {
		t.Error(line)
	}
}

// TestPlanLost: where the line with the plan was lost, such as on a full disk,
// nobody can tell what did not run.
func TestPlanLost(t *testing.T) {
	dir := t.TempDir()
	j, err := Create(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	j.RunStarted(RunStart{Planned: []Planned{{ID: "regression/open", Kernel: "k"}, {ID: "regression/swap", Kernel: "k"}}})
	j.SpecStarted(Spec{ID: "regression/open", Kernel: "k"})
	j.SpecEnded(Spec{ID: "regression/open", Kernel: "k", Results: passes(3)})
	j.RunEnded()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "journal-1.jsonl")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, `"run-started"`) {
			line = line[:60] + "\n"
		}
		kept = append(kept, line)
	}
	if err := os.WriteFile(path, []byte(strings.Join(kept, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	run, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if status, line := Verdict(run); status != exit.NoVerdict || !strings.Contains(line, "planned tests unknown") {
		t.Errorf("%d %s", status, line)
	}
}
