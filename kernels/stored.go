// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"path/filepath"
	"slices"
	"strings"

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
func CheckStored(spec, dir string) error {
	s, err := parseSpec(spec)
	if err != nil {
		return nil //nolint:nilerr // Resolve refuses it
	}
	why := ""
	switch {
	case spec == "local":
		why = "it is this host"
	case strings.HasPrefix(spec, "ssh://"):
		why = "it is a machine that is not in the directory of boards"
	case strings.HasPrefix(spec, "board:"):
		for _, m := range boardOptionRE.FindAllStringSubmatch(spec, -1) {
			if !slices.Contains(storedOptions, m[1]) {
				why = m[1] + "= is not taken from a run"
				break
			}
		}
	case s.source.form == sources[len(sources)-1].form && (within(dir, s.name) || s.modules != "" && within(dir, s.modules)):
		why = "it is in the directory of the run"
	}
	if why == "" {
		return nil
	}
	return exit.BadInputf("kernel %s is not tested because a stored run names it: %s: give it with --kernel", spec, why)
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
