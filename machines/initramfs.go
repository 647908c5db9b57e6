// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"proofhouse/internal/archive"
	"proofhouse/internal/exit"
	"proofhouse/machines/wire"

	"github.com/cavaliergopher/cpio"
)

// writeInitramfs writes the archive that the kernel unpacks first: our init,
// what it is told, our tools, and the modules without which it cannot find its
// root. modules are files on the host; cfg.Load gets their names in the guest.
func writeInitramfs(file string, o Options, cfg wire.Init, modules []string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write the initramfs: %w", err)
	}
	buf := bufio.NewWriterSize(f, 1<<20)
	a := &initramfs{w: cpio.NewWriter(buf)}
	a.dir("dev", "proc", "sys", "sysroot", "tools", "modules")
	a.device("dev/console", 5, 1) // the kernel opens it for us before devtmpfs is there
	a.copy("init", o.Init)
	for name, from := range o.Tools {
		if filepath.Base(name) != name {
			return fmt.Errorf("tool %q: not a file name", name)
		}
		a.copy("tools/"+name, from)
	}
	for i, m := range modules {
		b, err := readModule(m)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("modules/%03d-%s", i, path.Base(trimCompression(m)))
		a.file(name, 0o644, b)
		cfg.Load = append(cfg.Load, "/"+name)
	}
	b, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	a.file(strings.TrimPrefix(wire.InitFile, "/"), 0o600, b)
	for _, step := range []func() error{a.w.Close, buf.Flush, f.Close} {
		if err := step(); err != nil && a.err == nil {
			a.err = err
		}
	}
	if a.err != nil {
		return fmt.Errorf("write the initramfs: %w", a.err)
	}
	return nil
}

// initramfs writes entries until the first error, which it keeps.
type initramfs struct {
	w   *cpio.Writer
	err error
}

func (a *initramfs) entry(h *cpio.Header, b []byte) {
	if a.err != nil {
		return
	}
	h.Size, h.Links = int64(len(b)), 1
	if a.err = a.w.WriteHeader(h); a.err == nil {
		_, a.err = a.w.Write(b)
	}
}

func (a *initramfs) dir(names ...string) {
	for _, n := range names {
		a.entry(&cpio.Header{Name: n, Mode: cpio.TypeDir | 0o755}, nil)
	}
}

func (a *initramfs) device(name string, major, minor int) {
	a.entry(&cpio.Header{Name: name, Mode: cpio.TypeChar | 0o600, DeviceID: major<<8 | minor}, nil)
}

func (a *initramfs) file(name string, mode cpio.FileMode, b []byte) {
	a.entry(&cpio.Header{Name: name, Mode: cpio.TypeReg | mode}, b)
}

func (a *initramfs) copy(name, from string) {
	if a.err != nil {
		return
	}
	b, err := os.ReadFile(from)
	if err != nil {
		a.err = err
		return
	}
	a.file(name, 0o755, b)
}

// maxModule is more than any module has bytes, decompressed.
const maxModule = 256 << 20

// compressed are the endings of compressed modules. They are decompressed here:
// the kernel's own ability to do so is an option that we don't rely on.
var compressed = []string{".xz", ".zst", ".gz"}

func trimCompression(name string) string {
	if slices.Contains(compressed, path.Ext(name)) {
		return strings.TrimSuffix(name, path.Ext(name))
	}
	return name
}

func readModule(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	r, err := archive.Decompress(context.Background(), f)
	if err != nil {
		return nil, fmt.Errorf("unpack module %s: %w", file, err)
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err == nil && len(b) > maxModule {
		err = exit.BadInputf("more than %d MiB", maxModule>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack module %s: %w", file, err)
	}
	return b, nil
}

// moduleFiles are the files of the named modules and of all that they need, in
// the order to load them. A name that modules.dep does not have is built in,
// or this kernel goes without. modules.dep came with the kernel: what it names
// must be a regular file in dir.
func moduleFiles(dir string, names ...string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's modules: %w", err)
	}
	defer func() { _ = root.Close() }()
	b, err := root.ReadFile("modules.dep")
	if err != nil {
		return nil, fmt.Errorf("read what the kernel's modules need: %w", err)
	}
	files := map[string]string{}
	needs := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		file, deps, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		files[moduleName(file)] = file
		needs[file] = strings.Fields(deps)
	}
	var order []string
	seen := map[string]bool{}
	add := func(file string) {
		if !seen[file] {
			seen[file] = true
			order = append(order, file)
		}
	}
	for _, n := range names {
		file, ok := files[n]
		if !ok {
			continue
		}
		// modules.dep names the nearest need first.
		deps := needs[file]
		for i := len(deps) - 1; i >= 0; i-- {
			add(deps[i])
		}
		add(file)
	}
	for i, file := range order {
		f, _, err := archive.Open(root, file)
		if err != nil {
			return nil, exit.BadInputf("read the kernel's modules: modules.dep names %q: %w", file, err)
		}
		_ = f.Close()
		order[i] = filepath.Join(dir, file)
	}
	return order, nil
}

func moduleName(file string) string {
	n := strings.TrimSuffix(trimCompression(path.Base(file)), ".ko")
	return strings.ReplaceAll(n, "-", "_")
}
