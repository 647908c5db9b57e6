// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"
)

// What apparmor_parser 5.0.2 made for 7.3.4 of
//
//	profile p /bin/foo { file, }
//	profile q { /** rwix, ^hat { /** r, } }
func sample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/policy-7.3.bin")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// versionLength is that of the whole version field.
const versionLength = 16

// named puts a namespace into the first unit, as apparmor_parser -n does.
func named(data []byte) []byte {
	return slices.Concat(data[:versionLength], []byte("\x04\x0a\x00namespace\x00\x05\x02\x00y\x00"), data[versionLength:])
}

func TestUnits(t *testing.T) {
	data := sample(t)
	units, err := Units(data)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	var joined []byte
	for _, u := range units {
		names = append(names, u.Name)
		joined = append(joined, u.Data...)
		if again, err := Units(u.Data); err != nil || len(again) != 1 || again[0].Name != u.Name {
			t.Errorf("unit %s alone: %v, %v", u.Name, again, err)
		}
	}
	if want := []string{"p", "q", "q//hat"}; !slices.Equal(names, want) {
		t.Errorf("units %q, want %q", names, want)
	}
	if !bytes.Equal(joined, data) {
		t.Error("the units are not the whole")
	}
	with, err := Units(named(data))
	if err != nil || with[0].Namespace != "y" || with[0].Name != "p" || !bytes.Equal(with[0].bare(), units[0].Data) {
		t.Errorf("with a namespace: %+v, %v", with[0].Namespace, err)
	}
}

func TestUnitsOfOtherThings(t *testing.T) {
	packed, err := os.ReadFile("testdata/policy-7.3.compressed")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Units(packed); !errors.Is(err, ErrCompressed) || !IsCompiled(packed) {
		t.Errorf("compressed: %v", err)
	}
	data := sample(t)
	for name, b := range map[string][]byte{
		"nothing": nil, "text": []byte("profile p { }"), "head": data[:versionLength], "half a head": data[:8],
		"cut in a name": data[:versionLength+15], "tail": data[4:], "cut at the end": data[:len(data)-1],
		"something behind": append(bytes.Clone(data), 8), "a version alone behind": append(bytes.Clone(data), data[:versionLength]...),
	} {
		if u, err := Units(b); !errors.Is(err, ErrNoPolicy) {
			t.Errorf("%s: %v, %v", name, u, err)
		}
	}
	p := Policy{{"one.aa", data}, {"two.aa", data}}
	if _, err := p.Names(); err == nil {
		t.Error("a profile that is in two files is not noticed")
	}
}

// The kernel asks for the version only before the first profile of a load. A
// profile without one must not be hidden behind another.
func TestUnitsWithoutVersion(t *testing.T) {
	data := sample(t)
	hidden := append(bytes.Clone(data), named(data)[versionLength:]...)
	units, err := Units(hidden)
	if err != nil || len(units) != 6 || units[3].Namespace != "y" || units[3].Name != "p" {
		t.Fatalf("%+v, %v", units, err)
	}
	if !bytes.Equal(units[3].bare(), units[0].Data) {
		t.Error("a unit without a version cannot be loaded alone")
	}
}

// What the kernel takes as the name of another namespace is not loaded
// (security/apparmor/lib.c aa_splitn_fqname).
func TestForeign(t *testing.T) {
	for name, want := range map[string]string{
		"p": "", "p:q": "", "a b": "", " p": "", ":x:p": "x", ":x://p": "x", ":x": "x", " \t:x:p": "x", "\xa0:x:p": "x", "::p": ":", "\v:x//y:p": "x//y",
	} {
		if got := (Unit{Name: name}).foreign(); got != want {
			t.Errorf("profile %q is for namespace %q, want %q", name, got, want)
		}
	}
	if got := (Unit{Name: "p", Namespace: "y"}).foreign(); got != "y" {
		t.Errorf("%q", got)
	}
}

func FuzzUnits(f *testing.F) {
	data := sample(f)
	f.Add(data)
	f.Add(named(data))
	f.Add(data[:300])
	f.Add(append(bytes.Clone(data), named(data)[versionLength:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		units, err := Units(data)
		if err != nil {
			return
		}
		var joined []byte
		for _, u := range units {
			joined = append(joined, u.Data...)
			if again, err := Units(u.bare()); err != nil || again[0].Namespace != "" || again[0].Name != u.Name {
				t.Errorf("bare: %+v, %v", again, err)
			}
		}
		if !bytes.Equal(joined, data) {
			t.Error("the units are not the whole")
		}
	})
}
