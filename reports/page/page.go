// SPDX-License-Identifier: Apache-2.0

// Package page makes index.html: one run as a page for people. It needs no
// network and no server; what it shows is inside it, except the logs, which it
// links to.
//
//	run, files, err := page.Reports(dir)
//
// The page has three sources: page.html, the frame with the verdict, which is
// there without scripts, too; page.css; and page.js, which draws the rest from
// the data that stand in the page as JSON (see model.go).
//
// Whatever a test printed can stand in a page. It is only ever put there as
// text, and the page's policy (CSP) lets no script run but ours.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"slices"
	"syscall"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/reports"
)

// File is the name of the page in the directory of its run.
const File = "index.html"

var (
	//go:embed page.html
	frame string
	//go:embed page.css
	style string
	//go:embed page.js
	script string

	page = template.Must(template.New(File).Parse(frame))
)

// Reports makes all reports of the run in dir: those of [reports.Write], and the
// page, whose path comes first. The edits are applied to the run before writing.
func Reports(dir string, edits ...func(*reports.Run)) (*reports.Run, []string, error) {
	run, files, err := reports.Write(dir, edits...)
	if err != nil {
		return run, files, err
	}
	path, err := Write(dir, run, reports.History(dir, run.Started))
	if err != nil {
		return run, files, err
	}
	covered, err := writeCoverage(dir, run)
	if err != nil {
		return run, files, err
	}
	return run, slices.Concat([]string{path}, covered, files), nil
}

// Write makes the page of the run in dir, with what the runs of the history
// (the newest first, as [reports.History] has them) tell of the same kernels,
// and returns its path. The file is the old one or the new one, never half.
func Write(dir string, run *reports.Run, history []reports.Past) (path string, err error) {
	path = filepath.Join(dir, File)
	defer func() {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = exit.BadInputf("no space left under %s: %w", dir, err)
		}
	}()
	err = reports.ReplaceFile(dir, File, func(w io.Writer) error { return HTML(w, dir, run, history) })
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return path, nil
}

// HTML writes the page. Its links start from dir, the directory of the run; what
// dir lacks is not linked to.
func HTML(w io.Writer, dir string, run *reports.Run, history []reports.Past) error {
	doc := newDocument(dir, run, history)
	// json.Marshal writes <, > and & as \u003c…: nothing in the data can end
	// the script element that they stand in, nor begin a comment.
	data, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	data = printable.JSON(data) // page.js shows which they are
	var text bytes.Buffer
	err = page.Execute(&text, map[string]any{
		"Doc":    doc,
		"Policy": "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) + "; base-uri 'none'; form-action 'none'",
		"Style":  template.CSS(style),
		"Script": template.JS(script),
		"Data":   template.JS(data),
	})
	if err == nil {
		_, err = io.WriteString(w, printable.Lines(text.String()))
	}
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// hash names a text in a Content-Security-Policy.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
