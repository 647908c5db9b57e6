// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"proofhouse/internal/exit"
)

func TestEntryIsFilledOnce(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	var fills atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := Entry(context.Background(), "room", "key", func(_ context.Context, dir string) error {
				fills.Add(1)
				return os.WriteFile(filepath.Join(dir, "file"), []byte("whole"), 0o644)
			})
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != "whole" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	wg.Wait()
	if n := fills.Load(); n != 1 {
		t.Errorf("filled %d times", n)
	}
}

func TestEntryIsAbsentAfterFailure(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	broken := errors.New("broken")
	for _, err := range []error{broken, syscall.ENOSPC} {
		_, got := Entry(context.Background(), "room", "key", func(_ context.Context, dir string) error {
			_ = os.WriteFile(filepath.Join(dir, "half"), nil, 0o644)
			return err
		})
		if !errors.Is(got, err) {
			t.Errorf("got %v, want %v", got, err)
		}
		if full := errors.Is(err, syscall.ENOSPC); full != (exit.Status(got) == exit.Usage) {
			t.Errorf("%v has exit status %d", got, exit.Status(got))
		}
	}
	if left, _ := filepath.Glob(filepath.Join(Root(), "room", "*key*")); len(left) != 1 || filepath.Base(left[0]) != ".key.lock" {
		t.Errorf("left: %q", left)
	}
}

// What a process that was killed while it filled an entry leaves is no entry,
// and is gone after the next call.
func TestEntryAfterKill(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	room := filepath.Join(Root(), "room")
	for _, dir := range []string{"key", ".key.new-123", ".another.new-5"} {
		if err := os.MkdirAll(filepath.Join(room, dir, "half"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := Entry(context.Background(), "room", "key", func(context.Context, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "half")); !os.IsNotExist(err) {
		t.Error("the half entry was taken")
	}
	all, _ := os.ReadDir(room)
	for _, e := range all {
		if strings.Contains(e.Name(), ".new-") {
			t.Errorf("left: %s", e.Name())
		}
	}
}

func TestEntryRefusesPaths(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	for _, key := range []string{"", "..", "a/b", ".hidden", "-x", "a b", strings.Repeat("x", 201)} {
		if _, err := Entry(context.Background(), "room", key, func(context.Context, string) error { return nil }); err == nil {
			t.Errorf("%q was taken for a name", key)
		}
	}
}

func TestListAndRemove(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	fill := func(_ context.Context, dir string) error {
		return os.WriteFile(filepath.Join(dir, "file"), make([]byte, 8192), 0o644)
	}
	for _, key := range []string{"b", "a"} {
		if _, err := Entry(context.Background(), "room", key, fill); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(Root(), "run", "machine-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	items, err := List()
	if err != nil || len(items) != 2 || items[0].Key != "a" || items[0].Bytes < 8192 || items[0].Made.IsZero() {
		t.Fatalf("%+v, %v", items, err)
	}
	if err := Remove(context.Background(), items[0]); err != nil {
		t.Fatal(err)
	}
	if items, _ = List(); len(items) != 1 || items[0].Key != "b" {
		t.Errorf("%+v", items)
	}
}
