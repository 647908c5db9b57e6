// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/apt"
	"proofhouse/internal/exit"
)

func needDpkg(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"dpkg", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
}

// The order is dpkg's, not that of text.
func TestSorted(t *testing.T) {
	needDpkg(t)
	want := []string{"6.12.107-1", "6.16~rc7-1~exp1", "6.16.3-1~bpo13+1", "6.16.12-1~bpo13+1", "7.0.4-1~bpo13+1", "7.0.4-1", "7.0.9-1~bpo13+1", "7.0.10-1~bpo13+1", "7.0.12-2~bpo13+1"}
	var list []Candidate
	for _, v := range want {
		list = append(list, Candidate{Version: v})
	}
	slices.Reverse(list)
	list, err := sorted(context.Background(), list)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range want {
		if list[i].Version != v {
			t.Errorf("number %d is %s, want %s", i, list[i].Version, v)
		}
	}
	if _, err := sorted(context.Background(), []Candidate{{Version: "1"}, {Version: "--help"}}); exit.Status(err) != exit.Usage {
		t.Errorf("%v", err)
	}
}

func TestBetween(t *testing.T) {
	var all []Candidate
	for _, r := range []string{"7.0.4", "7.0.7", "7.0.9", "7.1.3"} {
		all = append(all, Candidate{Release: r, Version: r + "-1"})
	}
	for _, c := range []struct {
		a, b int
		want []string
		at   [2]int
	}{
		{1, 3, []string{"7.0.7", "7.0.9", "7.1.3"}, [2]int{0, 2}},
		{2, 0, []string{"7.0.4", "7.0.7", "7.0.9"}, [2]int{2, 0}}, // the newer is named first
	} {
		list, at, err := between(all, [2]Candidate{all[c.a], all[c.b]})
		var got []string
		for _, x := range list {
			got = append(got, x.Release)
		}
		if err != nil || !slices.Equal(got, c.want) || at != c.at {
			t.Errorf("%q, %v, %v", got, at, err)
		}
	}
	if _, _, err := between(all, [2]Candidate{all[0], {Release: "6.1"}}); err == nil {
		t.Error("an end that is not found")
	}
}

func TestBetweenRefuses(t *testing.T) {
	needDpkg(t)
	t.Setenv("PROOFHOUSE_MIRROR", "http://127.0.0.1:1/debian") // nothing is to be fetched
	for _, c := range []struct{ a, b, want string }{
		{"uml:debian:forky", "debian:trixie", "two of Debian's kernels"},
		{"vmlinuz", "debian:trixie", "unknown"},
		{"debian:trixie,modules=/x", "debian:trixie", "modules= is not for"},
	} {
		if _, _, err := Between(context.Background(), c.a, c.b, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %s: %v", c.a, c.b, err)
		}
	}
}

// A directory of packages: the kernels among them, by version.
func TestDebs(t *testing.T) {
	needDpkg(t)
	dir := t.TempDir()
	for _, p := range []struct{ pkg, version, arch string }{
		{"linux-image-7.0.10-test", "7.0.10-2", "amd64"},
		{"linux-image-7.0.9-test", "7.0.9-1", "amd64"},
		{"linux-image-7.0.9-test", "7.0.9-2", "amd64"},
		{"linux-image-7.0.9-test-dbg", "7.0.9-2", "amd64"},
		{"linux-image-7.0.9-riscv", "7.0.9-1", "riscv64"},
		{"linux-headers-7.0.9-test", "7.0.9-1", "amd64"},
		{"user-mode-linux-7.0.11-test", "7.0.11-1", "amd64"}, // make ARCH=um bindeb-pkg
		{"linux-image-cloud-amd64", "7.0.9-1", "amd64"},
	} {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "DEBIAN"), 0o755); err != nil {
			t.Fatal(err)
		}
		control := "Package: " + p.pkg + "\nVersion: " + p.version + "\nArchitecture: " + p.arch + "\nMaintainer: nobody\nDescription: none\n"
		if err := os.WriteFile(filepath.Join(root, "DEBIAN", "control"), []byte(control), 0o644); err != nil {
			t.Fatal(err)
		}
		deb := filepath.Join(dir, p.pkg+"_"+p.version+"_"+p.arch+".deb")
		if out, err := exec.Command("dpkg-deb", "--build", root, deb).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	list, err := Debs(context.Background(), dir)
	var got []string
	for _, c := range list {
		got = append(got, c.Release+" "+c.Version)
	}
	if want := []string{"7.0.9-test 7.0.9-1", "7.0.9-test 7.0.9-2", "7.0.10-test 7.0.10-2", "7.0.11-test 7.0.11-1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(dir, "none")} {
		if _, err := Debs(context.Background(), dir); exit.Status(err) != exit.Usage {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "linux-image-7.1.0-cut_7.1.0-1_amd64.deb"), []byte("!<arch>\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Debs(context.Background(), dir); exit.Status(err) != exit.Usage {
		t.Errorf("a package that is cut: %v", err)
	}
}

// The sample is the beginning of that of linux-image-6.17.8+deb13-cloud-amd64,
// with a part of the middle.
func TestChanges(t *testing.T) {
	needDpkg(t)
	read := func(old string) []Change {
		t.Helper()
		f, err := os.Open("testdata/changelog")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		changes, err := changesAfter(f, func(v string) (bool, error) { return apt.Less(context.Background(), old, v) })
		if err != nil {
			t.Fatal(err)
		}
		return changes
	}
	var versions []string
	for _, c := range read("6.17.6-1") {
		versions = append(versions, c.Version)
	}
	if want := []string{"6.17.8+1~bpo13+1", "6.17.8-1", "6.17.7-2", "6.17.7-1"}; !slices.Equal(versions, want) {
		t.Errorf("%q, want %q", versions, want)
	}
	for _, line := range []string{"- NFSD: Fix crash in nfsd4_read_release()", "- ACPI: button: Call input_free_device() on failing input device registration"} {
		if !slices.Contains(read("6.17.6-1")[1].Lines, line) {
			t.Errorf("%q is not there", line)
		}
	}
	if got := read("6.17.9-1"); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func FuzzChanges(f *testing.F) {
	text, err := os.ReadFile("testdata/changelog")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("linux (1) x\n  * y\n")
	f.Fuzz(func(t *testing.T, text string) {
		changes, err := changesAfter(strings.NewReader(text), func(string) (bool, error) { return true, nil })
		if err != nil {
			return
		}
		for _, c := range changes {
			if c.Version == "" {
				t.Errorf("a change of no version: %+v", c)
			}
		}
	})
}
