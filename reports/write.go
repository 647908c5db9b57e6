// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/reports/coverage"
)

// The files that [Write] makes, in a run's directory and in that of each kernel.
const (
	ResultsFile = "results.json"
	JUnitFile   = "junit.xml"
	// ConsoleFile has the consoles of all machines of one kernel.
	ConsoleFile = "console.log"
)

// document is results.json: the run and what follows from it, so that a reader
// need not know how a verdict is made.
type document struct {
	Verdict string `json:"verdict"`
	Status  int    `json:"status"` // the exit status
	Counts  Counts `json:"counts"` // of subtests, over all attempts
	*Run
}

// JSON writes the run as results.json.
func JSON(w io.Writer, run *Run) error {
	d := document{Run: run, Counts: tally(run).counts}
	d.Status, d.Verdict = Verdict(run)
	return printable.EncodeJSON(w, d, " ")
}

// Write reads the journals in dir and makes results.json and junit.xml of them,
// for the whole run in dir and for each kernel in a directory of its own below it.
// Each file is the old one or the new one, never half. It returns the run and
// the paths of the files for the whole run and, where there are several
// kernels, of each.
//
// The edits are applied to the run before the files are written, such as to judge
// it by another list of expectations. The journals stay as they are.
func Write(dir string, edits ...func(*Run)) (*Run, []string, error) {
	run, err := Read(dir)
	if err != nil {
		return nil, nil, err
	}
	run.Edit(edits...)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return run, nil, fmt.Errorf("write the reports: %w", err)
	}
	defer func() { _ = root.Close() }()
	totals := run.cover(root)
	files, err := writeRun(root, dir, run)
	if err != nil {
		return run, files, err
	}
	for _, k := range run.Kernels {
		its, err := writeKernel(root, dir, run, k, totals[k.ID])
		if err != nil {
			return run, files, err
		}
		if len(run.Kernels) > 1 {
			files = append(files, its...)
		} else if n := len(its); n > 0 && filepath.Base(its[n-1]) == CoverageFile {
			files = append(files, its[n-1])
		}
	}
	return run, files, nil
}

// writeKernel makes the reports in the directory of one kernel.
func writeKernel(root *os.Root, dir string, run *Run, k Kernel, reached coverage.Set) ([]string, error) {
	name, err := directoryOf(k.ID)
	if err != nil {
		return nil, fmt.Errorf("write the reports in %s: %w", dir, err)
	}
	sub, err := subdirectory(root, name)
	if err != nil {
		return nil, fmt.Errorf("write the reports in %s: %w", dir, noSpace(dir, err))
	}
	defer func() { _ = sub.Close() }()
	alone := run.only(k)
	files, err := writeRun(sub, filepath.Join(dir, name), &alone)
	if err != nil {
		return files, err
	}
	if err := writeConsole(sub); err != nil {
		return files, fmt.Errorf("write the console in %s: %w", dir, noSpace(dir, err))
	}
	if len(reached) > 0 {
		err := replace(sub, CoverageFile, func(w io.Writer) error { return coverage.WriteLCOV(w, reached, "all") })
		if err != nil {
			return files, fmt.Errorf("write %s in %s: %w", CoverageFile, dir, noSpace(dir, err))
		}
		files = append(files, filepath.Join(dir, name, CoverageFile))
	}
	return files, nil
}

// only is the run as if it had been on one of its kernels alone.
func (r *Run) only(k Kernel) Run {
	alone := *r
	alone.Kernels = []Kernel{k}
	// As far as its outcome tells: an attempt that nobody planned is one more.
	alone.Planned = len(k.Specs) + len(k.NotRun)
	return alone
}

// directoryOf returns the name of a kernel's directory. The ID comes from a journal,
// which may be hostile: it must not lead out of the run's directory.
func directoryOf(id string) (string, error) {
	switch {
	case id == "":
		return "unknown-kernel", nil
	case strings.ContainsAny(id, "/\x00") || id[0] == '.' || len(id) > 255:
		return "", exit.BadInputf("kernel id %q is not a directory name", id)
	}
	return id, nil
}

// writeRun makes the reports of a run in its directory, or that of a kernel.
// dir is how the user calls it.
func writeRun(root *os.Root, dir string, run *Run) ([]string, error) {
	var files []string
	for _, f := range Formats() {
		if f.File == "" {
			continue
		}
		path := filepath.Join(dir, f.File)
		err := replace(root, f.File, func(w io.Writer) error { return f.Write(w, run, FormatOptions{}) })
		if err != nil {
			return files, fmt.Errorf("write %s: %w", path, noSpace(dir, err))
		}
		files = append(files, path)
	}
	return files, nil
}

// writeConsole joins the consoles of a kernel's machines, each process's in
// turn: side by side their lines would be mixed.
func writeConsole(dir *os.Root) error {
	names, err := numberedFiles(dir, consoleName)
	if err != nil || len(names) == 0 {
		return err
	}
	return replace(dir, ConsoleFile, func(w io.Writer) error {
		for _, n := range names {
			err := appendFile(w, dir, n.name)
			if errors.Is(err, errNotFile) {
				_, err = fmt.Fprintf(w, "=== %s is not a regular file, and left out ===\n", n.name)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// appendFile copies a text file, and ends its last line.
func appendFile(w io.Writer, dir *os.Root, name string) error {
	f, err := openFile(dir, name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	n, err := io.Copy(w, f)
	if err != nil || n == 0 {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], n-1); err == nil && last[0] != '\n' {
		_, err = io.WriteString(w, "\n")
		return err
	}
	return nil
}
