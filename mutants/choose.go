// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/reports"
)

// deciding are the files whose functions decide what a task may do, or whom
// the kernel tells about it.
var deciding = []string{
	"af_inet.c", "af_unix.c", "apparmorfs.c", "audit.c", "capability.c", "domain.c", "file.c", "ipc.c", "label.c", "lsm.c",
	"mount.c", "net.c", "policy.c", "policy_ns.c", "procattr.c", "resource.c", "task.c",
}

// housekeeping are functions that allocate, free, count references or set the
// module up: a fault there is a memory error, which no access control test is
// meant to see.
var housekeeping = regexp.MustCompile(`alloc|free|init|destroy|kref|cache|rawdata|decompress|seq_|_seq|hash|param|setup|register|procfs|mangle|buffer|sysctl|iter|debug|secid|vec_|proxy`)

// cleanup are calls whose loss leaks memory or a lock and changes no decision.
var cleanup = regexp.MustCompile(`^(read_|write_|fput|path_put|simple_release|d_|__end_|pr_|aa_put_aa_get_|put_|get_|kfree|kvfree|mutex_|spin_|rcu_|aa_label_put|label_|end_|begin_|refcount|INIT_|audit_log|AA_|aa_free|memcpy|memset)`)

// Choose returns n of the sites by rule: of the functions that decide, ordered
// by a hash of their place, so that the choice is the same on every host and
// nobody's taste is in it.
func Choose(sites []Site, n int) []Site {
	var fit []Site
	for _, s := range sites {
		switch {
		case !slices.Contains(deciding, s.File), housekeeping.MatchString(s.Function):
		case s.Operator == Never, s.Operator == Always: // Negate is both
		case s.Operator == Drop && cleanup.MatchString(s.Text):
		default:
			fit = append(fit, s)
		}
	}
	order := func(s Site) string {
		return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %s %s %d", s.File, s.Function, s.Operator, s.Nth)))
	}
	slices.SortFunc(fit, func(a, b Site) int { return cmp.Compare(order(a), order(b)) })
	return fit[:min(n, len(fit))]
}

// Count returns how many faults there are: those in several places count once.
func Count(faults []Mutant) int {
	numbers := map[int]bool{}
	for _, m := range faults {
		numbers[m.Number] = true
	}
	return len(numbers)
}

// Only returns the faults with these numbers, such as "3,14"; "" is all.
func Only(faults []Mutant, numbers string) ([]Mutant, error) {
	if numbers == "" {
		return faults, nil
	}
	var some []Mutant
	for _, word := range strings.Split(numbers, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		i := slices.IndexFunc(faults, func(m Mutant) bool { return m.Number == n })
		if err != nil || i < 0 {
			return nil, exit.BadInputf("no fault has the number %q: want numbers of the table, N[,N]...", word)
		}
		for ; i < len(faults) && faults[i].Number == n; i++ {
			some = append(some, faults[i])
		}
	}
	return some, nil
}

// Part returns the faults that a run is to try: n of them spread evenly over
// the table, or all if n is 0, and of these the part of the shard.
func Part(faults []Mutant, n int, shard reports.Shard) []Mutant {
	if n > 0 && n < len(faults) {
		var some []Mutant
		for i := range n {
			some = append(some, faults[i*len(faults)/n])
		}
		faults = some
	}
	if shard.Count == 0 {
		return faults
	}
	var part []Mutant
	for i, m := range faults {
		if i%shard.Count == shard.Index-1 {
			part = append(part, m)
		}
	}
	return part
}
