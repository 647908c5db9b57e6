// SPDX-License-Identifier: Apache-2.0

package apt

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"proofhouse/internal/exit"
)

// Mirror is the URI of the Debian archive to use: PROOFHOUSE_MIRROR, or the
// machine's own first Debian source.
func Mirror() (string, error) {
	if m := os.Getenv("PROOFHOUSE_MIRROR"); m != "" {
		if u, err := url.Parse(m); err != nil || u.Scheme == "" || strings.ContainsAny(m, " \t\n[]") {
			return "", exit.BadInputf("PROOFHOUSE_MIRROR=%q is not a URI such as http://HOST/debian", m)
		}
		return strings.TrimRight(m, "/"), nil
	}
	return mirrorOf("/etc/apt")
}

// mirrorOf reads sources.list and sources.list.d below dir, in apt's order.
func mirrorOf(dir string) (string, error) {
	parts, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	if err != nil {
		return "", err
	}
	sort.Strings(parts)
	var all []source
	for _, path := range append([]string{filepath.Join(dir, "sources.list")}, parts...) {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // unreadable or absent: apt has no use for it either
		}
		switch filepath.Ext(path) {
		case ".list":
			all = append(all, parseList(string(b))...)
		case ".sources":
			all = append(all, parseDeb822(string(b))...)
		}
	}
	if uri := pick(all); uri != "" {
		return uri, nil
	}
	return "", exit.BadInputf("find a Debian mirror: no Debian source in %s: set PROOFHOUSE_MIRROR, for example to http://HOST/debian", dir)
}

// A source is one repository of sources.list(5).
type source struct {
	uris, suites, components []string
	signedBy                 string
}

var debianSuiteRE = regexp.MustCompile(`^(buster|bullseye|bookworm|trixie|forky|duke|sid|(old)*stable|testing|unstable|experimental)(-updates|-backports|-proposed-updates)?$`)

// debian reports whether s can be Debian's main archive: a repository for Debian
// (such as https://HOST/linux/debian bookworm stable) is not.
func (s source) debian() bool {
	return slices.ContainsFunc(s.suites, debianSuiteRE.MatchString) && slices.Contains(s.components, "main")
}

// pick is the first URI that is named as Debian's archive is, or else the
// first that offers what Debian's archive does under keys that are not
// somebody else's (a snapshot, a mirror list, a company's proxy).
func pick(all []source) string {
	named := func(_ source, uri string) bool { return strings.HasSuffix(uri, "/debian") }
	alike := func(s source, _ string) bool {
		return s.signedBy == "" || strings.Contains(s.signedBy, "debian-archive-")
	}
	for _, fits := range []func(source, string) bool{named, alike} {
		for _, s := range all {
			for _, uri := range s.uris {
				uri = strings.TrimRight(uri, "/")
				if s.debian() && !strings.Contains(uri, "debian-security") && fits(s, uri) {
					return uri
				}
			}
		}
	}
	return ""
}

// parseList reads the one-line format: deb [options] URI SUITE COMPONENT...
func parseList(text string) []source {
	var all []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		if kind != "deb" {
			continue
		}
		var s source
		rest = strings.TrimSpace(rest)
		if opts, after, ok := strings.Cut(rest, "]"); ok && strings.HasPrefix(opts, "[") {
			rest = after
			for _, o := range strings.Fields(opts[1:]) {
				if v, ok := strings.CutPrefix(strings.ToLower(o), "signed-by="); ok {
					s.signedBy = v
				}
			}
		}
		if f := strings.Fields(rest); len(f) >= 3 {
			s.uris, s.suites, s.components = f[:1], f[1:2], f[2:]
			all = append(all, s)
		}
	}
	return all
}

// parseDeb822 reads the .sources format of sources.list(5).
func parseDeb822(text string) []source {
	var all []source
	for _, f := range stanzas(text) {
		if !slices.Contains(strings.Fields(f["types"]), "deb") || isNo(f["enabled"]) {
			continue
		}
		all = append(all, source{
			uris:       strings.Fields(f["uris"]),
			suites:     strings.Fields(f["suites"]),
			components: strings.Fields(f["components"]),
			signedBy:   f["signed-by"],
		})
	}
	return all
}

func isNo(v string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(v))
}
