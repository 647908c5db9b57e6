// SPDX-License-Identifier: Apache-2.0

// Package programs finds our own programs. Those of a build are in the directory
// of the running program; in a checkout with a Go toolchain they are built on
// demand. Host programs of others are not its subject.
package programs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"proofhouse/internal/cache"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
)

// Static returns the path of the program cmd/NAME for an architecture, as Go and
// Debian name it ("arm64"). It is built without cgo: it runs on any guest of the
// architecture.
func Static(ctx context.Context, name, arch string) (string, error) {
	return program(ctx, name, arch, "build", "-trimpath", "-ldflags=-s -w", "./cmd/"+name)
}

// Suite returns the path of the compiled suite.
func Suite(ctx context.Context) (string, error) {
	return program(ctx, "suite.test", runtime.GOARCH, "test", "-c", "-trimpath", "./suite")
}

// Ginkgo returns the path of the ginkgo program, of the version that the suite is
// compiled with.
func Ginkgo(ctx context.Context) (string, error) {
	return program(ctx, "ginkgo", runtime.GOARCH, "build", "-trimpath", "github.com/onsi/ginkgo/v2/ginkgo")
}

// program finds the program, or builds it with the go command. args are the
// arguments of go, without -o.
func program(ctx context.Context, name, arch string, args ...string) (string, error) {
	inside := filepath.Join(directory(arch), name)
	if path, ok := beside(inside); ok {
		return path, nil
	}
	root, err := checkout(ctx)
	if err != nil {
		how := "make build builds both"
		if arch != runtime.GOARCH {
			how = "make build ARCH=" + arch + " builds it"
		}
		return "", exit.BadInputf("%s not found in the directory of this program, and it cannot be built: %w (%s)", inside, err, how)
	}
	// Each checkout has its own directory: their sources differ.
	dir := filepath.Join(cache.Root(), "tools", fmt.Sprintf("%x", sha256.Sum256([]byte(root)))[:12], directory(arch))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := cache.Lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	tmp, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	// Go's build cache knows what has changed. The rename is atomic, for processes
	// that run the file.
	built, final := filepath.Join(tmp, name), filepath.Join(dir, name)
	cmd := child.Command(ctx, "go", slices.Concat(args[:1], []string{"-o", built}, args[1:])...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return final, os.Rename(built, final)
}

// directory is where programs of an architecture are, in the directory of our
// programs: those of this host's are in it, others in a directory of their own.
func directory(arch string) string {
	if arch == runtime.GOARCH {
		return ""
	}
	return arch
}

// beside looks for the program in the directory of the running one.
func beside(name string) (string, bool) {
	self, err := os.Executable()
	if err != nil {
		return "", false
	}
	path := filepath.Join(filepath.Dir(self), name)
	st, err := os.Stat(path)
	return path, err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// checkout returns the root of the source that contains the working directory.
func checkout(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("no Go toolchain, or the working directory is not in a module: %w", err)
	}
	path, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if path != "proofhouse" {
		return "", fmt.Errorf("the working directory is in module %s, not proofhouse", path)
	}
	return dir, nil
}
