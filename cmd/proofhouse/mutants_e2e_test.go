// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Twelve of the planted faults that the last campaign caught are caught again. A
// kernel with planted faults takes half an hour to build, so that CI has none:
// `make mutants-kernel` builds it. PROOFHOUSE_MUTANTS_SEED repeats a choice.
func TestE2EMutantsSample(t *testing.T) {
	binary(t)
	kernel := os.Getenv("PROOFHOUSE_MUTANTS_KERNEL")
	if kernel == "" {
		t.Skip("PROOFHOUSE_MUTANTS_KERNEL names no kernel with planted faults: make mutants-kernel builds one in half an hour (docs/mutants.md)")
	}
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("PROOFHOUSE_MUTANTS_SEED"); given != "" {
		n, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatalf("PROOFHOUSE_MUTANTS_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("PROOFHOUSE_MUTANTS_SEED=%d", seed)
	b, err := os.ReadFile("../../mutants/outcomes.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var caught []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) == 3 && f[1] == "caught" && strings.HasPrefix(f[2], "isolation/") {
			caught = append(caught, f[0])
		}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(caught), func(i, j int) { caught[i], caught[j] = caught[j], caught[i] })
	some := caught[:min(12, len(caught))]
	if len(some) == 0 {
		t.Fatal("mutants/outcomes.tsv has no fault that was caught")
	}
	e := proofhouse(t, "", "mutants", "run", "-k", kernel, "--fault", strings.Join(some, ","), "--stage", "near,rest", "--out", filepath.Join(t.TempDir(), "campaign"))
	want := fmt.Sprintf("%d caught by a check", len(some))
	if e.status != 0 || !strings.Contains(e.stdout, want) {
		t.Errorf("want %q of the faults %s; exit status %d\n%s%s", want, strings.Join(some, ","), e.status, e.stdout, e.stderr)
	}
}
