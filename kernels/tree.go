// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// treeRelease is the release of the kernel that was built in a tree; empty
// where nothing was built.
func treeRelease(tree string) (string, error) {
	b, err := host.ReadFile(filepath.Join(tree, "include/config/kernel.release"), 1<<10)
	return strings.TrimSpace(string(b)), err
}

// treeConfig is the config in a tree: of the last build, or already of the next.
const treeConfig = ".config"

// younger reports whether a file was written after another one, or may have been.
func younger(file, other string) bool {
	a, err := os.Stat(file)
	if err != nil {
		return true
	}
	b, err := os.Stat(other)
	return err != nil || a.ModTime().After(b.ModTime())
}

// configArchRE is the head of a .config: # Linux/x86 6.12.107 Kernel Configuration
var configArchRE = regexp.MustCompile(`(?m)^# Linux/(\S+) `)

// fromTree is the build in a directory where a kernel was made (its O= directory,
// if it has one), with its modules.
func fromTree(ctx context.Context, tree string, progress func(string)) (*Build, error) {
	config, err := host.ReadFile(filepath.Join(tree, treeConfig), maxConfig)
	if os.IsNotExist(err) {
		return fromDeploy(ctx, tree, progress)
	}
	if err != nil {
		return nil, exit.BadInputf("read the tree's .config: %w", err)
	}
	m := configArchRE.FindSubmatch(config)
	if m == nil {
		return nil, exit.BadInputf("not a kernel build tree: its .config does not say for which architecture it is")
	}
	var b *Build
	var image string
	a := archOf(string(m[1]), byKernel)
	switch {
	case string(m[1]) == "um":
		image = filepath.Join(tree, "linux")
		if !isFile(image) {
			return nil, exit.BadInputf("the tree is not built, it has no file linux: run make ARCH=um")
		}
		b, err = fromUML(ctx, image, progress)
	case a == nil:
		return nil, exit.BadInputf("a build tree for %s, not for x86-64 or arm64", m[1])
	default:
		if image = firstFile(tree, a.images); image == "" {
			return nil, exit.BadInputf("the tree is not built, it has no %s: run make", a.images[0])
		}
		b, err = fromImage(ctx, image)
	}
	if err != nil {
		return nil, err
	}
	b.Source = tree
	if b.Config == "" {
		b.Config = filepath.Join(tree, treeConfig)
		b.ConfigEdited = younger(b.Config, image)
	}
	return b, b.installModules(ctx, tree, string(m[1]), progress)
}

// firstFile is the first of the names that is a file in dir; "" if none is.
func firstFile(dir string, names []string) string {
	for _, name := range names {
		if path := filepath.Join(dir, name); isFile(path) {
			return path
		}
	}
	return ""
}

// deployImages are what Yocto calls kernels in tmp/deploy/images/MACHINE: links
// to the newest build, or the only build where there are no links.
var deployImages = []string{"bzImage", "Image", "Image.gz", "bzImage-*.bin", "Image-*.bin", "Image.gz-*.bin"}

// fromDeploy is the build in a directory that Yocto deployed a kernel to, with
// the tarball of its modules, if there is one.
func fromDeploy(ctx context.Context, dir string, progress func(string)) (*Build, error) {
	image, err := onlyFile(dir, deployImages)
	if err != nil {
		return nil, err
	}
	if image == "" {
		return nil, exit.BadInputf("a directory without .config and without a bzImage or Image: neither a kernel build tree nor a Yocto deploy directory")
	}
	b, err := fromPath(ctx, image, progress)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(image), err)
	}
	b.Source = dir
	modules, err := onlyFile(dir, []string{"modules-*.tgz"})
	if err != nil || modules == "" {
		return b, err
	}
	return b, b.takeModules(ctx, modules, progress)
}

// onlyFile is the file in dir that the first pattern with a match names. Links
// to one file count once; several files are a user error.
func onlyFile(dir string, patterns []string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", exit.BadInputf("read the directory: %w", err)
	}
	for _, pattern := range patterns {
		found := map[string]string{}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if ok, _ := filepath.Match(pattern, e.Name()); !ok || !isFile(path) {
				continue
			}
			real, err := filepath.EvalSymlinks(path)
			if err != nil {
				return "", exit.BadInputf("read the directory: %w", err)
			}
			if found[real] == "" || len(path) < len(found[real]) {
				found[real] = path // the link, which is the shortest
			}
		}
		switch paths := slices.Sorted(maps.Values(found)); len(paths) {
		case 0:
		case 1:
			return paths[0], nil
		default:
			return "", exit.BadInputf("the directory has several files %s: %s: give the path of one", pattern, strings.Join(baseNames(paths), ", "))
		}
	}
	return "", nil
}

func baseNames(paths []string) []string {
	var names []string
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names
}

// installModules runs the tree's modules_install into the cache, if modules
// were built.
func (b *Build) installModules(ctx context.Context, tree, arch string, progress func(string)) error {
	if v, _ := b.ConfigValue("CONFIG_MODULES"); v != "y" || !isFile(filepath.Join(tree, "modules.order")) {
		return nil
	}
	release, err := treeRelease(tree)
	if err != nil {
		return exit.BadInputf("the build in the tree is incomplete: %w: run make", err)
	}
	if b.Release == "" && releaseRE.MatchString(release) {
		b.Release = release
	}
	if release != b.Release {
		return exit.BadInputf("the tree is for release %s, the image in it is %s: build it again", release, b.Release)
	}
	state, err := builtModules(tree)
	if err != nil {
		return err
	}
	if err := host.Need("make", "depmod"); err != nil {
		return err
	}
	m, err := modulesEntry(ctx, hash("tree", b.SHA256, state), func(ctx context.Context, dir string) error {
		progress("installing the tree's modules into the cache")
		args := []string{"-C", tree, "modules_install", "INSTALL_MOD_PATH=" + dir, "INSTALL_MOD_STRIP=1"}
		switch a := archOf(arch, byKernel); {
		case arch == "um":
			args = append(args, "ARCH=um")
		case a != nil && a.name != hostArch():
			args = append(args, "ARCH="+arch)
			if !host.Have(a.name + "-linux-gnu-strip") {
				args = slices.DeleteFunc(args, func(w string) bool { return w == "INSTALL_MOD_STRIP=1" }) // this host's strip cannot
				break
			}
			args = append(args, "CROSS_COMPILE="+a.name+"-linux-gnu-")
		}
		if err := host.Run(ctx, "", "make", args...); err != nil {
			return fmt.Errorf("modules_install in %s: %w", tree, err)
		}
		return nil
	}, release)
	if err == nil {
		b.Modules, b.ModulesSHA256 = m.dir, m.sum
	}
	return err
}

// builtModules is a text that changes when a module of the tree is built
// anew.
func builtModules(tree string) (string, error) {
	f, err := os.Open(filepath.Join(tree, "modules.order"))
	if err != nil {
		return "", exit.BadInputf("list the tree's modules: %w", err)
	}
	defer func() { _ = f.Close() }()
	var b strings.Builder
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// From 6.3 on it lists .o files, before that .ko files.
		name := strings.TrimSuffix(strings.TrimSuffix(lines.Text(), ".o"), ".ko") + ".ko"
		fi, err := os.Stat(filepath.Join(tree, name))
		if os.IsNotExist(err) {
			// make bzImage alone lists the modules and builds none.
			return "", exit.BadInputf("the tree's modules are not built (%s not found): run make modules", name)
		}
		if err != nil {
			return "", exit.BadInputf("list the tree's modules: %w", err)
		}
		fmt.Fprintf(&b, "%s %d %d\n", name, fi.Size(), fi.ModTime().UnixNano())
	}
	return b.String(), lines.Err()
}
