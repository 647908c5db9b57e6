// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/regression"
	"proofhouse/reports"
)

func TestParseShard(t *testing.T) {
	for text, want := range map[string]reports.Shard{"": {}, "1/1": {Index: 1, Count: 1}, "2/5": {Index: 2, Count: 5}, "05/10": {Index: 5, Count: 10}} {
		if got, err := parseShard(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0/5", "6/5", "1/0", "-1/5", "1", "a/b", "1/5 ", "1/5/5", "1/99999"} {
		if got, err := parseShard(text); exit.Status(err) != exit.Usage {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func whole(kernels int) (specs []reports.Planned) {
	for k := range kernels {
		for _, s := range append(regression.Smoke(), "capabilities", "i18n", "aa_policy_cache", "link_subset", "exec_qual", "not_in_the_table") {
			specs = append(specs, reports.Planned{ID: SpecID(s), Kernel: fmt.Sprintf("kernel-%d", k), Seconds: regression.DefaultSeconds(s)})
		}
	}
	return specs
}

// The shards together are the whole, and no two of them share a spec; they do
// not depend on the order in which the specs were found.
func TestSplit(t *testing.T) {
	for _, kernels := range []int{1, 3} {
		specs := whole(kernels)
		for n := 1; n <= len(specs); n++ {
			parts := Split(specs, n)
			seen := map[reports.Planned]int{}
			var most, least, longest float64
			for i, part := range parts {
				load := 0.0
				if len(part) == 0 {
					t.Errorf("%d shards: number %d is empty", n, i+1)
				}
				for _, p := range part {
					seen[p]++
					load += p.Seconds
					longest = max(longest, p.Seconds)
				}
				if most = max(most, load); i == 0 || load < least {
					least = load
				}
			}
			for _, p := range specs {
				if seen[p] != 1 {
					t.Errorf("%d shards: %s on %s is there %d times", n, p.ID, p.Kernel, seen[p])
				}
			}
			if len(seen) != len(specs) {
				t.Errorf("%d shards: %d specs of %d", n, len(seen), len(specs))
			}
			if most-least > longest+unknownSeconds {
				t.Errorf("%d shards: from %.0f s to %.0f s", n, least, most)
			}
			other := slices.Clone(specs)
			rand.Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
			if !reflect.DeepEqual(Split(other, n), parts) {
				t.Errorf("%d shards: another order, other shards", n)
			}
		}
	}
}

// A kernel of which another shard has all specs is not one on which nothing
// passed.
func TestShardWithoutAKernel(t *testing.T) {
	a := &kernels.Build{Spec: "a", Release: "7.2.7", SHA256: "0123456789abcdef"}
	b := &kernels.Build{Spec: "b", Release: "7.3.4", SHA256: "fedcba9876543210"}
	l, err := Open(&Plan{Builds: []*kernels.Build{a, b}, Config: Config{Shard: reports.Shard{Index: 1, Count: 2}}}, t.TempDir(), 1, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	l.Plan.Whole = []reports.Planned{{ID: SpecID("open"), Kernel: a.ID()}, {ID: SpecID("open"), Kernel: b.ID()}}
	l.RunStarted(l.Plan.Whole[:1], 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	run, err := reports.Read(l.Dir)
	if err != nil || len(run.Kernels) != 1 || run.Kernels[0].ID != a.ID() || run.Shard.String() != "1/2" {
		t.Errorf("%+v, %v", run, err)
	}
}
