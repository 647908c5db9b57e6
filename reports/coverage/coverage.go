// SPDX-License-Identifier: Apache-2.0

// Package coverage holds which lines of the kernel's AppArmor a test reached:
// the counts of each line and function, the tracefiles of lcov that keep them,
// the source that they are about, and what they say about the lines of a patch.
//
// It reads no counters and runs nothing: package gcov does. Counts come from the
// kernel under test, which may lie. They never make a result better or worse.
package coverage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
)

// Dir is the directory of what is measured, below the top of a kernel's tree.
const Dir = "security/apparmor"

// Limits of what is read from a tracefile and from a tree. AppArmor has about 40
// files with 12,000 lines of code between them.
const (
	MaxFiles = 500
	MaxLines = 500_000 // of all files, and the largest number of a line
	maxName  = 256     // bytes of the name of a file or a function
)

// Set has the counts of source files, sorted by name.
type Set []File

// File has the counts of one source file.
type File struct {
	Name      string     // below the top of the tree: "security/apparmor/lsm.c"
	Functions []Function // by Start
	Lines     []Line     // those with code, by Number
}

// Function is a function with code. One that is inlined everywhere has none.
type Function struct {
	Name  string
	Start int // its first line
	Count uint64
}

// Line is a line with code.
type Line struct {
	Number int // from 1
	Count  uint64
}

// CheckName refuses a name that is not the path of a file below [Dir].
func CheckName(name string) error {
	if !fs.ValidPath(name) || !strings.HasPrefix(name, Dir+"/") || len(name) > maxName || !plainName(name) {
		return fmt.Errorf("%.*q is not the name of a file below %s", maxName, name, Dir)
	}
	return nil
}

// plainName reports whether the text has only characters that need no quoting
// in a tracefile, a terminal or a page.
func plainName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-./", r)
	})
}

// checkFunction refuses what is not the name of a C function, as compilers have
// them: "aa_dfa_next", "map_old_perms.isra.0".
func checkFunction(name string) error {
	if len(name) > maxName || !plainName(name) || strings.Contains(name, "/") {
		return fmt.Errorf("%.*q is not the name of a function", maxName, name)
	}
	return nil
}

// add returns the sum, or the largest count.
func add(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// find returns the index of the file with that name, and whether the set has it.
func (s Set) find(name string) (int, bool) {
	return slices.BinarySearchFunc(s, name, func(f File, name string) int { return cmp.Compare(f.Name, name) })
}

// File returns the file with that name, or nil.
func (s Set) File(name string) *File {
	if i, ok := s.find(name); ok {
		return &s[i]
	}
	return nil
}

// Add adds the counts of other to those of s. Files and lines that s lacks are
// added.
func (s *Set) Add(other Set) {
	for _, f := range other {
		i, ok := s.find(f.Name)
		if !ok {
			*s = slices.Insert(*s, i, File{Name: f.Name})
		}
		(*s)[i].add(f)
	}
}

func (f *File) add(other File) {
	f.Lines = merge(f.Lines, other.Lines, func(a, b Line) int { return cmp.Compare(a.Number, b.Number) },
		func(a, b Line) Line { a.Count = add(a.Count, b.Count); return a })
	f.Functions = merge(f.Functions, other.Functions, compareFunctions,
		func(a, b Function) Function { a.Count = add(a.Count, b.Count); return a })
}

func compareFunctions(a, b Function) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Name, b.Name))
}

// merge joins two sorted lists; sum makes one of two equal elements.
func merge[T any](a, b []T, compare func(a, b T) int, sum func(a, b T) T) []T {
	list := make([]T, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch c := compare(a[0], b[0]); {
		case c < 0:
			list, a = append(list, a[0]), a[1:]
		case c > 0:
			list, b = append(list, b[0]), b[1:]
		default:
			list, a, b = append(list, sum(a[0], b[0])), a[1:], b[1:]
		}
	}
	return append(append(list, a...), b...)
}

// Normalize sorts files, functions and lines, adds up what is there twice, and
// refuses what is no valid set.
func (s *Set) Normalize() error {
	files := *s
	*s = nil
	if len(files) > MaxFiles {
		return fmt.Errorf("more than %d files", MaxFiles)
	}
	lines := 0
	for _, f := range files {
		if err := CheckName(f.Name); err != nil {
			return err
		}
		// Functions are bounded like lines: each has one.
		if lines += len(f.Lines) + len(f.Functions); lines > MaxLines {
			return fmt.Errorf("more than %d lines", MaxLines)
		}
		for _, l := range f.Lines {
			if l.Number < 1 || l.Number > MaxLines {
				return fmt.Errorf("%s: invalid line number %d", f.Name, l.Number)
			}
		}
		for _, fn := range f.Functions {
			if err := checkFunction(fn.Name); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			if fn.Start < 1 || fn.Start > MaxLines {
				return fmt.Errorf("%s: invalid line number %d", f.Name, fn.Start)
			}
		}
		slices.SortFunc(f.Lines, func(a, b Line) int { return cmp.Compare(a.Number, b.Number) })
		slices.SortFunc(f.Functions, compareFunctions)
		unique := File{Name: f.Name}
		for _, l := range f.Lines {
			if n := len(unique.Lines); n > 0 && unique.Lines[n-1].Number == l.Number {
				unique.Lines[n-1].Count = add(unique.Lines[n-1].Count, l.Count)
				continue
			}
			unique.Lines = append(unique.Lines, l)
		}
		for _, fn := range f.Functions {
			if n := len(unique.Functions); n > 0 && compareFunctions(unique.Functions[n-1], fn) == 0 {
				unique.Functions[n-1].Count = add(unique.Functions[n-1].Count, fn.Count)
				continue
			}
			unique.Functions = append(unique.Functions, fn)
		}
		s.Add(Set{unique})
	}
	return nil
}

// ErrDifferent is the error of counts that are about other code.
var ErrDifferent = errors.New("the counts are of a different build")

// Same returns [ErrDifferent] unless both sets have the same files, functions and
// lines, whatever the counts.
func (s Set) Same(other Set) error {
	if len(s) != len(other) {
		return fmt.Errorf("%w: %d files, want %d", ErrDifferent, len(other), len(s))
	}
	for i, f := range s {
		o := other[i]
		switch {
		case f.Name != o.Name:
			return fmt.Errorf("%w: it has %s, want %s", ErrDifferent, o.Name, f.Name)
		case !slices.EqualFunc(f.Lines, o.Lines, func(a, b Line) bool { return a.Number == b.Number }):
			return fmt.Errorf("%w: other lines of %s have code", ErrDifferent, f.Name)
		case !slices.EqualFunc(f.Functions, o.Functions, func(a, b Function) bool { return a.Name == b.Name && a.Start == b.Start }):
			return fmt.Errorf("%w: %s has other functions", ErrDifferent, f.Name)
		}
	}
	return nil
}

// Count returns how often a line ran, and whether it has code.
func (f *File) Count(line int) (n uint64, code bool) {
	if f == nil {
		return 0, false
	}
	i, ok := slices.BinarySearchFunc(f.Lines, line, func(l Line, n int) int { return cmp.Compare(l.Number, n) })
	if !ok {
		return 0, false
	}
	return f.Lines[i].Count, true
}

// Totals are how many lines and functions have code, and how many of them ran.
type Totals struct {
	Lines            int `json:"lines"`
	ReachedLines     int `json:"reached_lines"`
	Functions        int `json:"functions"`
	ReachedFunctions int `json:"reached_functions"`
}

// Totals counts the lines and functions of the set.
func (s Set) Totals() (t Totals) {
	for i := range s {
		o := s[i].Totals()
		t.Lines, t.ReachedLines = t.Lines+o.Lines, t.ReachedLines+o.ReachedLines
		t.Functions, t.ReachedFunctions = t.Functions+o.Functions, t.ReachedFunctions+o.ReachedFunctions
	}
	return t
}

// Totals counts the lines and functions of the file.
func (f *File) Totals() (t Totals) {
	t.Lines, t.Functions = len(f.Lines), len(f.Functions)
	for _, l := range f.Lines {
		if l.Count > 0 {
			t.ReachedLines++
		}
	}
	for _, fn := range f.Functions {
		if fn.Count > 0 {
			t.ReachedFunctions++
		}
	}
	return t
}

// Reached returns the set with only the files, functions and lines that ran.
func (s Set) Reached() (r Set) {
	for _, f := range s {
		one := File{Name: f.Name}
		for _, l := range f.Lines {
			if l.Count > 0 {
				one.Lines = append(one.Lines, l)
			}
		}
		for _, fn := range f.Functions {
			if fn.Count > 0 {
				one.Functions = append(one.Functions, fn)
			}
		}
		if len(one.Lines)+len(one.Functions) > 0 {
			r = append(r, one)
		}
	}
	return r
}
