// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"proofhouse/internal/cache"
)

// recordName is the file in a cache entry that describes its build, with
// paths relative to the entry.
const recordName = "build.json"

// A record is a Build as it is kept.
type record struct {
	*Build
	NoAppArmor bool `json:"noAppArmor,omitempty"`
	// OwnLibc says that Image is a copy of the executable that was made to
	// use the entry's C library.
	OwnLibc bool `json:"ownLibc,omitempty"`
}

// makeEntry gives the cached build under key, made by fill if it does
// not exist. fill gets an empty directory to put the build's files into, and the
// directory's path once it is complete.
func makeEntry(ctx context.Context, key string, fill func(ctx context.Context, dir, final string) (record, error)) (*Build, error) {
	final := filepath.Join(cache.Root(), room, key)
	dir, err := cache.Entry(ctx, room, key, func(ctx context.Context, dir string) error {
		r, err := fill(ctx, dir, final)
		if err != nil {
			return err
		}
		if r.Modules != "" {
			if r.ModulesSHA256, err = sumModules(r.Modules); err != nil {
				return err
			}
		}
		for _, p := range r.paths() {
			if *p == "" {
				continue
			}
			if *p, err = filepath.Rel(dir, *p); err != nil || !filepath.IsLocal(*p) {
				return fmt.Errorf("keep the kernel: %s is not in its directory", *p)
			}
		}
		b, err := json.MarshalIndent(r, "", "\t")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, recordName), append(b, '\n'), 0o644)
	})
	if err != nil {
		return nil, err
	}
	return readEntry(dir)
}

func (b *Build) paths() []*string {
	return []*string{&b.Image, &b.Modules, &b.Config, &b.Changelog}
}

func readEntry(dir string) (*Build, error) {
	b, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return nil, fmt.Errorf("read a cached kernel: %w", err)
	}
	r := record{Build: new(Build)}
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read a cached kernel: %s: %w", dir, err)
	}
	for _, p := range r.paths() {
		if *p != "" {
			*p = filepath.Join(dir, *p)
		}
	}
	r.noAppArmor = r.NoAppArmor
	if r.Modules != "" && r.ModulesSHA256 == "" { // an entry of an older proofhouse
		if r.ModulesSHA256, err = sumModules(r.Modules); err != nil {
			return nil, fmt.Errorf("read a cached kernel: %w", err)
		}
		// Thousands of modules take a third of a second: once is enough. It
		// is no error if the cache may only be read.
		_ = keepSum(dir, r.ModulesSHA256)
	}
	return r.Build, nil
}

// keepSum adds the modules' SHA-256 to a cached kernel's record.
func keepSum(dir, sum string) error {
	path := filepath.Join(dir, recordName)
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	fields["modulesSha256"], _ = json.Marshal(sum)
	if b, err = json.MarshalIndent(fields, "", "\t"); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, recordName)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// key makes a cache key of words that are names of packages, versions or
// hashes.
func key(words ...string) string {
	return strings.ReplaceAll(strings.Join(words, "_"), ":", "%3a")
}

// move moves a file or directory within the cache.
func move(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.Rename(from, to)
}
