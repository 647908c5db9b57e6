// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/gomega"
)

func TestAnOldEntrysModulesAreReadOnce(t *testing.T) {
	g := gomega.NewWithT(t)
	dir := t.TempDir()
	modules := filepath.Join(dir, "lib/modules/6.1.0/kernel")
	g.Expect(os.MkdirAll(modules, 0o755)).To(gomega.Succeed())
	g.Expect(os.WriteFile(filepath.Join(modules, "a.ko"), []byte("a"), 0o644)).To(gomega.Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, recordName),
		[]byte(`{"kind": "bzImage", "modules": "lib/modules/6.1.0", "size": 9007199254740993, "ownLibc": true}`), 0o644)).To(gomega.Succeed())

	first, err := readEntry(dir)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	g.Expect(first.ModulesSHA256).To(gomega.HaveLen(64))

	b, err := os.ReadFile(filepath.Join(dir, recordName))
	g.Expect(err).NotTo(gomega.HaveOccurred())
	g.Expect(string(b)).To(gomega.And(gomega.ContainSubstring(first.ModulesSHA256), gomega.ContainSubstring("9007199254740993"), gomega.ContainSubstring(`"ownLibc": true`)))

	g.Expect(os.WriteFile(filepath.Join(modules, "a.ko"), []byte("b"), 0o644)).To(gomega.Succeed())
	second, err := readEntry(dir)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	g.Expect(second.ModulesSHA256).To(gomega.Equal(first.ModulesSHA256))
	left, err := os.ReadDir(dir)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	for _, e := range left {
		g.Expect(strings.HasPrefix(e.Name(), recordName) && e.Name() != recordName).To(gomega.BeFalse(), e.Name())
	}
}
