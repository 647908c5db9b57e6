// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"proofhouse/internal/apt"
	"proofhouse/internal/archive"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// sourcePackage is Debian's package with the source of the kernel that the table
// is for, and sourceSuites are the suites that may have it.
const sourcePackage = "linux-source-7.3"

var sourceSuites = []string{"trixie-backports", "forky", "sid"}

// sourceLimits are what a kernel's source may have when it is unpacked: that of
// 7.3 has 1.7 GB in 95,000 files.
var sourceLimits = archive.Options{MaxBytes: 8 << 30, MaxFiles: 400_000, Symlinks: true}

// Source fetches Debian's source of the kernel that the table is for, unpacks it in
// dir and plants the faults. It returns the tree. A tree that is already there,
// with its faults, stays as it is.
func Source(ctx context.Context, dir string, progress func(string)) (tree string, err error) {
	faults, err := Table()
	if err != nil {
		return "", err
	}
	tree = filepath.Join(dir, sourcePackage)
	if _, err := os.Stat(filepath.Join(tree, apparmorDir, "mutant.c")); err == nil {
		return tree, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", exit.BadInputf("look for a kernel source tree: %w", err)
	}
	if err := host.Need("dpkg-deb", "tar", "xz"); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", exit.BadInputf("make the directory of the kernel source: %w", err)
	}
	tmp, err := os.MkdirTemp(dir, ".unpack-")
	if err != nil {
		return "", exit.BadInputf("make a directory for the kernel source: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	a, err := apt.Open(ctx, progress)
	if err != nil {
		return "", err
	}
	suite, version, err := a.Find(ctx, sourcePackage, sourceSuites...)
	if err != nil {
		return "", err
	}
	deb, err := a.Download(ctx, suite, sourcePackage, version, tmp)
	if err != nil {
		return "", err
	}
	progress("unpacking " + sourcePackage + " " + version)
	if err := host.Run(ctx, tmp, "dpkg-deb", "--extract", deb, tmp); err != nil {
		return "", fmt.Errorf("unpack %s: %w", sourcePackage, err)
	}
	if err := archive.UntarFile(ctx, filepath.Join(tmp, "usr/src", sourcePackage+".tar.xz"), filepath.Join(tmp, "tree"), sourceLimits); err != nil {
		return "", fmt.Errorf("unpack %s: %w", sourcePackage, err)
	}
	made := filepath.Join(tmp, "tree", sourcePackage)
	if err := Plant(made, faults); err != nil {
		return "", err
	}
	if err := os.Rename(made, tree); err != nil {
		return "", exit.BadInputf("put the kernel source in its place: %w (remove an incomplete %s)", err, tree)
	}
	return tree, nil
}
