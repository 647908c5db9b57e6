// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// LastDurations returns how many seconds each spec took the last time, by spec ID,
// as far as the results.json of the runs below outDir tell. The newest run on
// the same kind of machine ([Kernel.MachineKind]) comes first, then the newest
// on any. Specs that were an ERROR or skipped whole say nothing (another kernel may
// have what they lacked), nor do files that cannot be read.
func LastDurations(outDir, kind string) map[string]float64 {
	var runs []*Run
	for _, p := range pastRuns(outDir) {
		runs = append(runs, p.Run)
	}
	return lastDurations(runs, kind)
}

// Durations returns the same from one run.
func Durations(run *Run, kind string) map[string]float64 { return lastDurations([]*Run{run}, kind) }

func lastDurations(runs []*Run, kind string) map[string]float64 {
	last := map[string]float64{}
	for _, same := range []bool{true, false} {
		for _, run := range runs {
			for i := range run.Kernels {
				k := &run.Kernels[i]
				if (k.MachineKind() == kind) == same {
					durations(k, last)
				}
			}
		}
	}
	return last
}

// durations adds what is not in last yet.
func durations(k *Kernel, last map[string]float64) {
	for _, o := range k.Outcomes() {
		counts := o.Counts()
		if _, ok := last[o.ID]; ok || o.Status() == Error || counts[Skip] == counts.Total() || len(o.Attempts) == 0 {
			continue
		}
		if s := o.Attempts[len(o.Attempts)-1].seconds(); s > 0 {
			last[o.ID] = s
		}
	}
}

// maxHistory bounds what is read: results of a full run are megabytes.
const maxHistory = 12

// Past is a run of the history.
type Past struct {
	Dir string // the directory of the run
	*Run
}

// History returns the runs before the one in dir, which started at that time: the
// newest that can be read in the directories beside it, the newest first.
func History(dir string, started time.Time) []Past {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	runs := pastRuns(filepath.Dir(dir))
	return slices.DeleteFunc(runs, func(p Past) bool { return p.Dir == dir || !p.Started.Before(started) })
}

// pastRuns are the newest runs below dir, the newest first.
func pastRuns(dir string) []Past {
	entries, _ := os.ReadDir(dir)
	type file struct {
		path string
		at   time.Time
	}
	var files []file
	for _, e := range entries {
		if !e.IsDir() { // out/latest is a link to one of the others
			continue
		}
		p := filepath.Join(dir, e.Name(), ResultsFile)
		if st, err := os.Lstat(p); err == nil && st.Mode().IsRegular() {
			files = append(files, file{p, st.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(b.path, a.path)) })
	var runs []Past
	for _, f := range files[:min(len(files), maxHistory)] {
		if run, err := Open(f.path); err == nil {
			runs = append(runs, Past{filepath.Dir(f.path), run})
		}
	}
	slices.SortStableFunc(runs, func(a, b Past) int { return b.Started.Compare(a.Started) })
	return runs
}
