// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"regexp"
	"strings"
)

// function is the body of one C function in a file.
type function struct {
	name       string
	start, end int // of the body, braces excluded
}

// mask returns src with comments, string and character literals and
// preprocessor lines blanked out, byte for byte, so that offsets stay the same
// and no bracket or keyword in them counts.
func mask(src string) string {
	b := []byte(src)
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			if b[i] != '\n' {
				b[i] = ' '
			}
		}
	}
	lineStart := true
	for i := 0; i < len(src); {
		switch c := src[i]; {
		case strings.HasPrefix(src[i:], "/*"):
			end := strings.Index(src[i+2:], "*/")
			if end < 0 {
				end = len(src) - i - 4
			}
			blank(i, i+end+4)
			i += end + 4
			continue
		case strings.HasPrefix(src[i:], "//"):
			end := i + lineEnd(src[i:])
			blank(i, end)
			i = end
			continue
		case c == '"' || c == '\'':
			end := i + 1
			for end < len(src) && src[end] != c && src[end] != '\n' {
				if src[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(src))
			blank(i+1, max(i+1, end-1))
			i = end
			lineStart = false
			continue
		case c == '#' && lineStart:
			end := i
			for {
				end += lineEnd(src[end:])
				if end == 0 || end >= len(src) || src[end-1] != '\\' {
					break
				}
				end++
			}
			blank(i, end)
			i = end
			continue
		case c == '\n':
			lineStart = true
		case c != ' ' && c != '\t':
			lineStart = false
		}
		i++
	}
	return string(b)
}

// lineEnd returns the offset of the end of the first line of s.
func lineEnd(s string) int {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return i
	}
	return len(s)
}

// heading is the beginning of a function's definition in the kernel's style: it
// starts in the first column and ends with a brace on a line of its own.
var heading = regexp.MustCompile(`(?m)^[a-zA-Z_][^;{}()=]*?\b([a-zA-Z_]\w*)\(([^;{}]*)\)\s*\n\{`)

// functions returns the functions of a masked file in their order.
func functions(masked string) []function {
	var found []function
	for _, m := range heading.FindAllStringSubmatchIndex(masked, -1) {
		open := m[1] - 1
		end := closing(masked, open)
		if end < 0 {
			continue
		}
		found = append(found, function{name: masked[m[2]:m[3]], start: open + 1, end: end})
	}
	return found
}

// closing returns the offset of the bracket that closes the one at open, or -1.
func closing(masked string, open int) int {
	depth := 0
	for i := open; i < len(masked); i++ {
		switch masked[i] {
		case '(', '{', '[':
			depth++
		case ')', '}', ']':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// topLevel returns the offsets of the operator op in the expression
// masked[from:to], outside of brackets.
func topLevel(masked string, from, to int, op string) []int {
	var found []int
	depth := 0
	for i := from; i < to; i++ {
		switch masked[i] {
		case '(', '{', '[':
			depth++
		case ')', '}', ']':
			depth--
		}
		if depth == 0 && strings.HasPrefix(masked[i:to], op) {
			found = append(found, i)
			i += len(op) - 1
		}
	}
	return found
}
