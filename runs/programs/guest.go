// SPDX-License-Identifier: Apache-2.0

package programs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"proofhouse/images"
	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
)

// ErrNoSource is the error of a host that cannot build for a guest, as it has no
// source or no Go toolchain.
var ErrNoSource = errors.New("building for a guest needs the source and a Go toolchain")

// Guest returns the path of cmd/NAME, built for a guest root, with cgo, against
// the libc and liblxc of the root. It is built once for the same source and
// root.
func Guest(ctx context.Context, root *images.Root, name string) (string, error) {
	return forGuest(ctx, root, name, "build", "-ldflags=-s -w", "./cmd/"+name)
}

// GuestTest returns the path of the compiled tests of a package, such as
// "containers", built as [Guest] does.
func GuestTest(ctx context.Context, root *images.Root, pkg string) (string, error) {
	return forGuest(ctx, root, filepath.Base(pkg)+".test", "test", "-c", "./"+pkg)
}

func forGuest(ctx context.Context, root *images.Root, name string, args ...string) (string, error) {
	source, err := sourceRoot()
	if err != nil {
		return "", err
	}
	sum, err := sourceSum(source, args)
	if err != nil {
		return "", fmt.Errorf("read the source in %s: %w", source, err)
	}
	of := fmt.Sprintf("%x", sha256.Sum256([]byte(source)))[:12]
	dir := filepath.Join(cache.Root(), "tools", of, root.Suite+"-"+root.Hash[:16]) // the hash depends on the architecture
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := cache.Lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	final := filepath.Join(dir, name)
	if b, err := os.ReadFile(final + ".sum"); err == nil && string(b) == sum {
		if _, err := os.Stat(final); err == nil {
			return final, nil
		}
	}
	tmp, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	b, err := goBuild(ctx, source, tmp, root)
	if err != nil {
		return "", err
	}
	built := filepath.Join(tmp, name)
	b.Args = slices.Concat(b.Args, args[:1], []string{"-o", built, "-trimpath", "-buildvcs=false", "-tags=lxc"}, args[1:])
	if err := root.Run(ctx, b); err != nil {
		return "", fmt.Errorf("build %s for guest %s: %w", name, root.Suite, err)
	}
	_ = os.Remove(final + ".sum")
	if err := os.Rename(built, final); err != nil {
		return "", err
	}
	return final, os.WriteFile(final+".sum", []byte(sum), 0o644)
}

// goBuild returns the go command to run in the root: that of this host, with its
// build cache and module cache.
func goBuild(ctx context.Context, source, tmp string, root *images.Root) (images.Build, error) {
	// A build without cgo does not fetch what only cgo needs.
	fetch := exec.CommandContext(ctx, "go", "mod", "download", "github.com/lxc/go-lxc")
	fetch.Dir = source
	if out, err := fetch.CombinedOutput(); err != nil {
		return images.Build{}, exit.BadInputf("fetch the module go-lxc: %w: %s", err, out)
	}
	ask := exec.CommandContext(ctx, "go", "env", "-json", "GOROOT", "GOCACHE", "GOMODCACHE")
	ask.Dir = source
	out, err := ask.Output()
	if err != nil {
		return images.Build{}, fmt.Errorf("run go env: %w", err)
	}
	var env struct{ GOROOT, GOCACHE, GOMODCACHE string }
	if err := json.Unmarshal(out, &env); err != nil {
		return images.Build{}, fmt.Errorf("run go env: %w", err)
	}
	return images.Build{
		Args: []string{filepath.Join(env.GOROOT, "bin", "go"), "-C", source},
		See:  []string{env.GOROOT, env.GOCACHE, env.GOMODCACHE, source, tmp},
		Env: []string{
			"CGO_ENABLED=1", "CC=gcc", "GOARCH=" + root.Arch,
			// Go's build cache depends on the compiler, but not on its headers:
			// the root's hash separates the objects of different roots.
			"CGO_CFLAGS=-g -O2 -DPROOFHOUSE_ROOT=0x" + root.Hash[:16],
			"GOROOT=" + env.GOROOT, "GOCACHE=" + env.GOCACHE, "GOMODCACHE=" + env.GOMODCACHE,
			"GOPROXY=off", "GOFLAGS=-mod=readonly", "GOTOOLCHAIN=local", "GOENV=off",
			"HOME=" + tmp, "TMPDIR=" + tmp,
		},
	}, nil
}

// sourceRoot returns the checkout that contains this program or the working
// directory.
func sourceRoot() (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", exit.BadInput(ErrNoSource)
	}
	var from []string
	if self, err := os.Executable(); err == nil {
		from = append(from, filepath.Dir(self))
	}
	if dir, err := os.Getwd(); err == nil {
		from = append(from, dir)
	}
	for _, dir := range from {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if b, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(b), "module proofhouse\n") {
				return filepath.EvalSymlinks(dir)
			}
		}
	}
	return "", exit.BadInput(ErrNoSource)
}

// sourceSum returns a hash of everything that the go command may read in a
// checkout, and of its arguments.
func sourceSum(source string, args []string) (string, error) {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q\n", args)
	err := filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != source && d.IsDir() {
			switch base := d.Name(); {
			case base == "testdata", base == "docs", strings.HasPrefix(base, "."), path == filepath.Join(source, "bin"), path == filepath.Join(source, "out"):
				return fs.SkipDir
			}
		}
		if !d.Type().IsRegular() || filepath.Ext(path) == ".md" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(h, "%q %x\n", strings.TrimPrefix(path, source), sha256.Sum256(b))
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}
