// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/reports"
)

// Merge joins the runs in dirs, as [reports.Join] does, and returns the directory of
// the joined run: out, or, if that is "", a new one in the directory of all runs,
// which becomes the latest run.
func Merge(out string, attempts bool, dirs []string) (string, error) {
	if out != "" {
		return out, reports.Join(out, attempts, dirs...)
	}
	// Join them before out/latest changes: it may be one of the runs to join,
	// and a refused one must not become out/latest.
	root := DefaultOut()
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", exit.BadInputf("create the directory of runs: %w", err)
	}
	tmp, err := os.MkdirTemp(root, ".merge-")
	if err != nil {
		return "", exit.BadInputf("create the directory of the joined run: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	joined := filepath.Join(tmp, "run")
	if err := reports.Join(joined, attempts, dirs...); err != nil {
		return "", err
	}
	if out, err = NewRunDir(root, time.Now()); err != nil {
		return "", err
	}
	// os.Rename fails if the directory exists; rename(2) replaces an empty one.
	if err := syscall.Rename(joined, out); err != nil {
		return "", fmt.Errorf("move the joined run to %s: %w", out, err)
	}
	return out, nil
}
