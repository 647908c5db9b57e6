// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"proofhouse/internal/apt"
	"proofhouse/internal/cache"
)

// Offer is a kernel that is in the cache or that a Debian suite has.
type Offer struct {
	Spec    string `json:"spec,omitempty"`    // what to ask for; "" for a cached build that only Source names
	Release string `json:"release,omitempty"` // "" where only the package's version is known
	Version string `json:"version"`           // uname -v of a cached build, otherwise the package's
	Source  string `json:"source,omitempty"`  // of a cached build: the package or file it came from
	Cached  bool   `json:"cached"`
}

// Known lists what the cache holds, and behind it what the usual Debian suites
// offer now. Where a suite cannot be asked, the rest is returned with the
// error.
func Known(ctx context.Context, progress func(string)) ([]Offer, error) {
	offers, err := cached()
	if err != nil {
		return nil, err
	}
	a, err := apt.Open(ctx, progress)
	if err != nil {
		return offers, err
	}
	var errs []error
	for _, s := range debianSuites {
		o, err := offered(ctx, a, s.name)
		offers = append(offers, o...)
		if err != nil {
			errs = append(errs, fmt.Errorf("suite %s: %w", s.name, err))
		}
	}
	return offers, errors.Join(errs...)
}

// cached lists the builds in the cache.
func cached() ([]Offer, error) {
	paths, err := filepath.Glob(filepath.Join(cache.Root(), room, "*", recordName))
	if err != nil {
		return nil, err
	}
	var offers []Offer
	for _, p := range paths {
		dir := filepath.Dir(p)
		if filepath.Base(dir)[0] == '.' {
			continue // being filled
		}
		b, err := readEntry(dir)
		if err != nil {
			return nil, err
		}
		o := Offer{Release: b.Release, Version: b.Version, Source: b.Source, Cached: true}
		if strings.HasPrefix(filepath.Base(dir), "linux-image-") {
			o.Spec = "debian:" + b.Release
		}
		offers = append(offers, o)
	}
	return offers, nil
}

// offered lists what the suite has of each source.
func offered(ctx context.Context, a *apt.Apt, suite string) ([]Offer, error) {
	var offers []Offer
	for _, s := range sources {
		if s.offer == nil {
			continue
		}
		o, err := s.offer(ctx, a, suite)
		switch {
		case err == nil:
			offers = append(offers, o)
		case !apt.IsMissing(err):
			return offers, err
		}
	}
	return offers, nil
}

// offerSuite is the suite's newest cloud kernel.
func offerSuite(ctx context.Context, a *apt.Apt, suite string) (Offer, error) {
	pkg, err := newestImage(ctx, a, suite)
	if err != nil {
		return Offer{}, err
	}
	versions, err := a.Versions(ctx, suite, pkg)
	if err != nil {
		return Offer{}, err
	}
	return Offer{Spec: "debian:" + suite, Release: kernelRelease(pkg), Version: versions[0], Cached: isCached(pkg, versions[0])}, nil
}

// offerUML is the suite's User Mode Linux.
func offerUML(ctx context.Context, a *apt.Apt, suite string) (Offer, error) {
	versions, err := a.Versions(ctx, suite, umlPackage)
	if err != nil {
		return Offer{}, err
	}
	return Offer{Spec: "uml:debian:" + suite, Version: versions[0], Cached: isCached(umlPackage, versions[0])}, nil
}

func isCached(pkg, version string) bool {
	return isFile(filepath.Join(cache.Root(), room, key(pkg, version, debianArch(pkg)), recordName))
}

func modTime(path string) time.Time {
	fi, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return fi.ModTime()
}
