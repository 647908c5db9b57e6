// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWithoutAdoption(t *testing.T) {
	const lines = "lxc.apparmor.profile = host-ct//&:c1:container\n"
	for text, want := range map[string]string{
		"a = 1\n" + adoptBegin + lines + adoptEnd:                                 "a = 1\n",
		"a = 1\n" + adoptBegin + lines + adoptEnd + "b = 2\n":                     "a = 1\nb = 2\n",
		adoptBegin + adoptEnd:                                                     "",
		adoptBegin + lines + adoptEnd + "a = 1\n" + adoptBegin + lines + adoptEnd: "a = 1\n",
	} {
		if got, ok := withoutAdoption(text); !ok || got != want {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "a = 1\n" + lines, adoptBegin + lines, adoptEnd + adoptBegin, adoptBegin + adoptEnd + adoptBegin} {
		if got, ok := withoutAdoption(text); ok || got != text {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
}

// A configuration keeps its mode, and no other file is left beside it.
func TestReplaceConfig(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := replaceConfig(path, []byte("old"), []byte("new")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	info, statErr := os.Stat(path)
	list, listErr := os.ReadDir(dir)
	if err != nil || statErr != nil || listErr != nil || string(b) != "new" || info.Mode().Perm() != 0o640 || len(list) != 1 {
		t.Errorf("%q, %v, %v", b, info.Mode(), list)
	}
}

// The owner of a configuration must not get the content of another file that the
// path named before, and an edit made meanwhile is not lost.
func TestReplaceConfigChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	for _, now := range []string{"", "edited", "old and more"} {
		if err := os.WriteFile(path, []byte(now), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := replaceConfig(path, []byte("old"), []byte("new")); err == nil {
			t.Errorf("%q was replaced", now)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != now {
			t.Errorf("%q became %q, %v", now, b, err)
		}
	}
}
