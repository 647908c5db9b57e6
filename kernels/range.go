// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"proofhouse/internal/apt"
	"proofhouse/internal/exit"
)

// Candidate is a build among others of its line.
type Candidate struct {
	Spec    string `json:"spec"`
	Release string `json:"release,omitempty"`
	Version string `json:"version,omitempty"` // of its package
	// Lacks names a package that the build needs and that the mirror does not
	// have any more.
	Lacks string `json:"lacks,omitempty"`
}

// Name is how people call it.
func (c Candidate) Name() string {
	if c.Release != "" {
		return c.Release
	}
	return c.Spec
}

var flavourRE = regexp.MustCompile(`-((?:cloud-|rt-)?(?:amd64|arm64))$`)

// Between lists Debian's builds from one to another, both included, the
// earlier one first: those of the same flavour in the suites that have these
// two. The specs are of Debian packages, and may come in either order; at says
// where in the list they are.
func Between(ctx context.Context, a, b string, progress func(string)) (list []Candidate, at [2]int, err error) {
	if progress == nil {
		progress = func(string) {}
	}
	mirror, err := apt.Open(ctx, progress)
	if err != nil {
		return nil, at, err
	}
	var ends [2]Candidate
	var suites []string
	var words string
	for i, text := range []string{a, b} {
		suite, pkg, version, err := place(ctx, mirror, text)
		if err != nil {
			return nil, at, fmt.Errorf("kernel %s: %w", text, err)
		}
		ends[i] = Candidate{Release: kernelRelease(pkg), Version: version}
		if !slices.Contains(suites, suite) {
			suites = append(suites, suite)
		}
		s, _ := parseSpec(text) // place has read it
		w := strings.Join(s.append, " ")
		if i > 0 && w != words {
			return nil, at, exit.BadInputf("kernels %s and %s: give both the same parameters with append=", a, b)
		}
		words = w
	}
	mirror = mirror.For(debianArch(ends[0].Release))
	flavour := flavourRE.FindString(ends[0].Release)
	if other := flavourRE.FindString(ends[1].Release); flavour == "" || other != flavour {
		return nil, at, exit.BadInputf("kernels %s and %s: not of the same flavour (%s, %s)", a, b, ends[0].Release, ends[1].Release)
	}
	all, err := offers(ctx, mirror, suites, flavour)
	if err != nil {
		return nil, at, err
	}
	for i := range all {
		all[i].Spec = "debian:" + all[i].Release
		if words != "" {
			all[i].Spec += ",append=" + words
		}
	}
	return between(all, ends)
}

// place finds the package that a spec stands for.
func place(ctx context.Context, a *apt.Apt, text string) (suite, pkg, version string, err error) {
	s, err := parseSpec(text)
	if err != nil {
		return "", "", "", err
	}
	if s.modules != "" {
		return "", "", "", exit.BadInputf("modules= is not for a Debian package, which has its modules")
	}
	if s.source.place == nil {
		return "", "", "", exit.BadInputf("a search between two specs needs two of Debian's kernels, debian:SUITE or debian:RELEASE (--from and --builds search among others)")
	}
	return s.source.place(ctx, a, s.name)
}

func placeSuite(ctx context.Context, a *apt.Apt, name string) (suite, pkg, version string, err error) {
	suite, arch := splitSuite(name)
	a = a.For(arch)
	if pkg, err = newestImage(ctx, a, suite); err != nil {
		return "", "", "", err
	}
	suite, version, err = a.Find(ctx, pkg, suite)
	return suite, pkg, version, err
}

func placeRelease(ctx context.Context, a *apt.Apt, name string) (suite, pkg, version string, err error) {
	pkg = "linux-image-" + name
	suite, version, err = a.For(debianArch(name)).Find(ctx, pkg, suitesFor(name)...)
	return suite, pkg, version, err
}

// offers are the suites' builds of a flavour, in dpkg's order.
func offers(ctx context.Context, a *apt.Apt, suites []string, flavour string) ([]Candidate, error) {
	found := map[string]Candidate{}
	for _, suite := range suites {
		newest, err := a.Matching(ctx, suite, "linux-image-", func(pkg string) bool {
			return kernelRelease(pkg) != "" && strings.HasSuffix(pkg, flavour) && flavourRE.FindString(pkg) == flavour
		})
		if err != nil {
			return nil, err
		}
		lacks, err := incomplete(ctx, a, suite, flavour)
		if err != nil {
			return nil, err
		}
		for pkg, version := range newest {
			if c := (Candidate{Lacks: lacks[kernelRelease(pkg)], Release: kernelRelease(pkg), Version: version}); found[c.Release].Version == "" {
				found[c.Release] = c
			}
		}
	}
	return sorted(ctx, slices.Collect(maps.Values(found)))
}

// incomplete are the split kernels of a suite of which the modules are gone, by
// release. Debian's archive keeps the signed parts of a kernel longer than the
// others: of trixie-backports' 6.19, 7.0 and 7.1 it had only the image in
// November 2026.
func incomplete(ctx context.Context, a *apt.Apt, suite, flavour string) (map[string]string, error) {
	ours := func(pkg string) bool { return strings.HasSuffix(pkg, flavour) && kernelRelease(pkg) != "" }
	images, err := a.Matching(ctx, suite, "linux-binary-", ours)
	if err != nil {
		return nil, err
	}
	modules, err := a.Matching(ctx, suite, "linux-modules-", ours)
	if err != nil {
		return nil, err
	}
	lacks := map[string]string{}
	for pkg := range images {
		release := kernelRelease(pkg)
		if name := "linux-modules-" + release; modules[name] == "" {
			lacks[release] = name
		}
	}
	return lacks, nil
}

// sorted puts builds into dpkg's order of their versions.
func sorted(ctx context.Context, list []Candidate) ([]Candidate, error) {
	var failed error
	slices.SortFunc(list, func(a, b Candidate) int {
		for _, c := range []struct {
			a, b Candidate
			n    int
		}{{a, b, -1}, {b, a, 1}} {
			less, err := apt.Less(ctx, c.a.Version, c.b.Version)
			if err != nil && failed == nil {
				failed = err
			}
			if less {
				return c.n
			}
		}
		return strings.Compare(a.Release+a.Spec, b.Release+b.Spec)
	})
	return list, failed
}

// between cuts the list at its ends.
func between(all []Candidate, ends [2]Candidate) (list []Candidate, at [2]int, err error) {
	for i, e := range ends {
		at[i] = slices.IndexFunc(all, func(c Candidate) bool { return c.Release == e.Release && c.Version == e.Version })
		if at[i] < 0 {
			return nil, at, fmt.Errorf("find the kernels between the two: %s %s is not among those of its suite", e.Release, e.Version)
		}
	}
	first := min(at[0], at[1])
	list = all[first : max(at[0], at[1])+1]
	return list, [2]int{at[0] - first, at[1] - first}, nil
}

// Debs lists the kernel packages in a directory, the earliest version first.
func Debs(ctx context.Context, dir string) ([]Candidate, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, exit.BadInputf("read the kernel packages in a directory: %w", err)
	}
	var list []Candidate
	arches := map[string]bool{}
	for _, e := range entries {
		// make ARCH=um bindeb-pkg calls them user-mode-linux-RELEASE.
		image := strings.HasPrefix(e.Name(), "linux-image-") || strings.HasPrefix(e.Name(), umlPackage+"-")
		if !image || filepath.Ext(e.Name()) != ".deb" || strings.Contains(e.Name(), "-dbg_") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		f, err := debFields(ctx, path, "Package", "Version", "Architecture")
		if err != nil {
			return nil, err
		}
		if a := f["Architecture"]; a != "all" && archOf(a, byDebian) == nil {
			continue
		}
		if release := kernelRelease(f["Package"]); release != "" {
			arches[f["Architecture"]] = true
			list = append(list, Candidate{Spec: path, Release: release, Version: f["Version"]})
		}
	}
	if len(list) == 0 {
		return nil, exit.BadInputf("read the kernel packages in %s: there are none (linux-image-*.deb, user-mode-linux-*.deb)", dir)
	}
	if len(arches) > 1 {
		return nil, exit.BadInputf("read the kernel packages in %s: they are for %s: want one architecture", dir, strings.Join(slices.Sorted(maps.Keys(arches)), " and "))
	}
	return sorted(ctx, list)
}
