// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"proofhouse/reports"
)

// Score counts the outcomes of a campaign. Faults that cannot change behaviour
// are counted apart.
type Score struct {
	Caught, Broken, Survived, Equivalent, NotTried int
	// Matrix, Scripts and Defects are those of Caught that a row, a script, and a
	// check of known defects caught: a fault that a row caught may not have been
	// tried with the others.
	Matrix, Scripts, Defects int
}

// Add counts one fault.
func (s *Score) add(m Mutant, o Outcome, tried bool) string {
	switch v := o.Verdict(); {
	case !tried:
		s.NotTried++
		return "not tried"
	case v == "survived" && m.Equivalent() != "":
		s.Equivalent++
		return "equivalent"
	case v == "caught":
		s.Caught++
		if len(o.CaughtBy(reports.Isolation)) > 0 {
			s.Matrix++
		}
		if len(o.CaughtBy(reports.Regression)) > 0 {
			s.Scripts++
		}
		if len(o.CaughtBy(reports.KnownDefects)) > 0 {
			s.Defects++
		}
		return v
	case v == "broken":
		s.Broken++
		return v
	default:
		s.Survived++
		return v
	}
}

// WriteMarkdown writes the table of a campaign, its score, and what each spec
// caught.
func WriteMarkdown(w io.Writer, faults []Mutant, outcomes map[int]Outcome) (Score, error) {
	var s Score
	var b strings.Builder
	b.WriteString("| fault | where | operator | chosen by | outcome | noticed by |\n|---|---|---|---|---|---|\n")
	caughtBy := map[string]int{}
	for i, m := range faults {
		if i > 0 && faults[i-1].Number == m.Number { // another place of it
			continue
		}
		o, tried := outcomes[m.Number]
		verdict := s.add(m, o, tried && o.triedBy(outcomes[0]))
		by := o.Caught
		if len(by) == 0 {
			by = o.Broken
		}
		for _, spec := range o.Caught {
			caughtBy[spec]++
		}
		text := some(by, 3)
		switch {
		case o.Refused != "":
			text = "no run: " + cell(o.Refused)
		case m.Equivalent() != "":
			text = cell(m.Equivalent())
		}
		fmt.Fprintf(&b, "| %d | `%s` %s | %s %d | %s | %s | %s |\n", m.Number, m.File, m.Function, m.Operator, m.Nth, m.Chosen, verdict, text)
	}
	tried := s.Caught + s.Broken + s.Survived
	fmt.Fprintf(&b, "\n%d faults tried that change behaviour or may: %d caught by a check (%d by the isolation matrix, %d by an upstream script, %d by a check of known defects), %d by a crash or hang, %d survived. %d cannot change behaviour, %d were not tried.\n",
		tried, s.Caught, s.Matrix, s.Scripts, s.Defects, s.Broken, s.Survived, s.Equivalent, s.NotTried)
	b.WriteString("\n| spec | faults it caught |\n|---|---|\n")
	for _, spec := range slices.SortedFunc(maps.Keys(caughtBy), func(x, y string) int {
		return cmp.Or(caughtBy[y]-caughtBy[x], cmp.Compare(x, y))
	}) {
		fmt.Fprintf(&b, "| %s | %d |\n", cell(spec), caughtBy[spec])
	}
	var silent []string
	for _, id := range specsOf(outcomes[0].Good) {
		if caughtBy[id] == 0 {
			silent = append(silent, cell(id))
		}
	}
	fmt.Fprintf(&b, "\n%d of the %d specs that ran caught no fault", len(silent), len(specsOf(outcomes[0].Good)))
	if first := slices.ContainsFunc(slices.Collect(maps.Values(outcomes)), func(o Outcome) bool { return o.Stopped != "" }); first {
		b.WriteString(" (runs ended at the first catch: with `--all` each spec is tried on each fault)")
	}
	if len(silent) > 0 {
		b.WriteString(": " + strings.Join(silent, ", "))
	}
	b.WriteString(".\n")
	_, err := io.WriteString(w, b.String())
	return s, err
}

// WriteTSV writes the outcome of each fault that was tried, a line each: number,
// verdict, and the specs that caught it or, where none did, broke.
func WriteTSV(w io.Writer, faults []Mutant, outcomes map[int]Outcome) error {
	var b strings.Builder
	b.WriteString("# The outcomes of the last campaign: number, verdict, specs. Written by `proofhouse mutants report --tsv`.\n")
	for i, m := range faults {
		o, tried := outcomes[m.Number]
		if !tried || !o.triedBy(outcomes[0]) || i > 0 && faults[i-1].Number == m.Number {
			continue
		}
		by := o.Caught
		if len(by) == 0 {
			by = o.Broken
		}
		fmt.Fprintf(&b, "%d\t%s\t%s\n", m.Number, (&Score{}).add(m, o, true), strings.Join(by, " "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func specsOf(results []string) []string {
	all := map[string]bool{}
	for _, id := range results {
		all[specOf(id)] = true
	}
	return slices.Sorted(maps.Keys(all))
}

func some(list []string, most int) string {
	var cells []string
	for _, s := range list[:min(most, len(list))] {
		cells = append(cells, cell(s))
	}
	if more := len(list) - most; more > 0 {
		cells = append(cells, fmt.Sprintf("%d more", more))
	}
	return strings.Join(cells, ", ")
}

// cell makes a text that a kernel or a guest may have written safe in a table.
func cell(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f:
			return ' '
		case strings.ContainsRune("|<>&`*_[]\\", r):
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}
