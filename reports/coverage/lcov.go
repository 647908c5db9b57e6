// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A tracefile of lcov (geninfo(1), "TRACEFILE FORMAT"): one record for each source
// file, a line for each function and each line with code.

// maxTracefile is the most that is read of a tracefile, in bytes: AppArmor's has
// 150 KB.
const maxTracefile = 64 << 20

// WriteLCOV writes the set as a tracefile of lcov. test is the test's name; what
// is no letter, digit or underscore becomes an underscore, as the format wants.
func WriteLCOV(w io.Writer, set Set, test string) error {
	b := bufio.NewWriter(w)
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '_' || plainName(string(r)) && !strings.ContainsRune("-./", r)) {
			return r
		}
		return '_'
	}, test)
	for i := range set {
		f := &set[i]
		_, _ = fmt.Fprintf(b, "TN:%s\nSF:%s\n", name, f.Name)
		for _, fn := range f.Functions {
			_, _ = fmt.Fprintf(b, "FN:%d,%s\n", fn.Start, fn.Name)
		}
		for _, fn := range f.Functions {
			_, _ = fmt.Fprintf(b, "FNDA:%d,%s\n", fn.Count, fn.Name)
		}
		t := f.Totals()
		_, _ = fmt.Fprintf(b, "FNF:%d\nFNH:%d\n", t.Functions, t.ReachedFunctions)
		for _, l := range f.Lines {
			_, _ = fmt.Fprintf(b, "DA:%d,%d\n", l.Number, l.Count)
		}
		_, _ = fmt.Fprintf(b, "LF:%d\nLH:%d\nend_of_record\n", t.Lines, t.ReachedLines)
	}
	return b.Flush()
}

// ReadLCOV reads what [WriteLCOV] wrote. A tracefile of another tool is refused
// where it has other kinds of lines.
func ReadLCOV(r io.Reader) (Set, error) {
	limited := &io.LimitedReader{R: r, N: maxTracefile + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, 4096)
	var set Set
	var file *File
	var functions map[string]int // index in file.Functions
	total := 0
	n := 0
	bad := func(why string) error { return fmt.Errorf("tracefile, line %d: %s", n, why) }
	for lines.Scan() {
		n++
		line := lines.Text()
		key, value, _ := strings.Cut(line, ":")
		if total++; total > 4*MaxLines {
			return nil, bad("too many lines")
		}
		if key == "TN" {
			continue
		}
		if key == "SF" {
			switch {
			case file != nil:
				return nil, bad("a record without an end")
			case len(set) >= MaxFiles:
				return nil, bad("too many files")
			}
			set = append(set, File{Name: value})
			file, functions = &set[len(set)-1], map[string]int{}
			continue
		}
		if file == nil {
			return nil, bad("outside of a record")
		}
		first, second, _ := strings.Cut(value, ",")
		switch key {
		case "FN":
			start, err := strconv.Atoi(first)
			if err != nil {
				return nil, bad("invalid line number")
			}
			if _, again := functions[second]; again {
				return nil, bad("a function twice")
			}
			functions[second] = len(file.Functions)
			file.Functions = append(file.Functions, Function{Name: second, Start: start})
		case "FNDA":
			count, err := strconv.ParseUint(first, 10, 64)
			i, known := functions[second]
			if err != nil || !known {
				return nil, bad("invalid count of a function")
			}
			file.Functions[i].Count = count
		case "DA":
			number, err := strconv.Atoi(first)
			if err != nil {
				return nil, bad("invalid line number")
			}
			count, err := strconv.ParseUint(second, 10, 64)
			if err != nil {
				return nil, bad("invalid count")
			}
			file.Lines = append(file.Lines, Line{number, count})
		case "FNF", "FNH", "LF", "LH":
		case "end_of_record":
			file = nil
		default:
			return nil, bad("unknown kind of line")
		}
	}
	switch err := lines.Err(); {
	case err != nil:
		return nil, fmt.Errorf("read the tracefile: %w", err)
	case limited.N == 0:
		return nil, fmt.Errorf("the tracefile is larger than %d MiB", maxTracefile>>20)
	case file != nil:
		return nil, bad("the last record has no end")
	}
	if err := set.Normalize(); err != nil {
		return nil, fmt.Errorf("tracefile: %w", err)
	}
	return set, nil
}
