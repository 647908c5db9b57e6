// SPDX-License-Identifier: Apache-2.0

// Isolation-doc writes docs/isolation.md from the results of runs of the isolation
// matrix:
//
//	go run ./cmd/isolation-doc out/isolation > docs/isolation.md
package main

import (
	_ "embed"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/isolation"
	"proofhouse/reports"
)

//go:embed intro.md
var intro string

func main() {
	if len(os.Args) < 2 {
		os.Exit(exit.Report(os.Stderr, "isolation-doc", exit.BadInputf("no run given: want the directories of one or more runs")))
	}
	var kernels []reports.Kernel
	for _, dir := range os.Args[1:] {
		run, err := reports.Read(dir)
		if err != nil {
			os.Exit(exit.Report(os.Stderr, "isolation-doc", err))
		}
		for _, k := range run.Kernels {
			i := slices.IndexFunc(kernels, func(x reports.Kernel) bool { return x.ID == k.ID })
			if i < 0 {
				kernels = append(kernels, k)
			} else {
				kernels[i].Specs = append(kernels[i].Specs, k.Specs...)
			}
		}
	}
	write(os.Stdout, kernels)
}

// cells are the results of one kernel, by id; a later attempt at a row
// replaces an earlier one.
func cells(k reports.Kernel) map[string]reports.Result {
	last := map[string]reports.Spec{}
	for _, s := range k.Specs {
		if strings.HasPrefix(s.ID, "isolation/") && !interrupted(s) {
			last[s.ID] = s
		}
	}
	m := map[string]reports.Result{}
	for _, s := range last {
		for _, r := range s.Results {
			m[r.ID] = r
		}
	}
	return m
}

// interrupted reports whether the run ended during the row, which then counts as
// not run.
func interrupted(s reports.Spec) bool {
	return slices.ContainsFunc(s.Results, func(r reports.Result) bool { return strings.HasPrefix(r.Reason, "interrupted:") })
}

func write(w io.Writer, kernels []reports.Kernel) {
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
	p("%s", intro)
	slices.SortStableFunc(kernels, func(a, b reports.Kernel) int { return strings.Compare(order(a.Release), order(b.Release)) })
	var results []map[string]reports.Result
	p("\n## The kernels\n\n| kernel | machine | parser | rows | cells | PASS | FAIL | known | SKIP | RECORDED | ERROR | time in the guest |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, k := range kernels {
		c := cells(k)
		results = append(results, c)
		n, seconds := map[reports.Status]int{}, 0.0
		for _, r := range c {
			n[r.Status]++
		}
		rows := map[string]float64{}
		for _, s := range k.Specs {
			if strings.HasPrefix(s.ID, "isolation/") && !interrupted(s) {
				rows[s.ID] = s.Seconds
			}
		}
		for _, s := range rows {
			seconds += s
		}
		p("| %s (`%s`) | %s | %s | %d | %d | %d | %d | %d | %d | %d | %d | %.0f s |\n", k.Release, k.Spec, k.MachineKind(), k.Properties["parser"], len(rows), len(c),
			n[reports.Pass], n[reports.Fail], n[reports.XFail], n[reports.Skip], n[reports.Recorded], n[reports.Error], seconds)
	}
	head := func(first string) {
		p("| %s |", first)
		for _, k := range kernels {
			p(" %s |", k.Release)
		}
		p("\n|---|%s\n", strings.Repeat("---|", len(kernels)))
	}
	p("\n## Rows\n\nA number alone: all cells of the row passed.\n")
	group := ""
	for _, row := range grouped(isolation.Rows()) {
		if row.Group != group {
			group = row.Group
			p("\n### %s\n\n", group)
			head("row")
		}
		p("| **%s**: %s |", row.Name, row.About)
		for _, c := range results {
			p(" %s |", summary(row, c))
		}
		p("\n")
	}
	p("\n## What differs\n\nCells whose result differs between these kernels.\n\n")
	head("cell")
	for _, id := range ids(results) {
		same, first := true, ""
		for i, c := range results {
			text := verdict(c[id])
			if i > 0 && text != first {
				same = false
			}
			first = text
		}
		// A row that was skipped as a whole has no cells.
		if same || absent(results, id) {
			continue
		}
		p("| %s |", strings.TrimPrefix(id, "isolation/"))
		for _, c := range results {
			p(" %s |", escape(verdict(c[id])))
		}
		p("\n")
	}
	p("\n## Recorded\n\nBehaviour that has no right answer, as seen on each kernel.\n\n")
	head("cell")
	for _, id := range ids(results) {
		if !slices.ContainsFunc(results, func(c map[string]reports.Result) bool { return c[id].Status == reports.Recorded }) {
			continue
		}
		p("| %s |", strings.TrimPrefix(id, "isolation/"))
		for _, c := range results {
			p(" %s |", escape(c[id].Got))
		}
		p("\n")
	}
	list := func(title, about string, which ...reports.Status) {
		p("\n## %s\n\n%s", title, about)
		some := false
		for i, c := range results {
			for _, id := range ids(results) {
				if r := c[id]; slices.Contains(which, r.Status) {
					some = true
					p("- %s, %s, `%s`: %s\n", kernels[i].Release, r.Status, id, escape(because(r)))
				}
			}
		}
		if !some {
			p("None.\n")
		}
	}
	list("Failures", "", reports.Fail, reports.Error, reports.XPass)
	list("Known defects", "Failures whose cause is known: [findings](findings/README.md).\n\n", reports.XFail)
	p("\n## Why\n\nThe reason for what each row expects, with the place in the kernel's source (`security/apparmor/`) or the measurement.\n\n| row | why |\n|---|---|\n")
	for _, row := range isolation.Rows() {
		p("| %s/%s | %s |\n", row.Group, row.Name, escape(row.Why))
	}
}

// because is the reason of a result, and for a known failure also what was found
// and where it is described.
func because(r reports.Result) string {
	if r.Known == nil || r.Status != reports.XFail {
		return r.Reason
	}
	return r.Reason + " (" + r.Known.Reason + "): " + r.Known.Reference
}

// grouped sorts rows by group, in the order in which groups first occur.
func grouped(rows []isolation.Row) []isolation.Row {
	var groups []string
	for _, r := range rows {
		if !slices.Contains(groups, r.Group) {
			groups = append(groups, r.Group)
		}
	}
	slices.SortStableFunc(rows, func(a, b isolation.Row) int { return slices.Index(groups, a.Group) - slices.Index(groups, b.Group) })
	return rows
}

// order sorts releases by their numbers.
func order(release string) string {
	var b strings.Builder
	for _, f := range strings.FieldsFunc(release, func(r rune) bool { return r == '.' || r == '-' || r == '+' }) {
		fmt.Fprintf(&b, "%8s", f)
	}
	return b.String()
}

func ids(results []map[string]reports.Result) []string {
	all := map[string]bool{}
	for _, c := range results {
		for id := range c {
			all[id] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func absent(results []map[string]reports.Result, id string) bool {
	return slices.ContainsFunc(results, func(c map[string]reports.Result) bool { return c[id].Status == "" })
}

func verdict(r reports.Result) string {
	switch r.Status {
	case reports.Skip:
		return "SKIP " + r.Lacks
	case reports.Fail, reports.Error:
		return string(r.Status) + " " + r.Reason
	case reports.XFail:
		return string(r.Status) + " " + because(r)
	case reports.Recorded:
		return r.Got
	}
	return string(r.Status)
}

func summary(row isolation.Row, c map[string]reports.Result) string {
	if r, ok := c[row.ID()]; ok && r.Status == reports.Skip {
		return "SKIP: " + escape(strings.TrimPrefix(r.Lacks, "kernel: "))
	}
	n := map[reports.Status]int{}
	for id, r := range c {
		if strings.HasPrefix(id, row.ID()+"/") || id == row.ID() {
			n[r.Status]++
		}
	}
	var words []string
	if n[reports.Pass] > 0 {
		words = append(words, fmt.Sprint(n[reports.Pass]))
	}
	for _, s := range []reports.Status{reports.Fail, reports.Error, reports.Skip, reports.Recorded, reports.XFail, reports.XPass} {
		if n[s] > 0 {
			words = append(words, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	if words == nil {
		return "not run"
	}
	return strings.Join(words, ", ")
}

func escape(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}
