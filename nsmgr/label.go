// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"fmt"
	"slices"
	"strings"
)

// Label is an AppArmor label: the confinement of a task, as
// /proc/PID/attr/apparmor/current, audit records and policy write it.
type Label struct {
	Parts []Part
	// Mode is what stands in parentheses behind a label: that of its one
	// profile, or "mixed". It is "" where none was written, as for unconfined.
	Mode string
	// Absolute is true for a label that begins with "=": one that is read
	// from the root namespace, whoever reads it.
	Absolute bool
	// Onto is true for a transition that begins with "&": it stacks the parts
	// onto the label that the task has.
	Onto bool
	// Unverified is true for the label of a task whose parts could not be told
	// from a profile's name that imitates them.
	Unverified bool
}

// Part is one profile of a label.
type Part struct {
	Namespace Name   // "" for the view's own
	Profile   string // "p", a hat's "p//hat"; "" where a transition named a namespace alone
}

// Hidden is what the kernel writes for a part that the reader may not see.
const Hidden = "---"

// Unconfined is the profile of every namespace that confines nothing.
const Unconfined = "unconfined"

// modes are the kernel's words for a profile's mode (security/apparmor/policy.c
// aa_profile_mode_names), and the one for a stack of different ones. A profile
// may have a space in its name, so only these count.
var modes = []string{"enforce", "complain", "kill", "unconfined", "user", "prompt", "mixed"}

const stackSeparator = "//&"

// ParseLabel reads a label in any form that the kernel writes or takes:
//
//	unconfined
//	p (enforce)
//	host//&:ns:p (mixed)
//	:outer//inner:p//hat
//	:ns://p          the form with a slash pair after the namespace
//	:ns:             the namespace alone, as in a transition
//	=host//&:ns:p    absolute
//	&:ns:p           what a transition stacks onto the task's label
//	---              hidden
//
// A namespace holds until the next one: in ":ns:a//&b", b is in ns as well
// (security/apparmor/label.c sorts by namespace and writes each once).
func ParseLabel(text string) (Label, error) {
	var l Label
	s := strings.TrimRight(text, "\n\x00")
	for _, m := range modes {
		if rest, ok := strings.CutSuffix(s, " ("+m+")"); ok {
			s, l.Mode = rest, m
			break
		}
	}
	if rest, ok := strings.CutPrefix(s, "="); ok {
		s, l.Absolute = rest, true
	}
	if rest, ok := strings.CutPrefix(s, "&"); ok {
		s, l.Onto = rest, true
	}
	var ns Name
	for s != "" || l.Parts == nil {
		part, rest, more, err := cutPart(s)
		if err != nil {
			return Label{}, &kindError{fmt.Errorf("label %q: %w", text, err), ErrInvalid}
		}
		p, named, err := parsePart(part, ns)
		if err != nil {
			return Label{}, &kindError{fmt.Errorf("label %q: %w", text, err), ErrInvalid}
		}
		if named {
			ns = p.Namespace
		}
		l.Parts = append(l.Parts, p)
		if more && rest == "" {
			return Label{}, &kindError{fmt.Errorf("label %q: a part is missing at its end", text), ErrInvalid}
		}
		s = rest
	}
	return l, nil
}

// cutPart takes the first part off a stack.
func cutPart(s string) (part, rest string, more bool, err error) {
	part, rest, more = strings.Cut(s, stackSeparator)
	if part == "" {
		return "", "", false, fmt.Errorf("a part is empty")
	}
	return part, rest, more, nil
}

// parsePart reads one part; named reports whether it names its namespace.
func parsePart(s string, current Name) (p Part, named bool, err error) {
	if s == Hidden {
		return Part{"", s}, false, nil
	}
	rest, ok := strings.CutPrefix(s, ":")
	if !ok {
		return Part{current, s}, false, nil
	}
	ns, profile, ok := strings.Cut(rest, ":")
	if !ok {
		profile = ""
	}
	if ns == "" {
		return Part{}, false, fmt.Errorf("the namespace's name is empty")
	}
	if slices.Contains(strings.Split(ns, Separator), "") {
		return Part{}, false, fmt.Errorf("a namespace's name in %q is empty", ns)
	}
	profile = strings.TrimPrefix(profile, Separator)
	if strings.HasPrefix(profile, Separator) {
		return Part{}, false, fmt.Errorf("a name in %q is empty", profile)
	}
	return Part{Name(ns), profile}, true, nil
}

// String writes the label as the kernel does.
func (l Label) String() string {
	var b strings.Builder
	if l.Absolute {
		b.WriteByte('=')
	}
	if l.Onto {
		b.WriteByte('&')
	}
	var ns Name
	for i, p := range l.Parts {
		if i > 0 {
			b.WriteString(stackSeparator)
		}
		// A part of the view's own namespace after one of another cannot be
		// written; the kernel sorts the parts so that this does not occur.
		if p.Profile != Hidden && (p.Namespace != ns || p.Profile == "") {
			fmt.Fprintf(&b, ":%s:", p.Namespace)
			ns = p.Namespace
		}
		b.WriteString(p.Profile)
	}
	if l.Mode != "" {
		fmt.Fprintf(&b, " (%s)", l.Mode)
	}
	return b.String()
}

// In reports whether the label has a part in the namespace or below it.
func (l Label) In(ns Name) bool {
	return slices.ContainsFunc(l.Parts, func(p Part) bool {
		return p.Namespace != "" && p.Namespace.Within(ns)
	})
}

// Flat reports whether all parts of the label are within the namespace. The removal
// of the namespace leaves such a task unconfined. A stack stays in force, even one
// on the host's unconfined.
func (l Label) Flat(ns Name) bool {
	return len(l.Parts) > 0 && !slices.ContainsFunc(l.Parts, func(p Part) bool {
		return p.Namespace == "" || !p.Namespace.Within(ns)
	})
}

// Held reports whether a profile outside the namespace confines the task too.
// Without one it is not isolated from the tasks of the host: labels that share no
// namespace are not mediated against each other.
func (l Label) Held(ns Name) bool {
	return slices.ContainsFunc(l.Parts, func(p Part) bool {
		return p.Profile != Unconfined && (p.Namespace == "" || !p.Namespace.Within(ns))
	})
}
