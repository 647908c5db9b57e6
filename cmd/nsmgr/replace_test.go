// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A device, a FIFO or a link to one must stay what it is: "--output /dev/null" would
// make a regular file of it.
func TestReplaceRefusesDevices(t *testing.T) {
	dir := t.TempDir()
	fifo, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	write := func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }
	for _, path := range []string{fifo, link, dir} {
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, replace := range map[string]func(string, func(io.Writer) error) error{"file": replaceFile, "public": replacePublic} {
			if err := replace(path, write); err == nil {
				t.Errorf("%s: %s was replaced", name, path)
			}
			if after, err := os.Lstat(path); err != nil || after.Mode().Type() != before.Mode().Type() {
				t.Errorf("%s: %s has changed: %v, %v", name, path, after, err)
			}
		}
	}
	regular := filepath.Join(dir, "regular")
	for range 2 {
		if err := replacePublic(regular, write); err != nil {
			t.Error(err)
		}
	}
}
