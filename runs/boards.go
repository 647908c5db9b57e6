// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/machines"
)

// CheckBoard examines the board of a spec; see machines.CheckBoard.
func CheckBoard(ctx context.Context, spec string, power bool) ([]machines.BoardItem, error) {
	b, err := board(ctx, spec)
	if err != nil {
		return nil, err
	}
	return machines.CheckBoard(ctx, b, agentFor(ctx), rootSize(), power), nil
}

// CleanBoard removes from the board of a spec what runs left there and what they keep,
// and returns what that was.
func CleanBoard(ctx context.Context, spec string) ([]string, error) {
	b, err := board(ctx, spec)
	if err != nil {
		return nil, err
	}
	return machines.CleanBoard(ctx, b, agentFor(ctx))
}

func board(ctx context.Context, spec string) (*kernels.Build, error) {
	b, err := kernels.Resolve(ctx, spec, nil)
	if err == nil && b.Kind != kernels.OnBoard {
		err = exit.BadInputf("%s is not a board", spec)
	}
	return b, err
}

// rootSize is what the largest guest root of the cache takes; 500 MiB if there is
// none yet.
func rootSize() uint64 {
	size := uint64(500 << 20)
	roots, _ := filepath.Glob(filepath.Join(cache.Root(), "images", "*", "root.ext4"))
	for _, r := range roots {
		if st, err := os.Stat(r); err == nil {
			if s, ok := st.Sys().(*syscall.Stat_t); ok {
				size = max(size, uint64(s.Blocks)*512)
			}
		}
	}
	return size
}
