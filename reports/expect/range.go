// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Range is what a version has to be: ">= 6.1, < 6.13". All of its parts have
// to hold; without any, every version is in it.
//
// Versions are compared number by number, as far as the range goes: 6.12.107
// is "= 6.12" and "<= 6.12", and not "> 6.12".
type Range []bound

type bound struct {
	op      string
	version []int
}

var boundText = regexp.MustCompile(`^(<|<=|=|>=|>) *([0-9]{1,9}(?:\.[0-9]{1,9}){0,5})$`)

// parseRange reads ">= 6.1, < 6.13".
func parseRange(text string) (Range, error) {
	var r Range
	for _, part := range strings.Split(text, ",") {
		m := boundText.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return nil, fmt.Errorf("%q is not a range of versions such as \">= 6.1, < 6.13\"", text)
		}
		r = append(r, bound{m[1], numbers(m[2])})
	}
	return r, nil
}

var versionStart = regexp.MustCompile(`^[0-9]{1,9}(?:\.[0-9]{1,9})*`)

// epoch is that of a Debian version: "1:" of "1:6.0.4-4". It is no part of
// upstream's version, which a range is about.
var epoch = regexp.MustCompile(`^[0-9]+:`)

// numbers are those that a version starts with: 6, 12, 107 of
// "6.12.107+deb13-cloud-amd64"; none of one that is no version.
func numbers(version string) []int {
	version = epoch.ReplaceAllString(version, "")
	start := versionStart.FindString(version)
	if start == "" {
		return nil
	}
	var list []int
	for _, p := range strings.Split(start, ".") {
		n, _ := strconv.Atoi(p) // nine digits fit
		list = append(list, n)
	}
	return list
}

// has reports whether the version is in the range. One that is no version is in
// none but the range without any bound.
func (r Range) has(version string) bool {
	v := numbers(version)
	for _, b := range r {
		if len(v) == 0 || !b.holds(v) {
			return false
		}
	}
	return true
}

func (b bound) holds(version []int) bool {
	c := 0
	for i, n := range b.version {
		have := 0
		if i < len(version) {
			have = version[i]
		}
		if c = cmp.Compare(have, n); c != 0 {
			break
		}
	}
	switch b.op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	case ">=":
		return c >= 0
	}
	return c == 0
}

// String is the range as it is written.
func (r Range) String() string {
	parts := make([]string, len(r))
	for i, b := range r {
		words := make([]string, len(b.version))
		for n, v := range b.version {
			words[n] = strconv.Itoa(v)
		}
		parts[i] = b.op + " " + strings.Join(words, ".")
	}
	return strings.Join(parts, ", ")
}

// MarshalText and UnmarshalText carry a range in a run's plan.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (r *Range) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*r = nil
		return nil
	}
	*r, err = parseRange(string(text))
	return err
}

// IsZero is for omitzero.
func (r Range) IsZero() bool { return len(r) == 0 }
