// SPDX-License-Identifier: Apache-2.0

// Package cache keeps what is expensive to make (fetched kernels, guest roots,
// built test helpers) under the user's cache directory. An entry is a directory that
// is complete or absent: it is filled in a temporary directory beside
// its place, under a lock, and renamed when it is done.
//
//	dir, err := cache.Entry(ctx, "kernels", key, func(ctx context.Context, dir string) error {
//		return download(ctx, dir)
//	})
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"proofhouse/internal/exit"

	"golang.org/x/sys/unix"
)

// stamp is the file that a complete entry holds.
const stamp = ".proofhouse"

// Root is the cache directory: PROOFHOUSE_CACHE, or proofhouse below
// os.UserCacheDir, or, for a user without a home, below /var/cache.
func Root() string {
	if dir := os.Getenv("PROOFHOUSE_CACHE"); dir != "" {
		if abs, err := filepath.Abs(dir); err == nil {
			return abs
		}
		return dir
	}
	base, err := os.UserCacheDir()
	if err != nil {
		base = "/var/cache"
	}
	return filepath.Join(base, "proofhouse")
}

// Check creates the cache directory if it does not exist. Its error tells the user what to do.
func Check() error {
	if err := os.MkdirAll(Root(), 0o755); err != nil {
		return exit.BadInputf("create the cache directory: %w (PROOFHOUSE_CACHE sets another one)", noSpace(err))
	}
	return nil
}

var nameRE = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_+~][A-Za-z0-9._+~-]*$`) })

type meta struct {
	Made time.Time `json:"made"`
}

// Entry returns the directory of the entry key in the room (a subdirectory of the
// cache), making it with fill if it does not exist. Two processes that want the
// same entry wait for each other. fill gets an empty directory; when it fails,
// nothing is left. The caller must not change the directory it gets.
func Entry(ctx context.Context, room, key string, fill func(ctx context.Context, dir string) error) (string, error) {
	if !nameRE().MatchString(room) || !nameRE().MatchString(key) || len(key) > 200 {
		return "", fmt.Errorf("cache entry %q/%q: not a name", room, key)
	}
	parent := filepath.Join(Root(), room)
	dir := filepath.Join(parent, key)
	if complete(dir) {
		touch(dir)
		return dir, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("create the cache directory: %w", noSpace(err))
	}
	unlock, err := Lock(ctx, filepath.Join(parent, "."+key+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if complete(dir) {
		touch(dir)
		return dir, nil
	}
	// What a killed run left: an incomplete entry, or the directory it was
	// filling. Both are ours alone while we hold the lock.
	old, _ := filepath.Glob(filepath.Join(parent, "."+key+".new-*"))
	for _, d := range append(old, dir) {
		if err := removeStubborn(ctx, d); err != nil {
			return "", fmt.Errorf("remove what a killed run left: %w", err)
		}
	}
	sweep(parent)
	tmp, err := os.MkdirTemp(parent, "."+key+".new-")
	if err != nil {
		return "", fmt.Errorf("create the cache directory: %w", noSpace(err))
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	if err := fill(ctx, tmp); err != nil {
		return "", noSpace(err)
	}
	b, err := json.Marshal(meta{Made: time.Now().UTC()})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(tmp, stamp), b, 0o644); err != nil {
		return "", noSpace(err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", fmt.Errorf("finish the cache entry: %w", err)
	}
	return dir, nil
}

// sweep removes what killed runs left of entries that nobody asks for any more.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, ".*.new-*"))
	for _, d := range dirs {
		name := filepath.Base(d)
		key := name[1:strings.LastIndex(name, ".new-")]
		now, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
		if unlock, err := Lock(now, filepath.Join(parent, "."+key+".lock")); err == nil {
			_ = os.RemoveAll(d)
			unlock()
		}
		cancel()
	}
}

// removeStubborn is os.RemoveAll for a directory in which the last processes of a
// killed run may write for a moment more.
func removeStubborn(ctx context.Context, dir string) error {
	for end := time.Now().Add(20 * time.Second); ; {
		err := os.RemoveAll(dir)
		if err == nil || time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// noSpace turns a full disk into a user error.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return exit.BadInputf("no space left under %s: %w (free some space, or set PROOFHOUSE_CACHE to a directory on another disk)", Root(), err)
	}
	return err
}

func complete(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, stamp))
	return err == nil
}

// touch remembers when an entry was last used.
func touch(dir string) {
	now := time.Now()
	_ = os.Chtimes(filepath.Join(dir, stamp), now, now)
}

// Lock takes the exclusive lock on the file at path, making it if need be, and
// returns what gives it back. The kernel gives it back too when the process
// dies.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", noSpace(err))
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("wait for the lock %s, held by another process: %w", path, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// SHA256 is that of a file's content, in hex: what entries are keyed by.
func SHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Item is one entry as [List] sees it.
type Item struct {
	Room  string    `json:"room"`
	Key   string    `json:"key"`
	Bytes int64     `json:"bytes"` // on disk, holes not counted
	Made  time.Time `json:"made"`
	Used  time.Time `json:"used"`
}

// inUse are the rooms that are no caches: what stands there belongs to
// processes that run.
var inUse = map[string]bool{"run": true}

// List reads all that is kept, sorted by room and key. What has no stamp, such
// as apt's package lists, was made and used when it was last changed.
func List() ([]Item, error) {
	dirs, err := filepath.Glob(filepath.Join(Root(), "*", "*"))
	if err != nil {
		return nil, err
	}
	var items []Item
	for _, dir := range dirs {
		it := Item{Room: filepath.Base(filepath.Dir(dir)), Key: filepath.Base(dir)}
		st, err := os.Stat(dir)
		if err != nil || !st.IsDir() || inUse[it.Room] || !nameRE().MatchString(it.Key) {
			continue
		}
		it.Made, it.Used = st.ModTime(), st.ModTime()
		if st, err := os.Stat(filepath.Join(dir, stamp)); err == nil {
			it.Used = st.ModTime()
		}
		var m meta
		if b, err := os.ReadFile(filepath.Join(dir, stamp)); err == nil && json.Unmarshal(b, &m) == nil {
			it.Made = m.Made
		}
		it.Bytes = size(dir)
		items = append(items, it)
	}
	return items, nil
}

func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir // gone meanwhile, or not ours to read
		}
		if fi, err := d.Info(); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	return n
}

// Remove deletes one entry, under its lock.
func Remove(ctx context.Context, it Item) error {
	if !nameRE().MatchString(it.Room) || !nameRE().MatchString(it.Key) {
		return fmt.Errorf("cache entry %q/%q: not a name", it.Room, it.Key)
	}
	parent := filepath.Join(Root(), it.Room)
	unlock, err := Lock(ctx, filepath.Join(parent, "."+it.Key+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	return os.RemoveAll(filepath.Join(parent, it.Key))
}
