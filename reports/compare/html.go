// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"bytes"
	"embed"
	"html/template"
	"io"
	"strings"

	"proofhouse/internal/printable"
	"proofhouse/reports"
)

//go:embed compare.html.tmpl
var files embed.FS

var page = template.Must(template.New("compare.html.tmpl").Funcs(template.FuncMap{
	"word":   word,
	"plural": plural,
	"counts": counts,
	"sum":    sum,
	"short":  func(id string) string { return reports.ID(id).Brief() },
	"names":  func(list []string) string { return names(list, len(list)) },
	"side": func(name string, s Said) any {
		return struct {
			Name string
			Said Said
		}{name, s}
	},
	"group": func(title string, g []Group) any {
		return struct {
			Title  string
			Groups []Group
		}{title, g}
	},
	"differ": func(title string, d []Difference) any {
		return struct {
			Title string
			List  []Difference
		}{title, d}
	},
	"mark": func(s reports.Status) string {
		if s == absent {
			return "·"
		}
		return (reports.Style{Unicode: true}).Mark(s)
	},
}).ParseFS(files, "compare.html.tmpl"))

// HTML writes the comparison as one page that needs nothing else.
func HTML(w io.Writer, c *Comparison) error {
	type changes struct {
		Title   string
		Class   string
		Changes []Change
		N       int
		Open    bool
	}
	data := struct {
		*Comparison
		Sections []changes
		Changed  []Transition
	}{Comparison: c}
	for _, s := range c.sections() {
		if len(s.changes) > 0 {
			data.Sections = append(data.Sections, changes{s.title, strings.ToLower(string(s.look)), s.changes, s.n, s.look == reports.Fail || len(s.changes) <= 20})
		}
	}
	for _, t := range c.Transitions {
		if t.Class != Same {
			data.Changed = append(data.Changed, t)
		}
	}
	var b bytes.Buffer
	if err := page.Execute(&b, data); err != nil {
		return err
	}
	// HTML has no way to write a control character.
	_, err := io.WriteString(w, printable.Lines(b.String()))
	return err
}

// EvidenceOf is that of the change's spec, for the page.
func (c *Comparison) EvidenceOf(spec string) *Evidence {
	for i := range c.Evidence {
		if c.Evidence[i].Spec == spec {
			return &c.Evidence[i]
		}
	}
	return nil
}

// Facts are the lines below a change, name and value.
func (c Change) Facts() [][2]string { return c.facts() }

// Denied says how many denials there are, and how many are its own.
func (s Said) Denied() string { return s.denied() }

// Line is a difference on one line: "~ caps/mask: +bpf -x".
func (d Difference) Line() string { return d.line() }

// Line says what a duration is and was.
func (d Duration) Line() string { return d.line() }

// Line says what came or went, and what that means for the coverage.
func (s Skip) Line() string { return s.line(names(s.Scripts, len(s.Scripts))) }
