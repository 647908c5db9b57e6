// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"cmp"
	"strings"
)

// ID names a spec or one of its results: "regression/open" and
// "regression/open/OPEN RW". Its first part is a [Root]. It is the same from
// run to run, so it never holds a duration, a label or a random path.
//
// Journals and results.json have it as a string.
type ID string

// Root is the first part of an [ID]: the group of specs that it belongs to.
type Root string

// The groups of specs.
const (
	Regression   Root = "regression"    // scripts of the upstream suite: "regression/open"
	Isolation    Root = "isolation"     // rows of the isolation matrix: "isolation/file/read"
	KnownDefects Root = "known-defects" // defects that a kernel may have a fix for: "known-defects/NAME"
	KernelLogs   Root = "kernel"        // complaints of the kernel while no test was running: "kernel/log"
)

// roots describes each group. A new group of specs is one row here.
var roots = map[Root]struct {
	noun  string // what one of its specs is called
	parts int    // of the ID of a spec
}{
	Regression:   {"script", 2},
	Isolation:    {"row", 3},
	KnownDefects: {"defect", 2},
	KernelLogs:   {"kernel log", 2},
}

// NewID returns the ID with these parts below the root. They are taken as they
// are, even if they contain "/".
func NewID(root Root, parts ...string) ID {
	return ID(string(root) + "/" + strings.Join(parts, "/"))
}

// String returns the ID as journals have it.
func (id ID) String() string { return string(id) }

// Root returns the first part of the ID.
func (id ID) Root() Root {
	root, _, _ := strings.Cut(string(id), "/")
	return Root(root)
}

// In reports whether the ID is below the root.
func (id ID) In(root Root) bool { return strings.HasPrefix(string(id), string(root)+"/") }

// Rest returns the ID without its root: "open/OPEN RW".
func (id ID) Rest() string {
	_, rest, ok := strings.Cut(string(id), "/")
	if !ok {
		return string(id)
	}
	return rest
}

// Brief returns the ID as people see it in a list. Most specs are upstream
// scripts, so "regression/" is left out.
func (id ID) Brief() string { return strings.TrimPrefix(string(id), string(Regression)+"/") }

// Group returns the first two parts: an upstream script, or a group of
// isolation rows.
func (id ID) Group() ID { return id.first(2) }

// Spec returns the ID of the spec that the result with this ID belongs to. The
// ID of a spec returns itself, and so does one with an unknown root.
func (id ID) Spec() ID {
	r, ok := roots[id.Root()]
	if !ok {
		return id
	}
	return id.first(r.parts)
}

func (id ID) first(n int) ID {
	end := 0
	for range n {
		i := strings.IndexByte(string(id[end:]), '/')
		if i < 0 {
			return id
		}
		end += i + 1
	}
	return id[:end-1]
}

// Noun returns what a spec of this group is called, in the singular: "script",
// "row", "defect", and "test" for an unknown root.
func (id ID) Noun() string {
	if !strings.Contains(string(id), "/") {
		return "test"
	}
	return cmp.Or(roots[id.Root()].noun, "test")
}

// Whole returns the ID of the result that is about the spec with this ID as a
// whole: "regression/open/(script)", "isolation/file/read/(row)".
func (id ID) Whole() ID { return id + "/" + ID(Whole(string(id))) }

// IsWhole reports whether the ID is one that [ID.Whole] returns.
func (id ID) IsWhole() bool {
	i := strings.LastIndexByte(string(id), '/')
	return i > 0 && string(id[i+1:]) == Whole(string(id[:i]))
}

// Whole returns the last part of [ID.Whole].
func Whole(spec string) string {
	switch noun := ID(spec).Noun(); noun {
	case "test":
		return "(script)" // as in journals before there were other groups
	default:
		return "(" + noun + ")"
	}
}

// Noun returns what specs with these IDs are called, in the singular: upstream's
// are scripts, those of the isolation matrix are rows, and several groups
// together are tests.
func Noun(ids ...string) string {
	noun := ""
	for _, id := range ids {
		n := ID(id).Noun()
		if noun != "" && n != noun {
			return "test"
		}
		noun = n
	}
	return cmp.Or(noun, "test")
}
