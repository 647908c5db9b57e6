// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
)

func runOutput(t testing.TB, name string, args ...string) ([]byte, error) {
	t.Helper()
	return exec.Command(name, args...).Output()
}

// inAll is what every kernel for us has, and make tinyconfig has not.
const inAll = `CONFIG_PROC_FS=y
CONFIG_SYSFS=y
CONFIG_DEVTMPFS=y
CONFIG_TMPFS=y
CONFIG_UNIX98_PTYS=y
CONFIG_BINFMT_SCRIPT=y
CONFIG_FUTEX=y
CONFIG_EPOLL=y
`

const goodConfig = `# Linux/x86 6.12.1-test Kernel Configuration
CONFIG_64BIT=y
CONFIG_SECURITY_APPARMOR=y
CONFIG_SERIAL_8250_CONSOLE=y
CONFIG_BLK_DEV_INITRD=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_BLK=m
CONFIG_EXT4_FS=y
` + inAll + `CONFIG_LSM="lockdown,apparmor"
# CONFIG_MODULES is not set
`

// refused resolves a spec that must be refused in one line.
func refused(t *testing.T, spec, want string) {
	t.Helper()
	_, err := Resolve(t.Context(), spec, nil)
	if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v (status %d), want bad input: %s", spec, err, exit.Status(err), want)
	}
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: more than one line: %q", spec, err)
	}
}

func TestRefusedFiles(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := t.TempDir()
	at := func(offset int, magic string) string {
		return strings.Repeat("\x00", offset) + magic + strings.Repeat("\x00", 64)
	}
	elf := func(machine string) string {
		return "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00" + machine
	}
	x86 := healthy("x")
	x86.x64 = false
	cut := healthy(withConfig(goodConfig)).bytes()
	for _, c := range []struct{ name, content, want string }{
		{"empty", "", "not a kernel"},
		{"text", "hello\n", "not a kernel"},
		{"Image-riscv", at(0x38, "RSC\x05"), "a kernel for RISC-V"},
		{"zImage", at(0x24, "\x18\x28\x6f\x01"), "a kernel for 32-bit ARM"},
		{"vmlinuz.efi", "MZ\x00\x00zimg" + at(64, ""), "cut short"},
		{"uImage", at(0, "\x27\x05\x19\x56"), "U-Boot"},
		{"vmlinux-arm64", elf("\xb7\x00"), "an executable for arm64"},
		{"vmlinux-i386", elf("\x03\x00"), "an executable for 32-bit x86"},
		{"vmlinux", elf("\x3e\x00") + "Linux version 6.1", "give the bzImage"},
		{"ls", elf("\x3e\x00") + "GNU coreutils", "not a kernel"},
		{"half-elf", "\x7fELF", "not a kernel"},
		{"half.deb", "!<arch>\ndebian-binary   ", "not a complete .deb"},
		{"bzImage-i386", string(x86.bytes()), "a kernel for 32-bit x86"},
		{"bzImage-cut", string(cut[:len(cut)/2]), "cut short"},
	} {
		refused(t, write(t, dir, c.name, c.content), c.want)
	}
	refused(t, filepath.Join(dir, "none"), "no such file")
	refused(t, "/dev/null", "not a file")
	refused(t, t.TempDir(), "neither a kernel build tree nor a Yocto deploy directory")
}

func TestBzImage(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := t.TempDir()
	path := write(t, dir, "bzImage", string(healthy(withConfig(goodConfig)).bytes()))
	b, err := Resolve(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b.Kind != BzImage || b.Release != "6.12.1-test" || b.Version != "#7 SMP Debian" || b.Arch != "x86_64" || b.Source != path {
		t.Errorf("%+v", b)
	}
	if v, known := b.ConfigValue("CONFIG_LSM"); v != "lockdown,apparmor" || !known {
		t.Errorf("CONFIG_LSM = %q, %v", v, known)
	}
	if v, known := b.ConfigValue("CONFIG_MODULES"); v != "" || !known {
		t.Errorf("CONFIG_MODULES = %q, %v", v, known)
	}
	if !b.Off("CONFIG_MODULES") || b.Off("CONFIG_LSM") || b.Off("CONFIG_OF_ANOTHER_KERNEL") {
		t.Error("what is off is not what the config says")
	}
	if err := b.Check(); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "virtio disks is a module") {
		t.Errorf("Check without modules: %v", err)
	}
	more, err := Resolve(t.Context(), path+",append=apparmor=0", nil)
	if err != nil || more.ID() == b.ID() || !strings.HasPrefix(more.ID(), b.ID()+"-") {
		t.Errorf("ID %s, with append %s, %v", b.ID(), more.ID(), err)
	}
	if want := "6.12.1-test-" + b.SHA256[:8]; b.ID() != want {
		t.Errorf("ID %s, want %s", b.ID(), want)
	}
	// A rebuild during a run must not change what runs.
	write(t, dir, "bzImage", "overwritten")
	if sum, err := cache.SHA256(b.Image); err != nil || sum != b.SHA256 {
		t.Errorf("the image changed with the user's file: %s, %v", sum, err)
	}
}

func TestConfigBeside(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := t.TempDir()
	image := string(healthy("AppArmor initialized" + filler).bytes())
	boot := write(t, dir, "boot/vmlinuz-6.12.1-test", image)
	write(t, dir, "boot/config-6.12.1-test", goodConfig)
	inTree := write(t, dir, "tree/arch/x86/boot/bzImage", image)
	write(t, dir, "tree/.config", goodConfig)
	write(t, dir, "tree/include/config/kernel.release", "6.12.1-test\n")
	other := write(t, dir, "other/arch/x86/boot/bzImage", image)
	write(t, dir, "other/.config", goodConfig)
	write(t, dir, "other/include/config/kernel.release", "6.13.0\n")
	for path, known := range map[string]bool{boot: true, inTree: true, other: false} {
		b, err := Resolve(t.Context(), path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := b.ConfigValue("CONFIG_64BIT"); got != known {
			t.Errorf("%s: its config is known: %v, want %v", path, got, known)
		}
		if err := b.Check(); !known && err != nil {
			t.Errorf("%s: Check: %v", path, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := t.TempDir()
	const uml = "CONFIG_64BIT=y\nCONFIG_SECURITY_APPARMOR=y\nCONFIG_BLK_DEV_INITRD=y\nCONFIG_SSL=y\nCONFIG_BLK_DEV_UBD=y\nCONFIG_EXT4_FS=y\n" + inAll
	without := func(config, option string) string {
		return strings.ReplaceAll(config, option+"=y\n", "# "+option+" is not set\n")
	}
	for i, c := range []struct {
		kind    Kind
		config  string
		modules string
		want    string // "" = healthy
	}{
		{BzImage, goodConfig, "m", ""},
		{BzImage, goodConfig, "", "virtio disks is a module"},
		{BzImage, without(goodConfig, "CONFIG_SECURITY_APPARMOR"), "m", "without AppArmor"},
		{BzImage, without(goodConfig, "CONFIG_SERIAL_8250_CONSOLE"), "m", "without a serial console"},
		{BzImage, without(goodConfig, "CONFIG_BLK_DEV_INITRD"), "m", "without initrd support"},
		{BzImage, without(goodConfig, "CONFIG_VIRTIO_PCI"), "m", "without virtio over PCI"},
		{BzImage, without(goodConfig, "CONFIG_64BIT"), "m", "without 64-bit support"},
		{BzImage, without(without(goodConfig, "CONFIG_BLK_DEV_INITRD"), "CONFIG_EXT4_FS"), "m", "initrd support (CONFIG_BLK_DEV_INITRD is not set); a kernel without ext4"},
		{BzImage, without(goodConfig, "CONFIG_DEVTMPFS"), "m", "without devtmpfs"},
		{BzImage, without(goodConfig, "CONFIG_BINFMT_SCRIPT"), "m", "without scripts that start with #! (CONFIG_BINFMT_SCRIPT is not set)"},
		{UML, without(uml, "CONFIG_EPOLL"), "", "without epoll"},
		{UML, uml, "", ""},
		{UML, without(uml, "CONFIG_SECURITY_APPARMOR"), "", "without AppArmor"},
		{UML, without(uml, "CONFIG_BLK_DEV_UBD"), "", "without ubd disks"},
		{Local, "CONFIG_SECURITY_APPARMOR=y\n", "", ""},
		{Local, "CONFIG_64BIT=y\n", "", "without AppArmor"},
	} {
		b := &Build{Spec: "s", Kind: c.kind, Modules: c.modules, Config: write(t, dir, fmt.Sprint("config", i), c.config)}
		err := b.Check()
		if c.want == "" && err != nil {
			t.Errorf("%d: %v", i, err)
		}
		if c.want != "" && (exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%d: %v, want bad input: %s", i, err, c.want)
		}
	}
	// Without a config the image is searched; what cannot be read is let be.
	for kernel, want := range map[string]bool{"no such module" + filler: false, "AppArmor initialized" + filler: true, "short": true} {
		path := write(t, dir, "bzImage", string(healthy(kernel).bytes()))
		b, err := Resolve(t.Context(), path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Check(); (got == nil) != want {
			t.Errorf("%.8s: Check: %v", kernel, got)
		}
	}
}

func TestModules(t *testing.T) {
	need(t, "depmod", "tar")
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := t.TempDir()
	image := write(t, dir, "bzImage", string(healthy(withConfig(goodConfig)).bytes()))
	const rel = "6.12.1-test"
	write(t, dir, "ready/lib/modules/"+rel+"/modules.dep", "")
	write(t, dir, "raw/usr/lib/modules/"+rel+"/kernel/x", "")
	write(t, dir, "raw/usr/lib/modules/"+rel+"/modules.order", "")
	write(t, dir, "other/lib/modules/6.1.0/modules.dep", "")
	write(t, dir, "empty/file", "")
	tarball := filepath.Join(dir, "modules.tgz")
	if _, err := runOutput(t, "tar", "-C", filepath.Join(dir, "raw/usr"), "-czf", tarball, "./lib"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ready", "ready/lib/modules/" + rel, "raw", "modules.tgz"} {
		b, err := Resolve(t.Context(), image+",modules="+filepath.Join(dir, name), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if filepath.Base(b.Modules) != rel || !isFile(filepath.Join(b.Modules, "modules.dep")) {
			t.Errorf("%s: %s has no modules.dep or the wrong name", name, b.Modules)
		}
		if err := b.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if isFile(filepath.Join(dir, "raw/usr/lib/modules", rel, "modules.dep")) {
		t.Error("the user's directory was written to")
	}
	for name, want := range map[string]string{
		"none":    "no such file or directory",
		"empty":   "no modules found",
		"other":   "the modules are for release 6.1.0, the kernel is 6.12.1-test",
		"bzImage": "unpack",
	} {
		refused(t, image+",modules="+filepath.Join(dir, name), want)
	}
}

func TestDeb(t *testing.T) {
	need(t, "dpkg-deb", "depmod")
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := t.TempDir()
	const rel = "6.12.1-test"
	image := string(healthy("AppArmor initialized" + filler).bytes())
	control := func(name, arch, depends string) string {
		return fmt.Sprintf("Package: %s\nVersion: 1:6.12-1\nArchitecture: %s\nMaintainer: me <me@here>\nDepends: %s\nDescription: d\n", name, arch, depends)
	}
	one := filepath.Join(dir, "one")
	write(t, one, "boot/vmlinuz-"+rel, image)
	write(t, one, "boot/config-"+rel, goodConfig)
	write(t, one, "lib/modules/"+rel+"/kernel/x", "")
	write(t, one, "lib/modules/"+rel+"/modules.order", "")
	makeDeb(t, filepath.Join(dir, "whole.deb"), control("linux-image-"+rel, "amd64", "kmod | x"), one)
	makeDeb(t, filepath.Join(dir, "foreign.deb"), control("linux-image-"+rel, "riscv64", "kmod"), one)

	write(t, dir, "split/binary/usr/lib/modules/"+rel+"/vmlinuz", image)
	write(t, dir, "split/modules/usr/lib/modules/"+rel+"/kernel/x", "")
	write(t, dir, "split/modules/usr/lib/modules/"+rel+"/modules.order", "")
	write(t, dir, "split/modules/usr/lib/modules/"+rel+"/config", goodConfig)
	needs := "kmod, linux-binary-" + rel + " (= 1:6.12-1), linux-modules-" + rel + " (= 1:6.12-1)"
	makeDeb(t, filepath.Join(dir, "linux-image-"+rel+"_6.12-1_amd64.deb"), control("linux-image-"+rel, "amd64", needs), filepath.Join(dir, "split/meta"))
	makeDeb(t, filepath.Join(dir, "linux-binary-"+rel+"_6.12-1_amd64.deb"), control("linux-binary-"+rel, "amd64", "kmod"), filepath.Join(dir, "split/binary"))
	refused(t, filepath.Join(dir, "linux-image-"+rel+"_6.12-1_amd64.deb"), "it needs the package linux-modules-"+rel)
	makeDeb(t, filepath.Join(dir, "linux-modules-"+rel+"_6.12-1_amd64.deb"), control("linux-modules-"+rel, "amd64", "kmod"), filepath.Join(dir, "split/modules"))

	for _, name := range []string{"whole.deb", "linux-image-" + rel + "_6.12-1_amd64.deb"} {
		b, err := Resolve(t.Context(), filepath.Join(dir, name), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if b.Release != rel || !isFile(b.Image) || !isFile(filepath.Join(b.Modules, "modules.dep")) {
			t.Errorf("%s: %+v", name, b)
		}
		if err := b.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused(t, filepath.Join(dir, "foreign.deb"), "a package for riscv64: want one for amd64 or arm64")
	refused(t, filepath.Join(dir, "linux-modules-"+rel+"_6.12-1_amd64.deb"), "holds no kernel image")
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("PROOFHOUSE_CACHE"), room, ".*new*")); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

// What a .config says is not set counts only where the image was made after it
// was written.
func TestEditedConfig(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := t.TempDir()
	image := write(t, dir, "arch/x86/boot/bzImage", string(healthy("AppArmor initialized"+filler).bytes()))
	config := write(t, dir, ".config", goodConfig)
	write(t, dir, "include/config/kernel.release", "6.12.1-test\n")
	built := time.Now()
	for written, off := range map[time.Duration]bool{-time.Minute: true, time.Minute: false} {
		if err := errors.Join(os.Chtimes(image, built, built), os.Chtimes(config, built, built.Add(written))); err != nil {
			t.Fatal(err)
		}
		for _, spec := range []string{image, dir} {
			b, err := Resolve(t.Context(), spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b.Off("CONFIG_MODULES") != off {
				t.Errorf("%s, its config written %v after the image: it is off: %v", spec, written, !off)
			}
		}
	}
}

// Of several lines about an option, the last counts.
func TestParseConfig(t *testing.T) {
	config, off := parseConfig([]byte("# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_A=m\n# CONFIG_B is not set\n"))
	if len(config) != 1 || config["CONFIG_A"] != "m" || len(off) != 1 || !off["CONFIG_B"] {
		t.Errorf("%v, %v", config, off)
	}
}

func TestTree(t *testing.T) {
	need(t, "make", "depmod")
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := t.TempDir()
	const rel = "6.12.1-test"
	write(t, dir, ".config", strings.Replace(goodConfig, "# CONFIG_MODULES is not set", "CONFIG_MODULES=y", 1))
	refused(t, dir, "the tree is not built")
	write(t, dir, "arch/x86/boot/bzImage", string(healthy("AppArmor initialized"+filler).bytes()))
	write(t, dir, "include/config/kernel.release", "6.12.2\n")
	write(t, dir, "modules.order", "fs/x.o\n")
	refused(t, dir, "the tree is for release 6.12.2, the image in it is "+rel)
	write(t, dir, "include/config/kernel.release", rel+"\n")
	refused(t, dir, "modules are not built (fs/x.ko not found): run make modules")
	write(t, dir, "fs/x.ko", "first")
	write(t, dir, "Makefile", "M = $(INSTALL_MOD_PATH)/lib/modules/"+rel+"\nmodules_install:\n\tmkdir -p $(M)/kernel\n\tcp fs/x.ko $(M)/kernel/x\n\ttouch $(M)/modules.order\n\ttest $(INSTALL_MOD_STRIP) = 1\n")
	first, err := Resolve(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Check(); err != nil || first.Source != dir || filepath.Base(first.Modules) != rel {
		t.Errorf("%+v, Check: %v", first, err)
	}
	write(t, dir, "fs/x.ko", "second")
	second, err := Resolve(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(second.Modules, "kernel/x")); string(b) != "second" {
		t.Errorf("a module that was built anew is not taken: %q, %v", b, err)
	}
	write(t, dir, ".config", "# Linux/riscv 6.12.1 Kernel Configuration\n")
	refused(t, dir, "a build tree for riscv, not for x86-64 or arm64")
}

// staticELF is an executable for x86-64 without a dynamic loader, and with text
// behind its header.
func staticELF(text string) string {
	h := make([]byte, 64)
	copy(h, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(h[16:], 2)  // ET_EXEC
	le.PutUint16(h[18:], 62) // EM_X86_64
	le.PutUint32(h[20:], 1)
	le.PutUint16(h[52:], 64)
	le.PutUint16(h[54:], 56)
	le.PutUint16(h[58:], 64)
	return string(h) + text
}

// A kernel is described by what is in it, and never started.
func TestReadUML(t *testing.T) {
	const banner = "User Mode Linux\nLinux version 7.2.7 (a@b) (gcc (Debian) 16) # \x00\nLinux version 7.2.7 (a@b) (gcc (Debian) 16) #3 Fri Sep 25 UTC 2026\n\x00\n"
	const config = "\x00#\n\x00# Linux/um 7.2.7 Kernel Configuration\n\x00CONFIG_64BIT=y\n\x00# CONFIG_SWAP is not set\n\x00CONFIG_A=\"b\"\n\x00"
	for _, c := range []struct{ name, text, want string }{
		{"healthy", staticELF(banner + config), ""},
		{"no config", staticELF(banner), ""},
		{"no version", staticELF("User Mode Linux"), "no version in it"},
		{"other program", staticELF("GNU ls 9.1"), "not a kernel"},
		{"a vmlinux", staticELF("Linux version 7.2.7 (a@b) (gcc) #1"), "an uncompressed vmlinux"},
		{"a script", "#!/bin/sh\n" + banner, "read the kernel"},
	} {
		dir := t.TempDir()
		r, err := readUML(t.Context(), dir, dir, write(t, dir, "linux", c.text), "forky", func(string) {})
		if c.want != "" {
			if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want bad input: %s", c.name, err, c.want)
			}
			continue
		}
		if err != nil || r.Release != "7.2.7" || r.Version != "#3 Fri Sep 25 UTC 2026" || (r.Config != "") != (c.name == "healthy") {
			t.Errorf("%s: %+v, %v", c.name, r.Build, err)
			continue
		}
		if id := r.ID(); id != "7.2.7-uml-"+r.SHA256[:8] {
			t.Errorf("ID %s", id)
		}
		if c.name != "healthy" {
			continue
		}
		if v, known := r.ConfigValue("CONFIG_A"); v != "b" || !known || !r.Off("CONFIG_SWAP") {
			b, _ := os.ReadFile(r.Config)
			t.Errorf("its config: %q", b)
		}
	}
}

func TestStarts(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := starts(self); err != nil {
		t.Errorf("this very program: %v", err)
	}
	for _, program := range []string{"/bin/true", "/usr/bin/env"} { // dynamically linked
		if err := starts(program); err != nil && !strings.Contains(err.Error(), "not part of the C library") {
			t.Errorf("%s: %v", program, err)
		}
	}
	b, err := os.ReadFile("/bin/true")
	if err != nil || !bytes.Contains(b, []byte("/lib64/ld-linux-x86-64.so.2")) {
		t.Skip("no dynamically linked program here")
	}
	moved := bytes.ReplaceAll(b, []byte("/lib64/ld-linux-x86-64.so.2"), []byte("/lib64/ld-elsewhere-64.so.2"))
	if err := starts(write(t, t.TempDir(), "true", string(moved))); !errors.Is(err, errOldLibc) {
		t.Errorf("its loader is gone: %v", err)
	}
	if have := libcVersions(); !have["GLIBC_2.2.5"] || have["GLIBC_99.1"] {
		t.Errorf("%v", have)
	}
	newer := bytes.ReplaceAll(b, []byte("GLIBC_2.34\x00"), []byte("GLIBC_9.99\x00"))
	if bytes.Equal(newer, b) {
		t.Skip("it needs no new C library")
	}
	if err := starts(write(t, t.TempDir(), "true", string(newer))); !errors.Is(err, errOldLibc) {
		t.Errorf("it needs a newer C library: %v", err)
	}
}

func TestLocal(t *testing.T) {
	b, err := Resolve(t.Context(), "local", nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := runOutput(t, "uname", "-r")
	if err != nil {
		t.Fatal(err)
	}
	if b.Kind != Local || b.Release != strings.TrimSpace(string(out)) || !strings.HasPrefix(b.ID(), b.Release) {
		t.Errorf("%+v, ID %s; uname says %s", b, b.ID(), out)
	}
}

func TestSuitesFor(t *testing.T) {
	for release, want := range map[string]string{
		"6.1.0-50-cloud-amd64":       "bookworm",
		"6.12.95+deb12-cloud-amd64":  "bookworm",
		"6.12.107+deb13-cloud-amd64": "trixie",
		"7.2.13+deb14-cloud-amd64":   "forky",
		"9.9+deb99-cloud-amd64":      "trixie",
	} {
		got := suitesFor(release)
		if got[0] != want || len(got) != len(debianSuites) {
			t.Errorf("%s: %q, want %s first", release, got, want)
		}
	}
}

func TestKernelRelease(t *testing.T) {
	for pkg, want := range map[string]string{
		"linux-image-6.1.0-50-cloud-amd64":              "6.1.0-50-cloud-amd64",
		"linux-image-6.1.0-50-cloud-amd64-unsigned":     "6.1.0-50-cloud-amd64",
		"linux-binary-7.3.4+deb13-cloud-amd64":          "7.3.4+deb13-cloud-amd64",
		"linux-binary-unsigned-7.3.4+deb13-cloud-amd64": "7.3.4+deb13-cloud-amd64",
		"linux-modules-6.8.0-31-generic":                "6.8.0-31-generic",
		"linux-base-7.3.4+deb13-cloud-amd64":            "7.3.4+deb13-cloud-amd64",
		"user-mode-linux-7.3.4-g0dd5178a2b1c":           "7.3.4-g0dd5178a2b1c",
		"user-mode-linux":                               "",
		"user-mode-linux-doc":                           "",
		"linux-image-cloud-amd64":                       "",
		"linux-base":                                    "",
		"linux-base-cloud-amd64":                        "",
		"linux-headers-6.1.0-50-cloud-amd64":            "",
	} {
		if got := kernelRelease(pkg); got != want {
			t.Errorf("%s: %q, want %q", pkg, got, want)
		}
	}
}
