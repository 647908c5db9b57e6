// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"regexp"
	"strings"
	"unicode"

	"proofhouse/internal/exit"
)

// A spec is the text that names a kernel, parsed.
type spec struct {
	source  *source
	name    string // in the source
	append  []string
	modules string
}

var (
	suiteRE   = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	releaseRE = regexp.MustCompile(`^[0-9]+\.[0-9][A-Za-z0-9.+~-]*$`)
	// optionRE starts an option. A value ends where the next one starts, so
	// that parameters of a command line may hold commas (console=ttyS0,115200).
	optionRE = regexp.MustCompile(`,(append|modules)=`)
)

func parseSpec(text string) (spec, error) {
	var s spec
	if strings.ContainsFunc(text, unicode.IsControl) {
		return s, exit.BadInputf("a control character in the spec")
	}
	base := text
	marks := optionRE.FindAllStringSubmatchIndex(text, -1)
	if len(marks) > 0 {
		base = text[:marks[0][0]]
	}
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		name, value := text[m[2]:m[3]], text[m[1]:end]
		switch {
		case strings.TrimSpace(value) == "":
			return s, exit.BadInputf("empty value for %s=", name)
		case name == "append":
			s.append = append(s.append, strings.Fields(value)...)
		case s.modules != "":
			return s, exit.BadInputf("modules= given twice")
		default:
			s.modules = value
		}
	}
	var err error
	if s.source, s.name, err = sourceOf(base); err != nil {
		return s, err
	}
	if s.source.running && s.modules != "" {
		return s, exit.BadInputf("modules= is not for the running kernel, which has its own modules")
	}
	if s.source.running && len(s.append) > 0 {
		return s, exit.BadInputf("append= is not for the running kernel, whose command line is fixed")
	}
	return s, nil
}
