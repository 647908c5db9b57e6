// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"proofhouse/internal/exit"
)

// Parse reads a list of expectations, a YAML sequence of entries such as
//
//	{subtest: regression/complain/* (file exec cx*, when: {release: "< 6.13"}, reason: …, expires: 2027-03-31}
//
// Whatever is not understood is bad input, and the error names the file and
// the line: a key that is misspelt must not make an expectation that always
// holds.
func Parse(name string, text []byte) (List, error) {
	list, err := parse(text)
	if err != nil {
		var at *lineError
		if !errors.As(err, &at) {
			at = &lineError{yamlLine(text, err), errors.New(strings.TrimPrefix(err.Error(), "yaml: "))}
		}
		return nil, exit.BadInputf("%s:%d: %w", name, at.line, at.err)
	}
	for i := range list {
		list[i].At = filepath.Base(name) + list[i].At
	}
	return list, nil
}

// lineError is what is wrong with a line.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }

func wrong(n *yaml.Node, format string, args ...any) error {
	return &lineError{max(n.Line, 1), fmt.Errorf(format, args...)}
}

var (
	yamlLineText   = regexp.MustCompile(`line (\d+)`)
	yamlAnchorText = regexp.MustCompile(`unknown anchor '(.+)'`)
)

// yamlLine is the line that an error of the YAML library speaks of, or 1.
func yamlLine(text []byte, err error) int {
	n := 1
	if m := yamlLineText.FindStringSubmatch(err.Error()); m != nil {
		_, _ = fmt.Sscan(m[1], &n)
	} else if m := yamlAnchorText.FindStringSubmatch(err.Error()); m != nil { // it tells no line
		before, _, _ := bytes.Cut(text, []byte("*"+m[1]))
		n += bytes.Count(before, []byte("\n"))
	}
	return n
}

func parse(text []byte) (List, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var more yaml.Node
	if err := dec.Decode(&more); err == nil {
		return nil, wrong(&more, "second YAML document: a file is one list")
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(doc.Content) != 1 {
		return nil, nil
	}
	seq := doc.Content[0]
	switch {
	case seq.Kind == yaml.ScalarNode && seq.Tag == "!!null":
		return nil, nil
	case seq.Kind != yaml.SequenceNode:
		return nil, wrong(seq, "not a list of expectations: each begins with \"- subtest:\"")
	}
	var list List
	for _, n := range seq.Content {
		e, err := parseEntry(n)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// fields reads a mapping: each key by its function, each once.
func fields(n *yaml.Node, what string, known map[string]func(*yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return wrong(n, "%s is not a mapping of keys to values", what)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read := known[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || read == nil:
			return wrong(key, "unknown key %q in %s", key.Value, what)
		case seen[key.Value]:
			return wrong(key, "key %q given twice in %s", key.Value, what)
		}
		seen[key.Value] = true
		if err := read(value); err != nil {
			return err
		}
	}
	return nil
}

func parseEntry(n *yaml.Node) (Entry, error) {
	e := Entry{At: fmt.Sprintf(":%d", n.Line)}
	err := fields(n, "an expectation", map[string]func(*yaml.Node) error{
		"subtest": func(v *yaml.Node) (err error) {
			if e.Subtest, err = text(v, "subtest"); err != nil {
				return err
			}
			return checkPattern(v, e.Subtest)
		},
		"reason":    func(v *yaml.Node) (err error) { e.Reason, err = text(v, "reason"); return err },
		"reference": func(v *yaml.Node) (err error) { e.Reference, err = text(v, "reference"); return err },
		"expires": func(v *yaml.Node) (err error) {
			if e.Expires, err = text(v, "expires"); err != nil {
				return err
			}
			if _, err := time.Parse(time.DateOnly, e.Expires); err != nil {
				return wrong(v, "expires: %q is not a date such as 2027-03-31", e.Expires)
			}
			return nil
		},
		"when":  func(v *yaml.Node) (err error) { e.When, err = parseWhen(v); return err },
		"found": func(v *yaml.Node) (err error) { e.Found, err = parseFound(v); return err },
	})
	switch {
	case err != nil:
		return e, err
	case e.Subtest == "":
		return e, wrong(n, "an expectation without a subtest")
	case e.Reason == "":
		return e, wrong(n, "an expectation without a reason")
	}
	return e, nil
}

// checkPattern refuses a pattern that no ID can match, and one that could hide
// anything: the script has to be named.
func checkPattern(n *yaml.Node, pattern string) error {
	parts := strings.SplitN(pattern, "/", 3)
	switch {
	case len(parts) < 3 || parts[0] == "" || parts[1] == "" || parts[2] == "":
		return wrong(n, "subtest: %q is not an ID such as regression/open/OPEN RW", pattern)
	case strings.Trim(parts[0], "*") == "" || strings.Trim(parts[1], "*") == "":
		return wrong(n, "subtest: %q names no script", pattern)
	}
	return nil
}

func parseFound(n *yaml.Node) (Found, error) {
	var f Found
	patterns := func(name string, to *[]string) func(*yaml.Node) error {
		return func(v *yaml.Node) (err error) {
			if *to, err = texts(v, name); err != nil {
				return err
			}
			for _, p := range *to {
				if strings.Trim(p, "* ") == "" {
					return wrong(v, "%s: %q matches anything", name, p)
				}
			}
			return nil
		}
	}
	err := fields(n, "found", map[string]func(*yaml.Node) error{
		"got": patterns("got", &f.Got), "reason": patterns("reason", &f.Reason), "output": patterns("output", &f.Output),
	})
	if err == nil && len(n.Content) == 0 {
		err = wrong(n, "found: no condition")
	}
	return f, err
}

func parseWhen(n *yaml.Node) (When, error) {
	var w When
	versions := func(name string, to *Range) func(*yaml.Node) error {
		return func(v *yaml.Node) error {
			t, err := text(v, name)
			if err != nil {
				return err
			}
			if *to, err = parseRange(t); err != nil {
				return wrong(v, "%s: %w", name, err)
			}
			return nil
		}
	}
	names := func(name string, to *[]string) func(*yaml.Node) error {
		return func(v *yaml.Node) (err error) { *to, err = texts(v, name); return err }
	}
	err := fields(n, "when", map[string]func(*yaml.Node) error{
		"release":     versions("release", &w.Release),
		"parser":      versions("parser", &w.Parser),
		"libapparmor": versions("libapparmor", &w.Libapparmor),
		"suite":       versions("suite", &w.Suite),
		"lxc":         versions("lxc", &w.LXC),
		"guest":       names("guest", &w.Guest),
		"machine":     names("machine", &w.Machine),
		"arch":        names("arch", &w.Arch),
		"feature":     names("feature", &w.Feature),
		"lacks":       names("lacks", &w.Lacks),
	})
	if err == nil && len(n.Content) == 0 {
		err = wrong(n, "when: no condition")
	}
	return w, err
}

// text is a value that is one text, as one line.
func text(n *yaml.Node, name string) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return "", wrong(n, "%s: not a text", name)
	}
	s := strings.Join(strings.Fields(n.Value), " ")
	if s == "" {
		return "", wrong(n, "%s: empty", name)
	}
	return s, nil
}

// texts is one text or a list of them.
func texts(n *yaml.Node, name string) ([]string, error) {
	if n.Kind != yaml.SequenceNode {
		s, err := text(n, name)
		return []string{s}, err
	}
	var list []string
	for _, c := range n.Content {
		s, err := text(c, name)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, wrong(n, "%s: an empty list", name)
	}
	return list, nil
}
