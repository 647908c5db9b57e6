// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"proofhouse/internal/printable"
)

// settle corrects what the run says so that nothing unknown, missing, cut or
// contradictory in it can count as a PASS. It is for runs that were read: their
// files may be damaged, or made by somebody else. What cannot be blamed on one
// result goes to [Run.Doubts].
//
// Settling a run twice changes nothing.
func (r *Run) settle() {
	if r.Ended.IsZero() {
		r.CutShort = true
	}
	ran := 0
	for i := range r.Kernels {
		k := &r.Kernels[i]
		for n := range k.Specs {
			s := &k.Specs[n]
			if s.ID == "" {
				s.ID = "unknown"
			}
			s.settle(r.CutShort)
		}
		k.sort()
		ran += len(k.Specs) + len(k.NotRun)
		for _, m := range k.Machines {
			if m.Lost != "" && !k.explains(m.ID) {
				r.doubt(fmt.Sprintf("machine %s was lost, and no result says so: %s", m.ID, m.Lost))
			}
		}
	}
	if missing := r.Planned - ran; missing > 0 {
		r.doubt(fmt.Sprintf("nothing is known of %s", printable.Count(missing, "planned test")))
	}
}

// Edit applies the edits, such as another list of expectations, and examines what
// they left: a failure that is excused now may have been the only one that told of
// a crash.
func (r *Run) Edit(edits ...func(*Run)) {
	for _, edit := range edits {
		edit(r)
	}
	if len(edits) > 0 {
		r.settle()
	}
}

// doubt adds a doubt, once.
func (r *Run) doubt(why string) {
	if !slices.Contains(r.Doubts, why) {
		r.Doubts = append(r.Doubts, why)
	}
}

// Notes returns everything to be said about the run as a whole: the doubts
// first, then the remarks.
func (r *Run) Notes() []string {
	notes := slices.Clone(r.Doubts)
	for _, m := range r.Remarks {
		if !slices.Contains(notes, m) {
			notes = append(notes, m)
		}
	}
	return notes
}

// sort brings specs, machines and what did not run into their order, and
// numbers the attempts.
func (k *Kernel) sort() {
	slices.Sort(k.NotRun)
	slices.SortStableFunc(k.Machines, func(a, b Machine) int {
		return cmp.Or(cmp.Compare(a.Process, b.Process), a.Opened.Compare(b.Opened))
	})
	slices.SortStableFunc(k.Specs, func(a, b Spec) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), a.Start.Compare(b.Start), cmp.Compare(a.Process, b.Process))
	})
	for i := range k.Specs {
		k.Specs[i].Attempt = 1
		if i > 0 && k.Specs[i-1].ID == k.Specs[i].ID {
			k.Specs[i].Attempt = k.Specs[i-1].Attempt + 1
		}
	}
}

// explains reports whether the loss of the machine shows in the results of a
// spec that ran on it: these cannot be a PASS then.
func (k *Kernel) explains(machine string) bool {
	for i := range k.Specs {
		if s := &k.Specs[i]; s.Machine == machine && s.hasTrouble() {
			return true
		}
		// A spec for which no machine came up has none.
		if s := &k.Specs[i]; s.Machine == "" && s.hasTrouble() {
			return true
		}
	}
	return len(k.NotRun) > 0
}

// hasTrouble reports whether any result says that something went wrong. Of the
// failures that are expected, only one about the kernel's complaints does: any
// other is about one subtest, and does not excuse a crash.
func (s *Spec) hasTrouble() bool {
	complaints := s.ID + "/(kernel-log)"
	return slices.ContainsFunc(s.Results, func(r Result) bool {
		return r.Status == Fail || r.Status == Error || r.Status == XFail && strings.HasPrefix(r.ID, complaints)
	})
}

func (s *Spec) settle(cutShort bool) {
	for n := range s.Results {
		r := &s.Results[n]
		if r.ID == "" {
			r.ID = ID(s.ID).Whole().String()
		}
		r.settle()
	}
	var reason string
	switch {
	case s.End.IsZero() && cutShort:
		reason = "the run was killed while it ran"
	case s.End.IsZero():
		reason = "the process that ran it died"
	case len(s.Results) == 0:
		reason = "it ended without a result"
	case s.Crash != "" && !s.hasTrouble():
		reason = "the kernel crashed, and no result says so: " + s.Crash
	default:
		return
	}
	whole := Result{ID: ID(s.ID).Whole().String(), Status: Error, Reason: reason}
	if !slices.ContainsFunc(s.Results, func(r Result) bool { return r.ID == whole.ID && r.Status == Error }) {
		s.Results = append(s.Results, whole)
	}
}

// judged has what an expectation can make of a status that was found.
var judged = map[Status][]Status{Fail: {XFail, Fail}, XFail: {XFail}, Pass: {XPass}}

// settle makes an ERROR of a status that nobody knows, and of one that does not
// fit what was found before an expectation was applied.
func (r *Result) settle() {
	switch {
	case !r.Status.known():
		r.Reason = fmt.Sprintf("unknown status %q", string(r.Status))
		r.Status, r.Known = Error, nil
	case r.Known != nil && !slices.Contains(judged[r.Known.Found], r.Status):
		r.Reason = fmt.Sprintf("contradictory: found as %q, and an expectation made it %s", string(r.Known.Found), r.Status)
		r.Status, r.Known = Error, nil
	}
}

// endResults returns the results of a spec: those of its end, and what was
// written while it ran and is missing there. A failure that is a success in
// the end, without an expectation that says why, is an ERROR.
func endResults(during, end []Result) []Result {
	if len(during) == 0 {
		return end
	}
	if len(end) == 0 {
		return during
	}
	at, used := map[string][]int{}, map[string]int{}
	for i, r := range end {
		at[r.ID] = append(at[r.ID], i)
	}
	all := slices.Clone(end)
	for _, r := range during {
		list, n := at[r.ID], used[r.ID]
		used[r.ID]++
		if n >= len(list) {
			all = append(all, r)
			continue
		}
		last := &all[list[n]]
		if (bad(r.Status) || !r.Status.known()) && !bad(last.Status) && last.Known == nil {
			last.Reason = fmt.Sprintf("contradictory: %s while the test ran, %s at its end", cmp.Or(r.Status, "no status"), last.Status)
			last.Status = Error
		}
	}
	return all
}

// gather makes one of kernels that have the same ID.
func (r *Run) gather() {
	var list []Kernel
	index := map[string]int{}
	for _, k := range r.Kernels {
		i, ok := index[k.ID]
		if !ok {
			index[k.ID] = len(list)
			list = append(list, k)
			continue
		}
		r.doubt(fmt.Sprintf("kernel %q is there more than once", k.ID))
		first := &list[i]
		notRun := slices.Concat(first.NotRun, k.NotRun)
		*first = *joinKernel(first, &k)
		first.NotRun = notRun
	}
	r.Kernels = list
}

// claims compares a results.json with what it says of itself.
func (d *document) claims() {
	if d.Verdict == "" && d.Counts == nil {
		return // it makes no claims
	}
	found := tally(d.Run).counts
	if d.Counts != nil && !maps.Equal(nonZero(d.Counts), nonZero(found)) {
		d.doubt(fmt.Sprintf("results.json counts %s, and has %s", d.Counts, found))
	}
	if status, _ := Verdict(d.Run); d.Verdict != "" && status == 0 && d.Status != 0 {
		d.doubt(fmt.Sprintf("results.json says exit status %d, and its results do not", d.Status))
	}
}

func nonZero(c Counts) Counts {
	c = maps.Clone(c)
	maps.DeleteFunc(c, func(_ Status, n int) bool { return n == 0 })
	return c
}

// String returns the counts as text: "30 PASS, 1 XFAIL".
func (c Counts) String() string {
	text := ""
	for _, st := range slices.SortedFunc(maps.Keys(c), func(a, b Status) int {
		return cmp.Or(cmp.Compare(severity[a], severity[b]), cmp.Compare(a, b))
	}) {
		if c[st] != 0 {
			text += fmt.Sprintf(", %d %s", c[st], st)
		}
	}
	if text == "" {
		return "no results"
	}
	return text[2:]
}

// contradiction names what two descriptions of one kernel cannot both have.
func contradiction(a, b *Kernel) string {
	if a.SHA256 != "" && b.SHA256 != "" && a.SHA256 != b.SHA256 {
		return fmt.Sprintf("images (SHA-256 %.12s, %.12s)", a.SHA256, b.SHA256)
	}
	return differ(&Kernel{Properties: a.Properties}, &Kernel{Properties: b.Properties})
}

// endOfRun returns when the run ended by the marks of one journal: zero if it
// did not, or began again afterwards. The order of the lines counts and not
// their times: a clock may jump.
func endOfRun(j journal) (started, ended time.Time) {
	for _, e := range j.events {
		switch e.Event {
		case RunStarted:
			started, ended = e.Time, time.Time{}
		case RunEnded:
			ended = e.Time
		}
	}
	return started, ended
}
