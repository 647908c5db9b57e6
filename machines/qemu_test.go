// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
)

// The machine goes by the kernel's architecture, never by the host's.
func TestArchOf(t *testing.T) {
	for name, binary := range map[string]string{
		"x86_64": "qemu-system-x86_64", "amd64": "qemu-system-x86_64",
		"aarch64": "qemu-system-aarch64", "arm64": "qemu-system-aarch64",
		"riscv64": "", "": "",
	} {
		if a, ok := archOf(name); a.binary != binary || ok != (binary != "") {
			t.Errorf("%q: %q, %v", name, a.binary, ok)
		}
	}
}

// What cannot work is a user error, before anything is started.
func TestQEMURefuses(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"qemu-system-x86_64", "qemu-system-aarch64"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/false\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	foreign := "aarch64"
	if runtime.GOARCH == "arm64" {
		foreign = "x86_64"
	}
	for _, c := range []struct {
		arch, accelerator, init, want string
	}{
		{"riscv64", "", "", `no QEMU machine for architecture "riscv64"`},
		{foreign, "kvm", "", "accelerator kvm runs kernels of this host's architecture"},
		{foreign, "tcg", self, "build the guest's programs for the kernel's architecture"},
		{"x86_64", "xen", "", "accelerator \"xen\": want auto, kvm or tcg"},
	} {
		_, err := Open(context.Background(), Options{
			Kernel: &kernels.Build{Spec: "some", Kind: "image", Arch: c.arch}, Accelerator: c.accelerator, Init: c.init,
		})
		if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	_, err = Open(context.Background(), Options{
		Kernel: &kernels.Build{Spec: "some", Kind: "image", Arch: foreign}, Accelerator: "tcg", Tools: map[string]string{"mytest": self},
	})
	if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "the program mytest is for "+runtime.GOARCH) {
		t.Error(err)
	}
	t.Setenv("PATH", t.TempDir())
	_, err = Open(context.Background(), Options{Kernel: &kernels.Build{Spec: "some", Kind: "image", Arch: "aarch64"}})
	if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "apt-get install qemu-system-arm") {
		t.Error(err)
	}
}

// Without virtio, the command channel is a second serial port.
func TestSecondSerial(t *testing.T) {
	for _, c := range []struct {
		arch, version string
		ok            bool
	}{
		{"amd64", "7.2.15 (Debian 1:7.2)", true}, {"arm64", "7.2.15 (Debian 1:7.2)", false}, {"arm64", "9.0.4", false},
		{"arm64", "9.1.0", true}, {"arm64", "10.0.2 (Debian)", true}, {"arm64", "", true},
	} {
		a, _ := archOf(c.arch)
		err := a.secondSerial(&kernels.Build{Spec: "some"}, c.version)
		if (err == nil) != c.ok || err != nil && (exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "CONFIG_VIRTIO_CONSOLE")) {
			t.Errorf("%s, QEMU %s: %v", c.arch, c.version, err)
		}
	}
}
