// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"proofhouse/internal/exit"
)

type fileKind int

const (
	fileBzImage fileKind = iota
	fileELF              // x86-64: User Mode Linux, or nothing for us
	fileDeb
	fileImage // for arm64 in any form, or a unified kernel image
)

// A foreign kernel is one that we know and cannot run.
var foreign = []struct {
	offset int
	magic  string
	what   string
}{
	{0x38, "RSC\x05", "a kernel for RISC-V"},              // Documentation/arch/riscv/boot-image-header.rst
	{0x24, "\x18\x28\x6f\x01", "a kernel for 32-bit ARM"}, // arch/arm/boot/compressed/head.S
	{0, "\x27\x05\x19\x56", "a U-Boot image"},             // uImage
	{0, "\xd0\x0d\xfe\xed", "a device tree or FIT image"},
}

// identify tells from its start what a file is.
func identify(start []byte) (fileKind, error) {
	switch {
	case bytes.HasPrefix(start, []byte("!<arch>\ndebian-binary")):
		return fileDeb, nil
	case bytes.HasPrefix(start, []byte(elf.ELFMAG)):
		return fileELF, checkELF(start)
	}
	// The header is told first from errors about it.
	if _, err := parseHeader(start); !errors.Is(err, errNotBzImage) {
		return fileBzImage, err
	}
	if isImage(start) {
		return fileImage, nil
	}
	if _, _, ok := kernelSection(start); ok {
		return fileImage, nil
	}
	if _, ok := parseZboot(start); ok { // of which architecture, its content tells
		return fileImage, nil
	}
	for _, f := range foreign {
		if end := f.offset + len(f.magic); len(start) < end || string(start[f.offset:end]) != f.magic {
			continue
		}
		return 0, exit.BadInputf("%s: want one for x86-64 or arm64", f.what)
	}
	if inner := unzip(start); inner != nil {
		if isImage(inner) {
			return fileImage, nil
		}
		if _, err := identify(inner); err != nil && !errors.Is(err, errNoKernel) {
			return 0, fmt.Errorf("compressed: %w", err)
		}
	}
	return 0, exit.BadInput(errNoKernel)
}

var errNoKernel = errors.New("not a kernel: neither a bzImage, an arm64 Image, an ARCH=um executable nor a .deb")

// unzip gives the start of what was gzipped (Image.gz); nil if it was not.
func unzip(start []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(start))
	if err != nil {
		return nil
	}
	b := make([]byte, 4096)
	n, _ := io.ReadFull(z, b)
	if bytes.HasPrefix(b[:n], []byte("\x1f\x8b")) {
		return nil // no nesting
	}
	return b[:n]
}

// machines names the ELF machines that run Linux, as its users do.
var machines = map[elf.Machine]string{
	elf.EM_AARCH64: "arm64", elf.EM_ARM: "32-bit ARM", elf.EM_386: "32-bit x86", elf.EM_RISCV: "RISC-V",
	elf.EM_PPC64: "ppc64", elf.EM_PPC: "ppc", elf.EM_S390: "s390x", elf.EM_MIPS: "MIPS", elf.EM_LOONGARCH: "LoongArch",
}

// checkELF refuses what is not for x86-64. The machine has 16 bits at 18, in
// the byte order that byte 5 names.
func checkELF(start []byte) error {
	if len(start) < 20 {
		return exit.BadInput(errNoKernel)
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(start[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	m := elf.Machine(order.Uint16(start[18:]))
	if m == elf.EM_X86_64 {
		return nil
	}
	name := machines[m]
	if name == "" {
		name = strings.TrimPrefix(m.String(), "EM_")
	}
	return exit.BadInputf("an executable for %s: want an ARCH=um executable for x86-64", name)
}

// readStart reads what identify needs of a file.
func readStart(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, exit.BadInputf("read the kernel: %w", err)
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, maxHeader)
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read the kernel: %w", err)
	}
	return b[:n], nil
}
