// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"proofhouse/reports"
)

// state is the state of the run according to the journals.
type state struct {
	started   time.Time
	processes int
	kernels   map[string]string // name by ID
	queue     []reports.Planned
	running   []*spec // by start
	finished  []job
	ids       []string // of all specs: they decide the noun
	counts    reports.Counts
}

// spec is a running spec.
type spec struct {
	process  int
	kernel   string
	id       string
	start    time.Time
	expected float64
	counts   reports.Counts
	shown    map[string]bool // results with a notice
	hidden   int             // number of results without a notice, as there were many
	worst    reports.Status  // of the hidden
}

// notice is a line that stays on the screen.
type notice struct {
	status reports.Status // of the result; empty for the end of a spec
	text   string
}

// noticesPerSpec limits the lines for a kernel on which everything fails.
const noticesPerSpec = 5

func newState() *state {
	return &state{kernels: map[string]string{}, counts: reports.Counts{}}
}

// apply updates the state with one event and returns the notices for it.
func (s *state) apply(e reports.Event) []notice {
	switch e.Event {
	case reports.RunStarted:
		s.plan(e)
	case reports.KernelOpened:
		k := e.Kernel
		s.kernels[k.ID] = cmp.Or(k.Release, s.kernels[k.ID], k.Spec, k.ID)
	case reports.MachineClosed:
		if m := e.Machine; m.Lost != "" {
			return []notice{{reports.Error, fmt.Sprintf("machine %s of process %d was lost: %s", m.ID, e.Process, m.Lost)}}
		}
	case reports.SpecStarted:
		s.start(e)
	case reports.SpecResults:
		if r := s.find(e); r != nil {
			return s.results(r, e.Results)
		}
	case reports.SpecEnded:
		return s.end(e)
	}
	return nil
}

func (s *state) plan(e reports.Event) {
	if s.started.IsZero() {
		s.started = e.Time
	}
	s.processes = max(e.Run.Processes, 1)
	s.queue = append(s.queue, e.Run.Planned...)
	for _, p := range e.Run.Planned {
		s.kernels[p.Kernel] = cmp.Or(s.kernels[p.Kernel], p.Kernel)
		s.ids = append(s.ids, p.ID)
	}
}

func (s *state) start(e reports.Event) {
	r := &spec{
		process: e.Process, kernel: e.Spec.Kernel, id: e.Spec.ID, start: e.Spec.Start,
		counts: reports.Counts{}, shown: map[string]bool{},
	}
	if r.start.IsZero() {
		r.start = e.Time
	}
	i := slices.IndexFunc(s.queue, func(p reports.Planned) bool { return p.ID == r.id && p.Kernel == r.kernel })
	if i >= 0 {
		r.expected = s.queue[i].Seconds
		s.queue = slices.Delete(s.queue, i, i+1)
	} else {
		s.ids = append(s.ids, r.id)
	}
	if old := s.find(e); old != nil { // its process was killed and started again
		r.expected = cmp.Or(r.expected, old.expected)
		s.drop(old)
	}
	s.running = append(s.running, r)
	slices.SortStableFunc(s.running, func(a, b *spec) int { return a.start.Compare(b.start) })
}

func (s *state) find(e reports.Event) *spec {
	for _, r := range s.running {
		if r.process == e.Process && r.id == e.Spec.ID && r.kernel == e.Spec.Kernel {
			return r
		}
	}
	return nil
}

func (s *state) drop(r *spec) {
	s.running = slices.DeleteFunc(s.running, func(x *spec) bool { return x == r })
}

// results counts results of a running spec.
func (s *state) results(r *spec, results []reports.Result) (notices []notice) {
	for _, x := range results {
		r.counts[x.Status]++
		s.counts[x.Status]++
		if x.Status != reports.Fail && x.Status != reports.Error || r.shown[x.ID] {
			continue
		}
		r.shown[x.ID] = true
		if len(r.shown) > noticesPerSpec {
			r.hidden++
			if r.worst != reports.Fail {
				r.worst = x.Status
			}
			continue
		}
		text := s.name(r.kernel, x.ID)
		if x.Expected != "" && x.Got != "" && x.Status == reports.Fail {
			text += fmt.Sprintf(": expected %s, got %s", x.Expected, x.Got)
		}
		if x.Reason != "" {
			text += ": " + x.Reason
		}
		notices = append(notices, notice{x.Status, text})
	}
	return notices
}

// end removes a spec that ended. If the event has results, they are complete.
func (s *state) end(e reports.Event) []notice {
	r := s.find(e)
	if r == nil {
		s.start(e)
		r = s.find(e)
	}
	s.drop(r)
	var notices []notice
	if len(e.Spec.Results) > 0 {
		for st, n := range r.counts {
			s.counts[st] -= n
		}
		r.counts = reports.Counts{}
		notices = s.results(r, e.Spec.Results)
	}
	if r.hidden > 0 {
		notices = append(notices, notice{r.worst, fmt.Sprintf("and %d more in %s", r.hidden, s.name(r.kernel, r.id))})
	}
	end := e.Spec.End
	if end.IsZero() {
		end = e.Time
	}
	took := max(end.Sub(r.start), 0)
	s.finished = append(s.finished, job{r.expected, took.Seconds()})
	done := fmt.Sprintf("[%d/%d] %s: %s (%s)", len(s.finished), s.total(), s.name(r.kernel, r.id), summary(r.counts), reports.Elapsed(took))
	return append(notices, notice{"", done})
}

// total returns the number of all specs, including those that run again without
// being planned.
func (s *state) total() int { return len(s.queue) + len(s.running) + len(s.finished) }

// name returns an ID for people, with the kernel if there are several.
func (s *state) name(kernel, id string) string {
	if len(s.kernels) > 1 {
		return id + " on " + s.kernels[kernel]
	}
	return id
}

// summary returns the results of a spec as text: "30 passed, 1 failed".
func summary(c reports.Counts) string {
	var parts []string
	for _, p := range []struct {
		word     string
		statuses []reports.Status
	}{
		{"passed", []reports.Status{reports.Pass, reports.XPass, reports.Recorded}},
		{"failed", []reports.Status{reports.Fail}},
		{"without verdict", []reports.Status{reports.Error}},
		{"skipped", []reports.Status{reports.Skip}},
		{"failed as known", []reports.Status{reports.XFail}},
	} {
		n := 0
		for _, st := range p.statuses {
			n += c[st]
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, p.word))
		}
	}
	if len(parts) == 0 {
		return "no result"
	}
	return strings.Join(parts, ", ")
}

// left returns the estimated time until the run ends.
func (s *state) left(now time.Time) (time.Duration, bool) {
	queue := make([]float64, len(s.queue))
	for i, p := range s.queue {
		queue[i] = p.Seconds
	}
	var running []job
	for _, r := range s.running {
		running = append(running, job{r.expected, max(now.Sub(r.start).Seconds(), 0)})
	}
	seconds, ok := remaining(queue, running, s.finished, s.processes)
	return time.Duration(seconds * float64(time.Second)), ok && len(queue)+len(running) > 0
}
