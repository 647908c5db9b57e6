// SPDX-License-Identifier: Apache-2.0

// Package features decides whether a kernel has a feature of AppArmor, from the
// files of its features directory (/sys/kernel/security/apparmor/features). It
// reads no file: nsmgr and runs do.
package features

import (
	"slices"
	"strings"
)

// Has reports whether the features, path to content, have a file that contains
// the word. An empty word accepts any content but "no". A directory proves
// nothing: features/dbus exists and is empty on kernels that do not mediate
// D-Bus (7.3).
func Has(features map[string]string, file, word string) bool {
	content, ok := features[file]
	words := strings.Fields(content)
	if !ok || slices.Equal(words, []string{"no"}) {
		return false
	}
	return word == "" || slices.Contains(words, word)
}

// HasPath is [Has] for a feature that is written as one path, as people write
// it: a file ("domain/stack"), a word of a file ("signal/mask/hup"), or a
// directory in which there is a file ("network_v8").
func HasPath(features map[string]string, path string) bool {
	if _, ok := features[path]; ok {
		return Has(features, path, "")
	}
	for file := range features {
		if below, ok := strings.CutPrefix(file, path+"/"); ok && below != "" {
			return true
		}
	}
	i := strings.LastIndexByte(path, '/')
	return i > 0 && i < len(path)-1 && Has(features, path[:i], path[i+1:])
}
