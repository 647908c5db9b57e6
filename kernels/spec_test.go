// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

func TestParseSpec(t *testing.T) {
	tested := map[string]bool{}
	for _, c := range []struct {
		text, form string
		want       spec
	}{
		{"local", "local", spec{}},
		{Default, "uml:debian:SUITE", spec{name: "forky"}},
		{"debian:trixie", "debian:SUITE[:arm64]", spec{name: "trixie"}},
		{"debian:trixie-backports", "debian:SUITE[:arm64]", spec{name: "trixie-backports"}},
		{"debian:trixie-backports:arm64", "debian:SUITE[:arm64]", spec{name: "trixie-backports:arm64"}},
		{"debian:trixie:amd64", "debian:SUITE[:arm64]", spec{name: "trixie:amd64"}},
		{"debian:6.12.94+deb13-cloud-arm64", "debian:RELEASE", spec{name: "6.12.94+deb13-cloud-arm64"}},
		{"debian:6.12.94+deb13-cloud-amd64", "debian:RELEASE", spec{name: "6.12.94+deb13-cloud-amd64"}},
		{"debian:6.12.90+deb12.1-cloud-amd64", "debian:RELEASE", spec{name: "6.12.90+deb12.1-cloud-amd64"}},
		{"ssh://root@board:22,root=board", "ssh://USER@HOST[:PORT]", spec{name: "ssh://root@board:22,root=board"}},
		{"board:rpi4,console=exec:a,b", "board:NAME", spec{name: "board:rpi4,console=exec:a,b"}},
		{"./bzImage", "a path", spec{name: "./bzImage"}},
		{"a,b/bzImage", "a path", spec{name: "a,b/bzImage"}},
		{"b/bzImage,modules=m,x.tgz", "a path", spec{name: "b/bzImage", modules: "m,x.tgz"}},
		{"debian:sid,append=apparmor.mode=complain", "debian:SUITE[:arm64]", spec{name: "sid", append: []string{"apparmor.mode=complain"}}},
		{"debian:sid,append=console=ttyS1,115200  quiet,append=a", "debian:SUITE[:arm64]", spec{name: "sid", append: []string{"console=ttyS1,115200", "quiet", "a"}}},
		{"b/bzImage,append=a=b c,modules=../m", "a path", spec{name: "b/bzImage", append: []string{"a=b", "c"}, modules: "../m"}},
		{"b/bzImage,modules=m,append=c", "a path", spec{name: "b/bzImage", append: []string{"c"}, modules: "m"}},
	} {
		got, err := parseSpec(c.text)
		form := ""
		if got.source != nil {
			form = got.source.form
		}
		if c.form == "a path" {
			c.form = sources[len(sources)-1].form
		}
		tested[form] = true
		if err != nil || form != c.form || got.name != c.want.name || got.modules != c.want.modules || !slices.Equal(got.append, c.want.append) {
			t.Errorf("%s: %+v, %v, want %+v", c.text, got, err, c.want)
		}
	}
	for _, source := range sources {
		if !tested[source.form] {
			t.Errorf("no case for the source %s: add one above", source.form)
		}
	}
}

func TestParseSpecErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "no kernel given: want uml:debian:SUITE, "},
		{",append=quiet", "no kernel given: want uml:debian:SUITE, "},
		{"trixie", "unknown kernel: want"},
		{"debain:trixie", "unknown kernel: want"},
		{"debian:", "neither a Debian suite, for amd64 or arm64, nor a kernel release"},
		{"debian:trixie:mips", "neither a Debian suite"},
		{"debian:trixie:", "neither a Debian suite"},
		{"debian:../x", "neither a Debian suite"},
		{"debian:-o", "neither a Debian suite"},
		{"debian:6.1/../..", "neither a Debian suite"},
		{"uml:debian:6.12", "neither a Debian suite"},
		{"ssh://root@board,append=quiet", "append= is not for"},
		{"local,append=quiet", "append= is not for"},
		{"local,modules=x", "modules= is not for"},
		{"a/bzImage,append=", "empty value for append="},
		{"a/bzImage,modules=", "empty value for modules="},
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
		if s.source.form != sources[len(sources)-1].form && strings.ContainsAny(s.name, "/\\ *?") {
			t.Errorf("%q: %q would name a package", text, s.name)
		}
		for _, w := range s.append {
			if w == "" || strings.ContainsAny(w, " \n\x00") {
				t.Errorf("%q: the word %q", text, w)
			}
		}
	})
}

// TestFormLike: a name that its source rejects is not read as a path.
func TestFormLike(t *testing.T) {
	for base, want := range map[string]string{"uml:debian:../x": "uml:debian:SUITE", "debian:": "debian:", "./debian:x": "", "bzImage": "", "local": ""} {
		if got := formLike(base); !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("%q: %q, want %q", base, got, want)
		}
	}
}

// A source whose row does not say otherwise is not taken from a stored run.
func TestStoredByDefault(t *testing.T) {
	for _, s := range sources {
		if s.stored == nil {
			t.Errorf("%s: says nothing of stored runs", s.form)
		}
	}
	const text = "uml:debian:forky"
	if err := CheckStored(text, t.TempDir()); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	was := sources[0]
	t.Cleanup(func() { sources[0] = was })
	sources[0].stored = nil
	if err := CheckStored(text, t.TempDir()); exit.Status(err) != exit.Usage {
		t.Errorf("%s of a source that says nothing: %v", text, err)
	}
}
