// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"io"
	"slices"
	"strings"
)

// Format is a form in which a run can be written. A new one is a row of the
// table in this file and its writer.
type Format struct {
	Name  string // on the command line
	About string // what reads it, in some words
	// File is the name of the file that [Write] makes in the directory of a run
	// and in that of each kernel. Empty: it makes none.
	File string
	// Origin is true if the writer needs [FormatOptions.Origin].
	Origin bool
	Write  func(w io.Writer, run *Run, o FormatOptions) error
}

// FormatOptions are what writers need beside the run.
type FormatOptions struct {
	Origin string // name of the CI system that reports
	Style  Style
}

// formats has every form, those that are files first.
var formats = []Format{
	{Name: "json", About: "everything, for programs", File: ResultsFile, Write: plain(JSON)},
	{Name: "junit", About: "JUnit XML, for CI servers", File: JUnitFile, Write: plain(JUnit)},
	{Name: "kcidb", About: "KernelCI's KCIDB", Origin: true, Write: func(w io.Writer, run *Run, o FormatOptions) error { return KCIDB(w, run, o.Origin) }},
	{Name: "ktap", About: "the kernel's Test Anything Protocol", Write: plain(KTAP)},
	{Name: "markdown", About: "a comment on a merge request", Write: plain(Markdown)},
	{Name: "text", About: "what run prints, for people", Write: func(w io.Writer, run *Run, o FormatOptions) error { return Terminal(w, run, o.Style) }},
}

func plain(write func(io.Writer, *Run) error) func(io.Writer, *Run, FormatOptions) error {
	return func(w io.Writer, run *Run, _ FormatOptions) error { return write(w, run) }
}

// Formats returns every form in which a run can be written, by name.
func Formats() []Format {
	list := slices.Clone(formats)
	slices.SortFunc(list, func(a, b Format) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// FormatNames returns the names of all formats, for a message: "json, junit".
func FormatNames() string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// FindFormat returns the format with that name, and whether there is one.
func FindFormat(name string) (Format, bool) {
	i := slices.IndexFunc(formats, func(f Format) bool { return f.Name == name })
	if i < 0 {
		return Format{}, false
	}
	return formats[i], true
}
