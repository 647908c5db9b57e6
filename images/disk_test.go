// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

func modulesFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"modules.dep":                   "kernel/fs/fuse/fuse.ko:\n",
		"kernel/fs/fuse/fuse.ko":        strings.Repeat("module", 10000),
		"kernel/drivers/block/loop.ko":  "loop",
		"a name with \"quotes\" and \t": "x",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"build": "/usr/src/linux", "kernel/up": "../../../secret", "kernel/fs/loop": "../drivers/block/loop.ko"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func find(t *testing.T, program string) string {
	t.Helper()
	path, err := host.Find(program)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func debugfs(t *testing.T, image, request string) string {
	t.Helper()
	cmd := exec.Command(find(t, "debugfs"), "-R", request, image)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("debugfs %s: %v", request, err)
	}
	return string(out)
}

func needE2fsprogs(t *testing.T) {
	t.Helper()
	if !host.Have("mkfs.ext4") || !host.Have("debugfs") || !host.Have("e2fsck") {
		t.Skip("e2fsprogs is not installed")
	}
}

func TestDisk(t *testing.T) {
	needE2fsprogs(t)
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	directories := map[string]string{"6.12.0-test": modulesFolder(t)}
	var said []string
	progress := func(s string) { said = append(said, s) }
	image, err := Disk(t.Context(), "modules", directories, progress)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(find(t, "e2fsck"), "-fn", image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	if got := debugfs(t, image, "cat /6.12.0-test/kernel/drivers/block/loop.ko"); got != "loop" {
		t.Errorf("loop.ko holds %q", got)
	}
	if got := debugfs(t, image, "stat /6.12.0-test/kernel/fs/loop"); !strings.Contains(got, `"../drivers/block/loop.ko"`) {
		t.Errorf("the symlink is now\n%s", got)
	}
	for _, name := range []string{"build", "kernel/up"} {
		if got := debugfs(t, image, "stat /6.12.0-test/"+name); strings.Contains(got, "Type:") {
			t.Errorf("a link that leads out is kept:\n%s", got)
		}
	}
	if got := debugfs(t, image, "stat /6.12.0-test/modules.dep"); !strings.Contains(got, "Mode:  0644") {
		t.Errorf("not readable by all:\n%s", got)
	}
	if st, err := os.Stat(image); err != nil || st.Mode().Perm() != 0o444 {
		t.Errorf("the image: %v, %v", st.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(image)); len(left) != 2 { // the image and the cache's stamp
		t.Errorf("the entry holds %v", left)
	}

	again, err := Disk(t.Context(), "modules", directories, progress)
	if err != nil || again != image || len(said) != 1 {
		t.Errorf("asked again: %s, %v, after %q", again, err, said)
	}

	// Another content, another disk.
	if err := os.WriteFile(filepath.Join(directories["6.12.0-test"], "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := Disk(t.Context(), "modules", directories, nil)
	if err != nil || other == image {
		t.Errorf("after a change: %s, %v", other, err)
	}
}

func TestDiskRefuses(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		label, inside, folder string
		status                int
	}{
		{"modules", "6.1", filepath.Join(t.TempDir(), "missing"), exit.Usage},
		{"modules", "6.1", file, exit.Usage},
		{"modules", "../6.1", t.TempDir(), exit.NoVerdict},
		{"modules", ".", t.TempDir(), exit.NoVerdict},
		{"A label", "6.1", t.TempDir(), exit.NoVerdict},
	} {
		_, err := Disk(t.Context(), test.label, map[string]string{test.inside: test.folder}, nil)
		if exit.Status(err) != test.status {
			t.Errorf("%s, %s -> %s: %v, status %d, want %d", test.label, test.inside, test.folder, err, exit.Status(err), test.status)
		}
	}
}

// The name of a disk follows its content, not the place where it was found.
func TestSurvey(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	write := func(content string, when time.Time) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, when, when); err != nil {
			t.Fatal(err)
		}
	}
	survey := func(inside, dir string) content {
		t.Helper()
		c, err := survey(map[string]string{inside: dir})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	then := time.Unix(1e9, 0)
	write("one", then)
	first := survey("x", dir)
	if first.files != 2 || first.bytes < blockSize {
		t.Errorf("%d files, %d bytes", first.files, first.bytes)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Symlink(dir, moved); err != nil {
		t.Fatal(err)
	}
	if got := survey("x", moved); got != first {
		t.Errorf("through a symlink: %+v, want %+v", got, first)
	}
	if survey("y", dir).hash == first.hash {
		t.Error("another place inside: the same name")
	}
	write("one", then.Add(time.Hour))
	if survey("x", dir).hash != first.hash {
		t.Error("another time: another name")
	}
	write("two", then)
	if survey("x", dir).hash == first.hash {
		t.Error("another content of the same size and time: the same name")
	}
}

// Whatever the shape of the content, it fits.
func TestDiskFits(t *testing.T) {
	needE2fsprogs(t)
	for name, files := range map[string]func(dir string) error{
		"nothing":    func(string) error { return nil },
		"many small": func(dir string) error { return writeMany(dir, 3000, 1) },
		"few large":  func(dir string) error { return writeMany(dir, 3, 16<<20) },
		"long names": func(dir string) error { return writeMany(filepath.Join(dir, strings.Repeat("n", 250)), 10, 4097) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
			dir := t.TempDir()
			if err := files(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := Disk(t.Context(), "fits", map[string]string{"x": dir}, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func writeMany(dir string, n, size int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range n {
		content := make([]byte, size)
		for j := range content {
			content[j] = byte(i + j) // no holes
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%04d", i)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
