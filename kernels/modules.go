// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"proofhouse/internal/archive"
	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// takeModules gives the build the modules in a directory or tarball of the
// user's.
func (b *Build) takeModules(ctx context.Context, path string, progress func(string)) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	fi, err := os.Stat(path)
	if os.IsNotExist(err) {
		return exit.BadInputf("modules %s: no such file or directory", path)
	}
	if err != nil {
		return exit.BadInputf("read the modules: %w", err)
	}
	var found modules
	if fi.IsDir() {
		found, err = modulesFromDirectory(ctx, path, b.Release, progress)
	} else {
		found, err = modulesFromTarball(ctx, path, b.Release, progress)
	}
	if err != nil {
		return fmt.Errorf("modules %s: %w", path, err)
	}
	b.Modules, b.ModulesSHA256 = found.dir, found.sum
	return nil
}

// modules are those of one kernel, in the cache.
type modules struct{ dir, sum string }

// modulesFromDirectory takes a copy of the modules, so that what changes there
// during a run does not change the kernel under test.
func modulesFromDirectory(ctx context.Context, path, release string, progress func(string)) (modules, error) {
	found, err := findModules(path, release)
	if err != nil {
		return modules{}, err
	}
	state, err := sumDirectory(found, func(string) bool { return true })
	if err != nil {
		return modules{}, exit.BadInputf("read the directory: %w", err)
	}
	return modulesEntry(ctx, hash("directory", state), func(ctx context.Context, dir string) error {
		progress("copying the modules")
		if err := archive.Copy(ctx, found, filepath.Join(dir, "lib/modules", filepath.Base(found)), limits); err != nil {
			return fmt.Errorf("copy the modules: %w", err)
		}
		return nil
	}, release)
}

// modulesFromTarball unpacks what Yocto and make tar*-pkg leave.
func modulesFromTarball(ctx context.Context, path, release string, progress func(string)) (modules, error) {
	sum, err := cache.SHA256(path)
	if err != nil {
		return modules{}, exit.BadInputf("read the tarball: %w", err)
	}
	return modulesEntry(ctx, hash("tarball", sum), func(ctx context.Context, dir string) error {
		progress("unpacking the modules")
		return archive.UntarFile(ctx, path, dir, limits)
	}, release)
}

// sumName is the file in a cache entry with the modules' SHA-256.
const sumName = "modules.sha256"

// modulesEntry is the cache entry with modules that fill puts into a directory,
// indexed by depmod.
func modulesEntry(ctx context.Context, sum string, fill func(ctx context.Context, dir string) error, release string) (modules, error) {
	dir, err := cache.Entry(ctx, room, key("modules2", hash(sum, release)[:32]), func(ctx context.Context, dir string) error {
		if err := fill(ctx, dir); err != nil {
			return err
		}
		found, err := findModules(dir, release)
		if err != nil {
			return err
		}
		sum, err := sumModules(found)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, sumName), []byte(sum), 0o644); err != nil {
			return err
		}
		return depmod(ctx, found)
	})
	if err != nil {
		return modules{}, err
	}
	b, err := os.ReadFile(filepath.Join(dir, sumName))
	if err != nil {
		return modules{}, fmt.Errorf("read cached modules: %w", err)
	}
	found, err := findModules(dir, release)
	return modules{found, string(b)}, err
}

// sumModules is the SHA-256 of the modules' names and contents: not of their
// indexes, which each version of depmod writes in its own way.
func sumModules(dir string) (string, error) { return sumDirectory(dir, isModule) }

func isModule(name string) bool {
	for _, compression := range []string{".xz", ".zst", ".gz"} {
		name = strings.TrimSuffix(name, compression)
	}
	return strings.HasSuffix(name, ".ko")
}

// sumDirectory is the SHA-256 of the names and contents of the regular files
// below dir that of accepts, in hex.
func sumDirectory(dir string, of func(name string) bool) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	h := sha256.New()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !of(name) {
			return err
		}
		f, fi, err := archive.Open(root, name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if _, err := fmt.Fprintf(h, "%q %d\n", name, fi.Size()); err != nil {
			return err
		}
		_, err = io.Copy(h, f)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// findModules finds the modules of the release in or below root: a directory
// called by the release that has modules.dep, modules.order or kernel/.
func findModules(root, release string) (string, error) {
	var others []string
	var found string
	const depth = 4 // ROOT/usr/lib/modules/RELEASE
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if isModules(path) {
			switch name := filepath.Base(path); {
			case name == release, release == "" && found == "":
				found = path
				return fs.SkipAll
			default:
				others = append(others, name)
			}
			return fs.SkipDir
		}
		if rel != "." && strings.Count(rel, "/")+1 >= depth {
			return fs.SkipDir
		}
		return nil
	})
	switch {
	case err != nil:
		return "", exit.BadInputf("look for the modules: %w", err)
	case found != "":
		return found, nil
	case len(others) > 0:
		return "", exit.BadInputf("the modules are for release %s, the kernel is %s", strings.Join(others, ", "), release)
	}
	return "", exit.BadInputf("no modules found: want lib/modules/RELEASE, with modules.dep or kernel/ in it")
}

func isModules(dir string) bool {
	return isFile(filepath.Join(dir, "modules.dep")) || isFile(filepath.Join(dir, "modules.order")) || isDir(filepath.Join(dir, "kernel"))
}

// depmod indexes a directory …/lib/modules/RELEASE of ours, unless it has its
// index, and removes the links to the place it was built in.
func depmod(ctx context.Context, modules string) error {
	for _, link := range []string{"build", "source"} {
		if err := os.RemoveAll(filepath.Join(modules, link)); err != nil {
			return err
		}
	}
	if isFile(filepath.Join(modules, "modules.dep")) {
		return nil
	}
	lib := filepath.Dir(filepath.Dir(modules))
	if filepath.Base(lib) != "lib" || filepath.Base(filepath.Dir(modules)) != "modules" {
		// depmod knows BASE/lib/modules/RELEASE only.
		return indexElsewhere(ctx, modules)
	}
	return host.Run(ctx, "", "depmod", "-b", filepath.Dir(lib), filepath.Base(modules))
}

// indexElsewhere shows depmod the directory under a name that it expects.
func indexElsewhere(ctx context.Context, modules string) error {
	base, err := os.MkdirTemp("", "proofhouse-depmod-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(base) }()
	if err := os.MkdirAll(filepath.Join(base, "lib/modules"), 0o755); err != nil {
		return err
	}
	name := filepath.Base(modules)
	if err := os.Symlink(modules, filepath.Join(base, "lib/modules", name)); err != nil {
		return err
	}
	return host.Run(ctx, "", "depmod", "-b", base, name)
}
