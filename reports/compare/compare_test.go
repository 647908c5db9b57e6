// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/reports"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", path, got)
	}
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// side is a kernel with the specs given.
func side(release string, specs ...reports.Spec) *Side {
	k := &reports.Kernel{
		ID: release + "-1f2e3d4c", Spec: "debian:" + release, Release: release, SHA256: release,
		Properties: map[string]string{"machine": "qemu", "accelerator": "tcg", "suite": "4.1.8", "guest": "sid", "parser": "5.0.2"},
		Features:   map[string]string{"domain/stack": "yes"},
	}
	for i, s := range specs {
		s.Kernel, s.Start, s.Attempt = k.ID, start, 1
		s.End = start.Add(time.Duration(s.Seconds * float64(time.Second)))
		if i > 0 && specs[i-1].ID == s.ID {
			s.Attempt = k.Specs[i-1].Attempt + 1
		}
		k.Specs = append(k.Specs, s)
	}
	return &Side{Name: "out/" + release, Run: &reports.Run{Started: start}, Kernel: k}
}

// spec is one with results, each "NAME STATUS", or "NAME STATUS what it lacks".
func spec(script string, results ...string) reports.Spec {
	s := reports.Spec{ID: "regression/" + script, Seconds: 3}
	for _, r := range results {
		f := strings.SplitN(r, " ", 3)
		res := reports.Result{ID: s.ID + "/" + f[0], Status: reports.Status(f[1])}
		if len(f) == 3 {
			res.Lacks = f[2]
		}
		s.Results = append(s.Results, res)
	}
	return s
}

// where says in which list of the comparison the subtest is.
func where(c *Comparison, id string) (found []string) {
	for name, list := range map[string][]Change{
		"regression": c.Regressions, "fix": c.Fixes, "flaky": c.Flaky, "known": c.Known, "behaviour": c.Behaviour, "other": c.Other,
	} {
		for _, ch := range list {
			if ch.ID == id || slices.Contains(ch.Lost, id) {
				found = append(found, name)
			}
		}
	}
	for name, groups := range map[string][]Group{"added": c.Added, "vanished": c.Vanished} {
		for _, g := range groups {
			if slices.Contains(g.IDs, id) {
				found = append(found, name)
			}
		}
	}
	return found
}

// What each transition comes to, in a script that runs on both sides. A dot is
// a subtest that is not there.
func TestTransitions(t *testing.T) {
	want := map[string]string{
		"PASS FAIL": "regression", "PASS ERROR": "regression", "PASS .": "regression", "PASS XFAIL": "known",
		"PASS SKIP": "regression", "PASS PASS": "", "PASS XPASS": "", "PASS RECORDED": "behaviour",
		"XPASS FAIL": "regression", "XPASS .": "regression", "XPASS XFAIL": "known", "XPASS PASS": "",
		"FAIL PASS": "fix", "FAIL XPASS": "fix", "FAIL FAIL": "", "FAIL XFAIL": "known", "FAIL ERROR": "other", "FAIL .": "vanished", "FAIL SKIP": "",
		"ERROR PASS": "fix", "ERROR FAIL": "regression", "ERROR ERROR": "", "ERROR SKIP": "other", "ERROR .": "vanished",
		"SKIP FAIL": "regression", "SKIP ERROR": "regression", "SKIP PASS": "", "SKIP .": "", "SKIP XFAIL": "known", "SKIP SKIP": "",
		"XFAIL FAIL": "regression", "XFAIL ERROR": "regression", "XFAIL PASS": "fix", "XFAIL XPASS": "fix", "XFAIL XFAIL": "", "XFAIL .": "vanished",
		"RECORDED RECORDED": "", "RECORDED FAIL": "regression", "RECORDED .": "regression", "RECORDED PASS": "behaviour",
		". FAIL": "regression", ". ERROR": "regression", ". PASS": "added", ". XPASS": "added", ". XFAIL": "known", ". SKIP": "", ". RECORDED": "added",
	}
	for tr, class := range want {
		from, to, _ := strings.Cut(tr, " ")
		results := func(status string) reports.Spec {
			s := spec("a", "other PASS")
			if status != "." {
				s.Results = append(s.Results, reports.Result{ID: "regression/a/x", Status: reports.Status(status)})
			}
			return s
		}
		c := Diff(side("6.12", results(from)), side("7.3", results(to)), Options{})
		got := strings.Join(where(c, "regression/a/x"), " ")
		if got != class {
			t.Errorf("%s: %q, want %q", tr, got, class)
		}
		if (class == "regression") != (len(c.Regressions) > 0) {
			t.Errorf("%s: regressions %+v", tr, c.Regressions)
		}
		if from == to && c.Changed() {
			t.Errorf("%s is a change: %s", tr, c.Verdict)
		}
	}
}

// A good result that is gone is loud, unless something else explains it.
func TestLoss(t *testing.T) {
	both := func(s reports.Spec) []reports.Spec { return []reports.Spec{s, spec("b", "y PASS")} }
	whole := spec("a", "x PASS", "y PASS", "z XFAIL")
	for _, c := range []struct {
		name    string
		next    func() *Side
		options Options
		lost    int // with a regression
		note    string
		skips   int
	}{
		{"fewer", func() *Side { return side("7.3", both(spec("a", "x PASS"))...) }, Options{}, 1, "for an unknown reason", 0},
		{"crash", func() *Side { return side("7.3", both(spec("a", "x PASS", "(script) ERROR"))...) }, Options{}, 1, "", 0},
		{"not run", func() *Side { return side("7.3", spec("b", "y PASS")) }, Options{}, 2, "NEW did not run it", 0},
		{"not run, and not asked for", func() *Side { return side("7.3", spec("b", "y PASS")) }, Options{Common: true}, 0, "", 0},
		{"planned", func() *Side {
			s := side("7.3", spec("b", "y PASS"))
			s.Kernel.NotRun = []string{"regression/a"}
			return s
		}, Options{Common: true}, 2, "never started", 0},
		{"kernel lacks it", func() *Side { return side("7.3", both(spec("a", "(script) SKIP kernel: dbus"))...) }, Options{}, 2, "the kernel lacks what it needs", 1},
		{"nobody knows who lacks it", func() *Side { return side("7.3", both(spec("a", "(script) SKIP unknown: x"))...) }, Options{}, 2, "lacks what it needs", 1},
		{"guest lacks it", func() *Side { return side("7.3", both(spec("a", "(script) SKIP guest: nfs server"))...) }, Options{}, 0, "", 1},
		{"parser and kernel", func() *Side {
			return side("7.3", both(spec("a", "(skipped:p) SKIP parser: x", "(skipped:k) SKIP kernel: y"))...)
		}, Options{}, 2, "lacks what it needs", 2},
		{"the same kernel lacks it by another suite", func() *Side {
			s := side("6.12", both(spec("a", "(script) SKIP kernel: dbus"))...)
			s.Kernel.Properties["suite"] = "5.0"
			return s
		}, Options{}, 0, "", 1},
		{"another suite", func() *Side {
			s := side("7.3", both(spec("a", "x PASS"))...)
			s.Kernel.Properties["suite"] = "5.0"
			return s
		}, Options{}, 0, "", 0},
		{"another suite, and it did not run", func() *Side {
			s := side("7.3", spec("b", "y PASS"))
			s.Kernel.Properties["suite"] = "5.0"
			return s
		}, Options{}, 2, "NEW did not run it", 0},
		{"same subtest skipped", func() *Side {
			return side("7.3", both(spec("a", "x PASS", "y SKIP kernel: ioperm", "z XFAIL"))...)
		}, Options{}, 1, "lacks what it needs", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Diff(side("6.12", both(whole)...), c.next(), c.options)
			if d.lost() != c.lost || (c.lost > 0) != (len(d.Regressions) > 0) {
				t.Errorf("%d lost in %+v", d.lost(), d.Regressions)
			}
			if c.lost > 0 && !strings.Contains(d.Regressions[0].Note, c.note) {
				t.Errorf("note %q, want %q", d.Regressions[0].Note, c.note)
			}
			if len(d.Skips) != c.skips {
				t.Errorf("skips %+v", d.Skips)
			}
		})
	}
}

// A feature that came is no fix, and what fails for the first time is a
// regression.
func TestFeatureCame(t *testing.T) {
	c := Diff(side("6.12", spec("unix", "(script) SKIP kernel: unix rules")), side("7.3", spec("unix", "x PASS", "y PASS", "z FAIL")), Options{})
	if len(c.Regressions) != 1 || len(c.Added) != 0 {
		t.Errorf("%+v %+v", c.Regressions, c.Added)
	}
	if len(c.Skips) != 1 || !c.Skips[0].Came || c.Skips[0].Subtests != 2 {
		t.Errorf("%+v", c.Skips)
	}
}

// attempts are runs of one subtest, F for each that failed.
func attempts(marks string) (list []reports.Spec) {
	for _, m := range marks {
		switch m {
		case 'F':
			list = append(list, spec("a", "x FAIL", "y PASS"))
		case 'E': // the script was cut
			list = append(list, spec("a", "y PASS", "(script) ERROR"))
		case 'C':
			s := spec("a", "y PASS", "(script) ERROR")
			s.Crash = "BUG: x"
			list = append(list, s)
		default:
			list = append(list, spec("a", "x PASS", "y PASS"))
		}
	}
	return list
}

func TestFlaky(t *testing.T) {
	for _, c := range []struct{ base, next, history, want, rate string }{
		{"P", "F", "", "regression", ""},
		{"F", "P", "", "fix", ""},
		{"P", "PFP", "", "flaky", "failed 1 of 3 times, on BASE 0 of 1"},
		// One measurement on BASE proves nothing, and excuses nothing.
		{"P", "FFFFFFFFFFFFFFFFFFFP", "", "regression", "failed 19 of 20 times, on BASE never (1 measurement)"},
		{"P", "FFFFFFFFFP", "", "regression", "failed 9 of 10 times"},
		{"PP", "FFP", "", "regression", "failed 2 of 3 times, on BASE never (2 measurements)"},
		{"P", "FP", "", "flaky", "failed 1 of 2 times, on BASE 0 of 1"},
		{"PF", "FFP", "", "flaky", "failed 2 of 3 times, on BASE 1 of 2"},
		{"PF", "F", "", "flaky", "failed 1 of 1 times, on BASE 1 of 2"},
		{"PFF", "PPF", "", "flaky", "failed 1 of 3 times, on BASE 2 of 3"},
		// As often as not: chance explains it. Far more often: it does not.
		{"PPPPPPPPPPPPPPPPPPPF", "FFFFF", "", "regression", "more than chance"},
		{"PPPPPPPPPPPPPPPPPPPP", "FFPPP", "", "regression", "more than chance"},
		{"FFFFF", "PPPPPPPPPPPPPPPPPPPF", "", "fix", "less than chance"},
		// It failed once before on BASE's build.
		{"P", "F", "PPF", "flaky", "failed 1 of 1 times, on BASE 1 of 4"},
		{"PPPPPPPPPP", "FFFFF", "PPF", "regression", "failed 5 of 5 times, on BASE 1 of 13"},
		{"P", "E", "", "regression", ""},
		{"P", "PPE", "", "flaky", "failed 1 of 3 times"},
		// A crash is no matter of chance, but on a kernel that did so before.
		{"P", "PPC", "", "regression", "the kernel crashed (failed 1 of 3 times): BUG: x"},
		{"PC", "PPC", "", "flaky", "failed 1 of 3 times, on BASE 1 of 2"},
	} {
		base, next := side("6.12", attempts(c.base)...), side("7.3", attempts(c.next)...)
		var history []reports.Kernel
		if c.history != "" {
			history = append(history, *side("6.12", attempts(c.history)...).Kernel)
			history = append(history, *side("6.14", attempts("FFFFF")...).Kernel) // another build
		}
		d := Diff(base, next, Options{History: history})
		id := "regression/a/x"
		if strings.ContainsAny(c.next, "EC") {
			id = "regression/a/(script)"
		}
		found := where(d, id)
		if !slices.Contains(found, c.want) || len(found) != 1 {
			t.Errorf("%s to %s after %q: %v, want %s", c.base, c.next, c.history, found, c.want)
			continue
		}
		for _, list := range [][]Change{d.Regressions, d.Fixes, d.Flaky} {
			for _, ch := range list {
				if ch.ID == id && !strings.Contains(ch.Note, c.rate) {
					t.Errorf("%s to %s: %q, want %q", c.base, c.next, ch.Note, c.rate)
				}
			}
		}
		if c.want == "flaky" && d.Changed() {
			t.Errorf("%s to %s: what is flaky is a change: %s", c.base, c.next, d.Verdict)
		}
	}
}

func TestSameBuild(t *testing.T) {
	c := Diff(side("6.12", attempts("P")...), side("6.12", attempts("F")...), Options{})
	if !c.SameBuild || len(c.Regressions) != 0 || len(c.Flaky) != 1 || c.Flaky[0].Note != "failed 1 of 2 times" {
		t.Errorf("%+v", c)
	}
	if c.Verdict != "no change of 2 subtests on both sides; 1 flaky subtest" {
		t.Error(c.Verdict)
	}
	c = Diff(side("6.12", attempts("P")...), side("6.12", attempts("F")...), Options{History: []reports.Kernel{*side("6.12", attempts("PP")...).Kernel}})
	if len(c.Flaky) != 1 || c.Flaky[0].Note != "failed 1 of 4 times" {
		t.Errorf("with history: %+v", c.Flaky)
	}
	c = Diff(side("6.12", attempts("P")...), side("6.12", attempts("P")...), Options{})
	if c.Changed() || c.Verdict != "no change in 2 subtests" || len(c.Flaky) != 0 {
		t.Errorf("%+v", c)
	}
	// What did not run is lost, whatever the build.
	c = Diff(side("6.12", attempts("P")...), side("6.12", spec("b", "z PASS")), Options{})
	if len(c.Regressions) != 1 {
		t.Errorf("%+v", c.Regressions)
	}
	// What BASE did not run has no attempt there that it could differ from.
	whole := append(attempts("P"), spec("more", "x PASS", "y RECORDED", "z FAIL"))
	c = Diff(side("6.12", attempts("P")...), side("6.12", whole...), Options{})
	if len(c.Flaky) != 0 || len(c.Regressions) != 0 || len(c.Added) != 1 || len(c.Added[0].IDs) != 2 {
		t.Errorf("flaky %+v, regressions %+v, added %+v", c.Flaky, c.Regressions, c.Added)
	}
	if len(c.Other) != 1 || c.Other[0].Note != "BASE did not run it" {
		t.Errorf("%+v", c.Other)
	}
	// Another parser is another thing to test.
	other := side("6.12", attempts("F")...)
	other.Kernel.Properties["parser"] = "4.1.0"
	c = Diff(side("6.12", attempts("P")...), other, Options{})
	if c.SameBuild || len(c.Regressions) != 1 || len(c.Userspace) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestNothing(t *testing.T) {
	c := Diff(side("6.12", spec("a", "x PASS")), side("7.3", spec("b", "x PASS")), Options{Common: true})
	if c.Compared != 0 || !strings.HasPrefix(c.Verdict, "nothing to compare") || len(c.NotCompared) != 2 {
		t.Errorf("%+v", c)
	}
}

// Scripts that were lost in the same way are one item for people, and each its
// own in the JSON.
func TestFold(t *testing.T) {
	var specs []reports.Spec
	for i := range 6 {
		specs = append(specs, spec(fmt.Sprintf("s%d", i), "x PASS", "y PASS"))
	}
	c := Diff(side("6.12", specs...), side("7.3", specs[0]), Options{})
	if len(c.Regressions) != 5 {
		t.Errorf("%+v", c.Regressions)
	}
	var b bytes.Buffer
	if err := Text(&b, c, reports.Style{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n  5 scripts\n", "NEW did not run it: s1, s2, s3, s4, s5", "with it, 10 good results of BASE"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in %s", want, &b)
		}
	}
	if strings.Contains(b.String(), "(script)") {
		t.Errorf("not folded: %s", &b)
	}
}

// Fisher's own example: of 8 cups, 4 with milk first; she found 3 or 4 of them.
func TestMoreOften(t *testing.T) {
	for _, c := range []struct {
		a, b tally
		want float64
	}{
		{tally{4, 3}, tally{4, 1}, 17.0 / 70},
		{tally{4, 4}, tally{4, 0}, 1.0 / 70},
		{tally{1, 1}, tally{1, 0}, 0.5},
		{tally{5, 0}, tally{5, 5}, 1},
		{tally{3, 0}, tally{3, 0}, 1},
	} {
		if got := moreOften(c.a, c.b); got < c.want-1e-9 || got > c.want+1e-9 {
			t.Errorf("%v after %v: %g, want %g", c.a, c.b, got, c.want)
		}
	}
}

func TestDurations(t *testing.T) {
	make12 := func(factor float64, odd map[int]float64) *Side {
		var specs []reports.Spec
		for i := range 12 {
			s := spec(fmt.Sprintf("s%02d", i), "x PASS")
			s.Seconds = float64(5+i) * factor * (1 + 0.02*float64(i%3))
			if f, ok := odd[i]; ok {
				s.Seconds *= f
			}
			specs = append(specs, s)
		}
		return side("6.12", specs...)
	}
	for _, c := range []struct {
		name   string
		factor float64
		odd    map[int]float64
		want   string
	}{
		{"as before", 1, nil, ""},
		{"a slower machine", 3, nil, ""},
		{"one is slower", 1, map[int]float64{4: 2.5}, "regression/s04 2.5"},
		{"one is slower on a slower machine", 3, map[int]float64{4: 2.5}, "regression/s04 2.5"},
		{"one is faster", 1, map[int]float64{11: 0.2}, "regression/s11 0.2"},
		{"a little", 1, map[int]float64{4: 1.5}, ""},
	} {
		var got []string
		for _, d := range Diff(make12(1, nil), make12(c.factor, c.odd), Options{}).Durations {
			got = append(got, fmt.Sprintf("%s %.1f", d.Spec, d.Factor))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %q, want %q", c.name, s, c.want)
		}
	}
	other := make12(1, map[int]float64{4: 9})
	other.Kernel.Properties["machine"] = "uml"
	if d := Diff(make12(1, nil), other, Options{}); len(d.Durations) != 0 {
		t.Errorf("on machines of two kinds: %v", d.Durations)
	}
}

const denial = `audit(1795558638.211:147): apparmor="ALLOWED" operation="exec" class="file" info="profile transition not found" error=-13 profile="complain" name="/usr/bin/echo" pid=1414 comm="complain" requested_mask="x" denied_mask="x" fsuid=0 ouid=0 target="/usr/bin/echo"`

// sample is a comparison with something of everything. dir has the audit
// records of both.
func sample(t *testing.T) *Comparison {
	dir := t.TempDir()
	audit := func(name string, lines ...string) string {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var w io.WriteCloser = f
		if strings.HasSuffix(name, ".gz") {
			w = gzip.NewWriter(f)
		}
		if _, err := io.WriteString(w, strings.Join(lines, "\n")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return name
	}
	open := `audit(1795558636.775:108): apparmor="DENIED" operation="open" class="file" profile="open" name="/tmp/sdtest.1356-21644-oMORYP/file" pid=1383 requested_mask="r"`
	complain := func(st reports.Status, audit string) reports.Spec {
		s := spec("complain", "other PASS")
		s.Audit, s.Output = audit, "k/scripts/complain.log"
		r := reports.Result{ID: "regression/complain/file exec cx", Status: st, Expected: "pass", Got: "pass"}
		if st == reports.Fail {
			r.Got, r.Reason = "fail", "FAIL: execvp of exec failed"
		}
		s.Results = append(s.Results, r)
		return s
	}
	crash := spec("swap", "(script) ERROR")
	crash.Crash = "BUG: kernel NULL pointer dereference in aa_label_merge"
	crash.Console = "[ 9.1] BUG: kernel NULL pointer dereference, address: 0000000000000010\n[ 9.2] Kernel panic - not syncing: Fatal exception"
	crash.Results[0].Reason = "the kernel crashed: " + crash.Crash
	recorded := func(got string) reports.Spec {
		s := spec("ptrace", "cross RECORDED")
		s.Results[0].Got = got
		return s
	}
	base := side("6.12.107", complain(reports.Pass, audit("base.log", open, "audit(1.1:1): apparmor=\"STATUS\"")),
		spec("dbus_message", "a PASS", "b PASS", "c PASS"),
		spec("flaky", "x PASS"),
		spec("e2e", "x FAIL"),
		spec("old", "x PASS"),
		recorded("EPERM"), spec("swap", "one PASS", "two PASS"), spec("unix", "(script) SKIP kernel: unix rules"))
	base.Dir = dir
	next := side("7.3.4", complain(reports.Fail, audit("new.log.gz", strings.ReplaceAll(open, "1383", "77"), denial, denial)),
		spec("dbus_message", "(script) SKIP kernel: dbus"),
		spec("flaky", "x PASS"), spec("flaky", "x FAIL"), spec("flaky", "x PASS"),
		spec("e2e", "x PASS", "*more*`and`<b>|@who</b>\x1b[31m FAIL"),
		recorded("EACCES"), crash, spec("unix", "u1 PASS", "u2 PASS"))
	next.Dir = dir
	next.Kernel.Features = map[string]string{"domain/stack": "yes", "network_v9/af_unix": "yes", "caps/mask": "chown kill bpf"}
	base.Kernel.Features["caps/mask"] = "chown kill setpcap"
	base.Kernel.Features["dbus/mask"] = "acquire send receive"
	next.Kernel.Properties["parser"] = "5.0.3"
	next.Run.CutShort = true
	return Diff(base, next, Options{})
}

func TestWriters(t *testing.T) {
	c := sample(t)
	for name, write := range map[string]func(io.Writer) error{
		"sample.txt":         func(w io.Writer) error { return Text(w, c, reports.Style{}) },
		"sample-80.txt":      func(w io.Writer) error { return Text(w, c, reports.Style{Width: 80, Unicode: true}) },
		"sample-verbose.txt": func(w io.Writer) error { return Text(w, c, reports.Style{Verbose: true}) },
		"sample.md":          func(w io.Writer) error { return Markdown(w, c) },
		"sample.json":        func(w io.Writer) error { return JSON(w, c) },
		"sample.html":        func(w io.Writer) error { return HTML(w, c) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
		text := b.String()
		if strings.Contains(text, "\x1b") && !strings.HasSuffix(name, ".json") {
			t.Errorf("%s: what a test printed moves the cursor", name)
		}
		if strings.HasSuffix(name, ".html") && (strings.Contains(text, "<b>|") || strings.Contains(text, "http")) {
			t.Errorf("%s: a name is markup, or it needs the network", name)
		}
		for l := range strings.Lines(text) {
			if strings.HasSuffix(name, ".txt") && strings.TrimRight(l, " \n") != strings.TrimRight(l, "\n") {
				t.Errorf("%s: space at the end of %q", name, l)
			}
		}
	}
	var b bytes.Buffer
	if err := Text(&b, c, reports.Style{Color: true}); err != nil || !strings.Contains(b.String(), "\x1b[31m") {
		t.Errorf("no colour: %v", err)
	}
	var again Comparison
	if b.Reset(); JSON(&b, c) != nil || json.Unmarshal(b.Bytes(), &again) != nil || again.Verdict != c.Verdict {
		t.Error("the JSON cannot be read")
	}
}

// However much changed, it is a comment that a merge request takes, and its
// parts are closed.
func TestMarkdownLimit(t *testing.T) {
	long := strings.Repeat("`|<x>@me ", 60)
	for _, n := range []int{1, 300, 20_000} {
		var before, after []reports.Spec
		for i := range n {
			script := fmt.Sprintf("s%05d", i)
			b, a := spec(script, "x PASS"), spec(script, "x FAIL")
			b.Results[0].ID += long
			a.Results[0].ID += long
			a.Results[0].Reason = long
			a.Denials = []string{denial + long}
			before, after = append(before, b), append(after, a)
		}
		c := Diff(side("6.12", before...), side("7.3", after...), Options{})
		var b bytes.Buffer
		if err := Markdown(&b, c); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		if len(text) > MarkdownLimit {
			t.Errorf("%d regressions are %d bytes", n, len(text))
		}
		if strings.Count(text, "<details>") != strings.Count(text, "</details>") {
			t.Error("a part is not closed")
		}
		if !strings.Contains(text, printable.Number(n)+" regression") || n > 1000 && !strings.Contains(text, "more") {
			t.Errorf("%d regressions are not counted: %.300s", n, text)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run:1") // a colon of its own
	kernel := filepath.Join(run, "6.12.107-cloud-1f2e")
	if err := os.MkdirAll(filepath.Join(kernel, "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(kernel, "scripts", "a.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sp := spec("a", "x PASS")
	sp.Output = "6.12.107-cloud-1f2e/scripts/a.log"
	all := &reports.Run{Format: 1, Kernels: []reports.Kernel{
		{ID: "6.12.107-cloud-1f2e", Spec: "debian:trixie", Release: "6.12.107-cloud", Specs: []reports.Spec{sp}},
		{ID: "6.12.117-cloud-2a3b", Spec: "debian:trixie-updates", Release: "6.12.117-cloud"},
		{ID: "7.3.4-cloud-3c4d", Spec: "debian:sid", Release: "7.3.4-cloud"},
	}}
	one := &reports.Run{Format: 1, Kernels: all.Kernels[:1]}
	for path, r := range map[string]*reports.Run{filepath.Join(run, "results.json"): all, filepath.Join(kernel, "results.json"): one} {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := reports.JSON(f, r); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, want string }{
		{kernel, "6.12.107"},
		{filepath.Join(kernel, "results.json"), "6.12.107"},
		{run + ":debian:trixie", "6.12.107"},
		{run + ":6.12.117-cloud-2a3b", "6.12.117"},
		{run + ":7.3.4-cloud", "7.3.4"},
		{run + ":7", "7.3.4"},
		{filepath.Join(run, "results.json") + ":debian:sid", "7.3.4"},
		{run, "has 3 kernels"},
		{run + ":6.12", "matches 2 kernels"},
		{run + ":debian:bookworm", ": no kernel"},
		{filepath.Join(dir, "none"), "no such file or directory: want the directory of a run"},
		{dir, "it has no journal"},
		{filepath.Join(kernel, "scripts", "a.log"), "not a results.json"},
	} {
		s, err := Open(c.name)
		switch {
		case err != nil:
			if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		case !strings.HasPrefix(s.Kernel.Release, c.want):
			t.Errorf("%s: %s", c.name, s.Kernel.Release)
		case strings.HasPrefix(s.Kernel.ID, "6.12.107") && s.Dir != run:
			t.Errorf("%s: files in %s", c.name, s.Dir)
		}
	}
}

// Records of the same event are alike whatever the time, the process and the
// directory; those of another are not.
func TestStable(t *testing.T) {
	same := strings.NewReplacer("1795558638.211:147", "1.2:3", "pid=1414", "pid=7", "class=\"file\" ", "").Replace(denial)
	if stable(same) != stable(denial) {
		t.Errorf("%s\n%s", stable(same), stable(denial))
	}
	for _, other := range []string{
		strings.Replace(denial, "ALLOWED", "DENIED", 1),
		strings.Replace(denial, "/usr/bin/echo", "/usr/bin/cat", 1),
		strings.Replace(denial, "error=-13", "error=-2", 1),
	} {
		if stable(other) == stable(denial) {
			t.Errorf("%s is like %s", other, denial)
		}
	}
}

// An audit file's name comes from a file like any other: it does not lead out
// of the run.
func TestAuditOutside(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte(denial), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../secret", filepath.Join(dir, "secret")} {
		r := newRecords()
		if err := r.read(filepath.Join(dir, "run"), name); err == nil || r.n > 0 {
			t.Errorf("%s was read", name)
		}
	}
}

// TestDoubts: what shows no regression because NEW is incomplete is no PASS.
func TestDoubts(t *testing.T) {
	for name, edit := range map[string]func(*reports.Run){
		"no verdict on NEW: the run was cut short; ": func(r *reports.Run) { r.CutShort = true },
		"no verdict on NEW: shard 2/2 is missing; ":  func(r *reports.Run) { r.Doubts = []string{"shard 2/2 is missing"} },
		"no change in 2 subtests":                    func(*reports.Run) {},
	} {
		base, next := side("6.12", attempts("P")...), side("7.3", attempts("P")...)
		next.Run = &reports.Run{}
		edit(next.Run)
		c := Diff(base, next, Options{})
		if !strings.HasPrefix(c.Verdict, name) || (len(c.Doubts) > 0) != strings.HasPrefix(name, "no verdict") {
			t.Errorf("%q: %q %q", name, c.Verdict, c.Doubts)
		}
	}
}

// A comparison with a run that left tests out says so.
func TestSelectionNote(t *testing.T) {
	base, next := side("6.12", attempts("P")...), side("7.3", attempts("P")...)
	next.Run = &reports.Run{Selection: &reports.Selection{For: "fix.patch", LeftOut: []string{"regression/exec"}}}
	if c := Diff(base, next, Options{}); !slices.Contains(c.Notes, "NEW is a selection for fix.patch, and not the whole: tests were left out") {
		t.Errorf("%q", c.Notes)
	}
}

// TestBuildIdentity: two builds whose images are not known are the same only if
// the kernel says so, and modules are part of a build.
func TestBuildIdentity(t *testing.T) {
	k := func(sha, version, modules string) *reports.Kernel {
		return &reports.Kernel{ID: "7.3-local", SHA256: sha, Version: version, Properties: map[string]string{"modules": modules}}
	}
	for _, c := range []struct {
		a, b *reports.Kernel
		want bool
	}{
		{k("aa", "#1", "m"), k("aa", "#1", "m"), true},
		{k("aa", "#1", "m"), k("aa", "#1", "n"), false},
		{k("aa", "#1", "m"), k("bb", "#1", "m"), false},
		{k("", "#1", ""), k("", "#1", ""), true},
		{k("", "#1", ""), k("", "#2", ""), false},
	} {
		if got := sameBuild(c.a, c.b); got != c.want {
			t.Errorf("%+v %+v: %v", c.a, c.b, got)
		}
	}
}

// TestNastyText: what a guest printed is in a comparison only as text that can
// be seen.
func TestNastyText(t *testing.T) {
	const nasty = "a\x1b[2J\u009b31m\u202egnp.\u2066\u200b\ufeff\u2028<script>alert(1)</script>\x7f\nforged"
	side := func(status reports.Status) *Side {
		k := &reports.Kernel{
			ID: nasty + string(status), Spec: nasty, Release: nasty, Version: nasty, Features: map[string]string{nasty: nasty + string(status)},
			Properties: map[string]string{"parser": nasty + string(status), "machine": nasty, "cmdline": nasty + string(status)},
		}
		for _, id := range []string{"x", "y" + string(status)} {
			s := reports.Spec{ID: "regression/" + id + nasty, End: time.Unix(9, 0), Console: nasty, Crash: nasty, Output: nasty, Denials: []string{`apparmor="DENIED" ` + string(status) + nasty}}
			s.Results = []reports.Result{{ID: s.ID + "/1", Status: status, Got: nasty, Reason: nasty, Lacks: nasty}, {ID: s.ID + "/2" + string(status), Status: status, Reason: nasty}}
			k.Specs = append(k.Specs, s)
		}
		return &Side{Name: nasty, Run: &reports.Run{Doubts: []string{nasty}}, Kernel: k}
	}
	for _, statuses := range [][2]reports.Status{{reports.Pass, reports.Fail}, {reports.Fail, reports.Pass}, {reports.Skip, reports.Pass}, {reports.Recorded, reports.Pass}, {reports.Pass, reports.Skip}, {reports.XFail, reports.Error}} {
		c := Diff(side(statuses[0]), side(statuses[1]), Options{})
		for name, write := range map[string]func(io.Writer) error{
			"text":     func(w io.Writer) error { return Text(w, c, reports.Style{Verbose: true, Unicode: true}) },
			"markdown": func(w io.Writer) error { return Markdown(w, c) },
			"html":     func(w io.Writer) error { return HTML(w, c) },
			"json":     func(w io.Writer) error { return JSON(w, c) },
		} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			if text := b.String(); text != printable.Lines(text) {
				t.Errorf("%s, %s: characters that are not seen", name, statuses)
			}
			if name == "html" && strings.Contains(b.String(), "<script>") {
				t.Errorf("a script of the guest's")
			}
		}
	}
}
