// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/isolation"
	"proofhouse/kernels"
	"proofhouse/reports"
)

// rows chooses the rows of the isolation matrix.
func (p *Plan) rows() error {
	switch {
	case len(p.Config.Rows) > 0:
		p.Rows = []string{}
		for _, name := range p.Config.Rows {
			id := reports.NewID(reports.Isolation, strings.TrimPrefix(name, string(reports.Isolation)+"/")).String()
			if !slices.ContainsFunc(isolation.Rows(), func(r isolation.Row) bool { return r.ID() == id }) {
				return exit.BadInputf("--row %q: not found in the isolation matrix (proofhouse list rows lists them)", name)
			}
			p.Rows = append(p.Rows, id)
		}
	case len(p.Config.Scripts) > 0:
		p.Rows = []string{} // only the scripts
	}
	return nil
}

// HasRow reports whether the row with this ID is to be run.
func (p *Plan) HasRow(id string) bool { return p.Rows == nil || slices.Contains(p.Rows, id) }

// Has reports whether the spec is left by Config.Rerun.
func (p *Plan) Has(kernel, spec string) bool {
	return p.Only == nil || slices.Contains(p.Only[kernel], spec)
}

// earlier reads the run of Config.Rerun; without other kernels, its kernels are
// tested again.
func (c *Config) earlier() (*reports.Run, error) {
	if c.Rerun == "" {
		return nil, nil
	}
	run, err := reports.Open(c.Rerun)
	if err != nil {
		return nil, fmt.Errorf("--rerun: %w", err)
	}
	if len(c.Kernels) > 0 {
		return run, nil
	}
	for i := range run.Kernels {
		k := &run.Kernels[i]
		if len(unfinished(k)) == 0 {
			continue
		}
		if k.Spec == "" {
			return nil, exit.BadInputf("--rerun %s: the spec of kernel %s is unknown: give --kernel", c.Rerun, k.ID)
		}
		dir := c.Rerun
		if fi, err := os.Stat(dir); err == nil && !fi.IsDir() {
			dir = filepath.Dir(dir)
		}
		if err := kernels.CheckStored(k.Spec, dir); err != nil {
			return nil, fmt.Errorf("--rerun %s: %w", c.Rerun, err)
		}
		c.Kernels = append(c.Kernels, k.Spec)
	}
	if len(c.Kernels) == 0 {
		return nil, exit.BadInputf("--rerun %s: no test failed there, and %s", c.Rerun, allRan(run))
	}
	return run, nil
}

// allRan says how much of an earlier run there was.
func allRan(run *reports.Run) string {
	if s := run.Selection; s.Partial() {
		return fmt.Sprintf("all that were selected ran; %d tests were left out: --script and --row name them", len(s.LeftOut))
	}
	return "all ran"
}

// unfinished returns the IDs of the specs that failed, were an ERROR or did
// not run.
func unfinished(k *reports.Kernel) (ids []string) {
	for _, o := range k.Outcomes() {
		if reports.ID(o.ID).In(reports.KernelLogs) {
			continue // no test made it
		}
		if s := o.Status(); s == reports.Fail || s == reports.Error {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

// rerun keeps what failed or did not run on a build in the earlier run: the
// same build, or another one of the same spec, which was built again. Of a
// build that the earlier run did not have, all that failed on any is kept.
func (p *Plan) rerun(earlier *reports.Run) error {
	p.Only = map[string][]string{}
	n := 0
	for _, b := range p.Builds {
		ids := unfinishedOn(earlier, b)
		p.Only[b.ID()] = ids
		n += len(ids)
	}
	if n == 0 {
		return exit.BadInputf("--rerun %s: no test failed there on these kernels, and %s", p.Config.Rerun, allRan(earlier))
	}
	return nil
}

func unfinishedOn(run *reports.Run, b *kernels.Build) (ids []string) {
	same := []func(*reports.Kernel) bool{
		func(k *reports.Kernel) bool { return k.ID == b.ID() },
		func(k *reports.Kernel) bool { return k.Spec == b.Spec },
		func(*reports.Kernel) bool { return true },
	}
	for _, is := range same {
		found := false
		for i := range run.Kernels {
			if k := &run.Kernels[i]; is(k) {
				found = true
				ids = append(ids, unfinished(k)...)
			}
		}
		if found {
			break
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
