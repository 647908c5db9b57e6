// SPDX-License-Identifier: Apache-2.0

// Package version reports the version that a program was built from.
package version

import (
	"cmp"
	"runtime/debug"
)

// String is the module's version, or the commit for a build from a checkout,
// or "(devel)".
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && (v == "" || v == "(devel)") {
			v = s.Value[:12]
		}
	}
	return cmp.Or(v, "(devel)")
}

// linked is the commit where the linker was told (make build): Go itself does
// not know it in a linked worktree of git.
var linked string

// Commit is the commit that the program was built from, with ", modified" where
// the checkout had other changes; "" if it is unknown.
func Commit() string {
	if linked != "" {
		return linked
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return commit(info.Settings)
}

func commit(settings []debug.BuildSetting) (c string) {
	modified := false
	for _, s := range settings {
		switch s.Key {
		case "vcs.revision":
			c = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	if c != "" && modified {
		c += ", modified"
	}
	return c
}
