// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// arm64Config is a config that has all that a kernel needs on QEMU's virt.
var arm64Config = strings.NewReplacer(
	"CONFIG_SERIAL_8250_CONSOLE=y", "CONFIG_SERIAL_AMBA_PL011_CONSOLE=y\nCONFIG_PCI_HOST_GENERIC=y",
	"CONFIG_VIRTIO_BLK=m", "CONFIG_VIRTIO_BLK=y",
).Replace(goodConfig)

// arm64Image is an Image with nothing to boot in it.
func arm64Image(config string) []byte {
	b := make([]byte, 0x40)
	copy(b[0x38:], "ARM\x64")
	return append(b, "Linux version 6.12.1-test (me@here) (gcc) #7 SMP Debian\n\x00"+withConfig(config)...)
}

func gzipped(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(b)
	_ = w.Close()
	return z.Bytes()
}

// zbootOf is an EFI zboot image.
func zbootOf(payload []byte) []byte {
	b := make([]byte, 0x200)
	copy(b, "MZ\x00\x00zimg")
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[12:], uint32(len(payload)))
	copy(b[24:], "gzip")
	return append(b, payload...)
}

// ukiOf is a unified kernel image.
func ukiOf(kernel []byte) []byte {
	b := make([]byte, 0x400)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	le.PutUint16(b[0x86:], 2)
	le.PutUint16(b[0x94:], 0x70) // of the optional header
	at := 0x80 + 24 + 0x70
	copy(b[at:], ".cmdline")
	copy(b[at+40:], ".linux")
	le.PutUint32(b[at+40+16:], uint32(len(kernel)))
	le.PutUint32(b[at+40+20:], uint32(len(b)))
	return append(append(b, kernel...), "behind it"...)
}

// Every form of an arm64 kernel is the same kernel; its architecture is in it.
func TestARM64(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := t.TempDir()
	image := arm64Image(arm64Config)
	length := binary.LittleEndian.AppendUint32(nil, uint32(len(image)))
	for name, content := range map[string][]byte{
		"Image": image, "Image.gz": gzipped(image), "vmlinuz.efi": zbootOf(gzipped(image)),
		"zboot with a length": zbootOf(append(gzipped(image), length...)),
		"uki.efi":             ukiOf(image), "uki of a zboot": ukiOf(zbootOf(gzipped(image))),
	} {
		path := write(t, dir, name, string(content))
		b, err := Resolve(t.Context(), path, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if b.Kind != Image || b.Arch != ARM64 || b.Release != "6.12.1-test" || b.Version != "#7 SMP Debian" || b.Source != path {
			t.Errorf("%s: %+v", name, b)
		}
		if got, err := os.ReadFile(b.Image); !bytes.Equal(got, image) {
			t.Errorf("%s: %d bytes to boot, want %d: %v", name, len(got), len(image), err)
		}
		if v, known := b.ConfigValue("CONFIG_SERIAL_AMBA_PL011_CONSOLE"); v != "y" || !known {
			t.Errorf("%s: its config: %q, %v", name, v, known)
		}
		if err := b.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	lacking := write(t, dir, "lacking", string(arm64Image(strings.ReplaceAll(arm64Config, "CONFIG_PCI_HOST_GENERIC=y", ""))))
	b, err := Resolve(t.Context(), lacking, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Check(); err == nil || !strings.Contains(err.Error(), "CONFIG_PCI_HOST_GENERIC is not set") {
		t.Errorf("without a PCI host: %v", err)
	}
	// A unified kernel image for x86-64.
	path := write(t, dir, "x86.efi", string(ukiOf(healthy(withConfig(goodConfig)).bytes())))
	if b, err = Resolve(t.Context(), path, nil); err != nil || b.Kind != BzImage || b.Arch != X86_64 || b.Release != "6.12.1-test" {
		t.Errorf("%+v, %v", b, err)
	}
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"cut":     {zbootOf(gzipped(image))[:0x300], "cut short"},
		"riscv":   {zbootOf(gzipped([]byte(strings.Repeat("\x00", 0x38) + "RSC\x05" + filler))), "not for arm64"},
		"long":    {ukiOf(image)[:0x500], "cut short"},
		"nothing": {ukiOf([]byte("not a kernel")), "not a kernel"},
	} {
		refused(t, write(t, dir, name, string(c.content)), c.want)
	}
}

func TestARM64Packages(t *testing.T) {
	need(t, "dpkg-deb", "depmod", "make", "tar")
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	const rel = "6.12.1-test"
	image := string(arm64Image(arm64Config))
	check := func(what, spec string, modules bool) {
		t.Helper()
		b, err := Resolve(t.Context(), spec, nil)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		if b.Kind != Image || b.Arch != ARM64 || b.Release != rel || (b.Modules != "") != modules {
			t.Errorf("%s: %+v", what, b)
		}
	}
	root := t.TempDir()
	write(t, root, "boot/vmlinuz-"+rel, image)
	write(t, root, "lib/modules/"+rel+"/kernel/x", "")
	write(t, root, "lib/modules/"+rel+"/modules.order", "")
	deb := filepath.Join(t.TempDir(), "linux-image.deb")
	makeDeb(t, deb, fmt.Sprintf("Package: linux-image-%s\nVersion: 1\nArchitecture: arm64\nMaintainer: x <x@y>\nDescription: x\n", rel), root)
	check("a package", deb, true)

	tree := t.TempDir()
	write(t, tree, ".config", "# Linux/arm64 6.12.1 Kernel Configuration\nCONFIG_MODULES=y\n")
	refused(t, tree, "it has no arch/arm64/boot/Image")
	write(t, tree, "arch/arm64/boot/Image", image)
	check("a build tree", tree, false)

	deploy := t.TempDir()
	write(t, deploy, "Image--6.12-r0-board-1.bin", image)
	write(t, deploy, "s32g.dtb", "")
	check("a deploy directory", deploy, false)
	if out, err := exec.Command("tar", "-C", root, "-czf", filepath.Join(deploy, "modules--6.12-r0-board-1.tgz"), "lib").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for link, to := range map[string]string{"Image": "Image--6.12-r0-board-1.bin", "Image-board.bin": "Image--6.12-r0-board-1.bin", "modules-board.tgz": "modules--6.12-r0-board-1.tgz"} {
		if err := os.Symlink(to, filepath.Join(deploy, link)); err != nil {
			t.Fatal(err)
		}
	}
	check("a deploy directory with modules", deploy, true)
	write(t, deploy, "modules-other.tgz", "")
	refused(t, deploy, "the directory has several files modules-*.tgz: modules-board.tgz, modules-other.tgz")
}
