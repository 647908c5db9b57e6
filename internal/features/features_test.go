// SPDX-License-Identifier: Apache-2.0

package features

import "testing"

// tree is like the features directory of a kernel: words of several lines, a
// file that says "no", one that is empty.
var tree = map[string]string{
	"domain/stack": "yes", "namespaces/profile": "no\n", "signal/mask": "hup int\nkill", "mount/mask": "umount", "empty": "",
}

func TestHas(t *testing.T) {
	for _, c := range []struct {
		file, word string
		want       bool
	}{
		{"domain/stack", "", true},
		{"domain/stack", "yes", true},
		{"domain/stack", "no", false},
		{"namespaces/profile", "", false},
		{"namespaces/profile", "no", false},
		{"signal/mask", "", true},
		{"signal/mask", "kill", true},
		{"signal/mask", "ki", false},
		{"mount/mask", "mount", false},
		{"empty", "", true},
		{"domain", "", false},
		{"absent", "", false},
	} {
		if got := Has(tree, c.file, c.word); got != c.want {
			t.Errorf("Has(%q, %q) = %t, want %t", c.file, c.word, got, c.want)
		}
	}
}

func TestHasPath(t *testing.T) {
	for path, want := range map[string]bool{
		"domain/stack":       true,
		"namespaces/profile": false,
		"signal":             true, // a directory with a file
		"signal/mask/hup":    true,
		"signal/mask/kill":   true,
		"signal/mask/ki":     false,
		"signal/mask/":       false,
		"sig":                false,
		"mount/mask/mount":   false,
		"absent":             false,
		"":                   false,
		"/":                  false,
	} {
		if got := HasPath(tree, path); got != want {
			t.Errorf("HasPath(%q) = %t, want %t", path, got, want)
		}
	}
}
