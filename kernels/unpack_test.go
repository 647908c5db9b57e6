// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

// A package or a tarball of somebody else's brings regular files only.
func TestUnpackTakesNoLinks(t *testing.T) {
	need(t, "dpkg-deb", "tar")
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	root := t.TempDir()
	write(t, root, "lib/modules/6.12.1-test/kernel/a.ko", "a")
	write(t, root, "lib/modules/6.12.1-test/modules.dep", "kernel/a.ko:\n")
	err := errors.Join(
		os.Symlink("/etc/shadow", filepath.Join(root, "lib/modules/6.12.1-test/kernel/b.ko")),
		os.Symlink("/etc", filepath.Join(root, "lib/modules/6.12.1-test/updates")),
		os.Link(filepath.Join(root, "lib/modules/6.12.1-test/kernel/a.ko"), filepath.Join(root, "lib/modules/6.12.1-test/kernel/c.ko")),
		os.Chmod(filepath.Join(root, "lib/modules/6.12.1-test/kernel/a.ko"), 0o4755|os.ModeSetuid),
	)
	if err != nil {
		t.Fatal(err)
	}
	tgz := filepath.Join(t.TempDir(), "modules.tgz")
	if out, err := exec.Command("tar", "-C", root, "-czf", tgz, "lib").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	deb := filepath.Join(t.TempDir(), "linux-image-6.12.1-test_1_amd64.deb")
	makeDeb(t, deb, "Package: linux-image-6.12.1-test\nVersion: 1\nArchitecture: amd64\nMaintainer: x <x@y>\nDescription: x\n", root)
	unpacked := t.TempDir()
	if err := unpack(t.Context(), deb, unpacked); err != nil {
		t.Fatal(err)
	}
	fromTarball, err := modulesFromTarball(t.Context(), tgz, "6.12.1-test", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	fromDirectory, err := modulesFromDirectory(t.Context(), root, "6.12.1-test", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(unpacked, "lib/modules/6.12.1-test"), fromTarball.dir, fromDirectory.dir} {
		for _, name := range []string{"kernel/b.ko", "updates"} {
			if _, err := os.Lstat(filepath.Join(dir, name)); !os.IsNotExist(err) {
				t.Errorf("%s is in %s: %v", name, dir, err)
			}
		}
		for _, name := range []string{"kernel/a.ko", "kernel/c.ko"} {
			fi, err := os.Lstat(filepath.Join(dir, name))
			if err != nil || fi.Mode()&(os.ModeSetuid|os.ModeSymlink) != 0 || fi.Size() != 1 {
				t.Errorf("%s in %s: %v, %v", name, dir, fi, err)
			}
		}
	}
	if err := unpack(t.Context(), tgz, t.TempDir()); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "not a complete .deb") {
		t.Errorf("a tarball as a package: %v", err)
	}
}

// Another set of modules is another build, wherever they are.
func TestIDKnowsTheModules(t *testing.T) {
	need(t, "tar")
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := t.TempDir()
	image := write(t, dir, "bzImage", string(healthy(withConfig("CONFIG_64BIT=y\n")).bytes()))
	id := func(spec string) string {
		t.Helper()
		b, err := Resolve(t.Context(), spec, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b.ID()
	}
	modules := filepath.Join(dir, "m/lib/modules/6.12.1-test")
	write(t, modules, "modules.dep", "kernel/a.ko:\n")
	write(t, modules, "kernel/a.ko", "a")
	seen := map[string]string{id(image): "no modules"}
	same := func(what, spec, as string) {
		t.Helper()
		got := id(spec)
		if as != "" && got != as {
			t.Errorf("%s: %s, want %s", what, got, as)
		}
		if other := seen[got]; as == "" && other != "" {
			t.Errorf("%s: the ID of %s: %s", what, other, got)
		}
		seen[got] = what
	}
	tarball := func(name string) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if out, err := exec.Command("tar", "-C", filepath.Join(dir, "m"), "-czf", p, "lib").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return p
	}
	first := image + ",modules=" + filepath.Join(dir, "m")
	same("a directory", first, "")
	same("a tarball of it", image+",modules="+tarball("1.tgz"), id(first))
	write(t, modules, "modules.dep.bin", "an index is no module")
	same("another index", first, id(first))
	write(t, modules, "kernel/a.ko", "b")
	same("a module of another content, of the same size", first, "")
	same("a tarball of that", image+",modules="+tarball("2.tgz"), id(first))
	write(t, modules, "kernel/b.ko", "b")
	same("one module more", first, "")
}
