// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/reports"
)

// Open finds a kernel in a run by the name that a user gives it: a run's
// directory, the directory of one kernel in it, or a results.json. A run with several
// kernels is followed by a colon and the one that is meant, by its ID, its
// spec, its release, or the beginning of its ID or release:
// "out/latest:debian:trixie".
//
// A name that leads to no kernel, or to several, is bad input.
func Open(name string) (*Side, error) {
	path, kernel, err := split(name)
	if err != nil {
		return nil, err
	}
	run, dir, err := load(path)
	if err != nil {
		return nil, err
	}
	k, err := pick(run, path, kernel)
	if err != nil {
		return nil, err
	}
	return &Side{Name: name, Dir: dir, Run: run, Kernel: k}, nil
}

// split finds the first colon with a file before it.
func split(name string) (path, kernel string, err error) {
	if _, err := os.Stat(name); err == nil {
		return name, "", nil
	}
	for i, c := range name {
		if c != ':' || i == 0 {
			continue
		}
		if _, err := os.Stat(name[:i]); err == nil {
			return name[:i], name[i+1:], nil
		}
	}
	return "", "", exit.BadInputf("read the run %s: no such file or directory: want the directory of a run or of a kernel in it, or a results.json", name)
}

// load reads the run at path, and returns the directory that its files are in.
func load(path string) (run *reports.Run, dir string, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, "", exit.BadInputf("read the run: %w", err)
	}
	if !st.IsDir() {
		run, err := reports.Open(path)
		return run, runDir(filepath.Dir(path), run), err
	}
	results := filepath.Join(path, reports.ResultsFile)
	switch fresh, err := newer(results, path); {
	case err != nil:
		return nil, "", exit.BadInputf("read the run: %w", err)
	case fresh:
		run, err := reports.Open(results)
		return run, runDir(path, run), err
	}
	run, err = reports.Read(path)
	return run, path, err
}

// newer reports whether results exists and is as new as the journals beside it: a
// run that was repeated or is still running has newer ones.
func newer(results, dir string) (bool, error) {
	st, err := os.Lstat(results)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !st.Mode().IsRegular(): // a link to the results of another run
		return false, nil
	}
	journals, err := filepath.Glob(filepath.Join(dir, "journal-*.jsonl"))
	for _, j := range journals {
		if js, err := os.Stat(j); err == nil && js.ModTime().After(st.ModTime()) {
			return false, nil
		}
	}
	return true, err
}

// runDir is the directory of the run whose results are in dir, which may be that
// of one kernel.
func runDir(dir string, run *reports.Run) string {
	if run == nil {
		return dir
	}
	for _, k := range run.Kernels {
		for _, s := range k.Specs {
			for _, f := range []string{s.Output, s.Audit} {
				if f == "" || !filepath.IsLocal(f) {
					continue
				}
				for _, d := range []string{dir, filepath.Dir(dir)} {
					if reports.IsFile(d, f) {
						return d
					}
				}
			}
		}
	}
	return dir
}

func pick(run *reports.Run, path, name string) (*reports.Kernel, error) {
	if len(run.Kernels) == 0 {
		return nil, exit.BadInputf("compare the run %s: it has no kernel", path)
	}
	if name == "" {
		if len(run.Kernels) == 1 {
			return &run.Kernels[0], nil
		}
		return nil, exit.BadInputf("compare the run %s: it has %d kernels: name one of them, as in %s:%s (there are %s)",
			path, len(run.Kernels), path, run.Kernels[0].ID, kernelIDs(run))
	}
	for _, fits := range []func(*reports.Kernel) bool{
		func(k *reports.Kernel) bool { return k.ID == name },
		func(k *reports.Kernel) bool { return k.Spec == name || k.Release == name },
		func(k *reports.Kernel) bool {
			return strings.HasPrefix(k.ID, name) || strings.HasPrefix(k.Release, name)
		},
	} {
		var found []*reports.Kernel
		for i := range run.Kernels {
			if fits(&run.Kernels[i]) {
				found = append(found, &run.Kernels[i])
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return nil, exit.BadInputf("compare the run %s: %q matches %d kernels (there are %s)", path, name, len(found), kernelIDs(run))
		}
	}
	return nil, exit.BadInputf("compare the run %s: no kernel %q (there are %s)", path, name, kernelIDs(run))
}

func kernelIDs(run *reports.Run) string {
	ids := make([]string, len(run.Kernels))
	for i, k := range run.Kernels {
		ids[i] = k.ID
	}
	return strings.Join(ids, ", ")
}

// History are the kernels of the runs that lie beside either side's, without
// the two sides themselves. What cannot be read is left out.
func History(sides ...*Side) []reports.Kernel {
	seen := map[string]bool{}
	dirs := make([]string, len(sides))
	for i, s := range sides {
		dirs[i] = s.Dir
		if dir, err := filepath.EvalSymlinks(s.Dir); err == nil { // such as out/latest
			dirs[i] = dir
		}
		if dir, err := filepath.Abs(dirs[i]); err == nil {
			dirs[i] = dir
		}
		seen[dirs[i]] = true
	}
	var list []reports.Kernel
	for _, dir := range dirs {
		for _, past := range reports.History(dir, time.Now()) {
			if !seen[past.Dir] {
				seen[past.Dir] = true
				list = append(list, past.Kernels...)
			}
		}
	}
	return list
}
