// SPDX-License-Identifier: Apache-2.0

// Package apt is a private apt: Debian packages and sources of any suite,
// checked by apt itself against the host's archive keyring, without reading
// or changing the host's own sources, lists, pins or package state. It
// needs no root.
//
//	a, err := apt.Open(ctx, progress)
//	…
//	deb, err := a.Download(ctx, "trixie", "linux-image-cloud-amd64", "", dir)
//
// Each suite of each mirror has a state directory of its own under the cache, so
// that what apt answers there is about that suite alone. A lock per state
// makes two runs at once safe.
package apt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"proofhouse/internal/cache"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
)

const (
	// defaultArch is the architecture of packages where none is asked for.
	defaultArch = "amd64"
	// maxAge is how old package lists may be before they are fetched anew.
	maxAge = 24 * time.Hour
	// minAge is how old they must be before a missing package is reason
	// enough to fetch them anew.
	minAge = 10 * time.Minute
)

// Apt is a private apt on one mirror. Its methods may be called at once.
type Apt struct {
	arch     string
	mirror   string
	keyring  string
	settings []setting // of the host's apt, taken over
	root     string
	progress func(string)
}

// Open finds the mirror, the keyring and the host's settings. It fetches
// nothing yet. progress, which may be nil, gets one line per slow step.
func Open(ctx context.Context, progress func(string)) (*Apt, error) {
	for _, tool := range []string{"apt-get", "apt-cache", "apt-config"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, exit.BadInputf("%s not found: Debian packages need a host with apt", tool)
		}
	}
	mirror, err := Mirror()
	if err != nil {
		return nil, err
	}
	keyring, err := findKeyring()
	if err != nil {
		return nil, err
	}
	dump, err := child.Command(ctx, "apt-config", "dump", "--format", `%f "%v";%n`).Output()
	if err != nil {
		return nil, fmt.Errorf("read the host's apt settings: %w", err)
	}
	if progress == nil {
		progress = func(string) {}
	}
	return &Apt{
		arch:     defaultArch,
		mirror:   mirror,
		keyring:  keyring,
		settings: takenOver(string(dump)),
		root:     filepath.Join(cache.Root(), "apt"),
		progress: progress,
	}, nil
}

// For returns an apt on the same mirror for the packages of an architecture, as
// dpkg names it: "arm64".
func (a *Apt) For(arch string) *Apt {
	other := *a
	other.arch = arch
	return &other
}

// Arch is the architecture of the packages, as dpkg names it.
func (a *Apt) Arch() string { return a.arch }

// findKeyring is Debian's archive keyring; its name changed in forky.
func findKeyring() (string, error) {
	for _, name := range []string{"debian-archive-keyring.pgp", "debian-archive-keyring.gpg"} {
		path := filepath.Join("/usr/share/keyrings", name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", exit.BadInputf("find Debian's archive keys: no /usr/share/keyrings/debian-archive-keyring.gpg: apt-get install debian-archive-keyring")
}

var (
	suiteRE   = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	packageRE = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	versionRE = regexp.MustCompile(`^[0-9][A-Za-z0-9.+:~-]*$`)
)

// check keeps names that apt could take for an option, a pattern or a path out
// of its command line.
func check(suite, pkg, version string) error {
	switch {
	case !suiteRE.MatchString(suite):
		return exit.BadInputf("%q is not the name of a Debian suite", suite)
	case !packageRE.MatchString(pkg):
		return exit.BadInputf("%q is not the name of a Debian package", pkg)
	case version != "" && !versionRE.MatchString(version):
		return exit.BadInputf("%q is not a version of a Debian package", version)
	}
	return nil
}

// A state is the directory of one suite: apt.conf, its sources file, its lists.
type state struct {
	dir, suite string
	sources    bool // deb-src instead of deb
}

func (a *Apt) state(suite string, sources bool) state {
	sum := sha256.Sum256([]byte(a.mirror))
	name := suite + "-" + hex.EncodeToString(sum[:4])
	switch {
	case sources:
		name += "-src"
	case a.arch != defaultArch:
		name += "-" + a.arch
	}
	return state{filepath.Join(a.root, name), suite, sources}
}

func (st state) stamp() string { return filepath.Join(st.dir, "updated") }

// age is how long ago the lists were fetched; ok is false if never.
func (st state) age() (age time.Duration, ok bool) {
	fi, err := os.Stat(st.stamp())
	if err != nil {
		return 0, false
	}
	return time.Since(fi.ModTime()), true
}

// with runs do on the state, under its lock, with lists that are there and not
// old. If do then misses something ([errMissing]), it runs once more on lists
// that are fresh.
func (a *Apt) with(ctx context.Context, st state, do func() error) error {
	if err := os.MkdirAll(a.root, 0o755); err != nil {
		return fmt.Errorf("make apt's state directory: %w", err)
	}
	unlock, err := cache.Lock(ctx, st.dir+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.configure(st); err != nil {
		return fmt.Errorf("make apt's state directory: %w", err)
	}
	if age, ok := st.age(); !ok || age > maxAge || age < 0 {
		if err := a.update(ctx, st, ok); err != nil {
			return err
		}
	}
	err = do()
	if !errors.Is(err, errMissing) {
		return err
	}
	if age, ok := st.age(); ok && age < minAge {
		return err
	}
	if err := a.update(ctx, st, true); err != nil {
		return err
	}
	return do()
}

// configure writes the state's own apt.conf and sources.
func (a *Apt) configure(st state) error {
	for _, d := range []string{"lists/partial", "cache/archives/partial", "log"} {
		if err := os.MkdirAll(filepath.Join(st.dir, d), 0o755); err != nil {
			return err
		}
	}
	kind := "deb"
	if st.sources {
		kind = "deb-src"
	}
	for _, f := range []struct{ name, text string }{
		{"apt.conf", a.conf(st)},
		{"status", ""},
		{"sources.list", a.line(kind, st.suite) + "\n"},
	} {
		path := filepath.Join(st.dir, f.name)
		// apt builds its cache anew, for a second or more, when one of these
		// has a newer date.
		if old, err := os.ReadFile(path); err == nil && string(old) == f.text {
			continue
		}
		// Proxy settings may hold a password.
		if err := os.WriteFile(path, []byte(f.text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (a *Apt) line(kind, suite string) string {
	return fmt.Sprintf("%s [signed-by=%s] %s %s main", kind, a.keyring, a.mirror, suite)
}

// update fetches the lists. Where that fails and older ones are there, those
// are used and progress says so.
func (a *Apt) update(ctx context.Context, st state, have bool) error {
	what := "package lists"
	if st.sources {
		what = "source lists"
	}
	a.progress(fmt.Sprintf("fetching the %s of Debian %s", what, st.suite))
	stdout, stderr, err := a.run(ctx, st, "", "apt-get", "update")
	if err == nil {
		if err := os.WriteFile(st.stamp(), nil, 0o644); err != nil {
			return err
		}
		now := time.Now()
		return os.Chtimes(st.stamp(), now, now)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = a.explainUpdate(st.suite, stdout+stderr, err)
	if !have {
		_ = os.RemoveAll(st.dir) // nothing of a suite that never was there
	}
	if have && exit.Status(err) != exit.Usage {
		a.progress(fmt.Sprintf("warning: %v; continuing with the older lists", err))
		return nil
	}
	return err
}

var noPubkeyRE = regexp.MustCompile(`NO_PUBKEY ([0-9A-F]+)|Missing key ([0-9A-F]+)`)

// explainUpdate turns what apt-get update said into what to do about it.
func (a *Apt) explainUpdate(suite, output string, err error) error {
	if m := noPubkeyRE.FindStringSubmatch(output); m != nil {
		return exit.BadInputf("fetch the lists of Debian %s: %s lacks its key %s: install a newer debian-archive-keyring (that of %s or later)",
			suite, a.keyring, m[1]+m[2], suite)
	}
	// A suite without InRelease and Release, from a mirror that answers.
	if strings.Contains(output, "does not have a Release file") && strings.Contains(output, "404  Not Found") {
		return exit.BadInputf("suite %s not found on the mirror %s", suite, a.mirror)
	}
	return fmt.Errorf("fetch the lists of Debian %s from %s: %w", suite, a.mirror, said(output, err))
}

// run runs one of apt's tools on the state, in the directory dir.
func (a *Apt) run(ctx context.Context, st state, dir, tool string, args ...string) (stdout, stderr string, err error) {
	cmd := child.Command(ctx, tool, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(st.dir, "apt.conf"), "LC_ALL=C.UTF-8", "LANGUAGE=")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return out.String(), errs.String(), err
}

// said is err with the first error line of what apt wrote, which says more
// than an exit status.
func said(output string, err error) error {
	if strings.Contains(output, "No space left on device") {
		return exit.BadInputf("no space left under %s (free some space, or set PROOFHOUSE_CACHE to a directory on another disk)", cache.Root())
	}
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "E: ") {
			return fmt.Errorf("%s (%w)", strings.TrimPrefix(line, "E: "), err)
		}
	}
	return err
}
