// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"os/exec"

	"proofhouse/internal/sandbox"
)

// Unconfined lets machines start without a sandbox until restore is called: for
// the measurement of what it costs.
func Unconfined() (restore func()) {
	confined := confine
	confine = func(s sandbox.Spec, ctx context.Context, args ...string) (*exec.Cmd, error) {
		return exec.CommandContext(ctx, s.Program, args...), nil
	}
	return func() { confine = confined }
}
