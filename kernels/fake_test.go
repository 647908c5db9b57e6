// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"proofhouse/internal/host"
)

// A fakeImage is a bzImage with nothing to boot in it.
type fakeImage struct {
	version  string // "" = no pointer to one
	protocol uint16
	loadHigh bool
	x64      bool
	kernel   []byte // becomes a gzipped payload
}

func healthy(kernel string) fakeImage {
	return fakeImage{"6.12.1-test (me@here) #7 SMP Debian", 0x020f, true, true, []byte(kernel)}
}

func (f fakeImage) bytes() []byte {
	var payload bytes.Buffer
	z := gzip.NewWriter(&payload)
	_, _ = z.Write(f.kernel)
	_ = z.Close()
	b := make([]byte, 1024)
	le := binary.LittleEndian
	b[offSetupSects] = 1
	le.PutUint16(b[offBootFlag:], 0xaa55)
	copy(b[offMagic:], "HdrS")
	le.PutUint16(b[offProtocol:], f.protocol)
	if f.loadHigh {
		b[offLoadFlags] = 1
	}
	if f.x64 {
		b[offXLoadFlags] = 1
	}
	if f.version != "" {
		le.PutUint16(b[offKernelVersion:], 0x100)
		copy(b[0x300:], f.version+"\x00")
	}
	le.PutUint32(b[offPayload:], 0)
	le.PutUint32(b[offPayloadLength:], uint32(payload.Len()))
	return append(b, payload.Bytes()...)
}

// withConfig is a kernel of over a megabyte that carries a config.
func withConfig(config string) string {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte(config))
	_ = w.Close()
	return "AppArmor initialized" + filler + "IKCFG_ST" + z.String() + "IKCFG_ED"
}

var filler = string(make([]byte, 1<<20))

// write makes a file and its directories below dir and returns its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// need skips a test on a machine without a program.
func need(t testing.TB, names ...string) {
	t.Helper()
	for _, n := range names {
		if !host.Have(n) {
			t.Skipf("no %s on this machine", n)
		}
	}
}

// makeDeb builds a package with the files below root.
func makeDeb(t testing.TB, path, control, root string) {
	t.Helper()
	write(t, root, "DEBIAN/control", control)
	if out, err := exec.Command("dpkg-deb", "--build", "--root-owner-group", "-Znone", root, path).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v: %s", err, out)
	}
}
