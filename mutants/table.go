// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Score counts the outcomes of a campaign. Faults that cannot change behaviour
// are counted apart.
type Score struct {
	Caught, Broken, Survived, Equivalent, NotTried int
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
	for _, m := range faults {
		o, tried := outcomes[m.Number]
		verdict := s.add(m, o, tried)
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
	fmt.Fprintf(&b, "\n%d faults tried that change behaviour or may: %d caught by a check, %d by a crash or hang, %d survived. %d cannot change behaviour, %d were not tried.\n",
		tried, s.Caught, s.Broken, s.Survived, s.Equivalent, s.NotTried)
	b.WriteString("\n| spec | faults it caught |\n|---|---|\n")
	for _, spec := range slices.SortedFunc(maps.Keys(caughtBy), func(x, y string) int {
		return cmp.Or(caughtBy[y]-caughtBy[x], cmp.Compare(x, y))
	}) {
		fmt.Fprintf(&b, "| %s | %d |\n", cell(spec), caughtBy[spec])
	}
	silent := 0
	for _, id := range specsOf(outcomes[0].Good) {
		if caughtBy[id] == 0 {
			silent++
		}
	}
	fmt.Fprintf(&b, "\n%d of the %d specs that ran caught no fault.\n", silent, len(specsOf(outcomes[0].Good)))
	_, err := io.WriteString(w, b.String())
	return s, err
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
