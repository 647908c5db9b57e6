// SPDX-License-Identifier: Apache-2.0

package bisect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/reports"
)

// For each line of builds: the answer is as narrow as what can be told, no
// build is tested twice, and none in vain.
func TestSearch(t *testing.T) {
	for range 2000 {
		n := 2 + rand.IntN(30)
		first := 1 + rand.IntN(n-1) // the first newer
		untellable := make([]bool, n)
		for i := 1; i < n-1; i++ {
			untellable[i] = rand.IntN(4) == 0
		}
		asked := map[int]int{}
		known := make([]bool, n)
		for i := range known {
			known[i] = untellable[i] && rand.IntN(2) == 0
		}
		got, err := search(context.Background(), known, func(_ context.Context, i int) (answer, error) {
			asked[i]++
			switch {
			case untellable[i]:
				return untold, nil
			case i < first:
				return older, nil
			}
			return newer, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := span{first - 1, first}
		for untellable[want.last] {
			want.last--
		}
		for untellable[want.first] {
			want.first++
		}
		if got != want {
			t.Fatalf("%d builds, first %d, untold %v: %v, want %v", n, first, untellable, got, want)
		}
		tests, skips := 0, 0
		for i, times := range asked {
			if times > 1 || i == 0 || i == n-1 || known[i] {
				t.Fatalf("build %d of %d was asked %d times", i, n, times)
			}
			if tests++; untellable[i] {
				skips++
			}
		}
		if testable := len((span{0, n - 1}).left(known)); tests > steps(testable)+skips {
			t.Fatalf("%d tests, %d of them untold, for %d builds", tests, skips, testable)
		}
	}
}

func TestSearchEnds(t *testing.T) {
	boom := errors.New("boom")
	if _, err := search(context.Background(), make([]bool, 5), func(context.Context, int) (answer, error) { return untold, boom }); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
	if got, err := search(context.Background(), make([]bool, 2), nil); err != nil || got != (span{0, 1}) {
		t.Errorf("%v, %v", got, err)
	}
}

const subject = "regression/complain/Complain mode profile (file exec cx permission entry)"

// builds are a line of fake builds; what each does is a letter: p passes, f
// fails, x fails as expected, r passes and fails, e is an ERROR, s a SKIP, n
// does not boot, m is missing, c crashes.
func builds(behaviour string) ([]kernels.Candidate, func(ctx context.Context, b kernels.Candidate, specs []string) (*Evidence, error)) {
	var line []kernels.Candidate
	for i, does := range behaviour {
		v := fmt.Sprintf("7.0.%d", i)
		c := kernels.Candidate{Spec: "debian:" + v, Release: v, Version: v + "-1"}
		if does == 'm' {
			c.Lacks = "linux-modules-" + v
		}
		line = append(line, c)
	}
	statuses := map[byte][]reports.Status{
		'p': {reports.Pass, reports.Pass}, 'f': {reports.Fail, reports.Fail}, 'x': {reports.XFail, reports.XFail},
		'r': {reports.Pass, reports.Fail}, 'e': {reports.Error, reports.Error}, 's': {reports.Skip, reports.Skip}, 'c': {reports.Error, reports.Error},
	}
	return line, func(_ context.Context, b kernels.Candidate, _ []string) (*Evidence, error) {
		does := behaviour[slices.Index(line, b)]
		if does == 'n' {
			return nil, &Untestable{errors.New("no machine: kernel panic")}
		}
		k := &reports.Kernel{ID: b.Release + "-1f2e3d4c", Release: b.Release}
		for i, st := range statuses[does] {
			s := reports.Spec{ID: "regression/complain", Attempt: i + 1, Results: []reports.Result{
				{ID: "regression/complain/other", Status: reports.Pass}, {ID: subject, Status: st, Reason: "exec: Permission denied"},
			}, Denials: []string{`apparmor="DENIED" operation="exec"`}}
			if does == 'c' {
				s.Crash = "BUG: kernel NULL pointer dereference in aa_label_merge"
			}
			k.Specs = append(k.Specs, s)
		}
		return gather(k, "out/"+b.Release), nil
	}
}

func TestSession(t *testing.T) {
	for _, c := range []struct {
		behaviour string
		good, bad int
		pattern   string
		line      string // that comes out
		said      string // by some line of its progress, or by Text
		err       string
		status    int
	}{
		{"ppppff", 0, 5, "complain", "first bad build: 7.0.4 (7.0.4-1)", "7.0.3", "", 0},
		{"ppppff", 0, 5, "", "first bad build: 7.0.4 (7.0.4-1)", "7.0.3", "", 0},
		{"fffffp", 5, 0, "complain", "first fixed build: 7.0.5 (7.0.5-1)", "apparmor=\"DENIED\"", "", 0},
		{"xxxxpp", 5, 0, "regression/complain/*cx*", "first fixed build: 7.0.4 (7.0.4-1)", "", "", 0},
		{"pf", 0, 1, subject, "first bad build: 7.0.1 (7.0.1-1)", "", "", 0},
		// What cannot be told is stepped around.
		{"ppnpffnff", 0, 8, "complain", "first bad build: 7.0.4 (7.0.4-1)", "", "", 0},
		{"ppprff", 0, 5, "complain", "first bad build: 7.0.4 (7.0.4-1) or earlier; unclear: 7.0.3; last good build: 7.0.2", "flaky: " + subject + " (PASS, FAIL)", "", 0},
		{"ppneff", 0, 5, "complain", "first bad build: 7.0.4 (7.0.4-1) or earlier; unclear: 7.0.2, 7.0.3; last good build: 7.0.1", "no machine: kernel panic", "", 0},
		{"pnnf", 0, 3, "complain", "first bad build: 7.0.3 (7.0.3-1) or earlier; unclear: 7.0.1, 7.0.2; last good build: 7.0.0", "", "", 0},
		{"ppcc", 0, 3, "complain", "first bad build: 7.0.2 (7.0.2-1)", "regression/complain/(crash)", "", 0},
		{"pmmpfmf", 0, 6, "complain", "first bad build: 7.0.4 (7.0.4-1)", "7 builds; 3 are incomplete", "", 0},
		{"pmmf", 0, 3, "complain", "first bad build: 7.0.3 (7.0.3-1) or earlier; unclear: 7.0.1, 7.0.2; last good build: 7.0.0", "incomplete on the mirror: 7.0.1, 7.0.2\n", "", 0},
		// Ends that are not what they were said to be.
		{"fff", 0, 2, "complain", "", "", "the good build 7.0.0 is not good: " + subject + " fails there", exit.Usage},
		{"ppp", 0, 2, "complain", "", "", "the bad build 7.0.2 is not bad: none of complain fails there", exit.Usage},
		{"ppx", 0, 2, "", "", "", "the bad build 7.0.2 is not bad", exit.Usage}, // it is known
		{"fpp", 0, 2, "complain", "", "", "7.0.2 is not bad: " + subject + " (swapped?)", exit.Usage},
		{"rpf", 0, 2, "complain", "", "", "nothing to bisect: " + subject + " is flaky on 7.0.0 (PASS, FAIL)", exit.Usage},
		{"ppr", 0, 2, "complain", "", "", "is flaky on 7.0.2 (PASS, FAIL)", exit.Usage},
		{"epf", 0, 2, "complain", "", "", "the good build 7.0.0 gives no clear result", exit.Usage},
		{"pps", 0, 2, "complain", "", "", "is not bad", exit.Usage},
		{"ppf", 0, 2, "nonsense", "", "", `no subtest on 7.0.2 matches "nonsense"`, exit.Usage},
		{"ppn", 0, 2, "complain", "", "", "the bad build 7.0.2: no machine: kernel panic", exit.NoVerdict},
		{"pf", 1, 1, "complain", "", "", "the same build", exit.Usage},
	} {
		t.Run(c.behaviour+" "+c.pattern, func(t *testing.T) {
			var said strings.Builder
			line, test := builds(c.behaviour)
			s := Session{Builds: line, Good: c.good, Bad: c.bad, Pattern: c.pattern, Test: test, Say: func(l string) { said.WriteString(l + "\n") }}
			f, err := s.Run(context.Background())
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || exit.Status(err) != c.status || strings.Contains(err.Error(), "\n") {
					t.Errorf("status %d, %v; want %d, %q", exit.Status(err), err, c.status, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if f.Line() != c.line {
				t.Errorf("%s\nwant %s", f.Line(), c.line)
			}
			if err := Text(&said, f, Changes{}, reports.Style{}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(said.String(), c.said) {
				t.Errorf("%q is not in:\n%s", c.said, said.String())
			}
		})
	}
}

func TestText(t *testing.T) {
	line, test := builds("ff")
	_, passes := builds("pp")
	before, _ := test(context.Background(), line[0], nil)
	after, _ := passes(context.Background(), line[1], nil)
	f := &Found{Fixed: true, Targets: []string{subject},
		Last:  Tested{Candidate: line[0], Verdict: Bad, Evidence: before},
		First: Tested{Candidate: line[1], Verdict: Good, Evidence: after},
	}
	f.Tested = []Tested{f.Last, f.First}
	c := Changes{
		Features:    []Difference{{"domain/kill.signal", "", "yes"}, {"policy/versions/v5", "yes", ""}, {"permstable32_version", "1", "3"}},
		Config:      []Difference{{"CONFIG_SECURITY_X", "", "y"}},
		Options:     12,
		ConfigKnown: true, LogKnown: true,
		Log: []kernels.Change{{Version: "7.0.1-1", Lines: []string{"- apparmor: fix cx in complain mode", "- net: something else"}}},
	}
	var b bytes.Buffer
	if err := Text(&b, f, c, reports.Style{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"first fixed build: 7.0.1 (7.0.1-1)\n", "FAIL, FAIL  exec: Permission denied\n", "PASS, PASS\n", "run  out/7.0.0\n",
		"    + domain/kill.signal yes\n", "    - policy/versions/v5 yes\n", "    ~ permstable32_version 1 -> 3\n",
		"and 11 options that are not about security", "7.0.1-1  - apparmor: fix cx in complain mode\n", "1 versions, 2 lines",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "something else") {
		t.Errorf("a line that is not about security:\n%s", b.String())
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, id string
		want        bool
	}{
		{"", subject, true}, {"complain", subject, true}, {"regression/complain", subject, true}, {subject, subject, true},
		{"regression/complain/*cx*", subject, true}, {"compl*", subject, true}, {"*cx permission*", subject, true},
		{"regression/comp", subject, false}, {"open", subject, false}, {"isolation/signal", "isolation/signal/host-to-stacked", true},
	} {
		if got := Matches(c.pattern, c.id); got != c.want {
			t.Errorf("%q, %q: %v", c.pattern, c.id, got)
		}
	}
}

func TestForPattern(t *testing.T) {
	all := []string{"complain", "dbus_message", "dbus_service", "open"}
	for _, c := range []struct {
		pattern string
		scripts []string
		filter  string
		status  int
	}{
		{"", nil, "", 0},
		{"complain", []string{"complain"}, "", 0},
		{subject, []string{"complain"}, "", 0},
		{"regression/dbus_*/x*", []string{"dbus_message", "dbus_service"}, "", 0},
		{"dbus*", []string{"dbus_message", "dbus_service"}, "", 0},
		{"*cx permission*", nil, "", 0}, // any script
		{"*/x", nil, "", 0},
		{"isolation/signal", nil, "isolation", 0},
		{"opne", nil, "", exit.Usage},
		{"regression/opne/x", nil, "", exit.Usage},
	} {
		scripts, filter, err := forPattern(c.pattern, all)
		if !slices.Equal(scripts, c.scripts) || filter != c.filter || exit.Status(err) != c.status {
			t.Errorf("%q: %q, %q, %v", c.pattern, scripts, filter, err)
		}
	}
	for _, c := range []struct{ specs, scripts, filter string }{
		{"regression/open regression/pipe", "open pipe", ""},
		{"regression/open isolation/signal/x isolation/file/y", "", "script:open || isolation"},
		{"known-defects/a known-defects/b", "", "defect:a || defect:b"},
		{"known-defects/a regression/open isolation/signal/x", "", "defect:a || script:open || isolation"},
		{"regression/open kernel/log", "", ""}, // whatever makes the kernel complain
	} {
		scripts, filter := forSpecs(strings.Fields(c.specs))
		if strings.Join(scripts, " ") != c.scripts || filter != c.filter {
			t.Errorf("%q: %q, %q", c.specs, scripts, filter)
		}
	}
}

// A run with doubts proves a failure, and nothing else: neither is a build good
// by it, nor is it the good end, nor is it kept.
func TestDoubtIsNotGood(t *testing.T) {
	kernel := func(st reports.Status) reports.Kernel {
		return reports.Kernel{Release: "7.9", Specs: []reports.Spec{{ID: "regression/open", Results: []reports.Result{{ID: "regression/open/A", Status: st}}}}}
	}
	evidence := func(st reports.Status, run reports.Run) *Evidence {
		run.Kernels = append(run.Kernels, kernel(st))
		e := gather(&run.Kernels[0], "")
		e.Doubt = doubtOf(&run)
		return e
	}
	ids := []string{"regression/open/A"}
	if good, bad, why := evidence(reports.Pass, reports.Run{}).judge(ids); !good || bad || why != "" {
		t.Errorf("without doubts: %t, %t, %q", good, bad, why)
	}
	for name, run := range map[string]reports.Run{
		"damaged":   {Doubts: []string{"line 6 is ignored"}},
		"cut short": {CutShort: true},
	} {
		passed, failed := evidence(reports.Pass, run), evidence(reports.Fail, run)
		if good, bad, why := passed.judge(ids); good || bad || why == "" || !passed.open() {
			t.Errorf("%s: %t, %t, %q, open %t", name, good, bad, why, passed.open())
		}
		if good, bad, _ := failed.judge(ids); good || !bad {
			t.Errorf("%s and failed: %t, %t", name, good, bad)
		}
		if got, err := targets("open", passed, failed); err == nil {
			t.Errorf("%s: targets %q", name, got)
		}
	}
	k := kernel(reports.Pass)
	k.NotRun = []string{"regression/pipe"}
	if doubtOf(&reports.Run{Kernels: []reports.Kernel{k}}) == "" {
		t.Error("no doubt where a test did not run")
	}
}

func TestStep(t *testing.T) {
	for _, c := range []struct {
		does, pattern string
		crashIsBad    bool
		verdict       Verdict
		err           string // and no verdict
		untestable    bool
	}{
		{"p", "complain", false, Good, "", false},
		{"p", "", false, Good, "", false},
		{"f", "complain", false, Bad, "", false},
		{"f", "", false, Bad, "", false},
		{"x", "", false, Good, "", false},        // it is known
		{"x", "complain", false, Bad, "", false}, // it was asked for
		{"r", "complain", false, "", "flaky, PASS, FAIL", true},
		{"e", "complain", false, "", "ERROR, ERROR: exec: Permission denied", true},
		{"c", "complain", false, "", "the kernel crashed", true},
		{"c", "complain", true, Bad, "", false},
		{"s", subject, false, "", "all 1 were skipped", true},
		{"p", "regression/complain/nothing*", false, "", "matches", false},
		{"n", "complain", false, "", "no machine", true},
	} {
		line, test := builds(c.does)
		var s *Step
		e, err := test(context.Background(), line[0], nil)
		if err == nil {
			s, err = e.step(c.pattern, c.crashIsBad)
		}
		var no *Untestable
		switch {
		case c.err == "" && (err != nil || s.Verdict != c.verdict):
			t.Errorf("%s %q: %+v, %v", c.does, c.pattern, s, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || errors.As(err, &no) != c.untestable):
			t.Errorf("%s %q: %+v, %v", c.does, c.pattern, s, err)
		}
	}
}
