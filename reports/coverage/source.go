// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Source has the text of each measured source file, by its name.
type Source map[string]string

// MaxSource is the most that all source files may have together, in bytes.
// AppArmor's are about 900 KB.
const MaxSource = 32 << 20

// Check refuses a source with names that lead elsewhere, or that is too large.
func (s Source) Check() error {
	if len(s) > MaxFiles {
		return fmt.Errorf("more than %d source files", MaxFiles)
	}
	size := 0
	for name, text := range s {
		if err := CheckName(name); err != nil {
			return err
		}
		if size += len(text); size > MaxSource {
			return fmt.Errorf("source files larger than %d MiB", MaxSource>>20)
		}
	}
	return nil
}

// Lines returns the lines of a file without their ends; nil if the source lacks it.
func (s Source) Lines(name string) []string {
	text, ok := s[name]
	if !ok {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// Write writes the source as gzipped JSON.
func (s Source) Write(w io.Writer) error {
	z := gzip.NewWriter(w)
	if err := json.NewEncoder(z).Encode(s); err != nil {
		return err
	}
	return z.Close()
}

// ReadSource reads what [Source.Write] wrote.
func ReadSource(r io.Reader) (Source, error) {
	z, err := gzip.NewReader(io.LimitReader(r, MaxSource))
	if err != nil {
		return nil, fmt.Errorf("read the source: %w", err)
	}
	var s Source
	if err := json.NewDecoder(io.LimitReader(z, 2*MaxSource)).Decode(&s); err != nil {
		return nil, fmt.Errorf("read the source: %w", err)
	}
	return s, s.Check()
}

// definitionRE matches the first line of a function of C, as git names the function
// of a hunk: it begins in the first column.
var definitionRE = regexp.MustCompile(`^[A-Za-z_][^;=]*?\b([A-Za-z_][A-Za-z0-9_]*)\(`)

// function returns the function that a line is in, by the source: a function that
// the compiler inlined everywhere has no counts of its own. name is "" outside of
// functions; else start and end are its first line, and the last before the next
// function.
func (s Source) function(file string, number int) (name string, start, end int) {
	lines := s.Lines(file)
	for n := min(number, len(lines)); n >= 1; n-- {
		if m := definitionRE.FindStringSubmatch(lines[n-1]); m != nil && !strings.HasSuffix(lines[n-1], ";") {
			name, start = m[1], n
			break
		}
		if n < number && strings.HasPrefix(lines[n-1], "}") {
			return "", 0, 0 // between two functions
		}
	}
	if name == "" {
		return "", 0, 0
	}
	for end = start; end < len(lines) && !strings.HasPrefix(lines[end-1], "}"); {
		end++
	}
	return name, start, end
}

// statement returns the number of the line with code that the line continues: the
// compiler names one line of a statement of several, most often the first. It
// returns 0 for a line of its own, a comment, a declaration or an empty line.
func (s Source) statement(name string, f *File, number int) int {
	lines := s.Lines(name)
	if number < 1 || number > len(lines) || !hasWords(lines[number-1]) {
		return 0
	}
	if name, _, _ := s.function(name, number); name == "" {
		return 0
	}
	for n := number - 1; n >= 1; n-- {
		text := strings.TrimSpace(lines[n-1])
		if text == "" || endsStatement(text) {
			return 0
		}
		if _, code := f.Count(n); code {
			return n
		}
	}
	return 0
}

// hasWords reports whether a line has more than a comment or brackets.
func hasWords(line string) bool {
	text := strings.TrimSpace(line)
	return strings.ContainsFunc(text, func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' }) &&
		!slices.ContainsFunc([]string{"//", "/*", "*", "#"}, func(p string) bool { return strings.HasPrefix(text, p) })
}

// endsStatement reports whether the next line begins a statement of its own.
func endsStatement(text string) bool {
	if strings.HasSuffix(text, "*/") || strings.HasPrefix(text, "#") {
		return true
	}
	return strings.ContainsRune(";{}:", rune(text[len(text)-1]))
}
