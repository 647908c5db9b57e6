// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"path/filepath"
	"slices"

	"proofhouse/internal/exit"
)

// storedOptions are the options of a board that a stored spec may have: none of
// them runs a program on this host, and none writes anywhere else on the board.
var storedOptions = []string{"root", "reboot_wait", "reboot"}

// CheckStored refuses a spec that was read from the run in dir, which somebody else
// may have written, if it would run a program on this host (console=exec:, power=,
// a ProxyCommand of ssh_config=, the Makefile of a tree in dir), or test what only
// the user may name: this host, or a machine that is not among the user's boards.
// The error says how to name it.
func CheckStored(text, dir string) error {
	s, err := parseSpec(text)
	if err != nil {
		return nil //nolint:nilerr // Resolve refuses it
	}
	why := "its source is not taken from a run"
	if s.source.stored != nil {
		why = s.source.stored(s, dir)
	}
	if why == "" {
		return nil
	}
	return exit.BadInputf("kernel %s is not tested because a stored run names it: %s: give it with --kernel", text, why)
}

// fetched is for what Debian signs.
func fetched(spec, string) string { return "" }

func storedBoard(s spec, _ string) string {
	for _, m := range boardOptionRE.FindAllStringSubmatch(s.name, -1) {
		if !slices.Contains(storedOptions, m[1]) {
			return m[1] + "= is not taken from a run"
		}
	}
	return ""
}

func storedPath(s spec, dir string) string {
	if within(dir, s.name) || s.modules != "" && within(dir, s.modules) {
		return "it is in the directory of the run"
	}
	return ""
}

// within reports whether the path is in the directory, whatever links there are.
func within(dir, path string) bool {
	for _, p := range []*string{&dir, &path} {
		if abs, err := filepath.Abs(*p); err == nil {
			*p = abs
		}
		if real, err := filepath.EvalSymlinks(*p); err == nil {
			*p = real
		}
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
