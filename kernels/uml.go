// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"proofhouse/internal/apt"
	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// umlSuite is where the C library for an ARCH=um executable of the user's
// comes from, if this host's is too old for it.
const umlSuite = "forky"

// fromUML is the build that an ARCH=um executable of the user's is. A copy is
// kept, so that a rebuild during a run does not change the kernel under test.
func fromUML(ctx context.Context, path string, progress func(string)) (*Build, error) {
	sum, err := cache.SHA256(path)
	if err != nil {
		return nil, exit.BadInputf("read the kernel: %w", err)
	}
	b, err := umlEntry(ctx, key("uml", sum[:16]), func(ctx context.Context, dir, final string) (record, error) {
		image := filepath.Join(dir, "linux")
		if err := host.CopyFile(path, image, 0o755); err != nil {
			return record{}, err
		}
		r, err := readUML(ctx, dir, final, image, umlSuite, progress)
		if err == nil {
			r.Source = path
		}
		return r, err
	})
	if err != nil {
		return nil, err
	}
	b.Source = path
	return b, nil
}

// umlEntry is makeEntry for an entry with an executable. One that does not
// start any more (the cache was moved, or is shared with a host whose C library
// is older) is made anew.
func umlEntry(ctx context.Context, key string, fill func(ctx context.Context, dir, final string) (record, error)) (*Build, error) {
	b, err := makeEntry(ctx, key, fill)
	if err != nil || b.Kind != UML {
		return b, err
	}
	if err := starts(b.Image); !errors.Is(err, errOldLibc) {
		return b, err
	}
	if err := cache.Remove(ctx, cache.Item{Room: room, Key: key}); err != nil {
		return nil, err
	}
	if b, err = makeEntry(ctx, key, fill); err != nil {
		return nil, err
	}
	return b, starts(b.Image)
}

// readUML describes the executable image, which is in dir, and puts beside it
// what it needs to run here: its config, and a copy that uses a newer C
// library, if this host's is too old. final is what dir will be called. The
// kernel is only read: nothing of it runs outside of a machine.
func readUML(ctx context.Context, dir, final, image, suite string, progress func(string)) (record, error) {
	text, err := readImage(image)
	if err != nil {
		return record{}, err
	}
	if err := looksLikeUML(text); err != nil {
		return record{}, err
	}
	sum, err := cache.SHA256(image)
	if err != nil {
		return record{}, err
	}
	if err := os.Chmod(image, 0o755); err != nil {
		return record{}, err
	}
	r := record{Build: &Build{Kind: UML, Arch: "x86_64", Image: image, SHA256: sum}}
	if r.Release, r.Version = banner(text); r.Release == "" {
		return record{}, exit.BadInputf("not an ARCH=um kernel: no version in it")
	}
	err = starts(image)
	if errors.Is(err, errOldLibc) {
		progress("this host's C library is too old for the kernel: taking that of Debian " + suite)
		if err = ownLibc(ctx, dir, final, image, suite, progress); err != nil {
			return record{}, fmt.Errorf("give the kernel a newer C library: %w", err)
		}
		r.Image, r.OwnLibc = filepath.Join(dir, patchedName), true
	}
	if err != nil {
		return record{}, err
	}
	if config := umlConfig(text); config != nil {
		r.Config = filepath.Join(dir, "config")
		if err := os.WriteFile(r.Config, config, 0o644); err != nil {
			return record{}, err
		}
	}
	return r, nil
}

// looksLikeUML distinguishes a kernel from other executables. (Its
// /proc/cpuinfo says so: arch/um/kernel/um_arch.c.)
func looksLikeUML(text []byte) error {
	switch {
	case bytes.Contains(text, []byte("User Mode Linux")):
		return nil
	case bytes.Contains(text, []byte("Linux version ")):
		return exit.BadInputf("an uncompressed vmlinux: give the bzImage (arch/x86/boot/bzImage)")
	}
	return exit.BadInput(errNoKernel)
}

var bannerRE = regexp.MustCompile(`Linux version (\S+) \([^\n\x00]*?\) (#[0-9][^\n\x00]*)`)

// banner is uname -r and uname -v, from the banner in a kernel (init/version.c);
// "" if it has none.
func banner(image []byte) (release, version string) {
	for _, m := range bannerRE.FindAllSubmatch(image, -1) {
		if r, v := splitVersion(string(m[1]) + " " + string(m[2])); r != "" && len(v) <= 64 { // __NEW_UTS_LEN
			return r, v
		}
	}
	return "", ""
}

// configLineRE is a line of the config that every ARCH=um kernel has in it as
// strings of their own, for its option --showconfig (arch/um/kernel/config.c.in).
var configLineRE = regexp.MustCompile(`\x00((?:# Linux/um [^\n\x00]* Kernel Configuration|CONFIG_\w+=[^\n\x00]*|# CONFIG_\w+ is not set)\n)(?:\x00)`)

// umlConfig is the .config in an ARCH=um kernel; nil if it has none.
func umlConfig(image []byte) []byte {
	var text []byte
	// A string's end is the start of the next one.
	for rest := image; ; {
		m := configLineRE.FindSubmatchIndex(rest)
		if m == nil || len(text) > maxConfig {
			break
		}
		text = append(text, rest[m[2]:m[3]]...)
		rest = rest[m[1]-1:]
	}
	if !isConfig(text) {
		return nil
	}
	return text
}

var errOldLibc = errors.New("this host's C library is too old")

// libraries are those of the C library, on which a kernel may depend.
var libraries = []string{"libc.so.6", "libm.so.6", "librt.so.1", "libutil.so.1", "libpthread.so.0", "libdl.so.2", "ld-linux-x86-64.so.2"}

// starts reports why an executable does not start on this host: errOldLibc if a
// newer C library is what it takes.
func starts(image string) error {
	e, err := elf.Open(image)
	if err != nil {
		return exit.BadInputf("read the kernel: %w", err)
	}
	defer func() { _ = e.Close() }()
	loader, err := interpreter(e)
	if err != nil || loader == "" { // statically linked
		return err
	}
	needed, err := e.ImportedLibraries()
	if err != nil {
		return exit.BadInputf("read which libraries the kernel needs: %w", err)
	}
	for _, name := range needed {
		if !slices.Contains(libraries, name) {
			return exit.BadInputf("the kernel needs %q, which is not part of the C library: build it with CONFIG_STATIC_LINK=y", name)
		}
	}
	if !isFile(loader) {
		return errOldLibc
	}
	if filepath.Base(filepath.Dir(loader)) == libcName { // our own copy has one that fits
		return nil
	}
	versions, err := e.DynamicVersionNeeds()
	if err != nil {
		return exit.BadInputf("read which C library the kernel needs: %w", err)
	}
	have := libcVersions()
	for _, n := range versions {
		for _, v := range n.Needs {
			if n.Name == "libc.so.6" && !have[v.Dep] {
				return errOldLibc
			}
		}
	}
	return nil
}

// interpreter is the path of an executable's dynamic loader; "" if it has none.
func interpreter(e *elf.File) (string, error) {
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, min(p.Filesz, 4096))
		if _, err := p.ReadAt(b, 0); err != nil {
			return "", exit.BadInputf("read the kernel: %w", err)
		}
		return strings.TrimRight(string(b), "\x00"), nil
	}
	return "", nil
}

// libcVersions are the versions of symbols that this host's C library has, such
// as GLIBC_2.38; none where there is no glibc.
func libcVersions() map[string]bool {
	have := map[string]bool{}
	for _, path := range []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6"} {
		e, err := elf.Open(path)
		if err != nil {
			continue
		}
		defs, err := e.DynamicVersions()
		_ = e.Close()
		if err != nil {
			continue
		}
		for _, d := range defs {
			have[d.Name] = true
		}
		break
	}
	return have
}

const (
	patchedName = "linux.patched"
	libcName    = "libc"
	libcFolder  = "usr/lib/x86_64-linux-gnu" // in libc6, since trixie
)

// ownLibc puts a suite's C library into dir, and a copy of the executable
// that uses it once dir is called final.
//
// Starting the executable through ld.so would not do: User Mode Linux starts
// itself again through /proc/self/exe, which would be ld.so.
func ownLibc(ctx context.Context, dir, final, image, suite string, progress func(string)) error {
	if err := host.Need("patchelf"); err != nil {
		return err
	}
	if err := fetchLibc(ctx, dir, image, suite, progress); err != nil {
		return err
	}
	patched, libc := filepath.Join(dir, patchedName), filepath.Join(final, libcName)
	if err := host.CopyFile(image, patched, 0o755); err != nil {
		return err
	}
	return host.Run(ctx, "", "patchelf", "--set-interpreter", filepath.Join(libc, "ld-linux-x86-64.so.2"), "--set-rpath", libc, patched)
}

// fetchLibc puts the loader and the libraries that image needs into dir/libc.
func fetchLibc(ctx context.Context, dir, image, suite string, progress func(string)) error {
	a, err := apt.Open(ctx, progress)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "libc6")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	deb, err := a.Download(ctx, suite, "libc6", "", tmp)
	if err != nil {
		return err
	}
	if err := unpack(ctx, deb, tmp); err != nil {
		return err
	}
	e, err := elf.Open(image)
	if err != nil {
		return fmt.Errorf("read the kernel: %w", err)
	}
	defer func() { _ = e.Close() }()
	needed, err := e.ImportedLibraries() // starts has looked at them
	if err != nil {
		return fmt.Errorf("read which libraries the kernel needs: %w", err)
	}
	if err := os.Mkdir(filepath.Join(dir, libcName), 0o755); err != nil {
		return err
	}
	for _, name := range union(needed, "ld-linux-x86-64.so.2") {
		from := filepath.Join(tmp, libcFolder, filepath.Base(name))
		if !isFile(from) {
			return exit.BadInputf("the kernel needs %s, which is not part of the C library: build it with CONFIG_STATIC_LINK=y, or on this host", name)
		}
		if err := host.CopyFile(from, filepath.Join(dir, libcName, filepath.Base(name)), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// union is the list with a name that it may have already.
func union(list []string, name string) []string {
	if slices.Contains(list, name) {
		return list
	}
	return append(slices.Clone(list), name)
}
