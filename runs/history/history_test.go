// SPDX-License-Identifier: Apache-2.0

package history

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/reports"
	"proofhouse/runs"
)

// outWith makes a directory with runs of all kinds. It returns the lock of the
// running one.
func outWith(t *testing.T) (out string, release func()) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "out[1]") // no pattern
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.Local)
	newRun := func() string {
		at = at.Add(time.Hour)
		dir, err := runs.NewRunDir(out, at)
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	kernel := reports.Kernel{ID: "7.2.7-uml-cd961b89", Spec: "uml:debian:forky", Release: "7.2.7"}
	write := func(dir string, end bool, status reports.Status) *reports.Journal {
		j, err := reports.Create(dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		j.RunStarted(reports.RunStart{Planned: []reports.Planned{{ID: "regression/open", Kernel: kernel.ID}}})
		j.Kernel(kernel)
		s := reports.Spec{ID: "regression/open", Kernel: kernel.ID}
		j.SpecStarted(s)
		if !end {
			return j
		}
		s.Results = []reports.Result{{ID: "regression/open/OPEN RW", Status: status}}
		j.SpecEnded(s)
		j.RunEnded()
		return j
	}
	for _, status := range []reports.Status{reports.Pass, reports.Fail} {
		dir := newRun()
		if err := write(dir, true, status).Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := reports.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	_ = write(newRun(), false, "").Close() // killed: no RunEnded
	runs.Refuse(newRun(), exit.BadInputf("the kernel has no AppArmor"))
	newer := newRun()
	if err := os.WriteFile(filepath.Join(newer, "journal-1.jsonl"), []byte(`{"event":"process-started","time":"2030-01-01T00:00:00Z","format":99}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	newRun() // killed before anything
	running := write(newRun(), false, "")
	for _, dir := range []string{"mine", ".join-123"} {
		if err := os.MkdirAll(filepath.Join(out, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(out, "notes.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return out, func() { _ = running.Close() }
}

func TestList(t *testing.T) {
	out, release := outWith(t)
	defer release()
	entries, err := List(out)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		state   State
		status  int
		verdict string
	}{
		{Running, exit.NoVerdict, ""},
		{Killed, exit.NoVerdict, "nothing was written"},
		{Unreadable, exit.NoVerdict, "written by a newer proofhouse: format 99"},
		{Refused, exit.Usage, "the kernel has no AppArmor"},
		{Killed, exit.NoVerdict, "NO VERDICT: the run was cut short, 1 error on 7.2.7"},
		{Done, exit.Failed, "FAIL: 1 of 1 subtest failed on 7.2.7"},
		{Done, exit.OK, "PASS: 1 subtest passed on 7.2.7"},
	}
	// Their journals are of now, their directories of the days of the sample.
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(b.Name, a.Name) })
	if len(entries) != len(want) {
		t.Fatalf("%d runs, want %d: %+v", len(entries), len(want), entries)
	}
	for i, w := range want {
		e := entries[i]
		if e.State != w.state || e.Status != w.status || !strings.Contains(e.Verdict, w.verdict) || e.Latest != (i == 0) {
			t.Errorf("%s: %+v, want %+v", e.Name, e, w)
		}
		if e.Kernels == nil {
			t.Errorf("%s: its kernels are null in JSON", e.Name)
		}
		if (e.State == Done || e.State == Running) && !slices.Equal(e.Kernels, []string{"7.2.7"}) {
			t.Errorf("%s: kernels %q", e.Name, e.Kernels)
		}
	}
	if entries, err := List(filepath.Join(out, "none")); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

// The verdict in the list is that of the results: a results.json from somebody
// else may claim another one, or be no file.
func TestListIgnoresClaims(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, reports.ResultsFile)
	text := `{"verdict":"PASS: 1 subtest passed","status":0,"format":2,"planned":1,"started":"2026-01-01T00:00:00Z","ended":"2026-01-01T00:00:03Z",
"kernels":[{"id":"k1","specs":[{"id":"regression/open","start":"2026-01-01T00:00:01Z","end":"2026-01-01T00:00:02Z",
"results":[{"id":"regression/open/A","status":"FAIL"},{"id":"regression/open/B","status":"PASS"}]}]}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if e := read(dir); e.Status != exit.Failed || !strings.HasPrefix(e.Verdict, "FAIL") {
		t.Errorf("%+v", e)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() { done <- isRun(dir) }()
	select {
	case is := <-done:
		if is {
			t.Error("a named pipe is a run")
		}
	case <-time.After(time.Minute):
		t.Error("the list waits for a named pipe")
	}
}

// A results.json that is older than a journal does not tell all.
func TestListNewerJournal(t *testing.T) {
	out, release := outWith(t)
	defer release()
	dir := filepath.Join(out, "2026-11-01T13-00-00")
	j, err := reports.Create(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	j.SpecStarted(reports.Spec{ID: "regression/open", Kernel: "7.2.7-uml-cd961b89"})
	_ = j.Close()
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "journal-1.jsonl"), later, later); err != nil {
		t.Fatal(err)
	}
	if e := read(dir); e.Status != exit.NoVerdict {
		t.Errorf("%+v", e)
	}
}

func names(entries []Entry) (list []string) {
	for _, e := range entries {
		list = append(list, e.Name)
	}
	slices.Sort(list)
	return list
}

func TestPrune(t *testing.T) {
	out, release := outWith(t)
	defer release()
	all, err := List(out)
	if err != nil {
		t.Fatal(err)
	}
	// The newest is the running one, the latest link points to it; a link to
	// an older one is kept, too.
	if err := os.Remove(filepath.Join(out, runs.Latest)); err != nil {
		t.Fatal(err)
	}
	oldest := "2026-11-01T13-00-00"
	if err := os.Symlink(oldest, filepath.Join(out, runs.Latest)); err != nil {
		t.Fatal(err)
	}
	would, err := Prune(out, 0, true)
	if err != nil || len(would) != len(all)-2 {
		t.Errorf("would remove %v, %v", names(would), err)
	}
	if left, _ := List(out); len(left) != len(all) {
		t.Errorf("a dry run removed something: %v", names(left))
	}
	gone, err := Prune(out, 0, false)
	if err != nil || !slices.Equal(names(gone), names(would)) {
		t.Errorf("removed %v, %v", names(gone), err)
	}
	left, _ := List(out)
	if want := []string{oldest, "2026-11-01T19-00-00"}; !slices.Equal(names(left), want) {
		t.Errorf("left %v, want %v", names(left), want)
	}
	for _, other := range []string{"mine", "notes.txt", ".join-123"} {
		if _, err := os.Stat(filepath.Join(out, other)); err != nil {
			t.Error(err)
		}
	}
	if _, err := Prune(out, -1, true); exit.Status(err) != exit.Usage {
		t.Errorf("%v", err)
	}
	if gone, err := Prune(out, 5, false); err != nil || len(gone) != 0 {
		t.Errorf("%v, %v", gone, err)
	}
}

// What others keep beside runs is not ours to list or remove, whatever the names
// of their files and directories.
func TestPruneLeavesOthers(t *testing.T) {
	out := t.TempDir()
	others := map[string]string{
		"plan/plan.json":                 `{"name": "holidays"}`,
		"results/results.json":           `{"tests": 7}`,
		"2026-03-01T12-00-00/photo.jpeg": "x",
		"text/results.json":              "no JSON",
	}
	for name, text := range others {
		path := filepath.Join(out, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// That of a run which was killed before it wrote a line is.
	if err := os.Mkdir(filepath.Join(out, "2026-03-01T12-00-01"), 0o755); err != nil {
		t.Fatal(err)
	}
	if gone, err := Prune(out, 0, false); err != nil || len(gone) != 1 {
		t.Error(names(gone), err)
	}
	for name := range others {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
}

// A kernel that did not come up is refused when the run has its plan already.
func TestListRefusedWithPlan(t *testing.T) {
	dir, err := runs.NewRunDir(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	j, err := reports.Create(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	j.RunStarted(reports.RunStart{Planned: []reports.Planned{{ID: "regression/open", Kernel: "k"}}})
	runs.Refuse(dir, errors.New("kernel k did not come up"))
	j.RunEnded()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if e := read(dir); e.State != Refused || e.Status != exit.NoVerdict || e.Verdict != "kernel k did not come up" {
		t.Errorf("%+v", e)
	}
}

// Kernels that differ in what was added to their command lines are distinguished.
func TestListAppend(t *testing.T) {
	dir, err := runs.NewRunDir(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	j, err := reports.Create(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	j.Kernel(reports.Kernel{ID: "a", Release: "7.2.7"})
	j.Kernel(reports.Kernel{ID: "b", Release: "7.2.7", Append: "quiet"})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if e := read(dir); !slices.Equal(e.Kernels, []string{"7.2.7", "7.2.7,append=quiet"}) {
		t.Errorf("%q", e.Kernels)
	}
}
