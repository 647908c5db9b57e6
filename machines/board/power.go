// SPDX-License-Identifier: Apache-2.0

package board

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"proofhouse/internal/bounded"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/kernels"
)

// powerTimeout is how long a power command may take.
const powerTimeout = 2 * time.Minute

// PowerCycle runs the user's command that turns the power off and on again. A command
// that fails is a user error.
func PowerCycle(ctx context.Context, b *kernels.Board) error {
	limited, cancel := context.WithTimeout(ctx, powerTimeout)
	defer cancel()
	cmd := child.Command(limited, b.Power[0], b.Power[1:]...)
	out := &bounded.Head{Limit: 64 << 10}
	cmd.Env = append(os.Environ(), "PROOFHOUSE_BOARD="+b.Name)
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil:
		return exit.BadInputf("%s: the power command %s timed out after %v", b.Name, b.Power[0], powerTimeout)
	case err != nil:
		said := ""
		if t := strings.TrimSpace(out.String()); t != "" {
			said = ": " + lastLine(t)
		}
		return exit.BadInput(fmt.Errorf("%s: the power command %s failed: %w%s", b.Name, b.Power[0], err, said))
	}
	return nil
}
