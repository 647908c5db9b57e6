// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

// A run that the first version wrote reads as it did then.
func TestReadFormat1(t *testing.T) {
	run, err := Read("testdata/format-1")
	if err != nil {
		t.Fatal(err)
	}
	var then struct {
		Run
		Verdict string `json:"verdict"`
		Counts  Counts `json:"counts"`
	}
	b, err := os.ReadFile("testdata/format-1/results.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &then); err != nil {
		t.Fatal(err)
	}
	if then.Format != 1 {
		t.Fatalf("the sample has format %d", then.Format)
	}
	if _, verdict := Verdict(run); verdict != then.Verdict || !maps.Equal(tally(run).counts, then.Counts) {
		t.Errorf("%s, then: %s", verdict, then.Verdict)
	}
	if len(run.Notes()) > 0 || run.CutShort || !run.Ended.Equal(then.Ended) || run.Planned != then.Planned {
		t.Errorf("%q, %v, planned %d", run.Notes(), run.Ended, run.Planned)
	}
	now, _ := json.Marshal(run.Kernels)
	old, _ := json.Marshal(then.Kernels)
	if string(now) != string(old) {
		t.Errorf("got\n%s\nthen\n%s", now, old)
	}
	if h := History("testdata/none", at(1e9)); len(h) != 1 || h[0].Format != 1 || len(h[0].Kernels[0].Specs) != 6 {
		t.Errorf("history: %+v", h)
	}
}

// shards are the directories of a run on two kernels that was split in n.
func shards(t *testing.T, n int) (dirs []string) {
	t.Helper()
	scripts := []string{"capabilities", "chdir", "complain", "exec", "open"}
	var whole []Planned
	for _, k := range []Kernel{trixie(), uml()} {
		for _, s := range scripts {
			whole = append(whole, Planned{ID: "regression/" + s, Kernel: k.ID})
		}
	}
	for i := range n {
		s := newSample("v1", []Kernel{trixie(), uml()})
		start := s.journals[1][1].Run
		start.Shard, start.Whole = &Shard{i + 1, n}, whole
		for at, p := range whole {
			if at%n != i {
				continue
			}
			start.Planned = append(start.Planned, p)
			name := strings.TrimPrefix(p.ID, "regression/")
			spec := s.spec(at%2+1, p.Kernel, name, 3, passes(2)...)
			spec.Output = filepath.Join(p.Kernel, "scripts", name+".log")
		}
		dir := filepath.Join(t.TempDir(), fmt.Sprintf("shard-%d", i+1))
		for _, k := range []Kernel{trixie(), uml()} {
			if err := os.MkdirAll(filepath.Join(dir, k.ID, "scripts"), 0o755); err != nil {
				t.Fatal(err)
			}
			for p := range 2 {
				text(t, filepath.Join(dir, k.ID, fmt.Sprintf("console-%d.log", p+1)), fmt.Sprintf("shard %d, process %d, kernel %s", i+1, p+1, k.Spec))
			}
		}
		for _, p := range start.Planned {
			text(t, filepath.Join(dir, p.Kernel, "scripts", strings.TrimPrefix(p.ID, "regression/")+".log"), fmt.Sprintf("shard %d", i+1))
		}
		text(t, filepath.Join(dir, "plan.json"), "{}")
		s.end().write(t, dir)
		dirs = append(dirs, dir)
	}
	return dirs
}

func text(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func joined(t *testing.T, attempts bool, dirs ...string) (string, *Run) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "joined")
	if err := os.Mkdir(out, 0o755); err != nil { // an empty one will do
		t.Fatal(err)
	}
	if err := Join(out, attempts, dirs...); err != nil {
		t.Fatal(err)
	}
	run, _, err := Write(out)
	if err != nil {
		t.Fatal(err)
	}
	return out, run
}

func TestJoinShards(t *testing.T) {
	dirs := shards(t, 3)
	out, run := joined(t, false, dirs[2], dirs[0], dirs[1])
	if status, line := Verdict(run); status != exit.OK || !strings.Contains(line, "20 subtests passed on 2 kernels") {
		t.Errorf("%d %s", status, line)
	}
	if run.Planned != 10 || len(run.Parts) != 3 || run.CutShort || len(run.Notes()) > 0 || run.Shard != nil {
		t.Errorf("planned %d, parts %v, remarks %q", run.Planned, run.Parts, run.Notes())
	}
	for _, k := range run.Kernels {
		b, err := os.ReadFile(filepath.Join(out, k.ID, ConsoleFile))
		if err != nil || strings.Count(string(b), "\n") != 6 {
			t.Errorf("console of %s: %q, %v", k.ID, b, err)
		}
		for _, s := range k.Specs {
			if _, err := os.Stat(filepath.Join(out, s.Output)); err != nil || s.Output == "" {
				t.Errorf("%s on %s: output %q: %v", s.ID, k.ID, s.Output, err)
			}
		}
	}
	// What was joined once joins again as it did.
	again, rerun := joined(t, false, out)
	if a, b := marshal(t, run), marshal(t, rerun); a != b {
		t.Errorf("joined again:\n%s\nwas\n%s", b, a)
	}
	if _, err := os.Stat(filepath.Join(again, partsDir, "2", "plan.json")); err != nil {
		t.Error(err)
	}
}

func marshal(t *testing.T, run *Run) string {
	t.Helper()
	b, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What a shard that is not there was to run is missed.
func TestJoinMissingShard(t *testing.T) {
	dirs := shards(t, 3)
	_, run := joined(t, false, dirs[0], dirs[2])
	status, line := Verdict(run)
	if status != exit.NoVerdict || !strings.Contains(line, "3 of 10 scripts not run") {
		t.Errorf("%d %s", status, line)
	}
	if len(run.Notes()) != 1 || !strings.HasPrefix(run.Notes()[0], "shard 2/3 is missing: kernel 6.12.94") {
		t.Errorf("%q", run.Notes())
	}
}

// A shard that was killed is not covered by one that ended later.
func TestJoinKilledShard(t *testing.T) {
	dirs := shards(t, 2)
	j := filepath.Join(dirs[0], "journal-1.jsonl")
	b, err := os.ReadFile(j)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(b), "\n")
	text(t, j, strings.Join(lines[:len(lines)-4], "")) // without its last spec and its end
	_, run := joined(t, false, dirs...)
	if status, _ := Verdict(run); status != exit.NoVerdict || !run.CutShort {
		t.Errorf("status %d, cut short %v", status, run.CutShort)
	}
	if !slices.Contains(run.Notes(), "shard-1: the run has no end: it was killed, or it is still running") {
		t.Errorf("%q", run.Notes())
	}
}

// Runs on different kernels are one run on all of them.
func TestJoinKernels(t *testing.T) {
	var dirs []string
	for _, k := range []Kernel{trixie(), uml()} {
		s := newSample("v1", []Kernel{k}, "open")
		s.spec(1, k.ID, "open", 3, passes(2)...)
		dir := t.TempDir()
		s.end().write(t, dir)
		dirs = append(dirs, dir)
	}
	_, run := joined(t, false, dirs...)
	if status, line := Verdict(run); status != exit.OK || line != "PASS: 4 subtests passed on 2 kernels" || len(run.Notes()) > 0 {
		t.Errorf("%d %s, %q", status, line, run.Notes())
	}
}

// A run that left tests out stays one when it is joined with others, in whatever
// order, until another one runs these tests on the same kernel.
func TestJoinSelections(t *testing.T) {
	one := func(k Kernel, s *Selection, scripts ...string) string {
		t.Helper()
		sample := newSample("v1", []Kernel{k}, scripts...)
		sample.journals[1][1].Run.Selection = s
		for _, name := range scripts {
			sample.spec(1, k.ID, name, 3, passes(2)...)
		}
		dir := t.TempDir()
		sample.end().write(t, dir)
		return dir
	}
	part := func(rest bool) *Selection {
		return &Selection{For: "fix.patch", Map: "out/map", Selected: 1, LeftOut: []string{"regression/exec"}, Rest: rest}
	}
	partial, rest, none := one(trixie(), part(false), "open"), one(uml(), part(true), "open", "exec"), one(uml(), nil, "open", "exec")
	empty := one(uml(), &Selection{For: "other.patch", Map: "out/map", Selected: 1}, "open")
	same, other := one(trixie(), nil, "exec"), one(uml(), nil, "exec")
	for name, c := range map[string]struct {
		dirs []string
		want string
	}{
		"alone":                         {[]string{partial}, "PASS OF A SELECTION: 2 subtests passed on 6.12.94+deb13-cloud-amd64; a selection for fix.patch: 1 of 2 tests left out"},
		"before a whole one":            {[]string{partial, rest}, "PASS OF A SELECTION: "},
		"after a whole one":             {[]string{rest, partial}, "PASS OF A SELECTION: "},
		"before one that left none out": {[]string{partial, empty}, "PASS OF A SELECTION: 4 subtests passed on 2 kernels; a selection for fix.patch, other.patch: 1 of 2 tests left out"},
		"after one that left none out":  {[]string{empty, partial}, "PASS OF A SELECTION: "},
		"with one without a selection":  {[]string{none, partial}, "PASS OF A SELECTION: "},
		"the rest on another kernel":    {[]string{partial, other}, "PASS OF A SELECTION: "},
		"the rest on the same kernel":   {[]string{partial, same}, "PASS: 4 subtests passed on "},
		"only whole ones":               {[]string{rest}, "PASS: 4 subtests passed on "},
	} {
		_, run := joined(t, false, c.dirs...)
		if status, line := Verdict(run); status != exit.OK || !strings.HasPrefix(line, c.want) {
			t.Errorf("%s: %d %s, want %s", name, status, line, c.want)
		}
	}
}

func TestJoinAttempts(t *testing.T) {
	a, b := shards(t, 2), shards(t, 2)
	dirs := slices.Concat(a, b)
	if err := Join(filepath.Join(t.TempDir(), "joined"), false, dirs...); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "is a shard given twice?") {
		t.Errorf("%v", err)
	}
	out, run := joined(t, true, dirs...)
	if status, line := Verdict(run); status != exit.OK || run.Planned != 20 {
		t.Errorf("%d %s, planned %d, %q", status, line, run.Planned, run.Notes())
	}
	outputs := map[string]bool{}
	for _, s := range run.Kernels[0].Specs {
		if _, err := os.Stat(filepath.Join(out, s.Output)); err != nil || outputs[s.Output] {
			t.Errorf("%s attempt %d: output %q, %v", s.ID, s.Attempt, s.Output, err)
		}
		outputs[s.Output] = true
	}
	if _, run = joined(t, true, append(a, b[0])...); run.Planned != 20 || len(run.Notes()) != 1 {
		t.Errorf("the second time without its second shard: planned %d, %q", run.Planned, run.Notes())
	}
}

func TestJoinRefuses(t *testing.T) {
	one := func(change func(k *Kernel)) string {
		k := uml()
		change(&k)
		s := newSample("v1", []Kernel{k}, "open")
		s.spec(1, k.ID, "open", 3, passes(2)...)
		dir := t.TempDir()
		s.end().write(t, dir)
		return dir
	}
	plain := one(func(*Kernel) {})
	old := one(func(k *Kernel) { k.ID = "another" })
	b, err := os.ReadFile(filepath.Join(old, "journal-1.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	text(t, filepath.Join(old, "journal-1.jsonl"), strings.Replace(string(b), `"format":2`, `"format":1`, 1))
	b, err = os.ReadFile(filepath.Join(old, "journal-2.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	text(t, filepath.Join(old, "journal-2.jsonl"), strings.Replace(string(b), `"format":2`, `"format":1`, 1))
	held := one(func(k *Kernel) { k.ID = "another" })
	release, err := Hold(held)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	two, three := shards(t, 2), shards(t, 3)
	for name, c := range map[string]struct {
		dirs []string
		want string
	}{
		"nothing there":    {[]string{plain, filepath.Join(plain, "none")}, "no such file"},
		"no run":           {[]string{plain, t.TempDir()}, "it has no journal"},
		"the same folder":  {[]string{plain, plain + "/."}, "is given twice"},
		"the same spec":    {[]string{plain, one(func(*Kernel) {})}, "join kernel 7.2.7-um-9a8b7c6d: regression/open is in"},
		"another parser":   {[]string{plain, one(func(k *Kernel) { k.Properties["parser"] = "5.0.2" })}, "different parser (4.1.8, 5.0.2)"},
		"another format":   {[]string{plain, old}, "runs of different versions of proofhouse do not join"},
		"it goes on":       {[]string{plain, held}, "the run is still running"},
		"different splits": {[]string{two[0], three[1]}, "are not shards of the same run"},
		"not empty":        {nil, "is not empty"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "joined")
			if c.dirs == nil {
				out, c.dirs = plain, []string{plain}
			}
			err := Join(out, false, c.dirs...)
			if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("status %d, %v; want %q", exit.Status(err), err, c.want)
			}
			if left, _ := os.ReadDir(filepath.Dir(out)); out != plain && len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestHold(t *testing.T) {
	dir := t.TempDir()
	j, err := Create(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !Running(dir) {
		t.Error("a journal is open, and the run is over")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if Running(dir) {
		t.Error("the journal is closed, and the run goes on")
	}
}

// TestRequire: a whole kernel of a matrix that is missing is no verdict.
func TestRequire(t *testing.T) {
	dir, _ := foreign(t)
	for _, c := range []struct {
		kernels []string
		status  int
		line    string
	}{
		{nil, exit.OK, "PASS"},
		{[]string{"s"}, exit.OK, "PASS"},
		{[]string{"k1", "7.9"}, exit.OK, "PASS"},
		{[]string{"s", "debian:sid"}, exit.NoVerdict, "kernel debian:sid is missing"},
	} {
		out := filepath.Join(t.TempDir(), "out")
		if err := Join(out, false, dir); err != nil {
			t.Fatal(err)
		}
		if err := Require(out, c.kernels...); err != nil {
			t.Fatal(err)
		}
		// Joined again, it is still missing.
		again := filepath.Join(t.TempDir(), "again")
		if err := Join(again, false, out); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{out, again} {
			run, _, err := Write(d)
			if err != nil {
				t.Fatal(err)
			}
			if status, line := Verdict(run); status != c.status || !strings.Contains(line, c.line) {
				t.Errorf("%v: %d %s", c.kernels, status, line)
			}
		}
	}
}

// tells reports whether a format writes a run whose second subtest has the
// status differently from the same run in which it passed.
func tells(t *testing.T, f Format, status Status) bool {
	t.Helper()
	write := func(st Status) string {
		s := newSample("v1", []Kernel{trixie()}, "open")
		s.spec(1, trixie().ID, "open", 9, append(passes(1), Result{ID: "SUBTEST 2", Status: st, Reason: "a reason"})...)
		var b strings.Builder
		if err := f.Write(&b, s.end().run(), FormatOptions{Origin: KCIDBOrigin}); err != nil {
			t.Fatal(f.Name, err)
		}
		return b.String()
	}
	return write(status) != write(Pass)
}

// TestFormatsTellStatuses: what is not a PASS does not look like one, in any
// format.
func TestFormatsTellStatuses(t *testing.T) {
	for _, f := range Formats() {
		for _, status := range []Status{Fail, Error, Skip, XFail, XPass, Recorded} {
			if !tells(t, f, status) {
				t.Errorf("%s writes %s as it writes PASS", f.Name, status)
			}
		}
	}
	blind := Format{Name: "blind", Write: plain(func(w io.Writer, run *Run) error {
		_, err := io.WriteString(w, run.Kernels[0].ID+" PASS\n")
		return err
	})}
	if tells(t, blind, Fail) {
		t.Error("a format that writes everything as PASS was not noticed")
	}
}

// TestFormats: every format is found by its name, and each file is of one.
func TestFormats(t *testing.T) {
	files := map[string]bool{}
	for _, f := range Formats() {
		got, ok := FindFormat(f.Name)
		if !ok || got.Name != f.Name || f.About == "" || f.Write == nil || files[f.File] {
			t.Errorf("%+v", f)
		}
		files[f.File] = f.File != ""
		var b strings.Builder
		if err := f.Write(&b, samples["mixed"]().run(), FormatOptions{Origin: KCIDBOrigin}); err != nil || b.Len() == 0 {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	if _, ok := FindFormat("pdf"); ok || !files[ResultsFile] || !files[JUnitFile] {
		t.Error("pdf, or no files")
	}
}
