// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"proofhouse/internal/apt"
	"proofhouse/internal/archive"
	"proofhouse/internal/cache"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// An arch is an architecture that a root can have.
type arch struct {
	name     string // as Debian and Go name it
	emulator string // QEMU's user-mode emulator of its programs
	// magic and mask are the registration of its programs in binfmt_misc: the
	// first 20 bytes of an ELF file, up to e_version. A static or a dynamic
	// program, of any OS ABI (QEMU's scripts/qemu-binfmt-conf.sh has the same).
	magic, mask string
}

const elfMask = `\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff`

var arches = []arch{
	{"amd64", "qemu-x86_64", `\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00`, elfMask},
	{"arm64", "qemu-aarch64", `\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00`, elfMask},
}

// defaultArch is the architecture of a root where none is asked for.
const defaultArch = "amd64"

// archOf finds an architecture by its name; nil if it is none that a root has.
func archOf(name string) *arch {
	i := slices.IndexFunc(arches, func(a arch) bool { return a.name == name })
	if i < 0 {
		return nil
	}
	return &arches[i]
}

// native reports whether this host runs programs of the architecture itself.
func (a arch) native() bool { return a.name == runtime.GOARCH }

//go:embed foreign.sh
var foreignScript string

// emulatorSuites are the Debian suites that QEMU's emulator is taken from, the
// first that has it. The emulator of bookworm, 7.2, crashes in newer programs
// of arm64.
var emulatorSuites = []string{"trixie", "forky", "sid"}

// emulatorPackage has the emulators of all architectures, linked statically.
const emulatorPackage = "qemu-user"

// fetchEmulator returns the path of the emulator, from Debian's package, which
// is not installed: its installation would register the emulator for the whole
// host.
func fetchEmulator(ctx context.Context, a arch, progress func(string)) (string, error) {
	// One that is there is good enough, also without a network.
	if old, _ := filepath.Glob(filepath.Join(cache.Root(), room, a.emulator+"-*", a.emulator)); len(old) > 0 {
		return old[len(old)-1], nil
	}
	debian, err := apt.Open(ctx, progress)
	if err != nil {
		return "", err
	}
	debian = debian.For(runtime.GOARCH)
	suite, version, err := debian.Find(ctx, emulatorPackage, emulatorSuites...)
	if err != nil {
		return "", err
	}
	key := a.emulator + "-" + strings.Map(func(r rune) rune {
		if r == ':' {
			return '_'
		}
		return r
	}, version)
	dir, err := cache.Entry(ctx, room, key, func(ctx context.Context, dir string) error {
		return unpackEmulator(ctx, debian, suite, version, a.emulator, dir)
	})
	if err != nil {
		return "", fmt.Errorf("fetch QEMU's emulator of %s programs: %w", a.name, err)
	}
	return filepath.Join(dir, a.emulator), nil
}

// unpackEmulator puts one program of the package into dir.
func unpackEmulator(ctx context.Context, debian *apt.Apt, suite, version, program, dir string) error {
	if err := host.Need("dpkg-deb"); err != nil {
		return err
	}
	tmp := filepath.Join(dir, "package")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	deb, err := debian.Download(ctx, suite, emulatorPackage, version, tmp)
	if err != nil {
		return err
	}
	tar := filepath.Join(tmp, "data.tar")
	out, err := os.Create(tar)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd := child.Command(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	cmd.Env, cmd.Stdout = host.Env(), out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
	}
	inside := filepath.Join("usr/bin", program)
	above := []string{".", "usr", "usr/bin", inside}
	const most = 256 << 20
	err = archive.UntarFile(ctx, tar, tmp, archive.Options{MaxBytes: most, MaxFiles: 10, Skip: func(name string) bool { return !slices.Contains(above, name) }})
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(tmp, inside), filepath.Join(dir, program)); err != nil {
		return err
	}
	return os.RemoveAll(tmp)
}

// emulating returns a sandbox that also runs programs of another architecture. Its
// registration of the emulator is private: it is in a binfmt_misc of the
// sandbox's user namespace, which Linux has since 6.7, and ends with it.
func (s sandbox) emulating(a arch, emulator string) sandbox {
	registration := ":" + filepath.Base(emulator) + ":M:0:" + a.magic + ":" + a.mask + ":" + emulator + ":POCF"
	s.command = slices.Concat(s.command, []string{"sh", "-c", foreignScript, "sh", registration})
	// Root's sandbox is otherwise in the host's user namespace, where the
	// registration would be the host's.
	s.ownUsers = os.Geteuid() == 0
	return s
}

// attributes puts a command that runs in the sandbox into a user namespace of its
// own, if the sandbox needs one: with the same user IDs as outside.
func (s sandbox) attributes(attr *syscall.SysProcAttr) {
	if !s.ownUsers {
		return
	}
	same := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1 << 16}}
	attr.Cloneflags |= syscall.CLONE_NEWUSER
	attr.UidMappings, attr.GidMappings, attr.GidMappingsEnableSetgroups = same, same, true
}

// errNoBinfmt is what foreign.sh says where the kernel has no private binfmt_misc.
const errNoBinfmt = "proofhouse: no private binfmt_misc"

// foreignSandbox is [sandboxFor] for programs of an architecture.
func foreignSandbox(ctx context.Context, a arch, progress func(string)) (sandbox, error) {
	s, err := sandboxFor(ctx)
	if err != nil || a.native() {
		return s, err
	}
	emulator, err := fetchEmulator(ctx, a, progress)
	if err != nil {
		return sandbox{}, err
	}
	s = s.emulating(a, emulator)
	return s, s.try(ctx, a)
}

// try runs a command that does nothing, in a sandbox that emulates a.
func (s sandbox) try(ctx context.Context, a arch) error {
	cmd := s.run(ctx, "true")
	cmd.Env = host.Env()
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case strings.Contains(string(out), errNoBinfmt):
		return exit.BadInputf("run %s programs on this host: its kernel (%s) has no private binfmt_misc: Linux 6.7 or later with CONFIG_BINFMT_MISC has one", a.name, kernelRelease())
	}
	return fmt.Errorf("run %s programs on this host: %s", a.name, lastLine(out, err))
}

// CanBuild returns why this host cannot build a root of an architecture, as Debian
// names it: a user error. It fetches nothing.
func CanBuild(ctx context.Context, name string) error {
	a := archOf(name)
	if a == nil {
		return exit.BadInputf("a guest root of the architecture %q: want amd64 or arm64", name)
	}
	s, err := sandboxFor(ctx)
	if err != nil || a.native() {
		return err
	}
	return s.emulating(*a, "/bin/sh").try(ctx, *a) // any program can be registered
}

// kernelRelease is the release of this host's kernel.
func kernelRelease() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
