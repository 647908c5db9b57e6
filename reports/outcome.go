// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"fmt"
)

// severity orders statuses from the best to the worst. FAIL is worse than
// ERROR: it is the one that speaks against the kernel.
var severity = map[Status]int{Pass: 1, XPass: 2, Recorded: 3, XFail: 4, Skip: 5, Error: 6, Fail: 7}

func (s Status) known() bool { return severity[s] > 0 }

// orError returns the status, or ERROR for one that is unknown: it says nothing.
func (s Status) orError() Status {
	if !s.known() {
		return Error
	}
	return s
}

// worse is the worse of two statuses; an empty one is the best.
func worse(a, b Status) Status {
	if severity[b] > severity[a] {
		return b
	}
	return a
}

// Counts are numbers of subtests by status.
type Counts map[Status]int

// Total returns the number of all subtests.
func (c Counts) Total() (n int) {
	for _, v := range c {
		n += v
	}
	return n
}

func (c Counts) add(d Counts) {
	for s, n := range d {
		c[s] += n
	}
}

// Subtest is one subtest over all attempts at its spec.
type Subtest struct {
	Result            // of the worst attempt
	Attempts []Status // in order; those of a run that was not repeated are one
}

// Flaky reports whether the verdict changed between attempts.
func (t Subtest) Flaky() bool {
	for _, s := range t.Attempts {
		if s != t.Attempts[0] {
			return true
		}
	}
	return false
}

// Outcome is one spec on one kernel over all of its attempts.
type Outcome struct {
	ID       string
	Attempts []Spec    // in order; empty if it never started
	Subtests []Subtest // in the order of their first appearance
	NotRun   int       // how often it was planned and never started
}

// Outcomes returns the kernel's specs sorted by ID, including those that never
// started.
func (k *Kernel) Outcomes() []Outcome {
	var out []Outcome
	specs, missing := k.Specs, k.NotRun
	for len(specs) > 0 || len(missing) > 0 {
		var o Outcome
		if len(specs) > 0 && (len(missing) == 0 || specs[0].ID <= missing[0]) {
			o.ID = specs[0].ID
		} else {
			o.ID = missing[0]
		}
		n := 0
		for n < len(specs) && specs[n].ID == o.ID {
			n++
		}
		o.Attempts, specs = specs[:n], specs[n:]
		for len(missing) > 0 && missing[0] == o.ID {
			o.NotRun++
			missing = missing[1:]
		}
		o.Subtests = subtests(o.Attempts)
		out = append(out, o)
	}
	return out
}

// subtests joins the results of the attempts at one spec. A description that a
// script prints twice is two subtests: the second gets " #2".
func subtests(attempts []Spec) []Subtest {
	var list []Subtest
	index := map[string]int{}
	for _, s := range attempts {
		seen, times := map[string]bool{}, map[string]int{}
		for _, r := range s.Results {
			id := r.ID
			for seen[r.ID] {
				times[id]++
				r.ID = fmt.Sprintf("%s #%d", id, times[id]+1)
			}
			seen[r.ID] = true
			r.Status = r.Status.orError()
			i, ok := index[r.ID]
			if !ok {
				i = len(list)
				index[r.ID] = i
				list = append(list, Subtest{Result: r})
			}
			t := &list[i]
			t.Attempts = append(t.Attempts, r.Status)
			if severity[r.Status] > severity[t.Status] {
				t.Result = r
			}
		}
	}
	return list
}

// Counts returns the number of subtests by status.
func (o Outcome) Counts() Counts {
	c := Counts{}
	for _, t := range o.Subtests {
		c[t.Status.orError()]++
	}
	return c
}

// Status returns the worst status of the subtests; ERROR if an attempt never started and
// nothing is worse.
func (o Outcome) Status() Status {
	var s Status
	if o.NotRun > 0 {
		s = Error
	}
	for _, t := range o.Subtests {
		s = worse(s, t.Status)
	}
	return s
}

// Flaky reports whether any subtest is.
func (o Outcome) Flaky() bool {
	for _, t := range o.Subtests {
		if t.Flaky() {
			return true
		}
	}
	return false
}

// Seconds returns how long all attempts took on the machine; of one whose command was
// not timed, from start to end.
func (o Outcome) Seconds() (n float64) {
	for _, s := range o.Attempts {
		n += s.seconds()
	}
	return n
}

func (s Spec) seconds() float64 {
	if s.Seconds > 0 || s.End.IsZero() {
		return s.Seconds
	}
	return s.End.Sub(s.Start).Seconds()
}
