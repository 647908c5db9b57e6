// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"proofhouse/internal/cache"
	"proofhouse/internal/child"
	"proofhouse/internal/host"
)

// treeFile is the tar file in a tree's cache entry.
const treeFile = "tree.tar"

// Tree returns the path of a tar file with one directory of the root: what a machine
// that has a root of its own needs of ours. It is made once.
func (r *Root) Tree(ctx context.Context, dir string) (string, error) {
	key := "tree-" + r.Hash[:min(len(r.Hash), 16)]
	entry, err := cache.Entry(ctx, room, key, func(ctx context.Context, into string) error {
		if err := host.Need("debugfs"); err != nil {
			return err
		}
		stage := filepath.Join(into, "stage")
		if err := os.MkdirAll(filepath.Join(stage, filepath.Dir(dir)), 0o755); err != nil {
			return err
		}
		path, err := host.Find("debugfs")
		if err != nil {
			return err
		}
		// Neither path has a blank in it: the cache's may, so it is the working
		// directory.
		cmd := child.Command(ctx, path, "-R", "rdump "+dir+" ."+filepath.Dir(dir), r.Image)
		cmd.Dir, cmd.Env = stage, host.Env()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("read %s of the guest's root: %w: %s", dir, err, lastLine(out, err))
		}
		if err := writeTar(filepath.Join(into, treeFile), nil, map[string]string{dir: filepath.Join(stage, dir)}); err != nil {
			return err
		}
		return os.RemoveAll(stage)
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(entry, treeFile), nil
}
