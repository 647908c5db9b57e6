// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func note(kind byte, name, desc string) string {
	pad := func(s string) string { return s + strings.Repeat("\x00", (4-len(s)%4)%4) }
	head := []byte{byte(len(name)), 0, 0, 0, byte(len(desc)), 0, 0, 0, kind, 0, 0, 0}
	return string(head) + pad(name) + pad(desc)
}

func TestBuildID(t *testing.T) {
	id := strings.Repeat("\xab", 20)
	for _, c := range []struct{ notes, want string }{
		{note(3, "GNU\x00", id), hex.EncodeToString([]byte(id))},
		{note(6, "Xen\x00", "12345") + note(1, "GNU\x00", "1234") + note(3, "GNU\x00", id), hex.EncodeToString([]byte(id))},
		{note(3, "Linux\x00", id), ""},
		{note(3, "GNU\x00", id)[:20], ""},
		{"", ""},
		{strings.Repeat("\xff", 64), ""},
	} {
		if got := buildID([]byte(c.notes)); got != c.want {
			t.Errorf("%q: %q, want %q", c.notes, got, c.want)
		}
	}
}

func FuzzBuildID(f *testing.F) {
	f.Add([]byte(note(3, "GNU\x00", "12345678901234567890")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id := buildID(b); len(id) > 2*len(b) {
			t.Errorf("%q of %d bytes", id, len(b))
		}
	})
}

func gzipped(t *testing.T, content []byte) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// A file arrives whole, or not at all.
func TestPut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "cache")
	content := bytes.Join([][]byte{bytes.Repeat([]byte("x"), 70000), make([]byte, 300000), []byte("end"), make([]byte, 1000)}, nil)
	if err := put(dir, "root-0123456789abcdef", gzipped(t, content)); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "root-0123456789abcdef"))
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(content), err)
	}
	whole := gzipped(t, content).Bytes()
	if err := put(dir, "tool-1", bytes.NewReader(whole[:len(whole)/2])); err == nil {
		t.Error("half a file was kept")
	}
	for _, name := range []string{"../x", "", ".hidden", "a/b"} {
		if err := put(dir, name, gzipped(t, nil)); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
	if all := names(dir); len(all) != 1 {
		t.Errorf("left: %q", all)
	}
}

// What follows the line belongs to the channel.
func TestReadServe(t *testing.T) {
	r := strings.NewReader("{\"cache\":\"/c\"}\nSSH")
	cfg, err := readServe(r)
	if err != nil || cfg.Cache != "/c" || r.Len() != 3 {
		t.Errorf("%+v, %v, %d bytes left", cfg, err, r.Len())
	}
	if _, err := readServe(strings.NewReader("{")); err == nil {
		t.Error("a line without an end")
	}
}
