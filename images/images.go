// SPDX-License-Identifier: Apache-2.0

// Package images makes the disks of a virtual machine: the guest's root file
// system, a Debian with everything that a test suite needs, and small disks made
// from directories, such as a kernel's modules. What a suite needs, its own
// package tells; machines attach the disks.
//
//	root, err := images.Get(ctx, images.Request{Suite: "trixie", Source: src}, progress)
//	…
//	mods, err := images.Disk(ctx, "modules", map[string]string{build.Release: build.Modules}, progress)
//
// Both are raw ext4 files in the cache, made once, without a mount or a loop
// device on the host. No machine writes to them: each gets a copy-on-write view.
package images

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
)

// room is the directory of the cache that holds roots and disks.
const room = "images"

// recipe is the version of what is not otherwise part of a root's hash: the
// order and meaning of the build's steps. Raise it when they change.
const recipe = 1

// Suites are the Debian suites that a guest root can be made of, oldest first.
var Suites = []string{"bookworm", "trixie", "forky", "sid"}

// Request describes the root that is wanted.
type Request struct {
	Suite string // one of [Suites]
	Arch  string // as Debian names it: amd64 (also for "") or arm64
	Tests Tests  // the test suite that is built into it
}

// Tests describes a test suite that is built into a guest root: its source on
// the host, and what it needs in the guest. The package that knows the suite
// provides it.
type Tests struct {
	Source   string            // version and origin, recorded in [Root]
	Hash     string            // of the source's content, in hex
	Dirs     map[string]string // source: path in the guest -> directory of the host
	Packages []string          // Debian packages that the suite needs
	Files    map[string]File   // further files, by absolute path; put in place before Make runs
	Make     []string          // the command that builds the suite's helpers in the guest
	Dir      string            // directory of the guest in which Make runs
}

// Root is a guest root that is ready to be booted.
type Root struct {
	Image    string            `json:"-"`        // path of the raw ext4 file; never written to
	Sysroot  string            `json:"-"`        // directory with what builds programs for it: a compiler, libc, liblxc
	Suite    string            `json:"suite"`    // the Debian suite
	Arch     string            `json:"arch"`     // the architecture, as Debian and Go name it
	Packages map[string]string `json:"packages"` // every installed package and its version
	Hash     string            `json:"hash"`     // of all that went in, in hex; archive updates do not change it
	Source   string            `json:"source"`   // the upstream tests' version and where they came from
	Archive  time.Time         `json:"archive"`  // the date of the archive's signed Release file: what was current then
	Seconds  float64           `json:"seconds"`  // what the build took
}

// Names of the files in a root's cache entry.
const (
	imageFile = "root.ext4"
	sysroot   = "sysroot"
	metaFile  = "root.json"
	logFile   = "build.log" // all that mmdebstrap, make and mkfs said
)

// Get returns the root that req asks for, building it the first time: that
// takes about a minute, the network, and root or an ordinary user who may make
// user namespaces with more than one uid. progress gets one line per step; it
// may be nil. A suite that does not exist, tools that are missing and
// permissions that are lacking are exit.BadInput.
func Get(ctx context.Context, req Request, progress func(string)) (*Root, error) {
	r, err := newRecipe(req)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(string) {}
	}
	hash, err := r.hash()
	if err != nil {
		return nil, err
	}
	key := strings.ReplaceAll(r.name(), ":", "-") + "-" + hash[:16]
	dir, err := cache.Entry(ctx, room, key, func(ctx context.Context, dir string) error {
		return r.build(ctx, dir, hash, progress)
	})
	if err != nil {
		return nil, fmt.Errorf("guest root %s: %w", r.name(), err)
	}
	return readRoot(dir)
}

func readRoot(dir string) (*Root, error) {
	b, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return nil, fmt.Errorf("read the guest root's description: %w", err)
	}
	root := &Root{Image: filepath.Join(dir, imageFile), Sysroot: filepath.Join(dir, sysroot), Arch: defaultArch} // an old one has no "arch"
	if err := json.Unmarshal(b, root); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, metaFile), err)
	}
	return root, nil
}

// A rootRecipe is all that decides what a root is; its hash is the root's name
// in the cache. The state of the archive is not part of it: an update there
// must not cost the next run a minute (`proofhouse cache clean` is the way to
// get it).
type rootRecipe struct {
	Version  int
	Suite    string
	Options  []string        // mmdebstrap's, without the archive's whereabouts
	Tests    string          // the source's hash
	Guest    map[string]File // put in place before the helpers are built
	Settings map[string]File // put in place at the end
	Dirs     []string        // of the tests' source, in the guest
	Make     []string        // the command that builds the helpers
	MakeDir  string          // where in the guest it runs
	Scripts  map[string]string

	// Arch is part of the hash through Options: this keeps the hash, and so the
	// cache, of every root from before there was a second architecture.
	Arch  string `json:"-"`
	tests Tests
}

// Name is what messages call the root: its suite, and its architecture where that
// is not the default: "sid:arm64".
func (r *Root) Name() string { return rootName(r.Suite, r.Arch) }

// name is what messages call the root.
func (r *rootRecipe) name() string { return rootName(r.Suite, r.Arch) }

// rootName is what messages call a root: its suite, and its architecture where
// that is not the default, as in the spec of a kernel.
func rootName(suite, arch string) string {
	if arch == "" || arch == defaultArch {
		return suite
	}
	return suite + ":" + arch
}

func newRecipe(req Request) (*rootRecipe, error) {
	if !slices.Contains(Suites, req.Suite) {
		return nil, exit.BadInputf("guest %q: unknown Debian suite: want one of %s", req.Suite, strings.Join(Suites, ", "))
	}
	req.Arch = cmp.Or(req.Arch, defaultArch)
	if archOf(req.Arch) == nil {
		return nil, exit.BadInputf("guest root %s: unknown architecture %q: want amd64 or arm64", req.Suite, req.Arch)
	}
	if req.Tests.Hash == "" {
		return nil, fmt.Errorf("guest root %s: no test suite given", req.Suite)
	}
	return &rootRecipe{
		Version:  recipe,
		Suite:    req.Suite,
		Arch:     req.Arch,
		Options:  mmdebstrapOptions(req.Arch, req.Tests.Packages),
		Tests:    req.Tests.Hash,
		Guest:    req.Tests.Files,
		Settings: settings,
		Dirs:     sorted(req.Tests.Dirs),
		Make:     req.Tests.Make,
		MakeDir:  req.Tests.Dir,
		Scripts:  map[string]string{"build": buildScript, "customize": customizeScript, "mke2fs.conf": mke2fsConf},
		tests:    req.Tests,
	}, nil
}

// hash names the recipe; encoding/json sorts maps, so it is stable.
func (r *rootRecipe) hash() (string, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("hash the guest root's recipe: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// build fills dir, a cache entry in the making.
func (r *rootRecipe) build(ctx context.Context, dir, hash string, progress func(string)) error {
	start := time.Now()
	if err := r.run(ctx, dir, progress); err != nil {
		return keepLog(filepath.Join(dir, logFile), err)
	}
	root := Root{
		Suite:   r.Suite,
		Arch:    r.Arch,
		Hash:    hash,
		Source:  r.tests.Source,
		Seconds: time.Since(start).Round(time.Second / 10).Seconds(),
	}
	var err error
	if root.Packages, err = readPackages(filepath.Join(dir, packagesFile)); err != nil {
		return err
	}
	if root.Archive, err = readArchiveDate(filepath.Join(dir, releaseFile)); err != nil {
		return err
	}
	if err := tidy(dir); err != nil {
		return err
	}
	b, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, metaFile), append(b, '\n'), 0o644)
}

// lastSeconds is what the newest build of a root of the architecture took here, 0
// if there was none: the estimate for the next.
func lastSeconds(arch string) (seconds float64) {
	metas, err := filepath.Glob(filepath.Join(cache.Root(), room, "*", metaFile))
	if err != nil {
		return 0
	}
	var newest time.Time
	for _, m := range metas {
		st, err := os.Stat(m)
		if err != nil || st.ModTime().Before(newest) {
			continue
		}
		if root, err := readRoot(filepath.Dir(m)); err == nil && root.Arch == arch {
			newest, seconds = st.ModTime(), root.Seconds
		}
	}
	return seconds
}
