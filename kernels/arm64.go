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
	"os"
	"path/filepath"

	"proofhouse/internal/archive"
	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
)

// isImage reports whether b starts as an arm64 Image does (the kernel's
// Documentation/arch/arm64/booting.rst).
func isImage(b []byte) bool {
	return len(b) >= 0x40 && string(b[0x38:0x3c]) == "ARM\x64"
}

// A zboot is an EFI image that decompresses a kernel (the kernel's
// drivers/firmware/efi/libstub/zboot-header.S). QEMU boots the kernel in it.
type zboot struct{ offset, length int64 }

func parseZboot(b []byte) (zboot, bool) {
	if len(b) < 0x40 || string(b[:2]) != "MZ" || string(b[4:8]) != "zimg" {
		return zboot{}, false
	}
	return zboot{int64(binary.LittleEndian.Uint32(b[8:])), int64(binary.LittleEndian.Uint32(b[12:]))}, true
}

// kernelSection finds the kernel in a unified kernel image: a PE file with a
// section .linux (the UAPI group's unified kernel image specification). b may be
// the start of the file; ok is false for any other file.
func kernelSection(b []byte) (offset, length int64, ok bool) {
	le := binary.LittleEndian
	if len(b) < 0x40 || string(b[:2]) != "MZ" {
		return 0, 0, false
	}
	pe := int64(le.Uint32(b[0x3c:]))
	if pe+24 > int64(len(b)) || string(b[pe:pe+4]) != "PE\x00\x00" {
		return 0, 0, false
	}
	sections, optional := int64(le.Uint16(b[pe+6:])), int64(le.Uint16(b[pe+20:]))
	for i := range sections {
		at := pe + 24 + optional + i*40
		if at+40 > int64(len(b)) {
			break
		}
		s := b[at : at+40]
		if string(bytes.TrimRight(s[:8], "\x00")) == ".linux" {
			return int64(le.Uint32(s[20:])), int64(le.Uint32(s[16:])), true
		}
	}
	return 0, 0, false
}

// part is a part of a file that its headers claim to be there.
func part(b []byte, offset, length int64) ([]byte, error) {
	if offset < 0 || length <= 0 || offset > int64(len(b)) || length > int64(len(b))-offset {
		return nil, exit.BadInputf("the image is cut short: its kernel is at %d and has %d bytes, the file %d", offset, length, len(b))
	}
	return b[offset : offset+length], nil
}

// plainImage is the arm64 Image in any of the forms that hold one: itself,
// compressed, or an EFI zboot image.
func plainImage(ctx context.Context, b []byte) ([]byte, error) {
	packed := b
	if z, ok := parseZboot(b); ok {
		var err error
		if packed, err = part(b, z.offset, z.length); err != nil {
			return nil, err
		}
	} else if isImage(b) {
		return b, nil
	}
	if !archive.Compressed(packed) {
		return nil, exit.BadInput(errNoKernel)
	}
	r, err := archive.Decompress(ctx, bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("decompress the kernel: %w", err)
	}
	defer func() { _ = r.Close() }()
	// Behind a zboot's stream is its length, which some programs call garbage.
	image, err := io.ReadAll(io.LimitReader(r, maxKernel))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if !isImage(image) {
		if err == nil || len(image) > 0 {
			err = exit.BadInputf("the compressed kernel is not for arm64")
		}
		return nil, err
	}
	// Its header says how long it is in memory, at least as long as the file.
	if err != nil && !errors.Is(err, gzip.ErrHeader) && int64(len(image)) < 1<<20 {
		return nil, exit.BadInputf("decompress the kernel: %w", err)
	}
	return image, nil
}

// readImageFile describes the image, which is in dir, with the kernel that it
// holds, and puts that kernel beside it in the form that QEMU boots.
func readImageFile(ctx context.Context, dir, path string) (record, error) {
	b, err := readImage(path)
	if err != nil {
		return record{}, err
	}
	sum, err := cache.SHA256(path)
	if err != nil {
		return record{}, err
	}
	if offset, length, ok := kernelSection(b); ok {
		if b, err = part(b, offset, length); err != nil {
			return record{}, err
		}
		if _, err := parseHeader(b[:min(len(b), maxHeader)]); !errors.Is(err, errNotBzImage) {
			if err != nil {
				return record{}, err
			}
			return unwrapped(ctx, dir, path, b, sum)
		}
	}
	image, err := plainImage(ctx, b)
	if err != nil {
		return record{}, err
	}
	release, version := banner(image)
	r := record{Build: &Build{
		Kind: Image, Arch: ARM64, Image: filepath.Join(dir, "Image"),
		Release: release, Version: version, SHA256: sum,
	}}
	r.NoAppArmor = !hasAppArmor(image)
	if text := embeddedConfig(image); text != nil {
		r.Config = filepath.Join(dir, "config")
		if err := os.WriteFile(r.Config, text, 0o644); err != nil {
			return record{}, err
		}
	}
	return r, replaceWith(path, r.Image, image)
}

// unwrapped describes the bzImage of a unified kernel image.
func unwrapped(ctx context.Context, dir, path string, b []byte, sum string) (record, error) {
	to := filepath.Join(dir, "bzImage")
	if err := replaceWith(path, to, b); err != nil {
		return record{}, err
	}
	r, err := readBzImage(ctx, dir, to)
	if err == nil {
		r.SHA256 = sum // of what its maker left
	}
	return r, err
}

// replaceWith writes a file in the place of another one.
func replaceWith(old, name string, b []byte) error {
	if err := os.Remove(old); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o644)
}
