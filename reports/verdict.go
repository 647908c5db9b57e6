// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"fmt"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
)

// Verdict returns the result of the run in one line, and its exit status:
// [exit.Failed] if anything FAILed on any kernel; otherwise [exit.NoVerdict] if
// anything was an ERROR or did not run (or may not have run), nothing passed
// on a kernel, or the run has [Run.Doubts] or no end; otherwise [exit.OK].
func Verdict(run *Run) (status int, line string) {
	t := tally(run)
	word := map[int]string{exit.OK: "PASS", exit.Failed: "FAIL", exit.NoVerdict: "NO VERDICT"}
	status = t.status()
	if run.Selection.Partial() && status == exit.OK {
		word[status] = "PASS OF A SELECTION"
	}
	return status, word[status] + ": " + t.sentence(run) + selectionSentence(run) + coverageSentence(run)
}

// totals sum up a run.
type totals struct {
	counts Counts
	specs  int      // that ran
	ids    []string // of all, by kernel
	notRun int
	cut    bool     // the run has no end
	doubts []string // why it is no PASS whatever the results are
	noPlan bool     // what the run meant to run is unknown: the line was cut, or never written
	empty  []string // kernels on which nothing passed
}

func tally(run *Run) totals {
	t := totals{counts: Counts{}, noPlan: run.Planned <= 0, doubts: run.Doubts, cut: run.CutShort}
	for i := range run.Kernels {
		k := &run.Kernels[i]
		counts := Counts{}
		for _, o := range k.Outcomes() {
			counts.add(o.Counts())
			if len(o.Attempts) > 0 {
				t.specs++
			}
			t.notRun += o.NotRun
			t.ids = append(t.ids, o.ID)
		}
		if counts[Pass] == 0 {
			t.empty = append(t.empty, k.name())
		}
		t.counts.add(counts)
	}
	return t
}

func (t totals) status() int {
	switch {
	case t.counts[Fail] > 0:
		return exit.Failed
	case t.counts[Error] > 0, t.notRun > 0, t.noPlan, len(t.empty) > 0, t.specs == 0, len(t.doubts) > 0, t.cut:
		return exit.NoVerdict
	default:
		return exit.OK
	}
}

func (t totals) sentence(run *Run) string {
	where := fmt.Sprintf(" on %d kernels", len(run.Kernels))
	if len(run.Kernels) == 1 {
		where = " on " + run.Kernels[0].name()
	}
	if t.specs == 0 && t.notRun == 0 {
		return "nothing ran" + where
	}
	var first string
	switch {
	case t.counts[Fail] > 0:
		first = fmt.Sprintf("%s of %s failed", printable.Number(t.counts[Fail]), printable.Count(t.counts.Total(), "subtest"))
	case t.status() == exit.OK:
		first = fmt.Sprintf("%s passed", printable.Count(t.counts[Pass]+t.counts[XPass], "subtest"))
		if n := t.counts[Recorded]; n > 0 {
			first += fmt.Sprintf(", %s recorded", printable.Number(n))
		}
	}
	var rest []string
	if run.CutShort {
		rest = append(rest, "the run was cut short")
	}
	if n := t.counts[Error]; n > 0 {
		rest = append(rest, printable.Count(n, "error"))
	}
	if t.notRun > 0 {
		rest = append(rest, fmt.Sprintf("%s of %s not run", printable.Number(t.notRun), printable.Count(max(run.Planned, t.notRun), Noun(t.ids...))))
	}
	if t.noPlan {
		rest = append(rest, "planned tests unknown")
	}
	if n := len(t.doubts); n > 0 && !t.cut {
		more := ""
		if n > 1 {
			more = fmt.Sprintf(" (and %s)", printable.Count(n-1, "other doubt"))
		}
		rest = append(rest, t.doubts[0]+more)
	}
	if first == "" && len(rest) == 0 { // the one reason left
		first = "nothing passed on " + strings.Join(t.empty, ", ")
		where = ""
	}
	if first == "" {
		return strings.Join(rest, ", ") + where
	}
	if len(rest) > 0 {
		return first + where + "; " + strings.Join(rest, ", ")
	}
	return first + where
}

// name is how people call the kernel.
func (k *Kernel) name() string {
	for _, s := range []string{k.Release, k.Spec, k.ID} {
		switch a := k.Arch(); {
		case s == "":
		case a == x86_64, strings.Contains(s, "arm64"), strings.Contains(s, a):
			return s
		default: // nothing else in a table's column tells
			return s + " (" + a + ")"
		}
	}
	return "an unnamed kernel"
}
