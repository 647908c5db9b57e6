// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{
		"container-ns", "c1", "lxc-c1_<-var-lib-lxc>", "a.b", "a=b", "ü", strings.Repeat("x", MaxName), "roots", "x-", "_",
	} {
		if err := CheckName(name); err != nil {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
	for name, why := range map[string]string{
		"":                               "empty",
		strings.Repeat("x", MaxName+1):   "256 bytes",
		"a/b":                            "slash",
		"a//b":                           "nested namespaces",
		"a:b":                            "colon",
		":a":                             "colon",
		"a&b":                            "ampersand",
		"a b":                            "white space",
		"a\tb":                           "white space",
		"a\nb":                           "white space",
		"a\x01b":                         "control",
		"a\u200bb":                       "control",
		"a\xffb":                         "UTF-8",
		".":                              "dot",
		"..":                             "dot",
		".load":                          "dot",
		"-a":                             "option",
		"=a":                             "absolute",
		"root":                           "first namespace",
		"unconfined":                     "every namespace",
		"a*":                             "pattern",
		"a(b)":                           "mode",
		"a\"b":                           "quotes",
		strings.Repeat("ü", MaxName/2+1): "256 bytes",
	} {
		err := CheckName(name)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("CheckName(%q) = %v, want it to say %q", name, err, why)
		}
		if exit.Status(err) != exit.Usage {
			t.Errorf("CheckName(%q): exit status %d", name, exit.Status(err))
		}
	}
}

func TestParseName(t *testing.T) {
	for in, want := range map[string]Name{
		"a": "a", "a//b": "a//b", ":a:": "a", ":a//b:": "a//b", ":a": "a", ":a://": "a", "with space": "with space",
	} {
		if got, err := ParseName(in); err != nil || got != want {
			t.Errorf("ParseName(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ":", "::", "a/b", "a//", "//a", "a////b", "..", "a//..//b", ".", "a:b", ":a:p", "a\x00",
		strings.Repeat("x", 256), strings.TrimSuffix(strings.Repeat("a//", 40), "//"),
	} {
		if got, err := ParseName(in); exit.Status(err) != exit.Usage {
			t.Errorf("ParseName(%q) = %q, %v, want bad input", in, got, err)
		}
	}
}

// What CheckName accepts must come back from a label.
func FuzzNameInLabel(f *testing.F) {
	for _, s := range []string{"ct", "lxc-c1_<-var-lib-lxc>", "a&b", "a:b", "---", "x (enforce)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if n, err := ParseName(name); err != nil || n != Name(name) {
			t.Errorf("ParseName(%q) = %q, %v", name, n, err)
		}
		label := "host//&" + Name(name).Label("p")
		l, err := ParseLabel(label + " (enforce)")
		if err != nil || len(l.Parts) != 2 || l.Parts[1] != (Part{Name(name), "p"}) || !l.In(Name(name)) {
			t.Errorf("ParseLabel(%q) = %+v, %v", label, l, err)
		}
	})
}

func TestNameWithin(t *testing.T) {
	for _, c := range []struct {
		n, top Name
		want   bool
	}{
		{"a", "a", true}, {"a//b", "a", true}, {"ab", "a", false}, {"a", "a//b", false}, {"a", "", true}, {"", "a", false},
	} {
		if got := c.n.Within(c.top); got != c.want {
			t.Errorf("%q.Within(%q) = %v", c.n, c.top, got)
		}
	}
	if got := Name("a//b//c").Parent(); got != "a//b" {
		t.Errorf("Parent = %q", got)
	}
}

func TestLXCName(t *testing.T) {
	if got, want := LXCName("c1", "/var/lib/lxc"), "lxc-c1_<-var-lib-lxc>"; got != want {
		t.Errorf("LXCName = %q, want %q", got, want)
	}
	// "lxc-", "_<", "/var/lib/lxc" and ">" are 19 bytes.
	edge := LXCName(strings.Repeat("x", lxcMax-19), "/var/lib/lxc")
	if len(edge) != lxcMax {
		t.Errorf("a name of %d bytes is not left as it is: %q", lxcMax, edge)
	}
	long := LXCName(strings.Repeat("x", lxcMax-18), "/var/lib/lxc")
	if len(long) != 16 || strings.Trim(long, "0123456789abcdef") != "" {
		t.Errorf("a longer one is %q, want 16 hex digits", long)
	}
	if err := CheckName(long); err != nil {
		t.Error(err)
	}
}
