// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// fromPath finds the build that a path of the user's names.
func fromPath(ctx context.Context, path string, progress func(string)) (*Build, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
		return nil, exit.BadInputf("no such file or directory")
	case err != nil:
		return nil, exit.BadInputf("read the kernel: %w", err)
	case fi.IsDir():
		return fromTree(ctx, path, progress)
	case !fi.Mode().IsRegular():
		return nil, exit.BadInputf("not a file or directory")
	}
	start, err := readStart(path)
	if err != nil {
		return nil, err
	}
	kind, err := identify(start)
	if err != nil {
		return nil, err
	}
	if kind != fileDeb && fi.Size() > maxKernel {
		return nil, exit.BadInputf("not a kernel: it has %d MiB, and the limit is %d", fi.Size()>>20, maxKernel>>20)
	}
	switch kind {
	case fileDeb:
		return fromDeb(ctx, path, progress)
	case fileELF:
		return fromUML(ctx, path, progress)
	}
	return fromImage(ctx, path)
}

// readKernel describes the image, which is in dir.
func readKernel(ctx context.Context, dir, image string) (record, error) {
	start, err := readStart(image)
	if err != nil {
		return record{}, err
	}
	switch kind, err := identify(start); {
	case err != nil:
		return record{}, err
	case kind == fileBzImage:
		return readBzImage(ctx, dir, image)
	case kind == fileImage:
		return readImageFile(ctx, dir, image)
	}
	return record{}, exit.BadInput(errNoKernel)
}

// fromImage keeps a copy of the image, so that a rebuild during a run does not
// change the kernel under test.
func fromImage(ctx context.Context, path string) (*Build, error) {
	sum, err := cache.SHA256(path)
	if err != nil {
		return nil, exit.BadInputf("read the kernel: %w", err)
	}
	b, err := makeEntry(ctx, key("bzimage", sum[:16]), func(ctx context.Context, dir, _ string) (record, error) {
		image := filepath.Join(dir, "vmlinuz")
		if err := host.CopyFile(path, image, 0o644); err != nil {
			return record{}, err
		}
		r, err := readKernel(ctx, dir, image)
		if err == nil {
			r.Source = path
		}
		return r, err
	})
	if err != nil {
		return nil, err
	}
	b.Source = path
	if b.Config == "" {
		b.Config = configBeside(path, b.Release)
		b.ConfigEdited = filepath.Base(b.Config) == treeConfig && younger(b.Config, path)
	}
	return b, nil
}

// configBeside is the config that belongs to an image by its place: config-REL
// in the same directory, or the .config of the tree that it was built in.
func configBeside(path, release string) string {
	if release == "" {
		return ""
	}
	if c := filepath.Join(filepath.Dir(path), "config-"+release); isFile(c) {
		return c
	}
	// TREE/arch/ARCH/boot/IMAGE
	tree := filepath.Join(filepath.Dir(path), "../../..")
	if r, err := treeRelease(tree); err == nil && r == release && isFile(filepath.Join(tree, treeConfig)) {
		return filepath.Join(tree, treeConfig)
	}
	return ""
}

// readBzImage describes the image, which is in dir, and puts the config that
// it carries beside it.
func readBzImage(ctx context.Context, dir, image string) (record, error) {
	b, err := readImage(image)
	if err != nil {
		return record{}, err
	}
	h, err := parseHeader(b[:min(len(b), maxHeader)])
	if err != nil {
		return record{}, err
	}
	sum, err := cache.SHA256(image)
	if err != nil {
		return record{}, err
	}
	r := record{Build: &Build{
		Kind: BzImage, Arch: "x86_64", Image: image,
		Release: h.release, Version: h.version, SHA256: sum,
	}}
	if h.length == 0 || h.payload+h.length > int64(len(b)) {
		return record{}, exit.BadInputf("the image is cut short: %d bytes of %d", len(b), h.payload+h.length)
	}
	kernel, err := decompress(ctx, b[h.payload:h.payload+h.length])
	if ctx.Err() != nil {
		return record{}, context.Cause(ctx)
	}
	if err != nil {
		return r, nil //nolint:nilerr // it boots all the same; only its config stays unknown
	}
	r.NoAppArmor = !hasAppArmor(kernel)
	if text := embeddedConfig(kernel); text != nil {
		r.Config = filepath.Join(dir, "config")
		if err := os.WriteFile(r.Config, text, 0o644); err != nil {
			return record{}, err
		}
	}
	return r, nil
}

// local is the running kernel.
func local() (*Build, error) {
	release, version, err := uname()
	if err != nil {
		return nil, fmt.Errorf("read the running kernel's release: %w", err)
	}
	b := &Build{Kind: Local, Arch: hostArch(), Release: release, Version: version, Source: "the running kernel"}
	if image := "/boot/vmlinuz-" + release; isFile(image) {
		if sum, err := cache.SHA256(image); err == nil {
			b.Image, b.SHA256 = image, sum
		}
	}
	// The kernel's own word first: another build of the release may have put its
	// config into /boot.
	for _, c := range []string{"/proc/config.gz", "/boot/config-" + release, "/lib/modules/" + release + "/config"} {
		if isFile(c) {
			b.Config = c
			break
		}
	}
	if m := "/lib/modules/" + release; isDir(m) {
		b.Modules = m
	}
	return b, nil
}
