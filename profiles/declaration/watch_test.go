// SPDX-License-Identifier: Apache-2.0

package declaration

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// watcherOf returns a watcher of a directory with these files.
func watcherOf(t *testing.T, files map[string]string) (w *Watcher, dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		put(t, filepath.Join(dir, name), text)
	}
	w, err := NewWatcher(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	// A poll would hide a notification that is missing.
	w.Settle, w.Poll = 50*time.Millisecond, time.Hour
	return w, dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// names reads and returns the declared names, or the error.
func (w *Watcher) namesNow(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, wanted, err := w.Read(ctx, nil)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("the reading timed out")
	}
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, one := range wanted {
		names = append(names, string(one.Name))
	}
	return strings.Join(names, " ")
}

// changed waits for a change.
func (w *Watcher) changed(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := w.Wait(ctx, nil, nil); err != nil {
		t.Fatalf("no change was noticed: %v", err)
	}
}

const web, db = "namespaces: [{name: web}]\n", "namespaces: [{name: db}]\n"

func TestWatchFiles(t *testing.T) {
	w, dir := watcherOf(t, map[string]string{"a.yaml": web})
	expect := func(want string) {
		t.Helper()
		if got := w.namesNow(t); !strings.Contains(got, want) || want == "" && got != "" {
			t.Fatalf("read %q, want %q", got, want)
		}
	}
	expect("web")
	for _, s := range []struct {
		what string
		do   func()
		want string
	}{
		{"a new file", func() { put(t, filepath.Join(dir, "b.yaml"), db) }, "web db"},
		{"a bad file", func() { put(t, filepath.Join(dir, "b.yaml"), "namespaces:\n- nome: x\n") }, "b.yaml, document 1"},
		{"a file cut off", func() { put(t, filepath.Join(dir, "b.yaml"), "") }, "declares nothing"},
		{"a good one", func() { put(t, filepath.Join(dir, "b.yaml"), db) }, "web db"},
		{"a removed file", func() { _ = os.Remove(filepath.Join(dir, "a.yaml")) }, "db"},
		{"a FIFO", func() { _ = syscall.Mkfifo(filepath.Join(dir, "c.yaml"), 0o600) }, "c.yaml is not a regular file"},
		{"no FIFO", func() { _ = os.Remove(filepath.Join(dir, "c.yaml")) }, "db"},
		{"a policy that is a FIFO", func() {
			put(t, filepath.Join(dir, "b.yaml"), "namespaces: [{name: db, profiles: [fifo]}]\n")
			_ = syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600)
		}, "is not a regular file"},
		{"a directory that is gone", func() { _ = os.RemoveAll(dir) }, "no such file or directory"},
		{"a directory that is back", func() { _ = os.Mkdir(dir, 0o755); put(t, filepath.Join(dir, "a.yaml"), web) }, "web"},
		{"a removed last file", func() { _ = os.Remove(filepath.Join(dir, "a.yaml")) }, ""},
	} {
		go s.do() // while Wait listens, or before
		w.changed(t)
		// Two operations can be two changes.
		for end := time.Now().Add(time.Minute); ; {
			got := w.namesNow(t)
			if strings.Contains(got, s.want) && (s.want != "" || got == "") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("after %s: read %q, want %q", s.what, got, s.want)
			}
		}
	}
}

// Kubernetes replaces the files of a ConfigMap by one rename of a link.
func TestWatchConfigMap(t *testing.T) {
	w, dir := watcherOf(t, nil)
	for _, v := range []struct{ name, text string }{{"..1", web}, {"..2", db}} {
		if err := os.Mkdir(filepath.Join(dir, v.name), 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, v.name, "site.yaml"), v.text)
	}
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..1", "..data")
	link("..data/site.yaml", "site.yaml")
	if got := w.namesNow(t); got != "web" {
		t.Fatalf("read %q", got)
	}
	link("..2", "..data_tmp")
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	w.changed(t)
	if got := w.namesNow(t); got != "db" {
		t.Fatalf("after the swap: read %q", got)
	}
}

// A file that is valid when it is half written must not be read: the namespaces that
// are yet to come would be deleted.
func TestWatchHalfWritten(t *testing.T) {
	w, dir := watcherOf(t, map[string]string{"a.yaml": web})
	if got := w.namesNow(t); got != "web" {
		t.Fatalf("read %q", got)
	}
	f, err := os.Create(filepath.Join(dir, "a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("namespaces:\n- name: db\n"); err != nil {
		t.Fatal(err)
	}
	if !beingWritten(f.Name()) {
		t.Skip("this file system has no leases")
	}
	w.changed(t)
	w.Poll = 0 // so that Waiting is called at once
	waiting := make(chan string, 1)
	w.Waiting = func(reason string) { waiting <- reason }
	read := make(chan string)
	go func() { read <- w.namesNow(t) }()
	select {
	case got := <-read:
		t.Fatalf("read %q while it was being written", got)
	case reason := <-waiting:
		if !strings.Contains(reason, "a.yaml is open for writing") {
			t.Errorf("waits because %s", reason)
		}
	}
	if _, err := f.WriteString("- name: web\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "db web" {
		t.Fatalf("read %q, want both", got)
	}
}

// A declaration that becomes a FIFO after the watch began must not block it.
func TestWatchFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "site.yaml")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := NewWatcher(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	w.Settle = time.Millisecond
	read := make(chan error, 1)
	go func() { _, _, err := w.Read(t.Context(), nil); read <- err }()
	select {
	case err := <-read:
		if err == nil || !strings.Contains(err.Error(), "is not a regular file") {
			t.Errorf("read a FIFO: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the reading waits for the writer of a FIFO")
	}
}

// An editor's swap file in a directory of policy is open for writing as long as the
// editor runs. It is not read, and must not delay the others.
func TestWatchIgnoresUnreadFiles(t *testing.T) {
	w, dir := watcherOf(t, map[string]string{"a.yaml": web})
	policy := filepath.Join(dir, "policy")
	if err := os.Mkdir(policy, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(policy, ".web.swp"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	w.names = []string{policy}
	before, busy := w.state()
	if busy != "" {
		t.Errorf("busy because %s", busy)
	}
	if _, err := f.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if after, _ := w.state(); after != before {
		t.Errorf("a file that is not read changed the state:\n%s\n%s", before, after)
	}
}
