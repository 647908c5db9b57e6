// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"proofhouse/internal/cache"
)

// runDir is the private directory of one machine. It is locked while the machine
// is running, so that the next start recognises what a killed process left.
type runDir struct {
	path string
	// guest is the part that the machine's own process may write to.
	guest string
	// memory is a directory on tmpfs that it may write to, too; guest where
	// the host has none.
	memory string
	unlock func()
}

// runRoom is the directory of the cache that holds them.
const runRoom = "run"

// shm is where the C library puts POSIX shared memory: a tmpfs (shm_overview(7)).
const shm = "/dev/shm"

// memoryPrefix and memoryLink name a machine's directory in shm, and the link to
// it in the machine's directory, out of its process's reach.
const (
	memoryPrefix = "proofhouse-"
	memoryLink   = "memory"
)

func newRunDir(ctx context.Context) (_ *runDir, err error) {
	parent := filepath.Join(cache.Root(), runRoom)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("create the directory of running machines: %w", err)
	}
	sweep(ctx, parent)
	// The parent's lock keeps a sweep from removing the directory before it is
	// locked itself.
	release, err := cache.Lock(ctx, filepath.Join(parent, ".lock"))
	if err != nil {
		return nil, err
	}
	defer release()
	path, err := os.MkdirTemp(parent, "machine-")
	if err != nil {
		return nil, fmt.Errorf("create a machine's directory: %w", err)
	}
	d := &runDir{path: path, guest: filepath.Join(path, "guest"), unlock: func() {}}
	defer func() {
		if err != nil {
			_ = d.remove()
		}
	}()
	if err := os.Mkdir(d.guest, 0o700); err != nil {
		return nil, fmt.Errorf("create a machine's directory: %w", err)
	}
	if d.unlock, err = cache.Lock(ctx, filepath.Join(path, ".lock")); err != nil {
		d.unlock = func() {}
		return nil, err
	}
	d.memory = d.guest
	if m, err := os.MkdirTemp(shm, memoryPrefix); err == nil {
		d.memory = m
		if err := os.Symlink(m, filepath.Join(path, memoryLink)); err != nil {
			return nil, fmt.Errorf("create a machine's directory: %w", err)
		}
	}
	return d, nil
}

// sweep removes the directories of machines whose process has ended.
func sweep(ctx context.Context, parent string) {
	release, err := cache.Lock(ctx, filepath.Join(parent, ".lock"))
	if err != nil {
		return
	}
	defer release()
	dirs, _ := filepath.Glob(filepath.Join(parent, "machine-*"))
	for _, d := range dirs {
		now, cancel := context.WithTimeout(ctx, time.Nanosecond)
		if unlock, err := cache.Lock(now, filepath.Join(d, ".lock")); err == nil {
			removeMemory(d)
			_ = removeAll(d)
			unlock()
		}
		cancel()
	}
}

// removeMemory removes the directory in shm of the machine in dir.
func removeMemory(dir string) {
	target, err := os.Readlink(filepath.Join(dir, memoryLink))
	if err == nil && filepath.Dir(target) == shm && strings.HasPrefix(filepath.Base(target), memoryPrefix) {
		_ = removeAll(target)
	}
}

// remove removes the directory; nil is a machine without one.
func (d *runDir) remove() error {
	if d == nil {
		return nil
	}
	removeMemory(d.path)
	if d.memory != "" && d.memory != d.guest {
		_ = removeAll(d.memory)
	}
	err := removeAll(d.path)
	d.unlock()
	return err
}
