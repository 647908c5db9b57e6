// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"os"
	"strings"
	"unicode"

	"proofhouse/internal/apt"
	"proofhouse/internal/exit"
)

// A source is a place that kernels come from. Adding one takes a row in sources
// and its test in spec_test.go: messages, help, listing and bisection read the
// table.
type source struct {
	form string // how its specs are written, for messages and help
	// match returns the name in a spec without its options. An error is for one
	// that is of this form and wrong.
	match func(base string) (name string, ok bool, err error)
	// build makes or fetches the build of that name.
	build func(ctx context.Context, name string, progress func(string)) (*Build, error)

	// place finds the Debian package of that name; nil if the kernels are not
	// Debian's image packages, and so have no order to bisect in.
	place func(ctx context.Context, a *apt.Apt, name string) (suite, pkg, version string, err error)
	// offer is what a Debian suite has of it now; nil if it cannot be listed.
	offer func(ctx context.Context, a *apt.Apt, suite string) (Offer, error)
	// stored is why a spec of it that was read from the run in dir, which somebody
	// else may have written, is not tested unless the user names it; "" = it is.
	// nil refuses each of them.
	stored func(s spec, dir string) (why string)
	// running reports that it is the kernel that runs on the host, with its own
	// modules and command line: a spec has no options.
	running bool
}

// sources are all of them; the first that matches a spec counts.
var sources = []source{
	{
		form: "uml:debian:SUITE", match: debianName("uml:debian:", suiteName),
		build: debianUML, offer: offerUML, stored: fetched,
	},
	{
		form: "debian:SUITE[:arm64]", match: debianName("debian:", suiteAndArch),
		build: debianSuite, place: placeSuite, offer: offerSuite, stored: fetched,
	},
	{
		form: "debian:RELEASE", match: debianName("debian:", releaseRE.MatchString),
		build: debianRelease, place: placeRelease, stored: fetched,
	},
	{
		form: "local", match: func(base string) (string, bool, error) { return "", base == "local", nil },
		build: func(context.Context, string, func(string)) (*Build, error) { return local() }, running: true,
		stored: func(spec, string) string { return "it is this host" },
	},
	{
		form: "ssh://USER@HOST[:PORT]", match: boardName("ssh://"), build: onBoard, running: true,
		stored: func(spec, string) string { return "it is a machine that is not in the directory of boards" },
	},
	{form: "board:NAME", match: boardName("board:"), build: onBoard, running: true, stored: storedBoard},
	{
		form:  "the path of a bzImage, an arm64 Image, an ARCH=um executable, a .deb, a build tree or a Yocto deploy directory",
		match: pathName, build: fromPath, stored: storedPath,
	},
}

// Forms lists the forms of a kernel spec, for help and messages.
func Forms() string {
	var forms []string
	for _, s := range sources {
		forms = append(forms, s.form)
	}
	last := len(forms) - 1
	return strings.Join(forms[:last], ", ") + ", or " + forms[last]
}

// debianName matches a prefix and a name behind it.
func debianName(prefix string, is func(string) bool) func(string) (string, bool, error) {
	return func(base string) (string, bool, error) {
		name, ok := strings.CutPrefix(base, prefix)
		return name, ok && is(name), nil
	}
}

func suiteName(s string) bool { return suiteRE.MatchString(s) }

func suiteAndArch(s string) bool {
	suite, arch := splitSuite(s)
	return suiteName(suite) && archOf(arch, byDebian) != nil
}

// pathName matches what is left.
func pathName(base string) (string, bool, error) {
	switch {
	case base == "":
		return "", false, exit.BadInputf("no kernel given: want %s", forms)
	case strings.HasPrefix(base, "debian:"), strings.HasPrefix(base, "uml:debian:"):
		return "", false, exit.BadInputf("neither a Debian suite, for amd64 or arm64, nor a kernel release")
	}
	if form := formLike(base); form != "" {
		return "", false, exit.BadInputf("invalid name: want %s", form)
	}
	if _, err := os.Lstat(base); os.IsNotExist(err) && !strings.ContainsAny(base, "/.") {
		return "", false, exit.BadInputf("unknown kernel: want %s", forms)
	}
	return base, true, nil
}

// formLike returns the form that base begins like (snapshot:NAME, for
// snapshot:../x), or "". A name that its source rejects must not be read as a
// path.
func formLike(base string) string {
	for prefix, form := range prefixes {
		if strings.HasPrefix(base, prefix) {
			return form
		}
	}
	return ""
}

// forms is [Forms], and prefixes are the forms by what they begin with, such as
// "debian:". They need the table that pathName is in.
var (
	forms    string
	prefixes = map[string]string{}
)

func init() {
	forms = Forms()
	for _, s := range sources {
		if i := strings.IndexFunc(s.form, unicode.IsUpper); i > 0 && s.form[i-1] == ':' {
			prefixes[s.form[:i]] = s.form
		}
	}
}

// sourceOf finds the source of a spec without its options.
func sourceOf(base string) (*source, string, error) {
	for i := range sources {
		name, ok, err := sources[i].match(base)
		if ok || err != nil {
			return &sources[i], name, err
		}
	}
	return nil, "", exit.BadInputf("unknown kernel: want %s", forms)
}
