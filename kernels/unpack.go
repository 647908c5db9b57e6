// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"proofhouse/internal/archive"
	"proofhouse/internal/bounded"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// What a kernel's packages and modules may have in all. Modules that are not
// stripped of their debugging information have some 5 GB.
const (
	maxUnpacked = 8 << 30
	maxFiles    = 200_000
)

// limits are for what somebody else packed: no links, as no kernel needs one.
var limits = archive.Options{MaxBytes: maxUnpacked, MaxFiles: maxFiles}

// unpack puts the regular files of a .deb below root. (dpkg-deb --extract leaves
// the writing to a process of its own, which outlives us if we are killed, and
// continues to write into a cache directory that the next run wants to remove.)
func unpack(ctx context.Context, deb, root string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
	}()
	dpkg, err := host.Find("dpkg-deb")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := child.Command(ctx, dpkg, "--fsys-tarfile", deb)
	cmd.Env = host.Env()
	said := bounded.Head{Limit: 4 << 10}
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = archive.Untar(ctx, out, root, limits)
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(out, maxUnpacked)) // what is behind the end
	}
	if err != nil && said.String() == "" {
		cancel() // it may be writing still, and nobody reads
		_ = cmd.Wait()
		return err
	}
	if waitErr := cmd.Wait(); waitErr != nil && said.String() != "" {
		return exit.BadInputf("not a complete .deb: %w", host.With(said.String(), waitErr))
	} else if err == nil {
		err = waitErr
	}
	return err
}

// maxKernel is more than any kernel has bytes, decompressed.
const maxKernel = 512 << 20

// readImage reads a kernel image.
func readImage(path string) ([]byte, error) {
	b, err := host.ReadFile(path, maxKernel)
	if err != nil {
		return nil, exit.BadInputf("read the kernel: %w", err)
	}
	return b, nil
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}
