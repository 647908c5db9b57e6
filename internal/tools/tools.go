// Package tools finds our own programs: those of a build stand beside the
// running one; in a checkout with a Go toolchain they are built on demand.
package tools

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
)

// Static returns the path of the program cmd/NAME, built without cgo so that
// it runs on any guest of this machine's architecture.
func Static(ctx context.Context, name string) (string, error) {
	if path, ok := beside(name); ok {
		return path, nil
	}
	root, err := checkout(ctx)
	if err != nil {
		return "", exit.BadInputf("%s is not beside this program, and cannot be built: %w (make build makes both)", name, err)
	}
	dir := filepath.Join(cache.Root(), "tools")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := cache.Lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	// Go's own build cache knows what has changed; the name tells checkouts
	// apart, and the rename keeps a running user's file whole.
	final := filepath.Join(dir, name)
	tmp, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	built := filepath.Join(tmp, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", built, "./cmd/"+name)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	if err := os.Rename(built, final); err != nil {
		return "", err
	}
	return final, nil
}

// beside looks for the program in the folder of the running one.
func beside(name string) (string, bool) {
	self, err := os.Executable()
	if err != nil {
		return "", false
	}
	path := filepath.Join(filepath.Dir(self), name)
	st, err := os.Stat(path)
	return path, err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// checkout is the root of the source that the working directory lies in.
func checkout(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("no Go toolchain or no module here: %w", err)
	}
	path, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if path != "proofhouse" {
		return "", fmt.Errorf("the working directory lies in module %s", path)
	}
	return dir, nil
}
