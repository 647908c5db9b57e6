// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"slices"
	"strconv"

	"proofhouse/internal/exit"
)

//go:embed sysroot.sh
var sysrootScript string

// A Build is a command that builds something for a root.
type Build struct {
	Args []string // the program by its path, and its arguments
	Env  []string // all of its environment
	See  []string // directories of this host that it sees, at the paths they have here
}

// Run runs the build in the root's build directory, where the compiler and the
// libraries are those of the root. Nothing else of this host is there but
// /dev, /proc and what b says. The error has what the command said.
func (r *Root) Run(ctx context.Context, b Build) error {
	if st, err := os.Stat(r.Sysroot); err != nil || !st.IsDir() {
		return exit.BadInputf("guest %s has no build directory, as it was built by an older proofhouse: run proofhouse cache clean", r.Suite)
	}
	a := archOf(r.Arch)
	if a == nil {
		return fmt.Errorf("guest root %s: unknown architecture %q", r.Suite, r.Arch)
	}
	box, err := foreignSandbox(ctx, *a, func(string) {})
	if err != nil {
		return err
	}
	words := slices.Concat([]string{"sh", "-c", sysrootScript, "sh", r.Sysroot, strconv.Itoa(len(b.See))}, b.See, b.Args)
	cmd := box.run(ctx, words...)
	cmd.Env = append(slices.Clone(b.Env), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
