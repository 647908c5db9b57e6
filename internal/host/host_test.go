// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"proofhouse/internal/exit"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "depmod"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if path, err := Find("depmod"); err != nil || path != filepath.Join(dir, "depmod") {
		t.Errorf("%q, %v", path, err)
	}
	_, err := Find("no-such-program")
	if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "apt-get install no-such-program") {
		t.Error(err)
	}
	if err := Need("depmod", "no-a", "no-b"); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "no-a, no-b not found") {
		t.Error(err)
	}
	if Package("xz") != "xz-utils" {
		t.Error(Package("xz"))
	}
}

func TestRun(t *testing.T) {
	if err := Run(t.Context(), "", "sh", "-c", "echo one; echo two >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "two") || strings.Contains(err.Error(), "one") {
		t.Error(err)
	}
	if err := Run(t.Context(), "", "sh", "-c", "echo 'tar: No space left on device'; exit 1"); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if err := Run(t.Context(), "/", "sh", "-c", `test "$PWD" = / && test "$LC_ALL" = C.UTF-8`); err != nil {
		t.Error(err)
	}
	// A program that never stops writing fills no memory.
	if err := Run(t.Context(), "", "sh", "-c", "head -c 50000000 /dev/zero; echo; echo last; exit 1"); err == nil || !strings.Contains(err.Error(), "last") || len(err.Error()) > 100 {
		t.Error(err)
	}
}

func TestCopyFile(t *testing.T) {
	dir := t.TempDir()
	victim, link := filepath.Join(dir, "victim"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(victim, []byte("v"), 0o600), os.Symlink(victim, link)); err != nil {
		t.Fatal(err)
	}
	if err := CopyFile(victim, link, 0o644); err == nil {
		t.Error("a file was written through a link")
	}
	to := filepath.Join(dir, "to")
	if err := CopyFile(victim, to, 0o755); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(to); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("%v %v", fi, err)
	}
	if err := CopyFile(victim, to, 0o755); err == nil {
		t.Error("a file was replaced")
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.WriteFile(file, []byte("1234"), 0o600), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(file, 4); err != nil || string(b) != "1234" {
		t.Errorf("%q %v", b, err)
	}
	for name, max := range map[string]int64{file: 3, fifo: 10, dir: 10, "/dev/zero": 10} {
		if _, err := ReadFile(name, max); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
