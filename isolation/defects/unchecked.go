// SPDX-License-Identifier: Apache-2.0

package defects

import (
	"fmt"
	"strings"
)

// Unchecked is a known defect whose fix this package does not check, with the
// reason.
type Unchecked struct {
	// CVE and Commit are "" where there is none, or it is not known.
	CVE, Commit string
	// About is what the kernel does wrong without the fix.
	About string
	// Why is why there is no check, and what comes nearest.
	Why string
}

// AllUnchecked are the known defects of 2025 and 2026 that All does not check.
func AllUnchecked() []Unchecked {
	return []Unchecked{
		{"CVE-2026-23269", "9063d7e2615f", "a policy whose DFA has a start state out of bounds is accepted", "needs policy that no parser writes"},
		{"CVE-2026-23407", "d352873bbefa", "a policy whose DFA has a default table entry out of bounds is accepted", "needs policy that no parser writes"},
		{"CVE-2026-23409", "39440b137546", "a policy whose DFA has a cycle of diff-encoded states is accepted", "needs policy that no parser writes"},
		{"CVE-2026-23404", "ab09264660f9", "removing a deep hierarchy of profiles overflows the kernel's stack", "needs a machine that may be corrupted silently"},
		{"CVE-2026-23406", "8756b68edae3", "matching with diff-encoded policy reads out of bounds", "seen by KASAN only"},
		{"CVE-2026-23408", "5df0c44e8f5f", "a double free when policy is replaced", "seen by KASAN only; nearest: isolation/limits/races"},
		{"CVE-2026-23410", "a0b7091c4de4", "a use after free of raw policy data", "seen by KASAN only; nearest: isolation/limits/races"},
		{"CVE-2026-23411", "8e135b8aee5a", "a use after free of an inode's private data", "seen by KASAN only; nearest: isolation/limits/races"},
		{"", "", "deduplication of raw_data uses it after it was freed (bugzilla 221513)", "a race, so that nothing seen proves nothing; nearest: isolation/limits/races"},
		{"", "", "change_hat fails while policy is replaced (Launchpad 2139664)", "a race, so that nothing seen proves nothing; nearest: isolation/live/hats"},
		{"", "", "credentials are used after they were freed (2026-07)", "a race that needs FUSE and KASAN"},
		{"", "a9eb185be84e", "a stack that is not the first entry of a transition table leads to another label", "needs policy of two transitions in one table"},
		{"", "", "policy of parser 4.1.2 without accept2 gives every user the rights of the owner (2025-11)", "a defect of the parser and the kernel together"},
		{"", "", "aa_file_perm dereferences NULL when a descriptor is passed across nested containers (from 6.17, 2026-01)", "needs nested containers"},
		{"", "", "commands of io_uring (uring_cmd) are not mediated", "no fix is known"},
	}
}

// Markdown returns the tables of docs/known-defects.md.
func Markdown() string {
	var b strings.Builder
	cell := strings.NewReplacer("|", `\|`, "\n", " ").Replace
	b.WriteString("## Checked\n\n| spec | CVE | commit | without the fix | why the check tells | may crash |\n|---|---|---|---|---|---|\n")
	for _, d := range All() {
		crash := ""
		if d.Crashes {
			crash = "yes"
		}
		commit := d.Fixed
		if d.Commit != "" {
			commit = "`" + d.Commit + "`, " + d.Fixed
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", d.ID(), d.CVE, commit, cell(d.About), cell(d.Why), crash)
	}
	b.WriteString("\n## Not checked\n\n| CVE | commit | without the fix | why there is no check |\n|---|---|---|---|\n")
	for _, u := range AllUnchecked() {
		commit := ""
		if u.Commit != "" {
			commit = "`" + u.Commit + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", u.CVE, commit, cell(u.About), cell(u.Why))
	}
	return b.String()
}
