// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

// modules.dep and the modules are somebody else's: no file of the host goes
// into the initramfs, where the kernel under test could read it.
func TestModuleFilesStayInTheirDirectory(t *testing.T) {
	for name, dep := range map[string]string{
		"":                      "kernel/virtio_pci.ko: kernel/virtio.ko\nkernel/virtio.ko:\n",
		"a path that leads out": "kernel/virtio_pci.ko: ../../../../../../../../../../etc/shadow\n",
		"an absolute path":      "kernel/virtio_pci.ko: /etc/shadow\n",
		"a link that leads out": "kernel/virtio_pci.ko: kernel/out.ko\n",
		"a link":                "kernel/virtio_pci.ko: kernel/in.ko\n",
		"through a link":        "kernel/virtio_pci.ko: elsewhere/shadow\n",
		"a directory":           "kernel/virtio_pci.ko: kernel\n",
	} {
		dir := t.TempDir()
		err := errors.Join(
			os.Mkdir(filepath.Join(dir, "kernel"), 0o755),
			os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(dep), 0o644),
			os.WriteFile(filepath.Join(dir, "kernel/virtio_pci.ko"), []byte("x"), 0o644),
			os.WriteFile(filepath.Join(dir, "kernel/virtio.ko"), []byte("x"), 0o644),
			os.Symlink("/etc/shadow", filepath.Join(dir, "kernel/out.ko")),
			os.Symlink("virtio.ko", filepath.Join(dir, "kernel/in.ko")),
			os.Symlink("/etc", filepath.Join(dir, "elsewhere")),
		)
		if err != nil {
			t.Fatal(err)
		}
		files, err := moduleFiles(dir, "virtio_pci")
		switch {
		case name == "":
			if want := filepath.Join(dir, "kernel/virtio.ko") + " " + filepath.Join(dir, "kernel/virtio_pci.ko"); err != nil || strings.Join(files, " ") != want {
				t.Errorf("%v, %v, want %s", files, err, want)
			}
		case exit.Status(err) != exit.Usage:
			t.Errorf("%s: %v, %v", name, files, err)
		}
	}
}
