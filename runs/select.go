// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"proofhouse/internal/exit"
	"proofhouse/isolation"
	"proofhouse/isolation/defects"
	"proofhouse/reports"
	"proofhouse/reports/coverage"
)

// selectFor selects the specs that reach what a patch changes. Specs that the map
// lacks are selected, too: what they reach is not known.
func (p *Plan) selectFor(ctx context.Context) error {
	c := &p.Config
	if c.SelectFor == "" {
		if c.Map != "" || c.SelectRest {
			return exit.BadInputf("--map and --then-rest are for --select-for")
		}
		return nil
	}
	dir, run, err := coverageMap(c.Map, c.Out)
	if err != nil {
		return err
	}
	tree := ""
	if len(p.Builds) > 0 {
		tree = cmp.Or(c.CoverageTree, buildTree(p.Builds[0]))
	}
	patch, err := readPatch(ctx, c.SelectFor, tree)
	if err != nil {
		return err
	}
	score, known := map[string]float64{}, map[string]bool{}
	for i := range run.Kernels {
		covered, err := reports.OpenCoverage(dir, &run.Kernels[i])
		if err != nil {
			return exit.BadInputf("--map %s: %w", dir, err)
		}
		if covered == nil {
			continue
		}
		if err := reaching(covered, patch, score, known); err != nil {
			return exit.BadInputf("select tests for the patch %s by the map %s: %w", c.SelectFor, dir, err)
		}
	}
	if len(score) == 0 {
		return exit.BadInputf("select tests for the patch %s: no test of the map %s reaches what it changes: run all tests", c.SelectFor, dir)
	}
	return p.choose(score, known, &reports.Selection{For: patchName(c.SelectFor), Map: dir, Rest: c.SelectRest})
}

// reaching adds the tests that reach what the patch changes on one kernel, and those
// that the map knows: a test that was not whole there may reach more.
func reaching(covered *reports.Covered, patch *coverage.Patch, score map[string]float64, known map[string]bool) error {
	total, err := covered.Total()
	if err != nil {
		return err
	}
	places, err := patch.Places(covered.Source, total)
	if err != nil {
		return err
	}
	list, err := coverage.Select(places, covered.Each)
	if err != nil {
		return err
	}
	for _, s := range covered.Kernel.Specs {
		whole := !slices.ContainsFunc(s.Results, func(r reports.Result) bool { return r.Status == reports.Error || r.Status == reports.Skip })
		known[s.ID] = known[s.ID] || s.Coverage != "" && whole
	}
	for _, c := range list {
		score[c.ID] += c.Score
	}
	return nil
}

// coverageMap opens the run with the map: the one that the user named, or the
// newest one with coverage.
func coverageMap(dir, out string) (string, *reports.Run, error) {
	if dir != "" {
		run, err := reports.Open(dir)
		if err != nil {
			return "", nil, fmt.Errorf("read the run of --map: %w", err)
		}
		if fi, err := os.Stat(dir); err == nil && !fi.IsDir() {
			dir = filepath.Dir(dir)
		}
		if !measures(run) {
			return "", nil, exit.BadInputf("--map %s: the run has no coverage", dir)
		}
		return dir, run, nil
	}
	entries, err := os.ReadDir(out)
	if err != nil && !os.IsNotExist(err) {
		return "", nil, exit.BadInput(err)
	}
	slices.Reverse(entries) // the newest first: names are times
	for _, e := range entries {
		dir := filepath.Join(out, e.Name())
		if found, _ := filepath.Glob(filepath.Join(dir, "*", coverageDir)); !e.IsDir() || len(found) == 0 {
			continue
		}
		if run, err := reports.Open(dir); err == nil && measures(run) {
			return dir, run, nil
		}
	}
	return "", nil, exit.BadInputf("--select-for needs the map of an earlier run with --coverage, and there is none in %s: give --map", out)
}

// measures reports whether the run knows what a test reached.
func measures(run *reports.Run) bool {
	for _, k := range run.Kernels {
		if k.Coverage != nil && slices.ContainsFunc(k.Specs, func(s reports.Spec) bool { return s.Coverage != "" }) {
			return true
		}
	}
	return false
}

// specIDs returns all specs that the plan has on every build, and their expected
// durations in seconds.
func (p *Plan) specIDs() map[string]float64 {
	ids := map[string]float64{}
	for _, s := range p.Scripts {
		ids[SpecID(s.Name)] = p.Seconds[s.Name]
	}
	for _, r := range isolation.Rows() {
		if p.HasRow(r.ID()) {
			ids[r.ID()] = RowSeconds
		}
	}
	if len(p.Config.Scripts) == 0 && len(p.Config.Rows) == 0 {
		for _, d := range defects.All() {
			ids[d.ID()] = RowSeconds
		}
	}
	return ids
}

// choose sets what runs, and in which order. Scripts, rows and checks do not share a
// machine, so each of the three stays together: first the one that finds most in
// the least time. Within it, a test comes the earlier the rarer what it reaches
// and the shorter it is.
func (p *Plan) choose(score map[string]float64, known map[string]bool, s *reports.Selection) error {
	ids := p.specIDs()
	type half struct {
		specs          []string
		score, seconds float64
	}
	halves := map[reports.Root]*half{}
	rate := func(id string) float64 { return score[id] / (ids[id] + 1) }
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if score[id] == 0 && known[id] {
			s.LeftOut = append(s.LeftOut, id)
			continue
		}
		if !known[id] {
			s.Unknown = append(s.Unknown, id)
		}
		kind := reports.ID(id).Root()
		h := halves[kind]
		if h == nil {
			h = &half{}
			halves[kind] = h
		}
		h.specs = append(h.specs, id)
		h.score, h.seconds = h.score+score[id], h.seconds+ids[id]+1
	}
	order := slices.SortedFunc(maps.Values(halves), func(a, b *half) int {
		return cmp.Or(cmp.Compare(b.score/b.seconds, a.score/a.seconds), cmp.Compare(a.specs[0], b.specs[0]))
	})
	for _, h := range order {
		slices.SortStableFunc(h.specs, func(a, b string) int { return cmp.Compare(rate(b), rate(a)) })
		p.First = append(p.First, h.specs...)
	}
	s.Selected = len(p.First)
	p.Selection = s
	if s.Rest {
		return nil
	}
	n, left := 0, map[string][]string{}
	for _, b := range p.Builds {
		left[b.ID()] = []string{}
		for _, id := range p.First {
			if p.Has(b.ID(), id) { // as --rerun says
				left[b.ID()] = append(left[b.ID()], id)
				n++
			}
		}
	}
	if n == 0 {
		return exit.BadInputf("nothing is left of --rerun %s that reaches what the patch changes", p.Config.Rerun)
	}
	p.Only = left
	return nil
}
