// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"proofhouse/machines"
)

// DebugLog is the name of the debug log in the directory of its run.
const DebugLog = "debug.log"

// OpenDebug opens the debug log of a run; several processes write to it, each a
// line at a time. Where it is not wanted or cannot be opened, the logger
// discards.
func OpenDebug(wanted bool, dir, process string) (log *slog.Logger, end func()) {
	if !wanted {
		return slog.New(slog.DiscardHandler), func() {}
	}
	f, err := os.OpenFile(filepath.Join(dir, DebugLog), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return slog.New(slog.DiscardHandler), func() {}
	}
	h := slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug})
	return slog.New(h).With("process", process), func() { _ = f.Close() }
}

// Run logs the command and its end.
func (m *bench) Run(ctx context.Context, c machines.Command) (machines.Result, error) {
	begun := time.Now()
	m.log.Debug("command starts", "machine", m.record.ID, "command", strings.Join(c.Args, " "), "deadline", c.Deadline)
	res, err := m.Machine.Run(ctx, c)
	m.log.Debug("command ended", "machine", m.record.ID, "command", c.Args[0], "result", res.String(), "error", err, "took", time.Since(begun))
	return res, err
}

// Sane logs the answer.
func (m *bench) Sane(ctx context.Context) error {
	err := m.Machine.Sane(ctx)
	m.log.Debug("machine examined", "machine", m.record.ID, "error", err)
	return err
}
