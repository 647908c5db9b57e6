// SPDX-License-Identifier: Apache-2.0

// Package defects lists known defects of AppArmor in the kernel, and checks by
// the kernel's behaviour, never by its version, whether a build has the fix. A
// check is a plan for the probe (proofhouse/isolation/probe) with a judge of its
// own. What does not live here: how a plan is run (runs), and what policy must
// hold on every kernel (isolation).
package defects

import (
	"fmt"
	"slices"
	"strings"

	"proofhouse/isolation"
	"proofhouse/reports"
)

//go:generate go test . -run ^TestDocumented$ -update

// Defect is one known defect, with the check of its fix.
type Defect struct {
	// Name is the last part of the ID.
	Name string
	// About is what the kernel does wrong without the fix.
	About string
	// CVE is the number, or "" where there is none.
	CVE string
	// Commit is the upstream commit to take, or "" where it is not known; Fixed
	// is when it was made: "2026-04".
	Commit, Fixed string
	// Why is the reason for the check, and its source in the kernel.
	Why string
	// Needs are as in isolation.Row: without them the check cannot tell.
	Needs []string
	// Crashes is true where a kernel without the fix may crash or be corrupted:
	// the check has a machine of its own, after all others, and a crash says
	// that the fix is absent.
	Crashes bool
	// Unprivileged has its tasks in the container with a user namespace.
	Unprivileged bool

	Namespaces []string
	Policy     []isolation.Policy
	Tasks      []isolation.Task
	Prepare    []string
	// Controls are steps with expectations that hold with and without the fix:
	// where one does not, the check proves nothing.
	Controls []string
	// Check is the step that decides, by what comes of it: Present with the
	// fix, Absent without, each an expectation as in isolation.Case. Any other
	// outcome is an ERROR.
	Check           string
	Present, Absent []string
	Clean           []string
}

// ID is the stable name of the spec: "known-defects/rename-exchange-owner".
func (d Defect) ID() string { return reports.NewID(reports.KnownDefects, d.Name).String() }

// result is the ID of the check's only result.
func (d Defect) result() string { return d.ID() + "/fix" }

// Names are the CVE or the name, and the commit where it is known, for people.
func (d Defect) Names() string {
	names := d.Name
	if d.CVE != "" {
		names = d.CVE
	}
	return names
}

// Take says what to take into the kernel.
func (d Defect) Take() string {
	if d.Commit == "" {
		return "take the upstream fix of " + d.Fixed
	}
	return "take the upstream commit " + d.Commit + " (" + d.Fixed + ")"
}

// Lacking is what the kernel lacks for the check, or "". Unlike for a row, an
// option of a kernel whose config is not known counts as lacking: what only a
// sanitizer sees proves nothing without it.
func (d Defect) Lacking(k isolation.Kernel) string {
	for _, n := range d.Needs {
		if strings.HasPrefix(n, "CONFIG_") && k.Off == nil {
			return n
		}
	}
	return isolation.Lacks(k, d.Needs)
}

// Survives reports whether a crash says that the fix is absent.
func (d Defect) Survives() bool { return d.Crashes }

// Alone reports whether the check needs a machine of its own.
func (d Defect) Alone() bool { return d.Crashes }

// cell is the key of the check's only cell.
const cell = "fix"

// Plan is what the probe has to do for the check.
func (d Defect) Plan(k isolation.Kernel) isolation.Plan {
	return isolation.Row{
		Policy: d.Policy, Namespaces: d.Namespaces, Unprivileged: d.Unprivileged,
		Cases: []isolation.Case{{
			Name: cell, Tasks: d.Tasks, Prepare: d.Prepare, Clean: d.Clean,
			Do: append(slices.Clone(d.Controls), d.Check),
		}},
	}.Plan(k)
}

// Judge judges the check: PASS is that the fix is present, FAIL that it is
// absent, SKIP and ERROR that this cannot be told here.
func (d Defect) Judge(k isolation.Kernel, found []isolation.Found, _ string) []reports.Result {
	r := reports.Result{ID: d.result()}
	if lacks := d.Lacking(k); lacks != "" {
		r.ID = d.ID()
		r.Status, r.Lacks = reports.Skip, "kernel: "+lacks
		r.Reason = "cannot tell here: this kernel lacks " + lacks
		return []reports.Result{r}
	}
	r.Expected = "the fix is present: " + d.Check + " = " + strings.Join(d.Present, " or ")
	cannot := func(format string, args ...any) []reports.Result {
		r.Status, r.Reason = reports.Error, "cannot tell: "+fmt.Sprintf(format, args...)
		return []reports.Result{r}
	}
	f, err := d.Plan(k).Cells[0].Reported(found)
	if err != nil {
		return cannot("%v", err)
	}
	for i, control := range d.Controls {
		step, want := isolation.SplitStep(control)
		if i >= len(f.Done) {
			return cannot("the probe stopped before %s", step)
		}
		if !f.Done[i].Meets(want) {
			return cannot("%s: %s, not %s", step, f.Done[i].Outcome(), want)
		}
	}
	if len(f.Done) != len(d.Controls)+1 {
		return cannot("the probe stopped before %s", d.Check)
	}
	last := f.Done[len(d.Controls)]
	r.Got = d.Check + " = " + last.Outcome()
	switch {
	case slices.ContainsFunc(d.Present, last.Meets):
		r.Status, r.Reason = reports.Pass, "the fix is present"
	case slices.ContainsFunc(d.Absent, last.Meets):
		r.Status = reports.Fail
		r.Reason = fmt.Sprintf("the fix of %s is absent: %s; %s", d.Names(), d.About, d.Take())
	default:
		return cannot("%s: %s is the outcome neither with the fix nor without", d.Check, last.Outcome())
	}
	return []reports.Result{r}
}
