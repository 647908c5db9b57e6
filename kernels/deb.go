// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"proofhouse/internal/bounded"
	"proofhouse/internal/cache"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// maxFields is more than the fields have bytes that are read of a package.
const maxFields = 1 << 20

// debFields reads fields of a .deb's control file.
func debFields(ctx context.Context, deb string, names ...string) (map[string]string, error) {
	path, err := host.Find("dpkg-deb")
	if err != nil {
		return nil, err
	}
	cmd := child.Command(ctx, path, append([]string{"--field", deb}, names...)...)
	said, why := bounded.Head{Limit: maxFields}, bounded.Head{Limit: 4 << 10}
	cmd.Stdout, cmd.Stderr = &said, &why
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, exit.BadInputf("read %s: not a complete .deb: %w", filepath.Base(deb), host.With(why.String(), err))
	}
	fields := map[string]string{}
	for line := range strings.Lines(said.String()) {
		if name, value, ok := strings.Cut(line, ":"); ok && line[0] != ' ' {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields, nil
}

// kernelRelease is the release that a kernel package's name ends in; "" for
// any other package.
func kernelRelease(pkg string) string {
	for _, prefix := range []string{"linux-image-unsigned-", "linux-image-", "linux-binary-unsigned-", "linux-binary-", "linux-modules-", "linux-base-", umlPackage + "-"} {
		if rel, ok := strings.CutPrefix(pkg, prefix); ok {
			rel = strings.TrimSuffix(rel, "-unsigned")
			if releaseRE.MatchString(rel) {
				return rel
			}
			return ""
		}
	}
	return ""
}

// parts are those of a linux-image package's dependencies that hold a piece of
// the same kernel: Debian splits it from 7.x on, Ubuntu always has.
func parts(depends []string, release string) []string {
	var found []string
	for _, d := range depends {
		if release != "" && kernelRelease(d) == release {
			found = append(found, d)
		}
	}
	return found
}

// hasConfigOnly is true for the package of a split kernel that has its config
// and its changelog, and nothing that a boot needs.
func hasConfigOnly(pkg string) bool { return strings.HasPrefix(pkg, "linux-base-") }

// fromDeb is the build in a package file of the user's, such as make
// bindeb-pkg leaves, and in those beside it that it needs.
func fromDeb(ctx context.Context, path string, progress func(string)) (*Build, error) {
	f, err := debFields(ctx, path, "Package", "Version", "Architecture", "Depends")
	if err != nil {
		return nil, err
	}
	if a := f["Architecture"]; a != "all" && archOf(a, byDebian) == nil {
		return nil, exit.BadInputf("a package for %s: want one for amd64 or arm64", a)
	}
	debs := []string{path}
	for _, p := range parts(dependsNames(f["Depends"]), kernelRelease(f["Package"])) {
		sibling, err := debBeside(ctx, path, p, f["Version"])
		switch {
		case err == nil:
			debs = append(debs, sibling)
		case hasConfigOnly(p):
			progress(fmt.Sprintf("%s not found beside it: continuing without the kernel's config", p))
		default:
			return nil, err
		}
	}
	var sums []string
	for _, d := range debs {
		sum, err := cache.SHA256(d)
		if err != nil {
			return nil, exit.BadInputf("read the package: %w", err)
		}
		sums = append(sums, sum)
	}
	source := fmt.Sprintf("%s (%s %s)", path, f["Package"], f["Version"])
	b, err := umlEntry(ctx, key("deb", hash(sums...)[:16]), func(ctx context.Context, dir, final string) (record, error) {
		r, err := unpackDebs(ctx, dir, final, debs, umlSuite, progress)
		if err == nil {
			r.Source = source
		}
		return r, err
	})
	if err != nil {
		return nil, err
	}
	b.Source = source
	return b, nil
}

// dependsNames are the names in a Depends field, of alternatives the first.
func dependsNames(field string) []string {
	var names []string
	for dep := range strings.SplitSeq(field, ",") {
		if w := strings.FieldsFunc(dep, func(r rune) bool { return strings.ContainsRune(" (|:", r) }); len(w) > 0 {
			names = append(names, w[0])
		}
	}
	return names
}

// debBeside finds the package of that name and version in the same directory.
func debBeside(ctx context.Context, path, pkg, version string) (string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return "", exit.BadInputf("look for the package %s: %w", pkg, err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), pkg+"_") || !strings.HasSuffix(e.Name(), ".deb") {
			continue
		}
		candidate := filepath.Join(filepath.Dir(path), e.Name())
		f, err := debFields(ctx, candidate, "Package", "Version")
		if err == nil && f["Package"] == pkg && f["Version"] == version {
			return candidate, nil
		}
	}
	return "", exit.BadInputf("it needs the package %s %s: put its .deb into the same directory", pkg, version)
}

// Where packages have what we want; the stars stand for the release.
var (
	bzImagePlaces = []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz", "lib/modules/*/vmlinuz", "boot/bzImage-*", "boot/Image-*"}
	umlPlaces     = []string{"usr/bin/linux.uml", "usr/bin/linux-*"}
	modulePlaces  = []string{"usr/lib/modules", "lib/modules", "usr/lib/uml/modules"}
	configPlaces  = []string{"boot/config-*", "usr/lib/modules/*/config", "lib/modules/*/config"}
	// A Debian revision makes it changelog.Debian.gz, a signed kernel has none.
	changelogPlaces = []string{"usr/share/doc/linux-*/changelog.Debian.gz", "usr/share/doc/linux-*/changelog.gz"}
)

func firstMatch(root string, patterns []string) string {
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join(root, p))
		if err != nil {
			continue
		}
		for _, f := range found {
			if fi, err := os.Lstat(f); err == nil && fi.Mode().IsRegular() {
				return f
			}
		}
	}
	return ""
}

// unpackDebs fills dir with the kernel that the packages hold together. suite
// is where a C library comes from if an ARCH=um kernel needs a newer one.
func unpackDebs(ctx context.Context, dir, final string, debs []string, suite string, progress func(string)) (record, error) {
	root := filepath.Join(dir, "root")
	for _, d := range debs {
		progress("unpacking " + filepath.Base(d))
		if err := unpack(ctx, d, root); err != nil {
			return record{}, err
		}
	}
	config := firstMatch(root, configPlaces)
	if config != "" {
		if err := move(config, filepath.Join(dir, "config")); err != nil {
			return record{}, err
		}
		config = filepath.Join(dir, "config")
	}
	changelog := firstMatch(root, changelogPlaces)
	if changelog != "" {
		if err := move(changelog, filepath.Join(dir, "changelog.gz")); err != nil {
			return record{}, err
		}
	}
	r, err := unpackedImage(ctx, dir, final, root, suite, progress)
	if err != nil {
		return record{}, err
	}
	if config != "" {
		r.Config = config
	}
	if changelog != "" {
		r.Changelog = filepath.Join(dir, "changelog.gz")
	}
	if r.Modules, err = unpackedModules(ctx, dir, root, r.Release); err != nil {
		return record{}, err
	}
	return r, os.RemoveAll(root)
}

func unpackedImage(ctx context.Context, dir, final, root, suite string, progress func(string)) (record, error) {
	if image := firstMatch(root, bzImagePlaces); image != "" {
		to := filepath.Join(dir, "vmlinuz")
		if err := move(image, to); err != nil {
			return record{}, err
		}
		r, err := readKernel(ctx, dir, to)
		if err != nil {
			return record{}, fmt.Errorf("%s: %w", filepath.Base(image), err)
		}
		return r, nil
	}
	if image := firstMatch(root, umlPlaces); image != "" {
		to := filepath.Join(dir, "linux")
		if err := move(image, to); err != nil {
			return record{}, err
		}
		return readUML(ctx, dir, final, to, suite, progress)
	}
	return record{}, exit.BadInputf("the package holds no kernel image")
}

// unpackedModules moves the modules of the release, if there are any, to
// DIR/lib/modules/RELEASE.
func unpackedModules(ctx context.Context, dir, root, release string) (string, error) {
	for _, place := range modulePlaces {
		from := filepath.Join(root, place, release)
		if release == "" || !isDir(filepath.Join(from, "kernel")) {
			continue
		}
		to := filepath.Join(dir, "lib/modules", release)
		if err := move(from, to); err != nil {
			return "", err
		}
		return to, depmod(ctx, to)
	}
	return "", nil
}
