package kernels

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
)

// takeModules gives the build the modules in a folder or tarball of the
// user's.
func (b *Build) takeModules(ctx context.Context, path string, progress func(string)) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	fi, err := os.Stat(path)
	if os.IsNotExist(err) {
		return exit.BadInputf("modules %s: no such file or folder", path)
	}
	if err != nil {
		return exit.BadInputf("modules: %w", err)
	}
	var found string
	if fi.IsDir() {
		found, err = modulesFromFolder(ctx, path, b.Release, progress)
	} else {
		found, err = modulesFromTarball(ctx, path, b.Release, progress)
	}
	if err != nil {
		return fmt.Errorf("modules %s: %w", path, err)
	}
	b.Modules = found
	return nil
}

// modulesFromFolder takes the modules where they are, or a copy of them if
// depmod still has to index them: a folder of the user's is not written to.
func modulesFromFolder(ctx context.Context, path, release string, progress func(string)) (string, error) {
	found, err := findModules(path, release)
	if err != nil || isFile(filepath.Join(found, "modules.dep")) {
		return found, err
	}
	state, err := treeState(found)
	if err != nil {
		return "", exit.BadInput(err)
	}
	return modulesEntry(ctx, hash("folder", state), func(_ context.Context, dir string) error {
		progress("indexing the modules")
		to := filepath.Join(dir, "lib/modules", filepath.Base(found))
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := os.CopyFS(to, os.DirFS(found)); err != nil {
			return fmt.Errorf("copy the modules: %w", err)
		}
		return nil
	}, release)
}

// modulesFromTarball unpacks what Yocto and make tar*-pkg leave.
func modulesFromTarball(ctx context.Context, path, release string, progress func(string)) (string, error) {
	sum, err := cache.SHA256(path)
	if err != nil {
		return "", exit.BadInput(err)
	}
	tar, err := tool("tar", "tar")
	if err != nil {
		return "", err
	}
	return modulesEntry(ctx, hash("tarball", sum), func(ctx context.Context, dir string) error {
		progress("unpacking the modules")
		if err := run(ctx, dir, tar, "--extract", "--file", path, "--no-same-owner"); err != nil {
			return exit.BadInputf("unpack: %w", err)
		}
		return nil
	}, release)
}

// modulesEntry is the cache entry with modules that fill puts into a folder,
// indexed by depmod.
func modulesEntry(ctx context.Context, sum string, fill func(ctx context.Context, dir string) error, release string) (string, error) {
	dir, err := cache.Entry(ctx, room, key("modules", hash(sum, release)[:16]), func(ctx context.Context, dir string) error {
		if err := fill(ctx, dir); err != nil {
			return err
		}
		found, err := findModules(dir, release)
		if err != nil {
			return err
		}
		return depmod(ctx, found)
	})
	if err != nil {
		return "", err
	}
	return findModules(dir, release)
}

// findModules finds the modules of the release in or below root: a folder
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
		return "", exit.BadInput(err)
	case found != "":
		return found, nil
	case len(others) > 0:
		return "", exit.BadInputf("they are for release %s, the kernel is %s", strings.Join(others, ", "), release)
	}
	return "", exit.BadInputf("no modules in there: no folder with modules.dep or kernel/")
}

func isModules(dir string) bool {
	return isFile(filepath.Join(dir, "modules.dep")) || isFile(filepath.Join(dir, "modules.order")) || isDir(filepath.Join(dir, "kernel"))
}

// depmod indexes a folder …/lib/modules/RELEASE of ours, unless it has its
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
	path, err := tool("depmod", "kmod")
	if err != nil {
		return err
	}
	lib := filepath.Dir(filepath.Dir(modules))
	if filepath.Base(lib) != "lib" || filepath.Base(filepath.Dir(modules)) != "modules" {
		// depmod knows BASE/lib/modules/RELEASE only.
		return indexElsewhere(ctx, path, modules)
	}
	return run(ctx, "", path, "-b", filepath.Dir(lib), filepath.Base(modules))
}

// indexElsewhere shows depmod the folder under a name that it expects.
func indexElsewhere(ctx context.Context, depmod, modules string) error {
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
	return run(ctx, "", depmod, "-b", base, name)
}

// treeState is a text that changes when a file below dir does.
func treeState(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if fi.Mode().IsRegular() {
			fmt.Fprintf(&b, "%s %d %d\n", path, fi.Size(), fi.ModTime().UnixNano())
		}
		return nil
	})
	return b.String(), err
}
