// SPDX-License-Identifier: Apache-2.0

package apt

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
)

// SourceFiles are the files of a Debian source package that arrived.
type SourceFiles struct {
	Package, Version string
	Dir              string
	DSC              string   // path of the .dsc; "" if the mirror lacks it
	Orig             string   // path of the upstream tarball; "" for a native package
	Files            []string // paths of all that arrived
	Missing          []string // names of the files that the mirror lacks
	Complete         bool     // nothing is missing
}

// Source downloads the newest source package of that name into dir, which
// should be empty, without unpacking it. Every file's SHA-256 is that of the
// signed Sources index.
//
// Mirrors have been seen to lack a .dsc or .debian.tar while they have the
// upstream tarball, which is all that some need: then it returns what arrived,
// with Complete false. If not even the tarball arrived, that is an error.
func (a *Apt) Source(ctx context.Context, suite, pkg, dir string) (SourceFiles, error) {
	if err := check(suite, pkg, ""); err != nil {
		return SourceFiles{}, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return SourceFiles{}, err
	}
	st := a.state(suite, true)
	var got SourceFiles
	err = a.with(ctx, st, func() error {
		rec, err := a.newestSource(ctx, st, pkg)
		if err != nil {
			return err
		}
		a.progress(fmt.Sprintf("downloading the source of %s %s", pkg, rec.version))
		// --only-source: pkg is the source's name, not a binary's.
		_, stderr, runErr := a.run(ctx, st, dir, "apt-get", "--quiet=2", "source", "--download-only", "--only-source", pkg+"="+rec.version)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// Whatever apt said: what counts is what is there with the right hash.
		if got, err = rec.collect(dir); err != nil {
			return err
		}
		if got.DSC == "" && got.Orig == "" {
			if runErr == nil {
				return fmt.Errorf("download the source of %s %s: no file of it arrived", pkg, rec.version)
			}
			return a.explainFetch("the source of "+pkg+" "+rec.version, stderr, runErr)
		}
		if !got.Complete {
			a.progress(fmt.Sprintf("warning: the mirror lacks %s", strings.Join(got.Missing, ", ")))
		}
		return nil
	})
	return got, err
}

// A sourceRecord is a stanza of the Sources index.
type sourceRecord struct {
	pkg, version string
	files        []sourceFile
}

type sourceFile struct{ sha256, name string }

// newestSource reads the record of the version that apt-get source would take.
func (a *Apt) newestSource(ctx context.Context, st state, pkg string) (sourceRecord, error) {
	out, stderr, err := a.run(ctx, st, "", "apt-cache", "madison", pkg)
	if err != nil {
		return sourceRecord{}, fmt.Errorf("ask apt for the source of %s: %w", pkg, said(stderr, err))
	}
	// apt lists sources in the order of the index, not newest first.
	versions := parseMadison(out, pkg)
	if len(versions) == 0 {
		return sourceRecord{}, exit.BadInput(&missingError{fmt.Sprintf("Debian %s on %s has no source package %s", st.suite, a.mirror, pkg)})
	}
	newest := versions[0]
	for _, v := range versions[1:] {
		// dpkg is what compares versions; exit status 1 means "no".
		if _, _, err := a.run(ctx, st, "", "dpkg", "--compare-versions", v, "gt", newest); err == nil {
			newest = v
		}
	}
	if out, stderr, err = a.run(ctx, st, "", "apt-cache", "showsrc", "--only-source", pkg); err != nil {
		return sourceRecord{}, fmt.Errorf("ask apt for the source of %s: %w", pkg, said(stderr, err))
	}
	for _, r := range parseSources(out) {
		if r.pkg == pkg && r.version == newest {
			return r, nil
		}
	}
	return sourceRecord{}, fmt.Errorf("ask apt for the source of %s: no record of version %s", pkg, newest)
}

// parseSources reads stanzas of a Sources index.
func parseSources(text string) []sourceRecord {
	var all []sourceRecord
	for _, f := range stanzas(text) {
		r := sourceRecord{pkg: f["package"], version: f["version"]}
		for line := range strings.Lines(f["checksums-sha256"]) {
			// The hash, the size, the name. A name is no path.
			w := strings.Fields(line)
			if len(w) == 3 && len(w[0]) == 2*sha256.Size && filepath.Base(w[2]) == w[2] && w[2] != ".." && w[2] != "." {
				r.files = append(r.files, sourceFile{w[0], w[2]})
			}
		}
		if r.pkg != "" && len(r.files) > 0 {
			all = append(all, r)
		}
	}
	return all
}

// collect keeps the files of dir that are whole, and removes those that are
// not.
func (r sourceRecord) collect(dir string) (SourceFiles, error) {
	got := SourceFiles{Package: r.pkg, Version: r.version, Dir: dir}
	for _, f := range r.files {
		path := filepath.Join(dir, f.name)
		sum, err := cache.SHA256(path)
		if os.IsNotExist(err) {
			got.Missing = append(got.Missing, f.name)
			continue
		}
		if err != nil {
			return got, fmt.Errorf("check %s: %w", f.name, err)
		}
		if sum != f.sha256 {
			if err := os.Remove(path); err != nil {
				return got, err
			}
			got.Missing = append(got.Missing, f.name)
			continue
		}
		got.Files = append(got.Files, path)
		switch {
		case strings.HasSuffix(f.name, ".dsc"):
			got.DSC = path
		case strings.Contains(f.name, ".orig.tar.") && !strings.HasSuffix(f.name, ".asc"):
			got.Orig = path
		}
	}
	got.Complete = len(got.Missing) == 0
	return got, nil
}
