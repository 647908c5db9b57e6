// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// archive is one of the units of the sample, as Save returns them.
func archive(t testing.TB) ([]byte, Policy) {
	t.Helper()
	units, err := Units(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	var p Policy
	for _, u := range units {
		p = append(p, Blob{u.Name, u.bare()})
	}
	var b bytes.Buffer
	m := Manifest{Namespace: "ct", Saved: time.Unix(1795400718, 0).UTC(), Features: "f"}
	if err := WriteArchive(&b, m, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), p
}

func TestArchive(t *testing.T) {
	data, p := archive(t)
	m, got, err := ReadArchive(bytes.NewReader(data))
	if err != nil || !reflect.DeepEqual(got, p) || m.Namespace != "ct" || m.Features != "f" {
		t.Errorf("read %+v, %+v, %v", m, got, err)
	}
	for name, bad := range map[string][]byte{
		"empty":        nil,
		"cut":          data[:len(data)/2],
		"changed":      bytes.Replace(data, []byte("profile\x00\x07\x05\x02\x00p"), []byte("profile\x00\x07\x05\x02\x00z"), 1),
		"hash changed": bytes.Replace(data, []byte(`"sha256": "`), []byte(`"sha256": "0`), 1),
		"more":         append(bytes.TrimRight(bytes.Clone(data), "\x00"), data...),
	} {
		if _, p, err := ReadArchive(bytes.NewReader(bad)); !errors.Is(err, ErrArchive) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

// file is a file of an archive that somebody made by hand.
type file struct {
	tar.Header
	data string
}

func handmade(t *testing.T, manifest any, files ...file) []byte {
	t.Helper()
	head, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range append([]file{{tar.Header{Name: manifestFile}, string(head)}}, files...) {
		if f.Size == 0 {
			f.Size = int64(len(f.data))
		}
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.data)); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Flush()
	return b.Bytes()
}

// Anybody can write an archive whose hashes fit.
func TestHostileArchive(t *testing.T) {
	data := sample(t)
	one, err := Units(data)
	if err != nil {
		t.Fatal(err)
	}
	p := string(one[0].Data)
	saved := func(name, data string) SavedProfile { return SavedProfile{name, "0000.policy", hash([]byte(data))} }
	archive := func(format int, files []file, profiles ...SavedProfile) []byte {
		return handmade(t, Manifest{Format: format, Profiles: profiles}, files...)
	}
	one0 := func(data string) []file { return []file{{tar.Header{Name: "0000.policy"}, data}} }
	if _, _, err := ReadArchive(bytes.NewReader(archive(1, one0(p), saved("p", p)))); err != nil {
		t.Fatalf("the right one: %v", err)
	}
	with := string(named([]byte(p)))
	hidden := p + string(named(data)[versionLength:])
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"another format":       {archive(2, one0(p), saved("p", p)), "format"},
		"a namespace":          {archive(1, one0(with), saved("p", with)), `names namespace "y"`},
		"a hidden profile":     {archive(1, one0(hidden), saved("p", hidden)), "holds 4 profiles"},
		"another profile":      {archive(1, one0(p), saved("q", p)), `the first of them "p"`},
		"text":                 {archive(1, one0("profile p {}"), saved("p", "profile p {}")), "not compiled"},
		"a symbolic link":      {archive(1, []file{{tar.Header{Name: "0000.policy", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}, ""}}, saved("p", "")), "not a regular file"},
		"a device":             {archive(1, []file{{tar.Header{Name: "0000.policy", Typeflag: tar.TypeChar}, ""}}, saved("p", "")), "not a regular file"},
		"a path that leads up": {archive(1, []file{{tar.Header{Name: "../../etc/x"}, p}}, saved("p", p)), "differs"},
		"a size that lies":     {archive(1, []file{{tar.Header{Name: "0000.policy", Size: 1 << 40}, p}}, saved("p", p)), "are allowed"},
		"too many profiles":    {archive(1, nil, make([]SavedProfile, maxSaved+1)...), "20001 profiles"},
	} {
		_, _, err := ReadArchive(bytes.NewReader(c.archive))
		if !errors.Is(err, ErrArchive) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzReadArchive(f *testing.F) {
	data, _ := archive(f)
	f.Add(data)
	f.Add(data[:700])
	f.Fuzz(func(t *testing.T, data []byte) {
		m, p, err := ReadArchive(bytes.NewReader(data))
		if err == nil && len(p) != len(m.Profiles) {
			t.Errorf("%d profiles of %d", len(p), len(m.Profiles))
		}
	})
}
