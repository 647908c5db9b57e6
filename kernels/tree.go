package kernels

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
		return nil, exit.BadInputf("a directory without .config: not a kernel build tree")
	}
	if err != nil {
		return nil, exit.BadInput(err)
	}
	m := configArchRE.FindSubmatch(config)
	if m == nil {
		return nil, exit.BadInputf("not a kernel build tree: its .config does not say for which architecture it is")
	}
	var b *Build
	var image string
	switch arch := string(m[1]); arch {
	case "um":
		image = filepath.Join(tree, "linux")
		if !isFile(image) {
			return nil, exit.BadInputf("the tree is not built: it has no file linux")
		}
		b, err = fromUML(ctx, image, progress)
	case "x86", "x86_64":
		image = filepath.Join(tree, "arch/x86/boot/bzImage")
		if !isFile(image) {
			return nil, exit.BadInputf("the tree is not built: it has no arch/x86/boot/bzImage")
		}
		var start []byte
		if start, err = readStart(image); err != nil {
			return nil, err
		}
		if _, err = identify(start); err != nil {
			return nil, err
		}
		b, err = fromBzImage(ctx, image)
	default:
		return nil, exit.BadInputf("a build tree for %s, not for x86-64", arch)
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

// installModules runs the tree's modules_install into the cache, if modules
// were built.
func (b *Build) installModules(ctx context.Context, tree, arch string, progress func(string)) error {
	if v, _ := b.ConfigValue("CONFIG_MODULES"); v != "y" || !isFile(filepath.Join(tree, "modules.order")) {
		return nil
	}
	release, err := treeRelease(tree)
	if err != nil {
		return exit.BadInputf("the build in the tree is incomplete: %w", err)
	}
	if b.Release == "" {
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
		if arch == "um" {
			args = append(args, "ARCH=um")
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
		return "", exit.BadInput(err)
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
			return "", exit.BadInputf("the tree's modules are not built, %s not found: run make modules", name)
		}
		if err != nil {
			return "", exit.BadInput(err)
		}
		fmt.Fprintf(&b, "%s %d %d\n", name, fi.Size(), fi.ModTime().UnixNano())
	}
	return b.String(), lines.Err()
}
