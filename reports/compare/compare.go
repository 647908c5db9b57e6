// SPDX-License-Identifier: Apache-2.0

// Package compare finds what changed from one kernel to another, or from one run
// of a kernel to the next: regressions, fixes, changed coverage, and what else
// differs and may be the cause.
//
//	base, err := compare.Open("out/2026-03-01T12-00-00")
//	next, err := compare.Open("out/latest:debian:trixie-backports")
//	c := compare.Diff(base, next, compare.Options{})
//	err = compare.Text(os.Stdout, c, style)
//
// [Diff] is a function of the two sides; the writers are functions of what it
// returns. Only the audit records of scripts that changed are read on the way.
package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"proofhouse/reports"
)

// Side is one of the two: a kernel in a run.
type Side struct {
	Name   string // as the user called it
	Dir    string // of the run; empty: there are no files beside the results
	Run    *reports.Run
	Kernel *reports.Kernel
}

// Options choose how two sides are compared.
type Options struct {
	// Common leaves out what only one of the two ran. Without it, a script
	// that is in BASE and not in NEW is a loss.
	Common bool
	// History are earlier runs of either build, from which it is known what
	// is flaky. [Diff] looks only at those with the same build and userspace
	// as one of the sides.
	History []reports.Kernel
}

// FormatVersion is the version of the comparison's JSON.
const FormatVersion = 1

// Comparison is all that differs. Its JSON is what --format json prints; docs/compare.md
// describes it.
type Comparison struct {
	Format int `json:"format"`
	// Verdict is one line.
	Verdict string `json:"verdict"`
	// Compared is the number of subtests that both sides have.
	Compared int     `json:"compared"`
	Base     Summary `json:"base"`
	New      Summary `json:"new"`
	// SameBuild is true for two runs of one build with one userspace: whatever
	// differs between them is flaky, and none of it a regression.
	SameBuild bool `json:"same_build,omitempty"`

	Regressions []Change `json:"regressions"`
	Fixes       []Change `json:"fixes"`
	Flaky       []Change `json:"flaky"`
	// Known are results that became or ceased to be a known problem.
	Known []Change `json:"known"`
	// Behaviour are RECORDED results with another outcome.
	Behaviour []Change `json:"behaviour"`
	// Other are results that are as bad as before in another way.
	Other []Change `json:"other"`
	// Skips are the features that came and went, and what that means for the
	// coverage.
	Skips    []Skip  `json:"skips"`
	Added    []Group `json:"added"`
	Vanished []Group `json:"vanished"`
	// NotCompared are the scripts that only one side ran, with
	// [Options.Common].
	NotCompared []string `json:"not_compared,omitempty"`

	// Transitions count the subtests by what they were and are.
	Transitions []Transition `json:"transitions"`

	// Features are the differences between the kernels' features directories.
	Features []Difference `json:"features"`
	// Userspace and Machine are what else differs, and is not the kernel.
	Userspace []Difference `json:"userspace"`
	Machine   []Difference `json:"machine"`
	Durations []Duration   `json:"durations"`

	// Evidence is what the kernels said while the scripts ran that regressed
	// or changed, by script.
	Evidence []Evidence `json:"evidence"`
	// Doubts say why NEW proves nothing where it shows no regression: it was cut
	// short, or its records are damaged or incomplete.
	Doubts []string `json:"doubts,omitempty"`
	// Notes say what limits the comparison, such as a run that was cut short.
	Notes []string `json:"notes,omitempty"`
}

// Summary is a side in short.
type Summary struct {
	Name    string         `json:"name"`
	Kernel  string         `json:"kernel"` // its ID
	Spec    string         `json:"spec,omitempty"`
	Release string         `json:"release,omitempty"`
	Version string         `json:"version,omitempty"`
	Machine string         `json:"machine,omitempty"`
	Started time.Time      `json:"started,omitzero"`
	Counts  reports.Counts `json:"counts"`
}

// Seen is a result on one side.
type Seen struct {
	Status   reports.Status `json:"status,omitempty"` // empty: it is not there
	Expected string         `json:"expected,omitempty"`
	Got      string         `json:"got,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Lacks    string         `json:"lacks,omitempty"`
	// Attempts and Bad are how often it was measured, earlier runs included,
	// and how often it was a FAIL or an ERROR.
	Attempts int `json:"attempts,omitempty"`
	Bad      int `json:"bad,omitempty"`
}

// Change is one result that is not what it was.
type Change struct {
	ID   string `json:"id"`
	Spec string `json:"spec"`
	Base Seen   `json:"base"`
	New  Seen   `json:"new"`
	// Note is what there is to say beside the two statuses.
	Note string `json:"note,omitempty"`
	// Lost are the good results of BASE that are not there any more because of
	// this one.
	Lost []string `json:"lost,omitempty"`
}

// Skip is something that is missing on one side only.
type Skip struct {
	Lacks string `json:"lacks"` // "kernel: network_v9/af_unix"
	// Came is true if it is missing on BASE and present on NEW, and false if it
	// went.
	Came    bool     `json:"came"`
	Scripts []string `json:"scripts"`
	// Subtests is how many are measured now that were not, or the other way
	// round.
	Subtests int `json:"subtests"`
}

// Group are subtests of one spec.
type Group struct {
	Spec string   `json:"spec"`
	IDs  []string `json:"ids"`
	Note string   `json:"note,omitempty"`
}

// Transition is how many subtests went from one status to another; an empty
// status is that of one that is not there.
type Transition struct {
	From  reports.Status `json:"from"`
	To    reports.Status `json:"to"`
	Class Class          `json:"class"`
	N     int            `json:"n"`
}

// Difference is one value that differs; an empty one is not there.
type Difference struct {
	Name string `json:"name"`
	Base string `json:"base,omitempty"`
	New  string `json:"new,omitempty"`
}

// Diff compares NEW with BASE.
func Diff(base, next *Side, o Options) *Comparison {
	d := &differ{
		base: base, next: next, o: o,
		c: &Comparison{
			Format: FormatVersion,
			Base:   summary(base), New: summary(next),
			SameBuild: sameBuild(base.Kernel, next.Kernel),
			// In JSON, none is an empty list.
			Regressions: []Change{}, Fixes: []Change{}, Flaky: []Change{}, Known: []Change{}, Behaviour: []Change{}, Other: []Change{},
			Skips: []Skip{}, Added: []Group{}, Vanished: []Group{}, Transitions: []Transition{},
			Evidence: []Evidence{},
		},
		earlier: earlier(base.Kernel, next.Kernel, o.History),
		counts:  map[Transition]int{},
	}
	d.specs()
	d.finish()
	return d.c
}

func summary(s *Side) Summary {
	k := s.Kernel
	sum := Summary{
		Name: s.Name, Kernel: k.ID, Spec: k.Spec, Release: k.Release, Version: k.Version, Machine: k.MachineKind(),
		Counts: reports.Counts{},
	}
	if s.Run != nil {
		sum.Started = s.Run.Started
	}
	for _, o := range k.Outcomes() {
		for st, n := range o.Counts() {
			sum.Counts[st] += n
		}
	}
	return sum
}

// userspace are the properties of a kernel that are not its own, in the order
// of how likely they explain a difference.
var userspace = []string{"parser", "libapparmor", "suite", "guest", "lxc", "libc"}

// machine are those of what it ran on.
var machine = []string{"machine", "accelerator", "qemu", "cmdline"}

// sameBuild reports whether the two are one build with one userspace on one kind
// of machine.
func sameBuild(a, b *reports.Kernel) bool {
	if a.ID != b.ID || a.ID == "" || a.SHA256 != b.SHA256 || a.Append != b.Append || a.MachineKind() != b.MachineKind() {
		return false
	}
	if a.SHA256 == "" && a.Version != b.Version { // without its image, the build is known by its date
		return false
	}
	for _, p := range append([]string{"modules"}, userspace...) {
		if a.Properties[p] != b.Properties[p] {
			return false
		}
	}
	return true
}

type differ struct {
	base, next *Side
	o          Options
	c          *Comparison
	earlier    [2]record
	counts     map[Transition]int
	changed    []pair // whose evidence is wanted
}

// pair is one spec on both sides; either may be without attempts.
type pair struct {
	id            string
	before, after *reports.Outcome
}

func (d *differ) specs() {
	var pairs []pair
	index := map[string]int{}
	for side, k := range []*reports.Kernel{d.base.Kernel, d.next.Kernel} {
		for _, o := range k.Outcomes() {
			i, ok := index[o.ID]
			if !ok {
				i = len(pairs)
				index[o.ID] = i
				pairs = append(pairs, pair{id: o.ID})
			}
			if side == 0 {
				pairs[i].before = &o
			} else {
				pairs[i].after = &o
			}
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Compare(a.id, b.id) })
	for _, p := range pairs {
		d.spec(p)
	}
}

// there reports whether the spec was run at all.
func there(o *reports.Outcome) bool { return o != nil && len(o.Attempts) > 0 }

func (d *differ) spec(p pair) {
	wanted := p.after != nil && p.after.NotRun > 0 // one that was to run is not left out
	// The kernel log is no test: a kernel without complaints has none.
	if reports.ID(p.id).In(reports.KernelLogs) {
		wanted = true
	}
	if d.o.Common && !wanted && (!there(p.before) || !there(p.after)) {
		d.c.NotCompared = append(d.c.NotCompared, p.id)
		return
	}
	s := specDiff{differ: d, pair: p}
	s.diff()
	if s.telling && there(p.after) {
		d.changed = append(d.changed, p)
	}
}

func (d *differ) finish() {
	c := d.c
	for t, n := range d.counts {
		t.N = n
		c.Transitions = append(c.Transitions, t)
	}
	slices.SortFunc(c.Transitions, func(a, b Transition) int {
		return cmp.Or(cmp.Compare(order[a.Class], order[b.Class]), cmp.Compare(b.N, a.N), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	slices.SortStableFunc(c.Regressions, func(a, b Change) int { return cmp.Compare(loudness(a), loudness(b)) })
	slices.SortStableFunc(c.Skips, func(a, b Skip) int {
		return cmp.Or(cmp.Compare(b.Subtests, a.Subtests), cmp.Compare(a.Lacks, b.Lacks))
	})
	for i := range c.Skips {
		slices.Sort(c.Skips[i].Scripts)
	}
	c.Features = differences(d.base.Kernel.Features, d.next.Kernel.Features, nil)
	c.Userspace = differences(d.base.Kernel.Properties, d.next.Kernel.Properties, userspace)
	c.Machine = differences(d.base.Kernel.Properties, d.next.Kernel.Properties, machine)
	c.Durations = durations(d.base.Kernel, d.next.Kernel)
	for _, p := range d.changed {
		if e, ok := evidence(d.base, d.next, p); ok {
			c.Evidence = append(c.Evidence, e)
		}
	}
	d.notes()
	c.Verdict = c.verdict()
	if n := len(c.Doubts); n > 0 && len(c.Regressions) == 0 {
		c.Verdict = "no verdict on NEW: " + c.Doubts[0] + "; " + c.Verdict
	}
}

// loudness orders regressions: what the kernel did wrong before what is not
// known of it.
func loudness(c Change) int {
	return slices.Index([]reports.Status{reports.Fail, reports.Error, reports.Skip, ""}, c.New.Status)
}

func (d *differ) notes() {
	for _, s := range []struct {
		name string
		side *Side
	}{{"BASE", d.base}, {"NEW", d.next}} {
		if s.side.Run != nil && s.side.Run.CutShort {
			d.c.Notes = append(d.c.Notes, s.name+" was cut short: it was killed, or it is still running")
		}
		if s.side.Run != nil && s.side.Run.Shard != nil {
			d.c.Notes = append(d.c.Notes, fmt.Sprintf("%s is shard %s of a run, and not the whole", s.name, s.side.Run.Shard))
		}
		if s.side.Run != nil && s.side.Run.Selection.Partial() {
			d.c.Notes = append(d.c.Notes, fmt.Sprintf("%s is a selection for %s, and not the whole: tests were left out", s.name, s.side.Run.Selection.For))
		}
		if len(s.side.Kernel.Features) == 0 {
			d.c.Notes = append(d.c.Notes, s.name+" does not list the AppArmor features of its kernel")
		}
	}
	if r := d.next.Run; r != nil {
		d.c.Doubts = slices.Clone(r.Doubts)
		if r.CutShort && len(r.Doubts) == 0 {
			d.c.Doubts = []string{"the run was cut short"}
		}
	}
	if r := d.base.Run; r != nil {
		for _, doubt := range r.Doubts {
			d.c.Notes = append(d.c.Notes, "BASE: "+doubt)
		}
	}
	if d.base.Kernel.MachineKind() != d.next.Kernel.MachineKind() {
		d.c.Notes = append(d.c.Notes, "the machines are of different kinds: durations are not compared")
	}
}

// differences are the names whose values differ: of all, or of those given.
func differences(base, next map[string]string, names []string) []Difference {
	list := []Difference{}
	if names == nil {
		if len(base) == 0 || len(next) == 0 {
			return list
		}
		for n := range base {
			names = append(names, n)
		}
		for n := range next {
			if _, ok := base[n]; !ok {
				names = append(names, n)
			}
		}
		slices.Sort(names)
	}
	for _, n := range names {
		b, inBase := base[n]
		v, inNew := next[n]
		if b != v || inBase != inNew {
			list = append(list, Difference{n, present(b, inBase), present(v, inNew)})
		}
	}
	return list
}

// present is a value on one line; one that is there and empty is two quotes.
func present(v string, there bool) string {
	v = strings.Join(strings.Fields(v), " ")
	if there && v == "" {
		return `""`
	}
	return v
}

// Changed reports whether any result, the kernel's features or the userspace
// differ; what is flaky does not count.
func (c *Comparison) Changed() bool {
	return len(c.Regressions)+len(c.Fixes)+len(c.Known)+len(c.Behaviour)+len(c.Other)+
		len(c.Skips)+len(c.Added)+len(c.Vanished)+len(c.Features)+len(c.Userspace) > 0
}
