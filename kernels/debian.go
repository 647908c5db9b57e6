// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"proofhouse/internal/apt"
	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
)

// debianSuites are those in which a release is looked for, and whether their
// kernels' releases have that mark in them.
var debianSuites = []struct{ name, mark string }{
	{"trixie", "+deb13"},
	{"trixie-backports", "+deb13"},
	{"bookworm", "+deb12"},
	{"bookworm-backports", "+deb12"},
	{"forky", "+deb14"},
	{"sid", "+deb14"},
}

// suitesFor puts the likely suites for a release first: each one that is asked
// costs a download of its lists.
func suitesFor(release string) []string {
	likely := func(mark string) bool {
		if !strings.Contains(release, "+deb") {
			return mark == "+deb12" // bookworm's own: 6.1.0-50-cloud-amd64
		}
		return strings.Contains(release, mark)
	}
	var first, then []string
	for _, s := range debianSuites {
		if likely(s.mark) {
			first = append(first, s.name)
		} else {
			then = append(then, s.name)
		}
	}
	return append(first, then...)
}

const (
	cloudImage = "linux-image-cloud-" // and the architecture
	umlPackage = "user-mode-linux"
)

// splitSuite takes the architecture off a suite's name: "trixie:arm64".
func splitSuite(name string) (suite, arch string) {
	suite, arch, ok := strings.Cut(name, ":")
	if !ok {
		arch = arches[0].debian
	}
	return suite, arch
}

// debianSuite is the newest cloud kernel of a suite, for amd64 where its name
// has no architecture.
func debianSuite(ctx context.Context, name string, progress func(string)) (*Build, error) {
	a, err := apt.Open(ctx, progress)
	if err != nil {
		return nil, err
	}
	suite, arch := splitSuite(name)
	a = a.For(arch)
	pkg, err := newestImage(ctx, a, suite)
	if err != nil {
		return nil, err
	}
	versions, err := a.Versions(ctx, suite, pkg)
	if err != nil {
		return nil, err
	}
	return debianImage(ctx, a, suite, pkg, versions[0], progress)
}

// newestImage is the package that the suite's metapackage stands for.
func newestImage(ctx context.Context, a *apt.Apt, suite string) (string, error) {
	deps, err := a.Depends(ctx, suite, cloudImage+a.Arch(), "")
	if err != nil {
		return "", err
	}
	for _, d := range deps {
		if strings.HasPrefix(d, "linux-image-") && kernelRelease(d) != "" {
			return d, nil
		}
	}
	return "", fmt.Errorf("%s of %s depends on no kernel: %s", cloudImage+a.Arch(), suite, strings.Join(deps, ", "))
}

// debianRelease is the build of that release, from whichever suite has it.
// One that is in the cache needs no mirror.
func debianRelease(ctx context.Context, release string, progress func(string)) (*Build, error) {
	names := []string{"linux-image-" + release, "linux-image-" + release + "-unsigned"}
	for _, pkg := range names {
		if b := cachedPackage(pkg); b != nil {
			return b, nil
		}
	}
	a, err := apt.Open(ctx, progress)
	if err != nil {
		return nil, err
	}
	a = a.For(debianArch(release))
	for _, pkg := range names {
		suite, version, err := a.Find(ctx, pkg, suitesFor(release)...)
		if apt.IsMissing(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return debianImage(ctx, a, suite, pkg, version, progress)
	}
	return nil, exit.BadInputf("no suite has such a kernel (tried %s): suites keep few old ones, and snapshot kernels are given as files", strings.Join(suitesFor(release), ", "))
}

// cachedPackage is the build of the package's newest version in the cache;
// nil if it has none.
func cachedPackage(pkg string) *Build {
	found, err := filepath.Glob(filepath.Join(cache.Root(), room, key(pkg, "*", debianArch(pkg)), recordName))
	if err != nil {
		return nil
	}
	slices.SortFunc(found, func(a, b string) int { return modTime(b).Compare(modTime(a)) })
	for _, path := range found {
		dir := filepath.Dir(path)
		if !strings.HasPrefix(filepath.Base(dir), pkg+"_") {
			continue
		}
		if b, err := makeEntry(context.Background(), filepath.Base(dir), neverFill); err == nil {
			return b
		}
	}
	return nil
}

// neverFill is for an entry that already exists.
func neverFill(context.Context, string, string) (record, error) {
	return record{}, os.ErrNotExist
}

// debianImage fetches a linux-image package and those with the rest of the
// same kernel.
func debianImage(ctx context.Context, a *apt.Apt, suite, pkg, version string, progress func(string)) (*Build, error) {
	return makeEntry(ctx, key(pkg, version, a.Arch()), func(ctx context.Context, dir, final string) (record, error) {
		deps, err := a.Depends(ctx, suite, pkg, version)
		if err != nil {
			return record{}, err
		}
		all := append([]string{pkg}, parts(deps, kernelRelease(pkg))...)
		return fetchDebs(ctx, a, suite, all, version, dir, final, progress)
	})
}

// debianUML is the suite's User Mode Linux.
func debianUML(ctx context.Context, suite string, progress func(string)) (*Build, error) {
	a, err := apt.Open(ctx, progress)
	if err != nil {
		return nil, err
	}
	versions, err := a.Versions(ctx, suite, umlPackage)
	if err != nil {
		return nil, err
	}
	version := versions[0]
	return umlEntry(ctx, key(umlPackage, version, "amd64"), func(ctx context.Context, dir, final string) (record, error) {
		return fetchDebs(ctx, a, suite, []string{umlPackage}, version, dir, final, progress)
	})
}

func fetchDebs(ctx context.Context, a *apt.Apt, suite string, pkgs []string, version, dir, final string, progress func(string)) (record, error) {
	tmp := filepath.Join(dir, "debs")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return record{}, err
	}
	var debs []string
	for _, pkg := range pkgs {
		deb, err := a.Download(ctx, suite, pkg, version, tmp)
		if hasConfigOnly(pkg) && apt.IsMissing(err) { // it is gone first: see incomplete
			progress(fmt.Sprintf("the mirror lacks %s: continuing without the kernel's config", pkg))
			continue
		}
		if err != nil {
			return record{}, err
		}
		debs = append(debs, deb)
	}
	r, err := unpackDebs(ctx, dir, final, debs, suite, progress)
	if err != nil {
		return record{}, err
	}
	r.Source = fmt.Sprintf("Debian package %s %s", pkgs[0], version)
	return r, os.RemoveAll(tmp)
}
