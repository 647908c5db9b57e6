// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a hostile process leaves in its directory is removed: directories that
// may not be listed, more levels than there may be open files, and no target of
// a link.
func TestRemoveAll(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "machine")
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(dir, 0o700), os.Symlink(outside, dir+"/link"),
		os.Mkdir(dir+"/.removed-1", 0o700), os.Mkdir(dir+"/hidden", 0o300), os.Mkdir(dir+"/hidden/deeper", 0o300),
		os.Symlink(outside, dir+"/hidden/deeper/link"), os.WriteFile(dir+"/hidden/deeper/file", nil, 0o000),
		os.Mkdir(dir+"/fixed", 0o700), os.Mkdir(dir+"/fixed/child", 0o700), os.Mkdir(dir+"/fixed/child/x", 0o700), os.Chmod(dir+"/fixed/child", 0o500), os.Chmod(dir+"/fixed", 0o500))
	for i := range 3000 {
		must(os.WriteFile(fmt.Sprintf("%s/file-%d", dir, i), nil, 0o600))
	}

	// A tree that is deeper than the descriptors reach.
	var old unix.Rlimit
	must(unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	const depth = 1000
	at, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(err)
	for range depth {
		must(unix.Mkdirat(at, "d", 0o700))
		next, err := unix.Openat(at, "d", unix.O_PATH|unix.O_CLOEXEC, 0)
		must(err, unix.Close(at))
		at = next
	}
	must(unix.Close(at))
	must(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: depth / 2, Max: old.Max}))
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }()

	if err := removeAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Errorf("what a link pointed to: %v", err)
	}
	if err := removeAll(dir); err != nil {
		t.Errorf("again: %v", err)
	}
}
