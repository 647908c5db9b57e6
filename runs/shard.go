// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"

	"proofhouse/internal/exit"
	"proofhouse/reports"
)

var shardRE = regexp.MustCompile(`^([0-9]{1,4})/([0-9]{1,4})$`)

// parseShard parses "2/5", the second of five parts of a run. An empty text is
// the whole run, whose Count is 0.
func parseShard(text string) (reports.Shard, error) {
	if text == "" {
		return reports.Shard{}, nil
	}
	m := shardRE.FindStringSubmatch(text)
	if m == nil {
		return reports.Shard{}, exit.BadInputf("want INDEX/COUNT, such as 2/5")
	}
	index, _ := strconv.Atoi(m[1]) // four digits fit
	count, _ := strconv.Atoi(m[2])
	if index < 1 || index > count {
		return reports.Shard{}, exit.BadInputf("the index must be from 1 to the count, as in 2/5")
	}
	return reports.Shard{Index: index, Count: count}, nil
}

// SpecKey identifies a spec on a kernel.
type SpecKey struct{ Kernel, ID string }

// KeyOf returns the key of a planned spec.
func KeyOf(p reports.Planned) SpecKey { return SpecKey{p.Kernel, p.ID} }

// unknownSeconds is the assumed duration of a spec without a known one.
const unknownSeconds = 2

// Split divides specs into n parts that take about the same time: it gives the
// longest remaining spec to the part with the least work. The result depends
// only on the set of specs, so independent jobs get the same parts.
func Split(specs []reports.Planned, n int) [][]reports.Planned {
	sorted := slices.Clone(specs)
	weight := func(p reports.Planned) float64 {
		if p.Seconds > 0 {
			return p.Seconds
		}
		return unknownSeconds
	}
	slices.SortFunc(sorted, func(a, b reports.Planned) int {
		return cmp.Or(cmp.Compare(weight(b), weight(a)), cmp.Compare(a.Kernel, b.Kernel), cmp.Compare(a.ID, b.ID))
	})
	parts := make([][]reports.Planned, n)
	load := make([]float64, n)
	for _, p := range sorted {
		i := slices.Index(load, slices.Min(load))
		parts[i] = append(parts[i], p)
		load[i] += weight(p)
	}
	return parts
}
