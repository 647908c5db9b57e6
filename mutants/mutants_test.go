// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/reports"
)

func sampleTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/tree")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSites(t *testing.T) {
	sites, err := Sites(sampleTree(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range sites {
		if s.Operator == Never || s.Operator == Always { // as Negate
			continue
		}
		got = append(got, fmt.Sprintf("%s %s %d line %d: %s", s.Function, s.Operator, s.Nth, s.Line, s.Text))
	}
	want := []string{
		"decide negate 1 line 11: !label || (request & MAY_WRITE && label->size > 1)",
		"decide left 1 line 11: (request & MAY_WRITE && label->size > 1)",
		"decide right 1 line 11: !label",
		"decide negate 2 line 13: label->unconfined",
		"decide drop 1 line 14: note(label, text);",
		"decide drop 2 line 16: count(label);",
		"decide succeed 1 line 12: -EACCES",
		"decide succeed 2 line 23: error",
		"decide zero 1 line 11: MAY_WRITE",
		"decide zero 2 line 18: MAY_READ",
		"other negate 1 line 28: ready(1) && ready(2)",
		"other left 1 line 28: ready(2)",
		"other right 1 line 28: ready(1)",
		"other drop 1 line 30: report();",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPlant(t *testing.T) {
	dir := sampleTree(t)
	faults := []Mutant{
		{Number: 1, File: "sample.c", Function: "decide", Operator: Negate, Nth: 1},
		{Number: 2, File: "sample.c", Function: "decide", Operator: Left, Nth: 1},
		{Number: 3, File: "sample.c", Function: "decide", Operator: Zero, Nth: 1},
		{Number: 4, File: "sample.c", Function: "decide", Operator: Drop, Nth: 2},
		{Number: 5, File: "sample.c", Function: "decide", Operator: Succeed, Nth: 1},
		{Number: 6, File: "sample.c", Function: "other", Operator: Right, Nth: 1},
		{Number: 7, File: "sample.c", Function: "decide", Operator: Always, Nth: 1},
		{Number: 8, File: "sample.c", Function: "other", Operator: Swap, Nth: 1, Old: "ready(2)", New: "late(2)"},
	}
	if err := Plant(dir, faults); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "security/apparmor/sample.c"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{
		"if (aa_mutant(1) != !!((!label ||(!aa_mutant(2) && ( (request & (aa_mutant(3) ? 0 : MAY_WRITE) && label->size > 1)))) || aa_mutant(7)))",
		"return (aa_mutant(5) ? 0 : -EACCES);",
		"else\n\t\tdo { if (!aa_mutant(4)) count(label); } while (0);",
		"if ((aa_mutant(6) || (ready(1) ))&&\n\t    (aa_mutant(8) ? (late(2)) : ready(2)))",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in:\n%s", want, text)
		}
	}
	if err := Plant(dir, faults); exit.Status(err) != exit.Usage {
		t.Errorf("planted twice: %v", err)
	}
}

// A place that is not in the tree leaves the tree as it is.
func TestPlantMissing(t *testing.T) {
	dir := sampleTree(t)
	for _, m := range []Mutant{
		{Number: 1, File: "sample.c", Function: "decide", Operator: Negate, Nth: 9},
		{Number: 1, File: "sample.c", Function: "other", Operator: Swap, Nth: 2, Old: "ready(2)", New: "late(2)"},
		{Number: 1, File: "gone.c", Function: "decide", Operator: Negate, Nth: 1},
		{Number: 1, File: "../sample.c", Function: "decide", Operator: Negate, Nth: 1},
	} {
		if err := Plant(dir, []Mutant{{Number: 2, File: "sample.c", Function: "decide", Operator: Negate, Nth: 1}, m}); exit.Status(err) != exit.Usage {
			t.Errorf("%+v: got %v", m, err)
		}
	}
	got, _ := os.ReadFile(filepath.Join(dir, "security/apparmor/sample.c"))
	want, err := os.ReadFile("testdata/tree/security/apparmor/sample.c")
	if err != nil || string(got) != string(want) {
		t.Errorf("the tree was changed: %v", err)
	}
	if err := Plant(t.TempDir(), nil); exit.Status(err) != exit.Usage {
		t.Errorf("no kernel tree: got %v", err)
	}
}

func TestTable(t *testing.T) {
	all, err := Table()
	if err != nil {
		t.Fatal(err)
	}
	chosen := map[string]int{}
	for _, m := range all {
		chosen[m.Chosen]++
	}
	if len(all) < 150 || chosen["rule"] < len(all)/2 {
		t.Errorf("%d faults, %v: want at least 150, half of them by rule", len(all), chosen)
	}
	for _, bad := range []string{
		"1\tf.c\tf\tnegate\t1\thand",
		"0\tf.c\tf\tnegate\t1\thand\t",
		"1\tf.c\tf\tnegate\t1\ttaste\t",
		"1\tf.c\tf\tnegate\t1\thand\t\n2\tf.c\tf\tnegate\t1\thand\t",
		"1\tf.c\tf\tnegate\t1\thand\t\n2\tf.c\tf\tnegate\t2\thand\t\n1\tf.c\tf\tnegate\t3\thand\t",
		"1\tf.c\tf\tswap\t1\thand\t",
		"1\tf.c\tf\tswap\t1\thand\t\tx",
		"1\tf.c\tf\tnegate\t1\thand\t\tx => y",
	} {
		if _, err := parseTable(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func kernelOf(results map[string]reports.Status) *reports.Kernel {
	k := &reports.Kernel{}
	for id, s := range results {
		k.Specs = append(k.Specs, reports.Spec{ID: specOf(id), Results: []reports.Result{{ID: id, Status: s}}})
	}
	return k
}

func TestCompare(t *testing.T) {
	base := kernelOf(map[string]reports.Status{
		"isolation/file/read/a": reports.Pass, "isolation/file/read/b": reports.Pass,
		"isolation/file/write/a": reports.XFail, "isolation/signal/kill/a": reports.Skip,
		"regression/open/OPEN": reports.Pass,
	})
	good := goodResults(base)
	if len(good) != 4 {
		t.Fatalf("good: %q", good)
	}
	for _, c := range []struct {
		name           string
		now            map[string]reports.Status
		caught, broken []string
	}{
		{"nothing", map[string]reports.Status{"isolation/file/read/a": reports.Pass, "isolation/file/read/b": reports.Pass, "isolation/file/write/a": reports.XFail, "regression/open/OPEN": reports.Pass}, nil, nil},
		{"a failure", map[string]reports.Status{"isolation/file/read/a": reports.Pass, "isolation/file/read/b": reports.Fail, "isolation/file/write/a": reports.XFail, "regression/open/OPEN": reports.Pass}, []string{"isolation/file/read"}, nil},
		{"an error, a loss", map[string]reports.Status{"isolation/file/read/a": reports.Error, "isolation/file/read/b": reports.Pass, "isolation/file/write/a": reports.XFail}, nil, []string{"isolation/file/read", "regression/open"}},
		{"a failure that is there without the fault", map[string]reports.Status{"isolation/file/bad/x": reports.Fail, "isolation/file/read/a": reports.Pass, "isolation/file/read/b": reports.Pass, "isolation/file/write/a": reports.XFail, "regression/open/OPEN": reports.Pass}, nil, nil},
		{"a complaint", map[string]reports.Status{"isolation/file/read/a": reports.Pass, "isolation/file/read/b": reports.Pass, "isolation/file/write/a": reports.XFail, "regression/open/OPEN": reports.Pass, "isolation/limits/x/(kernel-log) BUG": reports.Fail}, []string{"isolation/limits/x"}, nil},
	} {
		caught, broken := compare(good, []string{"isolation/file/bad/x"}, kernelOf(c.now))
		if !slices.Equal(caught, c.caught) || !slices.Equal(broken, c.broken) {
			t.Errorf("%s: caught %q, broken %q", c.name, caught, broken)
		}
	}
}

func TestReadOutcomes(t *testing.T) {
	list, err := readOutcomes(strings.NewReader(`{"number":1,"build":"x","filter":"","caught":["a/b"]}` + "\n" +
		`{"number":2,"build":"x","filter":""}` + "\n" + `{"number":3,"bui`))
	all := merge(list)
	if err != nil || len(all) != 2 || all[1].Verdict() != "caught" || all[2].Verdict() != "survived" {
		t.Errorf("got %v, %v", all, err)
	}
	if _, err := readOutcomes(strings.NewReader("no json\n")); exit.Status(err) != exit.Usage {
		t.Errorf("damaged line: got %v", err)
	}
}

// A campaign that was killed in the middle of a line continues after the line
// before: neither that outcome nor those before it are lost.
func TestRecordAfterKill(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, outcomesFile)
	if err := os.WriteFile(path, []byte(`{"number":1,"build":"x","filter":""}`+"\n"+`{"number":2,"bui`), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openRecord(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(`{"number":2,"build":"x","filter":"","caught":["a/b"]}` + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	all, err := ReadOutcomes(dir)
	if err != nil || len(all) != 2 || all[2].Verdict() != "caught" {
		t.Errorf("got %v, %v", all, err)
	}
}

// What the host did to a run is no outcome of the fault, and no baseline.
func TestOutcomeOf(t *testing.T) {
	kernel := *kernelOf(map[string]reports.Status{"isolation/file/read/a": reports.Pass})
	whole := &reports.Run{Kernels: []reports.Kernel{kernel}}
	none := &reports.Run{Kernels: []reports.Kernel{{}}}
	good := []string{"isolation/file/read/a"}
	full := errors.New("no space left on device")
	for _, c := range []struct {
		name    string
		number  int
		run     *reports.Run
		err     error
		verdict string // "" = an error
	}{
		{"the baseline", 0, whole, nil, "survived"},
		{"a baseline that was cut short", 0, &reports.Run{CutShort: true, Kernels: whole.Kernels}, nil, ""},
		{"a baseline with doubts", 0, &reports.Run{Doubts: []string{"x"}, Kernels: whole.Kernels}, nil, ""},
		{"a baseline and an error", 0, whole, full, ""},
		{"an empty baseline", 0, none, nil, ""},
		{"survived", 1, whole, nil, "survived"},
		{"results are missing", 1, none, nil, "broken"},
		{"the run was cut short", 1, &reports.Run{CutShort: true, Kernels: none.Kernels}, nil, ""},
		{"the reports could not be written", 1, none, full, ""},
		{"the kernel does not boot", 1, nil, errors.New("no machine"), "broken"},
		{"the caller's error", 1, nil, exit.BadInputf("x"), ""},
		{"no space before the suite started", 1, nil, full, ""},
		{"the kernel runs without AppArmor", 1, nil, exit.BadInputf("x"), "broken"},
	} {
		o, err := outcomeOf(c.number, good, nil, c.run, !errors.Is(c.err, full) && c.name != "the caller's error", c.err)
		if (err != nil) != (c.verdict == "") || err == nil && o.Verdict() != c.verdict {
			t.Errorf("%s: %s, %v", c.name, o.Verdict(), err)
		}
	}
}

func TestWriteMarkdown(t *testing.T) {
	faults := []Mutant{
		{Number: 1, File: "a.c", Function: "f", Operator: Negate, Nth: 1, Chosen: "rule"},
		{Number: 2, File: "a.c", Function: "f", Operator: Zero, Nth: 1, Chosen: "hand", Note: "equivalent: not reached"},
		{Number: 3, File: "a.c", Function: "f", Operator: Zero, Nth: 2, Chosen: "hand"},
		{Number: 4, File: "a.c", Function: "f", Operator: Zero, Nth: 3, Chosen: "hand"},
		{Number: 5, File: "a.c", Function: "f", Operator: Zero, Nth: 4, Chosen: "hand"},
	}
	var b strings.Builder
	score, err := WriteMarkdown(&b, faults, map[int]Outcome{
		0: {Good: []string{"isolation/file/read/x", "regression/open/y"}},
		1: {Caught: []string{"isolation/file/read"}}, 2: {}, 3: {}, 4: {Refused: "panic | <b>"},
	})
	if err != nil || score != (Score{Caught: 1, Matrix: 1, Broken: 1, Survived: 1, Equivalent: 1, NotTried: 1}) {
		t.Errorf("got %+v, %v", score, err)
	}
	if text := b.String(); strings.Contains(text, "<b>") || !strings.Contains(text, "1 of the 2 specs that ran caught no fault") {
		t.Errorf("got:\n%s", text)
	}
}

func TestPart(t *testing.T) {
	all := make([]Mutant, 10)
	for i := range all {
		all[i].Number = i + 1
	}
	if got := len(Part(all, 4, reports.Shard{})); got != 4 {
		t.Errorf("sample of 4: got %d", got)
	}
	n := 0
	for i := 1; i <= 3; i++ {
		n += len(Part(all, 0, reports.Shard{Index: i, Count: 3}))
	}
	if n != len(all) {
		t.Errorf("three shards have %d of %d faults", n, len(all))
	}
}

// What could not be told, or was skipped, without the fault was not caught by a
// failure with it; and a fault that only such specs were tried on was not tried.
func TestNotGoodBefore(t *testing.T) {
	base := &reports.Run{Kernels: []reports.Kernel{*kernelOf(map[string]reports.Status{
		"isolation/file/read/a": reports.Pass, "isolation/file/read/b": reports.Error, "isolation/file/busy/(error)": reports.Error,
		"isolation/mount/new/a": reports.Skip,
	})}}
	o, err := outcomeOf(0, nil, nil, base, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := map[string]reports.Status{
		"isolation/file/read/a": reports.Pass, "isolation/file/read/b": reports.Fail, "isolation/file/busy/x": reports.Fail,
		"isolation/mount/new/a": reports.Fail,
	}
	if caught, broken := compare(o.Good, o.Bad, kernelOf(now)); caught != nil || broken != nil {
		t.Errorf("caught by %q, broken by %q: none of them was good before", caught, broken)
	}
	faults := []Mutant{{Number: 1}, {Number: 2}}
	outcomes := map[int]Outcome{
		0: o, 1: {Number: 1, Ran: []string{"isolation/mount/new"}}, 2: {Number: 2, Ran: []string{"isolation/file/read", "isolation/mount/new"}},
	}
	var b strings.Builder
	if score, err := WriteMarkdown(&b, faults, outcomes); err != nil || score.NotTried != 1 || score.Survived != 1 {
		t.Errorf("%+v, %v", score, err)
	}
	b.Reset()
	if err := WriteTSV(&b, faults, outcomes); err != nil || strings.Contains(b.String(), "\n1\t") {
		t.Errorf("%v:\n%s", err, b.String())
	}
}

// A kernel without the switch, or one that is not started by us, would let each fault
// survive.
func TestPlanted(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "linux")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	faults := file("\x7fELF\x00apparmor.debug\x00apparmor.mutant\x00")
	for _, c := range []struct {
		name string
		kind kernels.Kind
		path string
		ok   bool
	}{
		{"with faults", kernels.UML, faults, true},
		{"without", kernels.UML, file("\x7fELF\x00apparmor.debug\x00apparmor.mutants\x00"), false},
		{"on a board", kernels.OnBoard, faults, false},
		{"of this host", kernels.Local, "", false},
	} {
		err := planted(t.Context(), &kernels.Build{Kind: c.kind, Image: c.path})
		if (err == nil) != c.ok || err != nil && exit.Status(err) != exit.Usage {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// The board of a spec that takes the parameter for a part of another option is refused
// before any fault is tried.
func TestNoBoard(t *testing.T) {
	c := &Campaign{Kernel: "ssh://root@board.invalid,power=sh -c true", Dir: t.TempDir(), Watch: silent{}}
	suiteOf(t, func(*stopper) (*reports.Run, error) {
		return &reports.Run{Kernels: []reports.Kernel{*kernelOf(map[string]reports.Status{"isolation/file/a/x": reports.Pass})}}, nil
	})
	if o, err := c.Run(t.Context(), []Mutant{{Number: 1, File: "file.c"}}); exit.Status(err) != exit.Usage {
		t.Errorf("%d outcomes, %v", len(o), err)
	}
}
