// SPDX-License-Identifier: Apache-2.0

// Package history lists the runs in the directory of all runs, out/, and removes
// old ones. It reads results.json and journals through package reports.
//
//	runs, err := history.List("out")
//	gone, err := history.Prune("out", 20, false)
package history

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/reports"
	"proofhouse/runs"
)

// Entry is one run.
type Entry struct {
	Name    string    `json:"name"` // of its directory
	Dir     string    `json:"dir"`
	Kernels []string  `json:"kernels"` // releases, or specs or IDs
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds,omitempty"` // from its start to its last event
	State   State     `json:"state"`
	// Status is the exit status of a run that has ended, and Verdict its verdict
	// line, or the reason why it was refused or cannot be read.
	Status  int    `json:"status"`
	Verdict string `json:"verdict"`
	Shard   string `json:"shard,omitempty"` // "2/5" for a run that is a shard
	Latest  bool   `json:"latest,omitempty"`
}

// State is the state of a run.
type State string

// The states.
const (
	Done       State = "done"
	Running    State = "running"
	Killed     State = "killed"     // without an end
	Refused    State = "refused"    // did not start
	Unreadable State = "unreadable" // for example of a newer version
)

// nameRE matches the default names of runs.
var nameRE = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}(\.[0-9]+)?$`)

// isRun reports whether a directory contains a run. Nothing else may be removed.
func isRun(dir string) bool {
	if len(journals(dir)) > 0 || runs.Refused(dir) != nil {
		return true
	}
	// Other programs write files with these names, too.
	if _, err := runs.Load(filepath.Join(dir, runs.PlanFile)); err == nil {
		return true
	}
	if s, err := resultsOf(dir); err == nil && s.Format > 0 {
		return true
	}
	// A run that was killed right after its start has an empty directory.
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0 && nameRE.MatchString(filepath.Base(dir))
}

// resultsOf reads the results.json of the directory.
func resultsOf(dir string) (*summary, error) {
	b, err := reports.ReadFile(dir, reports.ResultsFile)
	if err != nil {
		return nil, err
	}
	var s summary
	return &s, json.Unmarshal(b, &s)
}

// escape quotes a path for filepath.Glob.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// List returns the runs in the directory out, the newest first; none if the
// directory does not exist.
func List(out string) ([]Entry, error) {
	dirs, err := directories(out)
	if err != nil {
		return nil, err
	}
	latest := latestOf(out)
	entries := make([]Entry, len(dirs))
	next := make(chan int)
	var readers sync.WaitGroup
	for range runtime.NumCPU() {
		readers.Go(func() {
			for i := range next {
				entries[i] = read(dirs[i])
				entries[i].Latest = entries[i].Name == latest
				if entries[i].Kernels == nil {
					entries[i].Kernels = []string{} // an empty list in JSON
				}
			}
		})
	}
	for i := range dirs {
		next <- i
	}
	close(next)
	readers.Wait()
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.Name, a.Name))
	})
	return entries, nil
}

// directories returns the directories in out that contain runs. Links such as
// out/latest are left out.
func directories(out string) ([]string, error) {
	list, err := os.ReadDir(out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, exit.BadInputf("list the runs: %w", err)
	}
	var dirs []string
	for _, e := range list {
		dir := filepath.Join(out, e.Name())
		if e.IsDir() && e.Name()[0] != '.' && isRun(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

func latestOf(out string) string {
	target, err := os.Readlink(filepath.Join(out, runs.Latest))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

func read(dir string) Entry {
	e := Entry{Name: filepath.Base(dir), Dir: dir, Started: modTime(dir), Status: exit.NoVerdict}
	if t, err := time.ParseInLocation("2006-01-02T15-04-05", e.Name[:min(len(e.Name), 19)], time.Local); err == nil {
		e.Started = t
	}
	running := reports.Running(dir)
	s, err := summaryOf(dir)
	refused := runs.Refused(dir)
	switch {
	case err == nil && (refused == nil || s.began()):
		e.take(s)
	case refused != nil && !running:
		e.State, e.Status, e.Verdict = Refused, exit.Status(refused), refused.Error()
		e.Kernels = planned(dir)
		return e
	case running:
		e.Kernels = planned(dir)
	case len(journals(dir)) == 0:
		e.State, e.Verdict, e.Kernels = Killed, "nothing was written", planned(dir)
		return e
	default:
		e.State, e.Verdict = Unreadable, err.Error()
		return e
	}
	if running {
		e.State, e.Status, e.Verdict = Running, exit.NoVerdict, ""
		e.Seconds = time.Since(e.Started).Seconds()
	}
	return e
}

// summary is the part of a results.json that a list needs.
type summary struct {
	Format   int            `json:"format"`
	Verdict  string         `json:"verdict"`
	Status   int            `json:"status"`
	Started  time.Time      `json:"started"`
	Ended    time.Time      `json:"ended"`
	CutShort bool           `json:"cut_short"`
	Shard    *reports.Shard `json:"shard"`
	Kernels  []struct {
		ID      string `json:"id"`
		Spec    string `json:"spec"`
		Release string `json:"release"`
		Append  string `json:"append"`
		Specs   []struct {
			End time.Time `json:"end"`
		} `json:"specs"`
	} `json:"kernels"`
}

// began reports whether any spec started: a kernel that cannot be tested is
// refused after the run has its plan.
func (s *summary) began() bool {
	for _, k := range s.Kernels {
		if len(k.Specs) > 0 {
			return true
		}
	}
	return false
}

func (e *Entry) take(s *summary) {
	e.State, e.Status, e.Verdict = Done, s.Status, s.Verdict
	if s.CutShort {
		e.State = Killed
	}
	if s.Shard != nil {
		e.Shard = s.Shard.String()
	}
	if !s.Started.IsZero() {
		e.Started = s.Started
	}
	end := s.Ended
	for _, k := range s.Kernels {
		name := cmp.Or(k.Release, k.Spec, k.ID)
		if k.Append != "" && name == k.Release { // treated as another build
			name += ",append=" + k.Append
		}
		e.Kernels = append(e.Kernels, name)
		for _, spec := range k.Specs {
			if spec.End.After(end) {
				end = spec.End
			}
		}
	}
	if end.After(s.Started) {
		e.Seconds = end.Sub(s.Started).Seconds()
	}
}

// summaryOf reads results.json if it is newer than the journals, else the
// journals. The verdict is that of the results, whatever the file claims.
func summaryOf(dir string) (*summary, error) {
	results := filepath.Join(dir, reports.ResultsFile)
	made := modTime(results)
	old := made.IsZero()
	for _, j := range journals(dir) {
		old = old || modTime(j).After(made)
	}
	var run *reports.Run
	var err error
	if !old && reports.IsFile(dir, reports.ResultsFile) {
		run, err = reports.Open(results)
	}
	if run == nil || err != nil {
		if run, err = reports.Read(dir); err != nil {
			return nil, err
		}
	}
	var text strings.Builder
	if err := reports.JSON(&text, run); err != nil {
		return nil, err
	}
	var s summary
	return &s, json.Unmarshal([]byte(text.String()), &s)
}

func journals(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(escape(dir), "journal-*.jsonl"))
	return found
}

// planned returns the kernels of a run that has not written a journal yet.
func planned(dir string) (names []string) {
	plan, err := runs.Load(filepath.Join(dir, runs.PlanFile))
	if err != nil {
		return nil
	}
	for _, b := range plan.Builds {
		names = append(names, cmp.Or(b.Release, b.Spec))
	}
	return names
}

func modTime(path string) time.Time {
	st, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

// Prune removes all runs in the directory out except the newest keep, and returns
// those that it removed; with dryRun, those that it would remove. It never
// removes a running run, the run that out/latest points to, or anything that is
// not a run.
func Prune(out string, keep int, dryRun bool) ([]Entry, error) {
	if keep < 0 {
		return nil, exit.BadInputf("remove old runs: the number of runs to keep is %d, want 0 or more", keep)
	}
	entries, err := List(out)
	if err != nil {
		return nil, err
	}
	if !dryRun {
		left, _ := filepath.Glob(filepath.Join(escape(out), pruned+"*"))
		for _, dir := range left { // of an interrupted removal
			_ = os.RemoveAll(dir)
		}
	}
	var gone []Entry
	for _, e := range entries[min(keep, len(entries)):] {
		if e.Latest || e.State == Running {
			continue
		}
		if !dryRun {
			switch err := remove(e.Dir); {
			case errors.Is(err, reports.ErrRunning):
				continue
			case err != nil:
				return gone, fmt.Errorf("remove the run %s: %w", e.Dir, err)
			}
		}
		gone = append(gone, e)
	}
	return gone, nil
}

// pruned is the prefix of the names of runs that are being removed.
const pruned = ".pruned-"

// remove renames the run first, so that an interrupted removal leaves no
// incomplete run.
func remove(dir string) error {
	release, err := reports.Seize(dir)
	if err != nil {
		return err
	}
	defer release()
	hidden := filepath.Join(filepath.Dir(dir), pruned+filepath.Base(dir))
	if err := os.Rename(dir, hidden); err != nil {
		return err
	}
	return os.RemoveAll(hidden)
}
