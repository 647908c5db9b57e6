// Package version knows which version of the project a program is of.
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
