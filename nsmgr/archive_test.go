package nsmgr

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"
)

func archive(t testing.TB) ([]byte, Policy) {
	t.Helper()
	p := Policy{{"a", []byte("policy of a")}, {"a//hat", []byte("and its hat")}, {"b", bytes.Repeat([]byte{0}, 1000)}}
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
		"changed":      bytes.Replace(data, []byte("policy of a"), []byte("policy of b"), 1),
		"hash changed": bytes.Replace(data, []byte(`"sha256": "`), []byte(`"sha256": "0`), 1),
		"more":         append(bytes.TrimRight(bytes.Clone(data), "\x00"), data...),
	} {
		if _, p, err := ReadArchive(bytes.NewReader(bad)); !errors.Is(err, ErrArchive) {
			t.Errorf("%s: %+v, %v", name, p, err)
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
