package reports

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// LastDurations is how many seconds each spec took the last time, by spec ID,
// as far as the results.json of the runs below outDir tell. The newest run on
// the same kind of machine ([Kernel.MachineKind]) comes first, then the newest
// on any. Specs that were an ERROR or skipped whole say nothing (another kernel may
// have what they lacked), nor do files that cannot be read.
func LastDurations(outDir, kind string) map[string]float64 {
	last := map[string]float64{}
	runs := earlierRuns(outDir)
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

// earlierRuns are the newest runs below dir, the newest first.
func earlierRuns(dir string) []Run {
	paths, _ := filepath.Glob(filepath.Join(dir, "*", ResultsFile))
	type file struct {
		path string
		at   time.Time
	}
	var files []file
	for _, p := range paths {
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			files = append(files, file{p, st.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(b.path, a.path)) })
	var runs []Run
	for _, f := range files[:min(len(files), maxHistory)] {
		b, err := os.ReadFile(f.path)
		if err != nil {
			continue
		}
		var run Run
		if json.Unmarshal(b, &run) == nil && run.Format > 0 && run.Format <= FormatVersion {
			runs = append(runs, run)
		}
	}
	slices.SortStableFunc(runs, func(a, b Run) int { return b.Started.Compare(a.Started) })
	return runs
}
