// SPDX-License-Identifier: Apache-2.0

package defects

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"proofhouse/isolation"
	"proofhouse/reports"
)

// every is a kernel that has all that the checks need.
func every() isolation.Kernel {
	k := isolation.Kernel{Features: map[string]string{}, Slowness: 1, Off: func(string) bool { return false }}
	for _, d := range All() {
		for _, n := range d.Needs {
			file, word, _ := strings.Cut(n, " ")
			k.Features[file] += " " + word + " yes"
		}
	}
	return k
}

// came is a step whose outcome is the expectation.
func came(step, want string) isolation.Done {
	d := isolation.Done{Step: step}
	if value, quoted := strings.CutPrefix(want, `"`); quoted {
		d.Value = strings.TrimSuffix(value, `"`)
	} else if want != "ok" {
		d.Errno = want
	}
	return d
}

// report is what the probe finds where the check comes out as wanted.
func report(d Defect, want string) isolation.Found {
	f := isolation.Found{Key: cell, PIDs: map[string]int{}, Labels: map[string]string{}, Init: isolation.InitLabel + " (enforce)"}
	for i, t := range d.Tasks {
		f.PIDs[t.Name] = 100 + i
	}
	for _, c := range d.Controls {
		step, expected := isolation.SplitStep(c)
		f.Done = append(f.Done, came(step, expected))
	}
	f.Done = append(f.Done, came(d.Check, want))
	return f
}

// Each check passes with the fix alone, fails without it and names what to take,
// and proves nothing where anything else comes of it.
func TestJudge(t *testing.T) {
	k := every()
	for _, d := range All() {
		one := func(what string, f []isolation.Found, want reports.Status, says string) {
			t.Helper()
			r := d.Judge(k, f, "")
			if len(r) != 1 || r[0].Status != want || !strings.Contains(r[0].Reason, says) || reports.ID(r[0].ID).Spec().String() != d.ID() {
				t.Errorf("%s, %s: %+v", d.Name, what, r)
			}
		}
		for _, want := range d.Present {
			one("present", []isolation.Found{report(d, want)}, reports.Pass, "present")
		}
		for _, want := range d.Absent {
			one("absent", []isolation.Found{report(d, want)}, reports.Fail, "absent")
			if d.Commit != "" {
				one("absent", []isolation.Found{report(d, want)}, reports.Fail, d.Commit)
			}
		}
		one("another outcome", []isolation.Found{report(d, "EIO")}, reports.Error, "cannot tell")
		one("no report", nil, reports.Error, "cannot tell")
		for i := range d.Controls {
			f := report(d, d.Present[0])
			f.Done[i] = isolation.Done{Step: f.Done[i].Step, Errno: "EIO"}
			one("a control failed", []isolation.Found{f}, reports.Error, "cannot tell")
		}
		f := report(d, d.Present[0])
		f.Done = f.Done[:len(f.Done)-1]
		one("cut", []isolation.Found{f}, reports.Error, "cannot tell")
		f = report(d, d.Present[0])
		f.Refused = map[string]string{"t": "ENOENT"}
		one("no label", []isolation.Found{f}, reports.Error, "cannot tell")
	}
}

// A kernel that lacks what a check needs is a SKIP, and so is one whose config is
// not known where the check needs an option.
func TestJudgeSkips(t *testing.T) {
	for _, d := range All() {
		if len(d.Needs) == 0 {
			continue
		}
		if r := d.Judge(isolation.Kernel{}, nil, ""); r[0].Status != reports.Skip || r[0].Lacks == "" {
			t.Errorf("%s: %+v", d.Name, r)
		}
	}
	d := Defect{Name: "x", Needs: []string{"CONFIG_KASAN"}}
	if d.Lacking(isolation.Kernel{}) == "" || d.Lacking(isolation.Kernel{Off: func(string) bool { return true }}) == "" || d.Lacking(isolation.Kernel{Off: func(string) bool { return false }}) != "" {
		t.Error("CONFIG_KASAN")
	}
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	crashes := false
	for _, d := range All() {
		if seen[d.Name] || strings.ContainsAny(d.Name, "&|!,()/. ") {
			t.Errorf("%s: twice, or not a name", d.Name)
		}
		seen[d.Name] = true
		if d.About == "" || d.Why == "" || d.Fixed == "" || d.Check == "" || len(d.Present) == 0 || len(d.Absent) == 0 || len(d.Tasks) == 0 {
			t.Errorf("%s is incomplete", d.Name)
		}
		if slices.ContainsFunc(d.Present, func(w string) bool { return slices.Contains(d.Absent, w) }) {
			t.Errorf("%s: an outcome is of both", d.Name)
		}
		if crashes && !d.Crashes {
			t.Errorf("%s is after checks that may crash the kernel", d.Name)
		}
		crashes = crashes || d.Crashes
	}
}

var update = flag.Bool("update", false, "write the tables into docs/known-defects.md")

// TestDocumented demands that docs/known-defects.md has the tables as they are.
func TestDocumented(t *testing.T) {
	const file = "../../docs/known-defects.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(text), "## Checked\n")
	want := before + Markdown()
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s does not have the tables as they are: run go generate ./isolation/defects", file)
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
