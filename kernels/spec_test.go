package kernels

import (
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

func TestParseSpec(t *testing.T) {
	for _, c := range []struct {
		text string
		want spec
	}{
		{"local", spec{form: formLocal}},
		{Default, spec{form: formUML, name: "forky"}},
		{"debian:trixie", spec{form: formSuite, name: "trixie"}},
		{"debian:trixie-backports", spec{form: formSuite, name: "trixie-backports"}},
		{"debian:6.12.94+deb13-cloud-amd64", spec{form: formRelease, name: "6.12.94+deb13-cloud-amd64"}},
		{"debian:6.12.90+deb12.1-cloud-amd64", spec{form: formRelease, name: "6.12.90+deb12.1-cloud-amd64"}},
		{"./bzImage", spec{name: "./bzImage"}},
		{"a,b/bzImage", spec{name: "a,b/bzImage"}},
		{"b/bzImage,modules=m,x.tgz", spec{name: "b/bzImage", modules: "m,x.tgz"}},
		{"debian:sid,append=apparmor.mode=complain", spec{form: formSuite, name: "sid", append: []string{"apparmor.mode=complain"}}},
		{"debian:sid,append=console=ttyS1,115200  quiet,append=a", spec{form: formSuite, name: "sid", append: []string{"console=ttyS1,115200", "quiet", "a"}}},
		{"b/bzImage,append=a=b c,modules=../m", spec{name: "b/bzImage", append: []string{"a=b", "c"}, modules: "../m"}},
		{"b/bzImage,modules=m,append=c", spec{name: "b/bzImage", append: []string{"c"}, modules: "m"}},
	} {
		got, err := parseSpec(c.text)
		if err != nil || got.form != c.want.form || got.name != c.want.name || got.modules != c.want.modules || !slices.Equal(got.append, c.want.append) {
			t.Errorf("%s: %+v, %v, want %+v", c.text, got, err, c.want)
		}
	}
}

func TestParseSpecErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "no kernel is named"},
		{",append=quiet", "no kernel is named"},
		{"trixie", "unknown: give"},
		{"debain:trixie", "unknown: give"},
		{"debian:", "neither a Debian suite nor a kernel release"},
		{"debian:../x", "neither a Debian suite"},
		{"debian:-o", "neither a Debian suite"},
		{"debian:6.1/../..", "neither a Debian suite"},
		{"uml:debian:6.12", "neither a Debian suite"},
		{"ssh://root@board", "not supported yet"},
		{"local,append=quiet", "leave append= out"},
		{"local,modules=x", "leave modules= out"},
		{"a/bzImage,append=", "nothing behind append="},
		{"a/bzImage,modules=", "nothing behind modules="},
		{"a/bzImage,modules=a,modules=b", "twice"},
		{"a/bzImage\n,append=x", "control character"},
	} {
		_, err := Resolve(t.Context(), c.text, nil)
		if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want bad input: %s", c.text, err, c.want)
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, s := range []string{Default, "debian:6.12.94+deb13-cloud-amd64", "a/bzImage,append=a b,modules=x", "local", ",append=,modules="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSpec(text)
		if err != nil {
			if exit.Status(err) != exit.Usage {
				t.Errorf("%q: not bad input: %v", text, err)
			}
			return
		}
		if s.form != formPath && strings.ContainsAny(s.name, "/\\ *?") {
			t.Errorf("%q: %q would name a package", text, s.name)
		}
		for _, w := range s.append {
			if w == "" || strings.ContainsAny(w, " \n\x00") {
				t.Errorf("%q: the word %q", text, w)
			}
		}
	})
}
