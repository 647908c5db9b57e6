// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// span is a part of the source with the text to put around it. Faults only
// ever add text, so that several of them can be at one place.
type span struct {
	start, end     int
	prefix, suffix string // with %d for the number
}

var (
	ifCondition = regexp.MustCompile(`\bif\s*\(`)
	// callStatement is a call that is a statement of its own, of a function and
	// not of a macro.
	callStatement = regexp.MustCompile(`(?m)^[ \t]+([a-z_]\w*)\(`)
	returnError   = regexp.MustCompile(`\breturn\s+(-E[A-Z]+|error)\s*;`)
	constant      = regexp.MustCompile(`\b(AA_MAY_\w+|MAY_\w+|AA_SIGNAL_\w+|AA_PTRACE_\w+|FLAG_\w+|PFLAG_\w+|AA_X_\w+|APPARMOR_\w+|CAP_OPT_\w+|CAP_[A-Z_]+|LOOKUP_\w+|PATH_\w+|MNT_\w+|MS_\w+|AA_AUDIT_\w+)\b`)
	caseLabel     = regexp.MustCompile(`\bcase\s+\w*$`)
)

// keywords look like a call and are none.
var keywords = []string{"if", "while", "for", "switch", "return", "sizeof", "do", "else"}

// sitesOf returns the sites of one file.
func sitesOf(file, src string) []Site {
	masked := mask(src)
	var all []Site
	for _, f := range functions(masked) {
		count := map[Operator]int{}
		add := func(op Operator, s span) {
			count[op]++
			all = append(all, Site{
				File: file, Function: f.name, Operator: op, Nth: count[op],
				Line: 1 + strings.Count(src[:s.start], "\n"),
				Text: strings.Join(strings.Fields(src[s.start:s.end]), " "), span: s,
			})
		}
		body := masked[f.start:f.end]
		for _, m := range ifCondition.FindAllStringIndex(body, -1) {
			open := f.start + m[1] - 1
			end := closing(masked, open)
			if end < 0 {
				continue
			}
			addCondition(masked, open+1, end, add)
		}
		for _, m := range callStatement.FindAllStringSubmatchIndex(body, -1) {
			start, open := f.start+m[2], f.start+m[1]-1
			end := closing(masked, open)
			if end < 0 || end+1 >= len(masked) || masked[end+1] != ';' || slices.Contains(keywords, body[m[2]:m[3]]) || !statement(masked, start) {
				continue
			}
			add(Drop, span{start, end + 2, "do { if (!aa_mutant(%d)) ", " } while (0);"})
		}
		for _, m := range returnError.FindAllStringSubmatchIndex(body, -1) {
			add(Succeed, span{f.start + m[2], f.start + m[3], "(aa_mutant(%d) ? 0 : ", ")"})
		}
		for _, m := range constant.FindAllStringIndex(body, -1) {
			start, end := f.start+m[0], f.start+m[1]
			if caseLabel.MatchString(masked[max(0, start-40):start]) {
				continue
			}
			add(Zero, span{start, end, "(aa_mutant(%d) ? 0 : ", ")"})
		}
	}
	return all
}

// addCondition adds what can be done to the condition masked[start:end].
func addCondition(masked string, start, end int, add func(Operator, span)) {
	add(Negate, span{start, end, "aa_mutant(%d) != !!(", ")"})
	add(Never, span{start, end, "(", ") && !aa_mutant(%d)"})
	add(Always, span{start, end, "(", ") || aa_mutant(%d)"})
	// || binds less than &&: where both are there, || divides the condition.
	op, ignore := "||", "(!aa_mutant(%d) && ("
	at := topLevel(masked, start, end, op)
	if len(at) == 0 {
		op, ignore = "&&", "(aa_mutant(%d) || ("
		at = topLevel(masked, start, end, op)
	}
	if len(at) == 0 {
		return
	}
	add(Left, span{at[len(at)-1] + len(op), end, ignore, "))"})
	add(Right, span{start, at[0], ignore, "))"})
}

// statement reports whether what begins at start is a statement and not the
// rest of an expression that continues over several lines.
func statement(masked string, start int) bool {
	before := strings.TrimRight(masked[:start], " \t\n")
	return before != "" && strings.ContainsRune(";{})", rune(before[len(before)-1])) || strings.HasSuffix(before, "else")
}

// swapSpan returns the place of a Swap.
func swapSpan(src string, m Mutant) (span, error) {
	masked := mask(src)
	for _, f := range functions(masked) {
		if f.name != m.Function {
			continue
		}
		at := f.start
		for n := 1; ; n++ {
			i := strings.Index(masked[at:f.end], m.Old)
			if i < 0 {
				break
			}
			at += i
			if n == m.Nth {
				return span{at, at + len(m.Old), "(aa_mutant(%d) ? (" + m.New + ") : ", ")"}, nil
			}
			at += len(m.Old)
		}
	}
	return span{}, fmt.Errorf("fault %d: %s has no %s %d in %s", m.Number, m.File, m.Old, m.Nth, m.Function)
}

// plant returns src with the faults of one file.
func plant(file, src string, faults []Mutant) (string, error) {
	sites := sitesOf(file, src)
	type numbered struct {
		span
		number int
	}
	var spans []numbered
	var missing []error
	for _, m := range faults {
		if m.Operator == Swap {
			s, err := swapSpan(src, m)
			if err != nil {
				missing = append(missing, err)
				continue
			}
			spans = append(spans, numbered{s, m.Number})
			continue
		}
		i := slices.IndexFunc(sites, func(s Site) bool {
			return s.Function == m.Function && s.Operator == m.Operator && s.Nth == m.Nth
		})
		if i < 0 {
			missing = append(missing, fmt.Errorf("fault %d: %s has no %s %d in %s", m.Number, m.File, m.Operator, m.Nth, m.Function))
			continue
		}
		spans = append(spans, numbered{sites[i].span, m.Number})
	}
	if err := errors.Join(missing...); err != nil {
		return "", err
	}
	// The outer before the inner, and of equal ones the lower number first.
	slices.SortFunc(spans, func(a, b numbered) int {
		switch {
		case a.start != b.start:
			return a.start - b.start
		case a.end != b.end:
			return b.end - a.end
		}
		return a.number - b.number
	})
	text := func(s string, n int) string { return strings.ReplaceAll(s, "%d", fmt.Sprint(n)) }
	var out strings.Builder
	var open []numbered
	done := 0
	closeUpTo := func(at int) {
		for len(open) > 0 && open[len(open)-1].end <= at {
			last := open[len(open)-1]
			open = open[:len(open)-1]
			out.WriteString(src[done:last.end])
			out.WriteString(text(last.suffix, last.number))
			done = last.end
		}
	}
	for _, s := range spans {
		closeUpTo(s.start)
		if len(open) > 0 && s.end > open[len(open)-1].end {
			return "", fmt.Errorf("faults %d and %d of %s overlap", open[len(open)-1].number, s.number, file)
		}
		out.WriteString(src[done:s.start])
		out.WriteString(text(s.prefix, s.number))
		done = s.start
		open = append(open, s)
	}
	closeUpTo(len(src))
	out.WriteString(src[done:])
	return out.String(), nil
}
