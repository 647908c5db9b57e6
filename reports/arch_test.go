// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// One version for two architectures: the columns say which is which.
func TestArchColumns(t *testing.T) {
	names := columnNames([]Kernel{
		{Release: "6.12.117+deb13-cloud-amd64"}, {Release: "6.12.117+deb13-cloud-arm64", Properties: map[string]string{"arch": "aarch64"}},
		{Release: "6.6.51", Properties: map[string]string{"arch": "aarch64"}},
	})
	if want := []string{"6.12.117", "6.12.117 aarch64", "6.6.51 (aarch64)"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

// A kernel's architecture is named wherever it is not x86-64, also in runs from
// before it was recorded.
func TestArch(t *testing.T) {
	for _, c := range []struct {
		arch, release     string
		kind, name, kcidb string
	}{
		{"", "6.12.1", "qemu/tcg", "6.12.1", "x86_64"},
		{"x86_64", "6.12.1", "qemu/tcg", "6.12.1", "x86_64"},
		{"aarch64", "6.6.51-v8+", "qemu/tcg/aarch64", "6.6.51-v8+ (aarch64)", "arm64"},
		{"aarch64", "6.12.94+deb13-cloud-arm64", "qemu/tcg/aarch64", "6.12.94+deb13-cloud-arm64", "arm64"},
	} {
		k := Kernel{ID: "k", Release: c.release, Properties: map[string]string{"machine": "qemu", "accelerator": "tcg"}}
		if c.arch != "" {
			k.Properties["arch"] = c.arch
		}
		if k.MachineKind() != c.kind || k.name() != c.name {
			t.Errorf("%s on %q: %s, %s; want %s, %s", c.release, c.arch, k.MachineKind(), k.name(), c.kind, c.name)
		}
		var b bytes.Buffer
		if err := KCIDB(&b, &Run{Kernels: []Kernel{k}}, "our_lab"); err != nil {
			t.Fatal(err)
		}
		if want := `"architecture": "` + c.kcidb + `"`; !strings.Contains(b.String(), want) {
			t.Errorf("%s on %q: no %s in %s", c.release, c.arch, want, b.String())
		}
	}
}
