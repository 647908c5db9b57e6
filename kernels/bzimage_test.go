// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

// The samples are the setup headers and version strings of Debian's kernels.
func TestParseHeader(t *testing.T) {
	for _, c := range []struct{ name, release, version string }{
		{"bzimage-6.1", "6.1.0-50-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)"},
		{"bzimage-6.12.107", "6.12.107+deb13-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.107-1 (2026-08-29)"},
		{"bzimage-7.3.4", "7.3.4+deb13-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 7.3.4-1~bpo13+1 (2026-11-15)"},
	} {
		b, err := os.ReadFile(filepath.Join("testdata", c.name+".head"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := parseHeader(b)
		if err != nil || h.release != c.release || h.version != c.version {
			t.Errorf("%s: %+v, %v", c.name, h, err)
		}
		if h.protocol != 0x020f || h.payload < 512 || h.length < 5<<20 {
			t.Errorf("%s: protocol %#x, payload of %d at %d", c.name, h.protocol, h.length, h.payload)
		}
	}
}

func TestParseHeaderErrors(t *testing.T) {
	without := func(change func(*fakeImage)) []byte {
		f := healthy("x")
		change(&f)
		return f.bytes()
	}
	for _, c := range []struct {
		name  string
		image []byte
		want  string
	}{
		{"32 bit", without(func(f *fakeImage) { f.x64 = false }), "32-bit x86"},
		{"old", without(func(f *fakeImage) { f.protocol = 0x0204 }), "32-bit x86"},
		{"zImage", without(func(f *fakeImage) { f.loadHigh = false }), "zImage"},
		{"short", healthy("x").bytes()[:endOfHeader-1], "not a bzImage"},
		{"text", []byte(strings.Repeat("no kernel ", 100)), "not a bzImage"},
	} {
		_, err := parseHeader(c.image)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		if !errors.Is(err, errNotBzImage) && exit.Status(err) != exit.Usage {
			t.Errorf("%s: %v is not bad input", c.name, err)
		}
	}
	h, err := parseHeader(without(func(f *fakeImage) { f.version = "" }))
	if err != nil || h.release != "" {
		t.Errorf("no version string: %+v, %v", h, err)
	}
	h, err = parseHeader(without(func(f *fakeImage) { f.version = "6.1.0/../.. #1" }))
	if err != nil || h.release != "" {
		t.Errorf("a release that is no name: %+v, %v", h, err)
	}
}

func TestDecompress(t *testing.T) {
	const config = "CONFIG_SECURITY_APPARMOR=y\n"
	kernel := []byte(withConfig(config))
	dir := t.TempDir()
	plain := write(t, dir, "kernel", string(kernel))
	for _, c := range []struct {
		name string
		tool []string
		tail string
	}{
		{"gzip", []string{"gzip", "-c"}, ""},
		{"bzip2", []string{"bzip2", "-c"}, "\x00\x00\x10\x00"},
		{"xz", []string{"xz", "-c", "--check=crc32"}, "\x00\x00\x10\x00"},
		{"lzma", []string{"xz", "-c", "--format=lzma"}, "\x00\x00\x10\x00"},
		{"zstd", []string{"zstd", "-qc"}, "\x00\x00\x10\x00"},
		{"lz4", []string{"lz4", "-qlc"}, "\x00\x00\x10\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.tool[0])
			packed, err := runOutput(t, c.tool[0], append(c.tool[1:], plain)...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decompress(t.Context(), append(packed, c.tail...))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got[:len(kernel)], kernel) {
				t.Error("not the same kernel")
			}
			if text := embeddedConfig(got); string(text) != config {
				t.Errorf("its config is %q", text)
			}
			if !hasAppArmor(got) {
				t.Error("AppArmor is overlooked")
			}
		})
	}
	if _, err := decompress(t.Context(), []byte("what is this")); err == nil {
		t.Error("an unknown compression is no error")
	}
	if got := embeddedConfig([]byte("IKCFG_ST\x1f\x8b and rubbish")); got != nil {
		t.Errorf("rubbish is a config: %q", got)
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, name := range []string{"bzimage-6.1", "bzimage-6.12.107", "bzimage-7.3.4"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".head"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(healthy("x").bytes())
	f.Add([]byte("\x7fELF\x02\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err == nil && h.release != "" && !releaseRE.MatchString(h.release) {
			t.Errorf("release %q", h.release)
		}
		if kind, err := identify(b); err == nil && kind == fileBzImage && h.payload == 0 {
			t.Error("a bzImage without a payload offset")
		}
		embeddedConfig(b)
		banner(b)
		umlConfig(b)
		hasAppArmor(b)
	})
}
