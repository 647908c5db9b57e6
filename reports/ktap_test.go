// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

// ktapTally is what a reader finds: leaves by how they came out.
type ktapTally struct{ ok, notOK, skip, xfail int }

// readKTAP reads KTAP by its specification, strictly: every plan is kept, every
// number is the next one, every line is one of the four kinds, and a parent
// fails where a subtest does.
func readKTAP(lines []string, level int) (rest []string, tally ktapTally, ok bool, err error) {
	in := strings.Repeat("  ", level)
	if len(lines) == 0 || lines[0] != in+"KTAP version 1" {
		return nil, tally, false, fmt.Errorf("level %d: no version line in %.80q", level, lines[:min(1, len(lines))])
	}
	lines = lines[1:]
	plan, n := -1, 0
	var nested *bool
	ok = true
	for len(lines) > 0 {
		l := lines[0]
		text, mine := strings.CutPrefix(l, in)
		switch {
		case !mine:
			if n != plan {
				return nil, tally, ok, fmt.Errorf("level %d: %d of %d tests before %q", level, n, plan, l)
			}
			return lines, tally, ok, nil
		case strings.HasPrefix(text, "  "):
			var below ktapTally
			var below1 bool
			if lines, below, below1, err = readKTAP(lines, level+1); err != nil {
				return nil, tally, ok, err
			}
			nested = &below1
			tally.ok, tally.notOK, tally.skip, tally.xfail = tally.ok+below.ok, tally.notOK+below.notOK, tally.skip+below.skip, tally.xfail+below.xfail
			continue
		case strings.HasPrefix(text, "# "):
		case strings.HasPrefix(text, "1.."):
			if plan >= 0 {
				return nil, tally, ok, fmt.Errorf("a second plan: %q", l)
			}
			if plan, err = strconv.Atoi(text[3:]); err != nil {
				return nil, tally, ok, err
			}
		default:
			m := ktapResult.FindStringSubmatch(text)
			if n++; m == nil || m[2] != strconv.Itoa(n) {
				return nil, tally, ok, fmt.Errorf("level %d: no result %d: %q", level, n, l)
			}
			passed := m[1] == "ok"
			ok = ok && passed
			if nested != nil && *nested != passed {
				return nil, tally, ok, fmt.Errorf("the parent of other subtests: %q", l)
			}
			if nested == nil {
				switch directive, _, _ := strings.Cut(m[4], " "); {
				case directive == "SKIP":
					tally.skip++
				case directive == "XFAIL":
					tally.xfail++
				case passed:
					tally.ok++
				default:
					tally.notOK++
				}
			}
			nested = nil
		}
		lines = lines[1:]
	}
	if n != plan {
		err = fmt.Errorf("level %d: %d of %d tests", level, n, plan)
	}
	return nil, tally, ok, err
}

var ktapResult = regexp.MustCompile(`^(ok|not ok) (\d+) ([^#\n]+?)(?: # (.*))?$`)

// want is what the run has.
func ktapWant(run *Run) (want ktapTally, ok bool) {
	for i := range run.Kernels {
		for _, o := range run.Kernels[i].Outcomes() {
			want.notOK += o.NotRun
			for st, n := range o.Counts() {
				switch st {
				case Skip:
					want.skip += n
				case XFail:
					want.xfail += n
				case Fail, Error:
					want.notOK += n
				default:
					want.ok += n
				}
			}
		}
	}
	if status, _ := Verdict(run); status != exit.OK && want.notOK == 0 {
		want.notOK++ // the run itself
	}
	return want, want.notOK == 0
}

func TestKTAP(t *testing.T) {
	for name, make := range samples {
		t.Run(name, func(t *testing.T) {
			run := make().run()
			var b bytes.Buffer
			if err := KTAP(&b, run); err != nil {
				t.Fatal(err)
			}
			golden(t, "ktap/"+name+".ktap", b.Bytes())
			text := strings.TrimSuffix(b.String(), "\n")
			_, got, ok, err := readKTAP(strings.Split(text, "\n"), 0)
			if err != nil {
				t.Fatal(err)
			}
			if want, fine := ktapWant(run); got != want || ok != fine {
				t.Errorf("read %+v %v, want %+v %v", got, ok, want, fine)
			}
			if strings.Contains(text, "\x1b") {
				t.Error("a name moves the cursor")
			}
			perlTAP(t, b.Bytes(), ok)
			kunit(t, b.Bytes(), got)
		})
	}
}

// A name or a reason can neither end the line nor be another directive.
func TestKTAPHostile(t *testing.T) {
	s := newSample("v1", []Kernel{uml()}, "open")
	s.spec(1, uml().ID, "open", 1,
		Result{ID: "a # SKIP me", Status: Fail, Reason: "SKIP # TODO\nok 2 b"},
		Result{ID: "again #2", Status: Pass}, Result{ID: "x\n1..9", Status: Pass},
		Result{ID: "late", Status: Fail, Reason: "denied # SKIP all"})
	run := s.end().run()
	var b bytes.Buffer
	if err := KTAP(&b, run); err != nil {
		t.Fatal(err)
	}
	_, got, ok, err := readKTAP(strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n"), 0)
	if want := (ktapTally{ok: 2, notOK: 2}); err != nil || got != want || ok {
		t.Errorf("%+v %v: %v\n%s", got, ok, err, &b)
	}
	if !strings.Contains(b.String(), "ok 2 again (2)\n") {
		t.Error(b.String())
	}
	perlTAP(t, b.Bytes(), false)
	kunit(t, b.Bytes(), got)
}

// perlTAP has Perl's TAP::Parser, which knows nothing of us, read each level by
// itself: TAP has no nesting.
func perlTAP(t *testing.T, text []byte, want bool) {
	t.Helper()
	perl, err := exec.LookPath("perl")
	if err != nil || exec.Command(perl, "-MTAP::Parser", "-e", "1").Run() != nil {
		t.Log("no TAP::Parser here")
		return
	}
	const script = `local $/; my $tap = <STDIN>; my ($blocks, $bad) = (0, 0);
for my $level (0 .. 3) {
  my $in = "  " x $level; my @now; my @all;
  for my $l (split /\n/, $tap) {
    next unless $l =~ s/^$in(?! )//;
    if ($l eq "KTAP version 1") { push @all, [@now] if @now; @now = ("TAP version 13"); next }
    push @now, $l;
  }
  push @all, [@now] if @now;
  for my $b (@all) {
    my $p = TAP::Parser->new({ tap => join("\n", @$b) . "\n" });
    $p->run; $blocks++;
    die join("; ", $p->parse_errors) . "\n" if $p->parse_errors;
    $bad++ if $level == 0 && $p->failed;
  }
}
die "nothing read\n" unless $blocks; print $bad ? "not ok" : "ok";`
	cmd := exec.Command(perl, "-MTAP::Parser", "-e", script)
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != map[bool]string{true: "ok", false: "not ok"}[want] {
		t.Errorf("TAP::Parser: %v: %s", err, out)
	}
}

// kunit has the kernel's own reader, tools/testing/kunit/kunit_parser.py, read
// it. PROOFHOUSE_KUNIT is the directory that it is in.
func kunit(t *testing.T, text []byte, want ktapTally) {
	t.Helper()
	dir := os.Getenv("PROOFHOUSE_KUNIT")
	if dir == "" {
		return
	}
	const script = `import sys
sys.path.insert(0, sys.argv[1])
import kunit_parser
t = kunit_parser.parse_run_tests(kunit_parser.extract_tap_lines(sys.stdin.read().splitlines()))
c = t.counts
print(c.passed, c.failed, c.skipped, c.crashed, c.errors)`
	cmd := exec.Command("python3", "-c", script, dir)
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.CombinedOutput()
	// It knows no XFAIL: what it does not know is as the "ok" before it.
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	got := lines[len(lines)-1] // before it, it tells people
	if expected := fmt.Sprintf("%d %d %d 0 0", want.ok+want.xfail, want.notOK, want.skip); err != nil || got != expected {
		t.Errorf("kunit_parser.py: %v: passed, failed, skipped, crashed, errors: %s, want %s", err, got, expected)
	}
}

// Whatever a test prints, what is read is what was written.
func FuzzKTAP(f *testing.F) {
	f.Add("OPEN RW", "expected", "SKIP me", uint8(0))
	f.Add("a # TODO\nok 1", "1..3", "# Subtest: x", uint8(4))
	f.Add("", "", "", uint8(2))
	statuses := []Status{Fail, Pass, Skip, XFail, XPass, Error, Recorded}
	f.Fuzz(func(t *testing.T, name, reason, got string, n uint8) {
		s := newSample("v1", []Kernel{uml()}, "open")
		s.spec(1, uml().ID, "open", 1, Result{ID: name, Status: statuses[int(n)%len(statuses)], Reason: reason, Got: got, Lacks: got}, Result{ID: "other", Status: Pass})
		run := s.end().run()
		var b bytes.Buffer
		if err := KTAP(&b, run); err != nil {
			t.Fatal(err)
		}
		_, tally, ok, err := readKTAP(strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n"), 0)
		if want, fine := ktapWant(run); err != nil || tally != want || ok != fine {
			t.Errorf("%+v %v, want %+v %v: %v\n%s", tally, ok, want, fine, err, &b)
		}
	})
}
