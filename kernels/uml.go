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
	"strings"
	"time"

	"proofhouse/internal/apt"
	"proofhouse/internal/bounded"
	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
	"proofhouse/internal/sandbox"
)

// umlSuite is where the C library for an ARCH=um executable of the user's
// comes from, if this machine's is too old for it.
const umlSuite = "forky"

// fromUML is the build that an ARCH=um executable of the user's is. A copy is
// kept, so that a rebuild during a run does not change the kernel under test.
func fromUML(ctx context.Context, path string, progress func(string)) (*Build, error) {
	sum, err := cache.SHA256(path)
	if err != nil {
		return nil, exit.BadInput(err)
	}
	b, err := umlEntry(ctx, key("uml", sum[:16]), func(ctx context.Context, dir, final string) (record, error) {
		image := filepath.Join(dir, "linux")
		if err := copyFile(path, image, 0o755); err != nil {
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
// run any more (the cache was moved, or shared with a machine whose C library
// is older) is made anew.
func umlEntry(ctx context.Context, key string, fill func(ctx context.Context, dir, final string) (record, error)) (*Build, error) {
	b, err := makeEntry(ctx, key, fill)
	if err != nil || b.Kind != UML {
		return b, err
	}
	if _, err := umlRelease(ctx, b.Image); err == nil {
		return b, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := cache.Remove(ctx, cache.Item{Room: room, Key: key}); err != nil {
		return nil, err
	}
	if b, err = makeEntry(ctx, key, fill); err != nil {
		return nil, err
	}
	if _, err := umlRelease(ctx, b.Image); err != nil {
		return nil, err
	}
	return b, nil
}

// readUML describes the executable image, which is in dir, and puts beside it
// what it needs to run here: its config, and a copy that uses a newer C
// library, if this machine's is too old. final is what dir will be called.
func readUML(ctx context.Context, dir, final, image, suite string, progress func(string)) (record, error) {
	text, err := os.ReadFile(image)
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
	runnable := image // as long as dir has its present name
	r.Release, err = umlRelease(ctx, image)
	if errors.Is(err, errOldLibc) {
		progress("this machine's C library is too old for the kernel: taking that of Debian " + suite)
		if runnable, err = ownLibc(ctx, dir, final, image, suite, progress); err != nil {
			return record{}, fmt.Errorf("give the kernel a newer C library: %w", err)
		}
		defer func() { _ = os.Remove(runnable) }()
		r.Image, r.OwnLibc = filepath.Join(dir, patchedName), true
		r.Release, err = umlRelease(ctx, runnable)
	}
	if err != nil {
		return record{}, err
	}
	r.Version = bannerVersion(text, r.Release)
	// Every ARCH=um kernel prints its config (arch/um/kernel/um_arch.c).
	config, err := umlSays(ctx, runnable, "--showconfig")
	if err == nil && isConfig([]byte(config)) {
		r.Config = filepath.Join(dir, "config")
		if err := os.WriteFile(r.Config, []byte(config), 0o644); err != nil {
			return record{}, err
		}
	}
	return r, nil
}

// looksLikeUML tells a kernel from other executables before it is run. (Its
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

var errOldLibc = errors.New("this machine's C library is too old")

// umlRelease runs the kernel with --version: it prints its release.
func umlRelease(ctx context.Context, image string) (string, error) {
	out, err := umlSays(ctx, image, "--version")
	if err != nil {
		return "", err
	}
	release := strings.TrimSpace(out)
	if !releaseRE.MatchString(release) {
		return "", exit.BadInputf("not an ARCH=um kernel: its --version says %q", cut(release, 60))
	}
	return release, nil
}

// umlSays runs the kernel, which somebody else built, in a sandbox: it reaches its
// own libraries, and only the first 4 MiB of what it prints are kept.
func umlSays(ctx context.Context, image, option string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd, err := sandbox.Spec{Program: image}.Command(ctx, option)
	if err != nil {
		return "", exit.BadInputf("the kernel does not run here: %w", err)
	}
	var stdout, stderr bounded.Head
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("run the kernel with %s: %w", option, context.Cause(ctx))
	case strings.Contains(stderr.String(), "version `GLIBC_"):
		return "", errOldLibc
	}
	return "", exit.BadInputf("the kernel does not run here: %s (%w)", cut(strings.TrimSpace(stderr.String()), 200), err)
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

var bannerRE = regexp.MustCompile(`Linux version (\S+) \([^\n\x00]*?\) (#[0-9][^\n\x00]*)`)

// bannerVersion is uname -v, from the banner in the image (init/version.c);
// "" if there is none for the release.
func bannerVersion(image []byte, release string) string {
	for _, m := range bannerRE.FindAllSubmatch(image, -1) {
		if string(m[1]) == release {
			return strings.TrimSpace(string(m[2]))
		}
	}
	return ""
}

const (
	patchedName = "linux.patched"
	libcName    = "libc"
	libcFolder  = "usr/lib/x86_64-linux-gnu" // in libc6, since trixie
)

// ownLibc puts a suite's C library into dir, and a copy of the executable
// that uses it as of when dir is called final. It returns another copy, which
// runs meanwhile.
//
// Starting the executable through ld.so would not do: User Mode Linux starts
// itself again through /proc/self/exe, which would be ld.so.
func ownLibc(ctx context.Context, dir, final, image, suite string, progress func(string)) (string, error) {
	patchelf, err := tool("patchelf", "patchelf")
	if err != nil {
		return "", err
	}
	if err := fetchLibc(ctx, dir, image, suite, progress); err != nil {
		return "", err
	}
	runnable := image + ".here"
	for _, c := range []struct{ path, home string }{
		{filepath.Join(dir, patchedName), final},
		{runnable, dir},
	} {
		if err := copyFile(image, c.path, 0o755); err != nil {
			return "", err
		}
		libc := filepath.Join(c.home, libcName)
		if err := run(ctx, "", patchelf, "--set-interpreter", filepath.Join(libc, "ld-linux-x86-64.so.2"), "--set-rpath", libc, c.path); err != nil {
			return "", err
		}
	}
	return runnable, nil
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
	needed, err := e.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read which libraries the kernel needs: %w", err)
	}
	if err := os.Mkdir(filepath.Join(dir, libcName), 0o755); err != nil {
		return err
	}
	for _, name := range append(needed, "ld-linux-x86-64.so.2") {
		from := filepath.Join(tmp, libcFolder, filepath.Base(name))
		if !isFile(from) {
			return exit.BadInputf("the kernel needs %s, which is not part of the C library: build it with CONFIG_STATIC_LINK=y, or on this machine", name)
		}
		if err := copyFile(from, filepath.Join(dir, libcName, filepath.Base(name)), 0o755); err != nil {
			return err
		}
	}
	return nil
}
