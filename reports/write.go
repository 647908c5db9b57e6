package reports

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"proofhouse/internal/exit"
)

// The files that [Write] makes, in a run's folder and in that of each kernel.
const (
	ResultsFile = "results.json"
	JUnitFile   = "junit.xml"
	// ConsoleFile has the consoles of all machines of one kernel.
	ConsoleFile = "console.log"
)

// document is results.json: the run and what follows from it, so that a reader
// need not know how a verdict is found.
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
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(d)
}

// Write reads the journals in dir and makes results.json and junit.xml of them,
// for the whole run in dir and for each kernel in a folder of its own below it.
// Each file is the old one or the new one, never half. It returns the run and
// the paths of the files for the whole run and, where there are several
// kernels, of each.
//
// Each of edits has its way with the run before the files are made, such as to
// judge it by another list of expectations. The journals stay as they are.
func Write(dir string, edits ...func(*Run)) (*Run, []string, error) {
	run, err := Read(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, edit := range edits {
		edit(run)
	}
	files, err := writeRun(dir, run)
	if err != nil {
		return run, files, err
	}
	for _, k := range run.Kernels {
		name, err := folder(k.ID)
		if err != nil {
			return run, files, fmt.Errorf("write the reports in %s: %w", dir, err)
		}
		alone := run.only(k)
		its, err := writeRun(filepath.Join(dir, name), &alone)
		if err != nil {
			return run, files, err
		}
		if err := writeConsole(filepath.Join(dir, name)); err != nil {
			return run, files, fmt.Errorf("write the console in %s: %w", dir, noSpace(dir, err))
		}
		if len(run.Kernels) > 1 {
			files = append(files, its...)
		}
	}
	return run, files, nil
}

// only is the run as if it had been on one of its kernels alone.
func (r *Run) only(k Kernel) Run {
	alone := *r
	alone.Kernels = []Kernel{k}
	// As far as its outcome tells: an attempt that nobody planned is one more.
	alone.Planned = len(k.Specs) + len(k.NotRun)
	return alone
}

// folder is the name of a kernel's folder. The ID comes from a journal, which
// is a file like any other: it must not lead out of the run's folder.
func folder(id string) (string, error) {
	switch {
	case id == "":
		return "unknown-kernel", nil
	case strings.ContainsAny(id, "/\x00") || id[0] == '.' || len(id) > 255:
		return "", exit.BadInputf("kernel id %q is no folder name", id)
	}
	return id, nil
}

func writeRun(dir string, run *Run) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("write the reports: %w", noSpace(dir, err))
	}
	var files []string
	for _, f := range []struct {
		name  string
		write func(io.Writer, *Run) error
	}{
		{ResultsFile, JSON},
		{JUnitFile, JUnit},
	} {
		path := filepath.Join(dir, f.name)
		err := replace(path, func(w io.Writer) error { return f.write(w, run) })
		if err != nil {
			return files, fmt.Errorf("write %s: %w", path, noSpace(dir, err))
		}
		files = append(files, path)
	}
	return files, nil
}

// writeConsole joins the consoles of a kernel's machines, each process's in
// turn: side by side their lines would be mixed.
func writeConsole(dir string) error {
	var paths []journalPath
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if m := consoleName.FindStringSubmatch(e.Name()); m != nil && e.Type().IsRegular() {
			n, _ := strconv.Atoi(m[1])
			paths = append(paths, journalPath{n, filepath.Join(dir, e.Name())})
		}
	}
	if len(paths) == 0 {
		return nil
	}
	slices.SortFunc(paths, func(a, b journalPath) int { return cmp.Compare(a.process, b.process) })
	return replace(filepath.Join(dir, ConsoleFile), func(w io.Writer) error {
		for _, p := range paths {
			if err := appendFile(w, p.path); err != nil {
				return err
			}
		}
		return nil
	})
}

// appendFile copies a text file, and ends its last line.
func appendFile(w io.Writer, path string) error {
	f, err := os.Open(path)
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

// replace makes the file at path anew, or leaves the old one.
func replace(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriter(f)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
