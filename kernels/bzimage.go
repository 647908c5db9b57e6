// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"proofhouse/internal/archive"
	"proofhouse/internal/exit"
)

// maxHeader is how far into a bzImage its header and the version string that
// it points to can reach: the pointer has 16 bits, from 0x200 on.
const maxHeader = 0x200 + 0x10000 + 0x200

// A header is what the setup header of a bzImage says (the kernel's
// Documentation/arch/x86/boot.rst).
type header struct {
	protocol         uint16 // boot protocol, such as 0x020f
	release, version string // uname -r, uname -v; "" if it does not say
	// payload is where the compressed kernel is in the file; length 0: unknown.
	payload, length int64
}

var errNotBzImage = errors.New("not a bzImage")

// Offsets in the setup header.
const (
	offSetupSects    = 0x1f1
	offBootFlag      = 0x1fe
	offMagic         = 0x202
	offProtocol      = 0x206
	offKernelVersion = 0x20e
	offLoadFlags     = 0x211
	offXLoadFlags    = 0x236
	offPayload       = 0x248
	offPayloadLength = 0x24c
	endOfHeader      = 0x250
)

// parseHeader reads the start of a bzImage. It returns errNotBzImage
// for other files; a kernel that cannot run a 64-bit userspace is a user error.
func parseHeader(b []byte) (header, error) {
	le := binary.LittleEndian
	if len(b) < endOfHeader || le.Uint16(b[offBootFlag:]) != 0xaa55 || string(b[offMagic:offMagic+4]) != "HdrS" {
		return header{}, errNotBzImage
	}
	h := header{protocol: le.Uint16(b[offProtocol:])}
	// Bit 0, LOADED_HIGH: a bzImage rather than the zImage of the 1990s.
	if b[offLoadFlags]&1 == 0 {
		return header{}, exit.BadInputf("a zImage: give a bzImage, as only that can be booted")
	}
	// Bit 0, XLF_KERNEL_64, from protocol 2.12 (Linux 3.8).
	if h.protocol < 0x020c || le.Uint16(b[offXLoadFlags:])&1 == 0 {
		return header{}, exit.BadInputf("a kernel for 32-bit x86: want one for x86-64")
	}
	if p := int(le.Uint16(b[offKernelVersion:])); p != 0 && p+0x200 < len(b) {
		text, _, ok := bytes.Cut(b[p+0x200:], []byte{0})
		if ok {
			h.release, h.version = splitVersion(string(text))
		}
	}
	sects := int64(b[offSetupSects])
	if sects == 0 {
		sects = 4
	}
	h.payload = (sects+1)*512 + int64(le.Uint32(b[offPayload:]))
	h.length = int64(le.Uint32(b[offPayloadLength:]))
	return h, nil
}

// splitVersion takes "RELEASE (builder) #1 SMP …" apart into uname -r and
// uname -v.
func splitVersion(text string) (release, version string) {
	release, rest, _ := strings.Cut(text, " ")
	if i := strings.Index(rest, "#"); i >= 0 {
		version = strings.TrimSpace(rest[i:])
	}
	for _, s := range []string{release, version} {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			return "", ""
		}
	}
	if !releaseRE.MatchString(release) {
		return "", ""
	}
	return release, version
}

// decompress returns the kernel inside a bzImage's payload, or what could be
// read of it: what is wanted of it is searched for, so a part is better than
// nothing. Behind all streams but gzip's are four bytes with the length (the
// kernel's scripts/Makefile.lib), which is an error behind the kernel.
func decompress(ctx context.Context, payload []byte) ([]byte, error) {
	if !archive.Compressed(payload) {
		return nil, errors.New("decompress the kernel: unknown compression")
	}
	r, err := archive.Decompress(ctx, bytes.NewReader(payload))
	if err != nil {
		return nil, fmt.Errorf("decompress the kernel: %w", err)
	}
	defer func() { _ = r.Close() }()
	return orPart(io.ReadAll(io.LimitReader(r, maxKernel)))
}

// orPart forgives an error behind at least a megabyte of kernel.
func orPart(b []byte, err error) ([]byte, error) {
	if len(b) > 1<<20 {
		return b, nil
	}
	if err == nil {
		err = fmt.Errorf("only %d bytes", len(b))
	}
	return nil, fmt.Errorf("decompress the kernel: %w", err)
}

// embeddedConfig is the .config that a kernel built with CONFIG_IKCONFIG=y
// carries (kernel/configs.c); nil if it has none.
func embeddedConfig(kernel []byte) []byte {
	_, rest, ok := bytes.Cut(kernel, []byte("IKCFG_ST\x1f\x8b"))
	if !ok {
		return nil
	}
	z, err := gzip.NewReader(io.MultiReader(strings.NewReader("\x1f\x8b"), bytes.NewReader(rest)))
	if err != nil {
		return nil
	}
	z.Multistream(false)
	text, err := io.ReadAll(io.LimitReader(z, maxConfig))
	if err != nil || !isConfig(text) {
		return nil
	}
	return text
}

// hasAppArmor looks for a message of AppArmor's start-up (security/apparmor/
// lsm.c: aa_info_message) in a decompressed kernel.
func hasAppArmor(kernel []byte) bool {
	return bytes.Contains(kernel, []byte("AppArmor initialized"))
}
