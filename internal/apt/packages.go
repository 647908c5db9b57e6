// SPDX-License-Identifier: Apache-2.0

package apt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
)

// errMissing marks what newer lists might bring.
var errMissing = errors.New("not found")

// missing is the error for a package that the suite does not offer.
func (a *Apt) missing(suite, pkg, version string) error {
	if version != "" {
		pkg += " " + version
	}
	return exit.BadInput(&missingError{fmt.Sprintf("Debian %s on %s has no package %s", suite, a.mirror, pkg)})
}

type missingError struct{ text string }

func (e *missingError) Error() string        { return e.text }
func (e *missingError) Is(target error) bool { return target == errMissing }

// IsMissing reports whether err means that a suite lacks a package or version, or
// the mirror a file that its lists name.
func IsMissing(err error) bool { return errors.Is(err, errMissing) }

// Versions lists the versions of pkg that the suite has, newest first. A
// package that it does not have is an error for which [IsMissing] is true.
func (a *Apt) Versions(ctx context.Context, suite, pkg string) ([]string, error) {
	if err := check(suite, pkg, ""); err != nil {
		return nil, err
	}
	st := a.state(suite, false)
	var versions []string
	err := a.with(ctx, st, func() (err error) {
		versions, err = a.versions(ctx, st, pkg)
		return err
	})
	return versions, err
}

// versions is Versions for who holds the lock.
func (a *Apt) versions(ctx context.Context, st state, pkg string) ([]string, error) {
	out, stderr, err := a.run(ctx, st, "", "apt-cache", "madison", pkg)
	if err != nil {
		return nil, fmt.Errorf("ask apt for %s of %s: %w", pkg, st.suite, said(stderr, err))
	}
	versions := parseMadison(out, pkg)
	if len(versions) == 0 {
		return nil, a.missing(st.suite, pkg, "")
	}
	return versions, nil
}

// Matching lists the packages of the suite whose names begin with prefix and
// that keep accepts, each with its newest version there.
func (a *Apt) Matching(ctx context.Context, suite, prefix string, keep func(pkg string) bool) (map[string]string, error) {
	if err := check(suite, prefix+"x", ""); err != nil {
		return nil, err
	}
	st := a.state(suite, false)
	newest := map[string]string{}
	err := a.with(ctx, st, func() error {
		out, stderr, err := a.run(ctx, st, "", "apt-cache", "pkgnames", prefix)
		if err != nil {
			return fmt.Errorf("ask apt for the packages %s… of %s: %w", prefix, suite, said(stderr, err))
		}
		var names []string
		for _, pkg := range strings.Fields(out) {
			if packageRE.MatchString(pkg) && keep(pkg) {
				names = append(names, pkg)
			}
		}
		if len(names) == 0 {
			return nil
		}
		out, stderr, err = a.run(ctx, st, "", "apt-cache", append([]string{"madison"}, names...)...)
		if err != nil {
			return fmt.Errorf("ask apt for the versions of %s… of %s: %w", prefix, suite, said(stderr, err))
		}
		for _, pkg := range names {
			if v := parseMadison(out, pkg); len(v) > 0 {
				newest[pkg] = v[0]
			}
		}
		return nil
	})
	return newest, err
}

// Less reports whether version a is earlier than b, in dpkg's order: 7.0~rc1
// before 7.0, 7.0.10 after 7.0.9.
func Less(ctx context.Context, a, b string) (bool, error) {
	for _, v := range []string{a, b} {
		if !versionRE.MatchString(v) {
			return false, exit.BadInputf("%q is not a version of a Debian package", v)
		}
	}
	err := child.Command(ctx, "dpkg", "--compare-versions", a, "lt", b).Run()
	var exited *exec.ExitError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &exited) && exited.ExitCode() == 1:
		return false, nil
	}
	return false, fmt.Errorf("compare the versions %s and %s: %w", a, b, err)
}

// parseMadison reads the versions of pkg from lines such as
//
//	user-mode-linux |     7.2um1 | http://mirror/debian forky/main amd64 Packages
//
// which apt prints newest first.
func parseMadison(out, pkg string) []string {
	var versions []string
	for line := range strings.Lines(out) {
		f := strings.Split(line, "|")
		if len(f) == 3 && strings.TrimSpace(f[0]) == pkg {
			versions = append(versions, strings.TrimSpace(f[1]))
		}
	}
	return versions
}

// Find is the first of the suites that has pkg, and its newest version there.
// Suites that the mirror does not have are passed over.
func (a *Apt) Find(ctx context.Context, pkg string, suites ...string) (suite, version string, err error) {
	if len(suites) == 0 {
		return "", "", errors.New("find a package: no suites given")
	}
	var last error
	for _, suite := range suites {
		versions, err := a.Versions(ctx, suite, pkg)
		if err == nil {
			return suite, versions[0], nil
		}
		if exit.Status(err) != exit.Usage {
			return "", "", err // the mirror cannot be reached: for no suite
		}
		if !IsMissing(err) {
			last = err
		}
	}
	if last != nil {
		return "", "", last
	}
	return "", "", exit.BadInput(&missingError{fmt.Sprintf("no package %s in %s on %s", pkg, strings.Join(suites, ", "), a.mirror)})
}

// Depends lists the names of the packages that this one depends on directly;
// of alternatives, the first. An empty version means the newest.
func (a *Apt) Depends(ctx context.Context, suite, pkg, version string) ([]string, error) {
	if err := check(suite, pkg, version); err != nil {
		return nil, err
	}
	st := a.state(suite, false)
	var names []string
	err := a.with(ctx, st, func() error {
		version, err := a.settle(ctx, st, pkg, version)
		if err != nil {
			return err
		}
		names, err = a.depends(ctx, st, pkg, version)
		return err
	})
	return names, err
}

// depends asks apt what a version of pkg depends on. The answer never changes
// and costs apt a quarter of a second, so it is written down.
func (a *Apt) depends(ctx context.Context, st state, pkg, version string) ([]string, error) {
	note := filepath.Join(st.dir, "depends", pkg+"="+version)
	if b, err := os.ReadFile(note); err == nil {
		return strings.Fields(string(b)), nil
	}
	out, stderr, err := a.run(ctx, st, "", "apt-cache", "show", "--no-all-versions", pkg+"="+version)
	if err != nil {
		return nil, fmt.Errorf("ask apt what %s %s depends on: %w", pkg, version, said(stderr, err))
	}
	for _, f := range stanzas(out) {
		if f["package"] != pkg || f["version"] != version {
			continue
		}
		names := parseDepends(f["pre-depends"] + "," + f["depends"])
		return names, writeWhole(note, strings.Join(names, "\n")+"\n")
	}
	return nil, a.missing(st.suite, pkg, version)
}

// writeWhole writes a file that is complete or absent, also if we are killed.
func writeWhole(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// settle is version if the suite has it, or its newest for an empty one.
func (a *Apt) settle(ctx context.Context, st state, pkg, version string) (string, error) {
	versions, err := a.versions(ctx, st, pkg)
	if err != nil {
		return "", err
	}
	if version == "" {
		return versions[0], nil
	}
	for _, v := range versions {
		if v == version {
			return v, nil
		}
	}
	return "", a.missing(st.suite, pkg, version)
}

// parseDepends reads the names from "a (= 1), b | c, d:any".
func parseDepends(field string) []string {
	var names []string
	for _, dep := range strings.Split(field, ",") {
		dep, _, _ = strings.Cut(dep, "|")
		if f := strings.Fields(dep); len(f) > 0 {
			name, _, _ := strings.Cut(f[0], ":")
			name, _, _ = strings.Cut(name, "(")
			names = append(names, name)
		}
	}
	return names
}

// uriRE is a line of apt-get --print-uris: 'URI' filename size hash.
var uriRE = regexp.MustCompile(`(?m)^'([^']+)' (\S+) (\d+) (\S*)$`)

// Download puts the package file into dir and returns its path. apt has
// checked its hash against the signed lists. An empty version means the
// newest of the suite.
func (a *Apt) Download(ctx context.Context, suite, pkg, version, dir string) (path string, err error) {
	if err := check(suite, pkg, version); err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	st := a.state(suite, false)
	err = a.with(ctx, st, func() error {
		version, err := a.settle(ctx, st, pkg, version)
		if err != nil {
			return err
		}
		want := pkg + "=" + version
		out, stderr, err := a.run(ctx, st, dir, "apt-get", "download", "--print-uris", want)
		if err != nil {
			return fmt.Errorf("locate %s %s: %w", pkg, version, said(stderr, err))
		}
		m := uriRE.FindStringSubmatch(out)
		if m == nil {
			return fmt.Errorf("locate %s %s: apt names no file", pkg, version)
		}
		path = filepath.Join(dir, filepath.Base(m[2]))
		a.progress(fmt.Sprintf("downloading %s %s (%s)", pkg, version, megabytes(m[3])))
		if _, stderr, err = a.run(ctx, st, dir, "apt-get", "--quiet=2", "download", want); err != nil {
			return a.explainFetch(pkg+" "+version, stderr, err)
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("download %s %s: apt left no file: %w", pkg, version, err)
		}
		return nil
	})
	return path, err
}

func megabytes(bytes string) string {
	if len(bytes) <= 6 {
		return "under 1 MB"
	}
	return bytes[:len(bytes)-6] + " MB"
}

// notFoundRE is how apt says that the mirror has no such file. The address it
// answered from, in brackets, is left out.
var notFoundRE = regexp.MustCompile(`(?m)(\S+)\s+404\s+Not Found`)

// explainFetch names the file that could not be fetched. One that the mirror
// lacks may just have been superseded: newer lists would tell.
func (a *Apt) explainFetch(what, stderr string, err error) error {
	if m := notFoundRE.FindStringSubmatch(stderr); m != nil {
		return &missingError{fmt.Sprintf("download %s: the mirror lacks %s (404), after its signed lists name it: try later, or another mirror with PROOFHOUSE_MIRROR", what, m[1])}
	}
	return fmt.Errorf("download %s from %s: %w", what, a.mirror, said(stderr, err))
}

// Mmdebstrap is what mmdebstrap needs in order to use the same mirror, keyring
// and settings: arguments to stand behind its SUITE and TARGET, the last of
// them the sources line. mmdebstrap does not read the host's apt.conf.
func (a *Apt) Mmdebstrap(suite string) (args []string, err error) {
	if !suiteRE.MatchString(suite) {
		return nil, exit.BadInputf("%q is not the name of a Debian suite", suite)
	}
	for _, s := range append([]setting{{"Acquire::Retries", "3"}, {"Acquire::Languages", "none"}}, a.settings...) {
		args = append(args, "--aptopt="+s.String())
	}
	return append(args, a.line("deb", suite)), nil
}
