// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"debug/elf"
	"strings"
)

// The architectures of kernels that can be resolved, as uname -m names them
// ([Build.Arch]).
const (
	X86_64 = "x86_64"
	ARM64  = "aarch64"
)

// An arch is an architecture, as others name it.
type arch struct {
	name    string // uname -m
	debian  string // dpkg
	kernel  string // the kernel's ARCH, and the head of a .config
	machine elf.Machine
	images  []string // in a build tree, the best first
}

var arches = []arch{
	{X86_64, "amd64", "x86", elf.EM_X86_64, []string{"arch/x86/boot/bzImage"}},
	{ARM64, "arm64", "arm64", elf.EM_AARCH64, []string{"arch/arm64/boot/Image", "arch/arm64/boot/Image.gz", "arch/arm64/boot/vmlinuz.efi"}},
}

// archOf finds the architecture with a name that of reads; nil if it is none.
func archOf(name string, of func(arch) string) *arch {
	for i := range arches {
		if of(arches[i]) == name {
			return &arches[i]
		}
	}
	return nil
}

// DebianArch returns Debian's name of the build's architecture, which is also Go's:
// "amd64" or "arm64".
func (b *Build) DebianArch() string {
	if a := archOf(b.Arch, func(a arch) string { return a.name }); a != nil {
		return a.debian
	}
	return arches[0].debian // UML, and builds from before there was a second one
}

func byDebian(a arch) string { return a.debian }
func byKernel(a arch) string { return a.kernel }

// debianArch is Debian's name of the architecture that a package's name or a
// kernel's release ends in; amd64 if it ends in none.
func debianArch(name string) string {
	name = strings.TrimSuffix(name, "-unsigned")
	for _, a := range arches {
		if strings.HasSuffix(name, "-"+a.debian) {
			return a.debian
		}
	}
	return arches[0].debian
}
