// SPDX-License-Identifier: Apache-2.0

// Package expect knows the failures that are expected: which subtest, on which
// kernel and with which userspace, why, and until when.
//
//	list, err := expect.Load("mine.yaml") // with the built-in entries
//	…
//	spec.Results = list.Judge(kernel, spec.Results, time.Now())
//
// An expectation turns a FAIL into XFAIL and a PASS into XPASS, and gives its
// reason to an XFAIL that the upstream suite itself marks. It does nothing else:
// an ERROR says nothing about the kernel that could have been expected.
// What was found stays in [reports.Result.Known], so that a run can be judged
// again.
package expect

import (
	_ "embed"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/internal/features"
	"proofhouse/reports"
)

// Entry is one known problem.
type Entry struct {
	// Subtest is the ID of a result, in which * stands for any text.
	Subtest string `json:"subtest"`
	// When has to hold as a whole; one without any condition always holds.
	When When `json:"when,omitzero"`
	// Found has to hold for a FAIL to be this one: another failure of the same
	// subtest is another defect. A subtest that passes is not asked.
	Found Found `json:"found,omitzero"`
	// Reason is the cause, in words, and Reference where more is said of it.
	Reason    string `json:"reason"`
	Reference string `json:"reference,omitempty"`
	// Expires is the last day, in UTC, on which the entry counts:
	// "2027-03-31". Empty: it does not expire.
	Expires string `json:"expires,omitempty"`
	// At says where the entry stands: "expectations.yaml:12".
	At string `json:"at"`
}

// Found is what a known problem looks like: for each field that has patterns,
// one of them has to match the result's. In a pattern, * stands for any text.
type Found struct {
	Got    []string `json:"got,omitempty"`
	Reason []string `json:"reason,omitempty"`
	Output []string `json:"output,omitempty"`
}

// holds reports whether the result is the known problem, as it was found.
func (f Found) holds(r *reports.Result) bool {
	for _, c := range []struct {
		patterns []string
		text     string
	}{{f.Got, r.Got}, {f.Reason, r.Reason}, {f.Output, r.Output}} {
		if len(c.patterns) > 0 && !slices.ContainsFunc(c.patterns, func(p string) bool { return Match(p, c.text) }) {
			return false
		}
	}
	return true
}

// When is what a known problem depends on.
type When struct {
	// Release, Parser, Libapparmor, Suite and LXC are ranges of versions.
	Release     Range `json:"release,omitzero"`
	Parser      Range `json:"parser,omitzero"`
	Libapparmor Range `json:"libapparmor,omitzero"`
	Suite       Range `json:"suite,omitzero"`
	LXC         Range `json:"lxc,omitzero"`
	// Guest and Machine are names any of which will do: "sid"; "uml", "qemu",
	// "qemu/tcg".
	Guest   []string `json:"guest,omitempty"`
	Machine []string `json:"machine,omitempty"`
	// Arch are names of architectures, as uname -m has them: "x86_64", "aarch64".
	Arch []string `json:"arch,omitempty"`
	// Feature and Lacks are paths in AppArmor's features directory that the
	// kernel has to have, and to lack, all of them.
	Feature []string `json:"feature,omitempty"`
	Lacks   []string `json:"lacks,omitempty"`
}

// holds reports whether all conditions do. What is not known of the kernel makes
// a condition on it false: then the failure stands.
func (w When) holds(k *reports.Kernel) bool {
	for _, c := range []struct {
		versions Range
		of       string
	}{
		{w.Release, k.Release},
		{w.Parser, k.Properties["parser"]},
		{w.Libapparmor, k.Properties["libapparmor"]},
		{w.Suite, k.Properties["suite"]},
		{w.LXC, k.Properties["lxc"]},
	} {
		if !c.versions.has(c.of) {
			return false
		}
	}
	kind := k.MachineKind()
	its := func(m string) bool { return kind == m || strings.HasPrefix(kind, m+"/") }
	switch {
	case len(w.Guest) > 0 && !slices.Contains(w.Guest, k.Properties["guest"]):
		return false
	case len(w.Machine) > 0 && !slices.ContainsFunc(w.Machine, its):
		return false
	case len(w.Arch) > 0 && !slices.Contains(w.Arch, k.Arch()):
		return false
	case len(w.Feature)+len(w.Lacks) > 0 && len(k.Features) == 0:
		return false
	}
	for _, f := range w.Feature {
		if !features.HasPath(k.Features, f) {
			return false
		}
	}
	for _, f := range w.Lacks {
		if features.HasPath(k.Features, f) {
			return false
		}
	}
	return true
}

// expired reports whether the entry no longer applies.
func (e *Entry) expired(now time.Time) bool {
	return e.Expires != "" && now.UTC().Format(time.DateOnly) > e.Expires
}

// List is the expectations of a run. The first entry that fits a result is the
// one that counts.
type List []Entry

//go:embed expectations.yaml
var shipped []byte

// File is the name of the built-in list.
const File = "expectations.yaml"

// Load reads the user's own lists, and appends the built-in one: where both have
// an entry for a result, the user's applies.
func Load(files ...string) (List, error) {
	var all List
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, exit.BadInputf("read expectations: %w", err)
		}
		l, err := Parse(f, text)
		if err != nil {
			return nil, err
		}
		all = append(all, l...)
	}
	ours, err := Parse(File, shipped)
	if err != nil {
		return nil, err
	}
	return append(all, ours...), nil
}

// Judge applies the list to results of one spec on the kernel. results is not
// changed. A result that was judged before is judged anew, by what was found.
func (l List) Judge(k *reports.Kernel, results []reports.Result, now time.Time) []reports.Result {
	out := slices.Clone(results)
	var mine List
	for _, e := range l {
		if e.When.holds(k) {
			mine = append(mine, e)
		}
	}
	for i := range out {
		r := &out[i]
		if r.Known != nil {
			r.Status, r.Reason, r.Known = r.Known.Found, r.Known.Reason, nil
		}
		if r.Status != reports.Fail && r.Status != reports.Pass && r.Status != reports.XFail {
			continue
		}
		if e := mine.entry(r); e != nil {
			e.judge(r, now)
		}
	}
	return out
}

// entry is the first one that is about the result.
func (l List) entry(r *reports.Result) *Entry {
	for i := range l {
		if Match(l[i].Subtest, r.ID) && (r.Status == reports.Pass || l[i].Found.holds(r)) {
			return &l[i]
		}
	}
	return nil
}

func (e *Entry) judge(r *reports.Result, now time.Time) {
	known := &reports.Known{Found: r.Status, Reason: r.Reason, By: e.At, Reference: e.Reference}
	switch {
	case r.Status == reports.Fail && e.expired(now):
		r.Reason = fmt.Sprintf("known, but its expectation (%s) expired on %s: %s", e.At, e.Expires, e.Reason)
	case r.Status == reports.Fail:
		r.Status, r.Reason = reports.XFail, e.Reason
	case r.Status == reports.XFail:
		// Upstream marked it; that it is known needs no entry, but why does.
		if e.expired(now) {
			return
		}
		r.Reason = e.Reason
	case e.expired(now):
		return
	default:
		r.Status, r.Reason = reports.XPass, "was expected to fail: "+e.Reason
	}
	r.Known = known
}

// Match reports whether the pattern matches the text: * stands for any text.
func Match(pattern, id string) bool {
	parts := strings.Split(pattern, "*")
	first, rest := parts[0], parts[1:]
	if len(rest) == 0 {
		return pattern == id
	}
	id, ok := strings.CutPrefix(id, first)
	if !ok {
		return false
	}
	for _, p := range rest[:len(rest)-1] {
		i := strings.Index(id, p)
		if i < 0 {
			return false
		}
		id = id[i+len(p):]
	}
	return strings.HasSuffix(id, rest[len(rest)-1])
}

// Review adds a remark for each entry that matched nothing although its scripts
// ran completely on a kernel that it is about. It is for
// [reports.Write].
func (l List) Review(run *reports.Run) {
	for i := range run.Kernels {
		k := &run.Kernels[i]
		for _, e := range l {
			if e.When.holds(k) && e.stale(k) {
				run.Remarks = append(run.Remarks, fmt.Sprintf("%s: the expectation for %q matches no subtest on %s", e.At, e.Subtest, k.Release))
			}
		}
	}
}

// stale reports whether the subtest of the entry is missing where it could be.
func (e *Entry) stale(k *reports.Kernel) bool {
	ran := false
	for _, o := range k.Outcomes() {
		if !Match(e.spec(), o.ID) {
			continue
		}
		for _, t := range o.Subtests {
			switch {
			case Match(e.Subtest, t.ID):
				return false
			case t.Status == reports.Skip, t.Status == reports.Error:
				// What was skipped or lost may have been it.
				return false
			}
			ran = true
		}
	}
	return ran
}

// spec is the part of the pattern that names specs.
func (e *Entry) spec() string {
	parts := strings.SplitN(e.Subtest, "/", 3)
	return parts[0] + "/" + parts[1]
}

// Again judges a whole run anew, by what was found. It is for [reports.Write].
func (l List) Again(now time.Time) func(*reports.Run) {
	return func(run *reports.Run) {
		for i := range run.Kernels {
			k := &run.Kernels[i]
			for n := range k.Specs {
				s := &k.Specs[n]
				s.Results = l.Judge(k, s.Results, now)
			}
		}
		l.Review(run)
	}
}
