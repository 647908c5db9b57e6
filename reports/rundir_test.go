// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"proofhouse/internal/exit"
)

// foreign is the directory of a run that came from somebody else, beside one
// whose files it may not reach.
func foreign(t *testing.T) (dir, victim string) {
	t.Helper()
	top := t.TempDir()
	dir, victim = filepath.Join(top, "part"), filepath.Join(top, "good")
	for _, d := range []string{dir, victim} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(dir, "journal-1.jsonl"), beginning+specBegin+specEnd("", result("A", "PASS"))+ending)
	for _, f := range []string{ResultsFile, JUnitFile, ConsoleFile, "index.html", "console-1.log"} {
		put(t, filepath.Join(victim, f), "the baseline\n")
	}
	return dir, victim
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// untouched checks that no file of the victim changed or was added.
func untouched(t *testing.T, victim string) {
	t.Helper()
	entries, err := os.ReadDir(victim)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 5 {
		t.Errorf("%d files in the other directory", len(entries))
	}
	for _, e := range entries {
		if b, _ := os.ReadFile(filepath.Join(victim, e.Name())); string(b) != "the baseline\n" {
			t.Errorf("%s was written: %.100q", e.Name(), b)
		}
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

// TestWriteThroughLinks has links in every place that reports are written to.
func TestWriteThroughLinks(t *testing.T) {
	t.Run("the kernel's directory", func(t *testing.T) {
		for _, to := range []string{"../good", ".", "other"} {
			dir, victim := foreign(t)
			if err := os.Mkdir(filepath.Join(dir, "other"), 0o755); err != nil {
				t.Fatal(err)
			}
			link(t, to, filepath.Join(dir, "k1"))
			if _, _, err := Write(dir); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "k1") {
				t.Errorf("%s: %v", to, err)
			}
			untouched(t, victim)
			if left, _ := os.ReadDir(filepath.Join(dir, "other")); len(left) > 0 {
				t.Errorf("%s: written through the link: %v", to, left)
			}
		}
	})
	t.Run("the files", func(t *testing.T) {
		dir, victim := foreign(t)
		if err := os.Mkdir(filepath.Join(dir, "k1"), 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, "k1", "console-2.log"), "its own\n")
		for _, f := range []string{ResultsFile, JUnitFile} {
			link(t, "../good/"+f, filepath.Join(dir, f))
			link(t, "../../good/"+f, filepath.Join(dir, "k1", f))
		}
		link(t, "../../good/"+ConsoleFile, filepath.Join(dir, "k1", ConsoleFile))
		link(t, "../../good/console-1.log", filepath.Join(dir, "k1", "console-1.log"))
		if _, _, err := Write(dir); err != nil {
			t.Fatal(err)
		}
		untouched(t, victim)
		b, err := os.ReadFile(filepath.Join(dir, "k1", ConsoleFile))
		if err != nil || strings.Contains(string(b), "baseline") || !strings.Contains(string(b), "its own") || !strings.Contains(string(b), "console-1.log is not a regular file") {
			t.Errorf("console: %v %q", err, b)
		}
	})
	t.Run("the journal", func(t *testing.T) {
		dir, victim := foreign(t)
		link(t, "../good/"+ResultsFile, filepath.Join(dir, "journal-2.jsonl"))
		if _, err := Read(dir); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("read: %v", err)
		}
		if j, err := Create(dir, 2); err == nil {
			_ = j.Close()
			t.Error("a journal was continued through a link")
		}
		untouched(t, victim)
	})
}

// TestJoinThroughLinks joins a directory that has links in the places from
// which files are copied.
func TestJoinThroughLinks(t *testing.T) {
	dir, victim := foreign(t)
	if err := os.MkdirAll(filepath.Join(dir, "k1", "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	link(t, "../../good", filepath.Join(dir, "k1", "linked"))
	link(t, "../../../good/"+ResultsFile, filepath.Join(dir, "k1", "scripts", "open.log"))
	link(t, "../good/"+ResultsFile, filepath.Join(dir, "plan.json"))
	out := filepath.Join(t.TempDir(), "joined")
	if err := Join(out, false, dir); err != nil {
		t.Fatal(err)
	}
	_ = filepath.WalkDir(out, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if b, _ := os.ReadFile(path); strings.Contains(string(b), "baseline") {
			t.Errorf("%s was copied through a link", path)
		}
		return nil
	})
	untouched(t, victim)
}

// TestOtherFiles has FIFOs and directories where files are read: nothing waits
// for them.
func TestOtherFiles(t *testing.T) {
	dir, _ := foreign(t)
	fifo := filepath.Join(dir, "journal-2.jsonl")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := Read(dir)
		done <- err
	}()
	select {
	case err := <-done:
		if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for the FIFO")
	}
	if IsFile(dir, "journal-2.jsonl") || !IsFile(dir, "journal-1.jsonl") || IsFile(dir, ".") || IsFile(dir, "../part/journal-1.jsonl") || IsFile(dir, "/etc/passwd") {
		t.Error("IsFile")
	}
	put(t, filepath.Join(dir, "journal-01.jsonl"), beginning)
	_ = os.Remove(fifo)
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "same process") {
		t.Errorf("two journals of one process: %v", err)
	}
}

// TestSizes has files that claim to be larger than anything that a run writes.
func TestSizes(t *testing.T) {
	dir, _ := foreign(t)
	huge := func(name string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(1<<40), f.Close()); err != nil { // sparse
			t.Fatal(err)
		}
	}
	huge("results.json")
	if _, err := Open(filepath.Join(dir, "results.json")); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("results.json: %v", err)
	}
	huge("journal-2.jsonl")
	if _, err := Read(dir); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("journal: %v", err)
	}
}
