package kernels

import (
	"os"
	"regexp"
	"strings"
	"unicode"

	"proofhouse/internal/exit"
)

type form int

const (
	formPath    form = iota // name is a path
	formLocal               // no name
	formUML                 // name is a Debian suite
	formSuite               // name is a Debian suite
	formRelease             // name is a kernel release
)

// A spec is the text that names a kernel, taken apart.
type spec struct {
	form    form
	name    string
	append  []string
	modules string
}

var (
	suiteRE   = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	releaseRE = regexp.MustCompile(`^[0-9]+\.[0-9][A-Za-z0-9.+~-]*$`)
	// optionRE starts an option. A value ends where the next one starts, so
	// that words of a command line may hold commas (console=ttyS0,115200).
	optionRE = regexp.MustCompile(`,(append|modules)=`)
)

func parseSpec(text string) (spec, error) {
	var s spec
	if strings.ContainsFunc(text, unicode.IsControl) {
		return s, exit.BadInputf("a control character in the spec")
	}
	base := text
	marks := optionRE.FindAllStringSubmatchIndex(text, -1)
	if len(marks) > 0 {
		base = text[:marks[0][0]]
	}
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		name, value := text[m[2]:m[3]], text[m[1]:end]
		switch {
		case strings.TrimSpace(value) == "":
			return s, exit.BadInputf("nothing behind %s=", name)
		case name == "append":
			s.append = append(s.append, strings.Fields(value)...)
		case s.modules != "":
			return s, exit.BadInputf("modules= is there twice")
		default:
			s.modules = value
		}
	}
	return s, s.parseBase(base)
}

func (s *spec) parseBase(base string) error {
	const forms = "uml:debian:SUITE, debian:SUITE, debian:RELEASE, local, or the path of a bzImage, an ARCH=um executable, a .deb or a build tree"
	uml, isUML := strings.CutPrefix(base, "uml:debian:")
	deb, isDeb := strings.CutPrefix(base, "debian:")
	switch {
	case base == "":
		return exit.BadInputf("no kernel is named: give %s", forms)
	case base == "local":
		if s.modules != "" {
			return exit.BadInputf("the kernel that runs here has its modules: leave modules= out")
		}
		if len(s.append) > 0 {
			return exit.BadInputf("the command line of the kernel that runs here is given: leave append= out")
		}
		s.form = formLocal
	case strings.HasPrefix(base, "ssh://"):
		return exit.BadInputf("ssh:// is not supported yet: no kernel of a board can be tested")
	case isUML && suiteRE.MatchString(uml):
		s.form, s.name = formUML, uml
	case isDeb && suiteRE.MatchString(deb):
		s.form, s.name = formSuite, deb
	case isDeb && releaseRE.MatchString(deb):
		s.form, s.name = formRelease, deb
	case isUML || isDeb:
		return exit.BadInputf("neither a Debian suite nor a kernel release")
	default:
		if _, err := os.Lstat(base); os.IsNotExist(err) && !strings.ContainsAny(base, "/.") {
			return exit.BadInputf("unknown: give %s", forms)
		}
		s.form, s.name = formPath, base
	}
	return nil
}
