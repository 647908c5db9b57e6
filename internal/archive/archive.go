// SPDX-License-Identifier: Apache-2.0

// Package archive unpacks archives and copies directories that somebody else
// made, and trusts nothing in them: no path and no link leads out of the
// directory, there are no devices and no set-id bits afterwards, nothing is
// written through a link, and what is unpacked has a limit.
//
// Archives that this project writes belong to the packages that write them.
package archive

import (
	"archive/tar"
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"proofhouse/internal/bounded"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// Options say what is unpacked or copied.
type Options struct {
	MaxBytes int64 // in all; more is an error
	MaxFiles int   // files, directories and links; more is an error
	// Symlinks keeps symbolic links that are relative and stay in the
	// directory; others are left out, and without Symlinks all are.
	Symlinks bool
	// Skip, which may be nil, reports whether to leave out a path, with slashes
	// and relative to the directory, and all below it.
	Skip func(name string) bool
}

// Untar unpacks the regular files, directories and (see Options) symbolic
// links of a tar archive into the directory dir, which it makes. Files get the
// modes 0644 and 0755, directories 0755. A name that leads out of dir, and an
// archive that is damaged or too large, is exit.BadInput.
func Untar(ctx context.Context, r io.Reader, dir string, o Options) error {
	w, err := newWriter(dir, o)
	if err != nil {
		return err
	}
	defer w.close()
	t := tar.NewReader(r)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return w.links()
		case err != nil:
			return exit.BadInputf("read the archive: %w", err)
		}
		if err := w.entry(h, t); err != nil {
			return err
		}
	}
}

func (w *writer) entry(h *tar.Header, r io.Reader) error {
	name, err := local(h.Name)
	if err != nil || name == "." || w.skip(name) {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return w.file(name, fs.FileMode(h.Mode), r)
	case tar.TypeDir:
		return w.dir(name)
	case tar.TypeSymlink:
		return w.symlink(name, h.Linkname)
	case tar.TypeLink:
		old, err := local(h.Linkname)
		if err != nil {
			return err
		}
		return w.hardLink(name, old)
	}
	return nil // a device, a FIFO
}

// local returns an archive's name as a clean path in its directory.
func local(name string) (string, error) {
	if strings.ContainsRune(name, 0) {
		return "", exit.BadInputf("read the archive: a NUL in the name %q", name)
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if name == "" || strings.Trim(name, "/") == "" {
		clean = "."
	}
	if !filepath.IsLocal(clean) {
		return "", exit.BadInputf("read the archive: the name %q leads out of its directory", name)
	}
	return clean, nil
}

// Copy copies the directory from, as [Untar] unpacks an archive, to the
// directory to, which it makes. The files' times are kept. from itself may be a
// symbolic link to a directory.
func Copy(ctx context.Context, from, to string, o Options) error {
	src, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	w, err := newWriter(to, o)
	if err != nil {
		return err
	}
	defer w.close()
	err = fs.WalkDir(src.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case name == ".":
			return nil
		case w.skip(name) && d.IsDir():
			return fs.SkipDir
		case w.skip(name):
			return nil
		case d.IsDir():
			return w.dir(name)
		case d.Type() == fs.ModeSymlink:
			target, err := src.Readlink(name)
			if err != nil {
				return err
			}
			return w.symlink(name, target)
		case d.Type().IsRegular():
			return w.copyOf(src, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.links()
}

// Open opens a regular file for reading in the root. A symbolic link in its
// place, also one within the root, is an error.
func Open(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	before, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, exit.BadInputf("read %s: not a regular file", filepath.Join(root.Name(), name))
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !os.SameFile(before, fi) {
		err = fmt.Errorf("read %s: it was replaced meanwhile", filepath.Join(root.Name(), name))
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

type writer struct {
	root    *os.Root
	o       Options
	bytes   int64
	files   int
	pending [][2]string // symbolic links, made last: nothing is written through them
}

func newWriter(dir string, o Options) (*writer, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err == nil {
		err = os.Chmod(dir, 0o755) // whatever the umask
		if err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &writer{root: root, o: o}, nil
}

func (w *writer) close() { _ = w.root.Close() }

func (w *writer) skip(name string) bool {
	for p := name; w.o.Skip != nil && p != "."; p = path.Dir(p) {
		if w.o.Skip(p) {
			return true
		}
	}
	return false
}

func (w *writer) count() error {
	if w.files++; w.files > w.o.MaxFiles {
		return exit.BadInputf("unpack: more than %d files", w.o.MaxFiles)
	}
	return nil
}

func (w *writer) dir(name string) error {
	if err := w.count(); err != nil {
		return err
	}
	return w.mkdirAll(name)
}

// mkdirAll makes a directory and those above it, with the mode 0755 whatever
// the umask.
func (w *writer) mkdirAll(name string) error {
	if name == "." {
		return nil
	}
	switch err := w.root.Mkdir(name, 0o755); {
	case err == nil:
		return w.root.Chmod(name, 0o755)
	case errors.Is(err, fs.ErrExist):
		if fi, err := w.root.Lstat(name); err != nil || fi.IsDir() {
			return err
		}
		return exit.BadInputf("unpack: %s is a directory and no directory", name)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := w.mkdirAll(path.Dir(name)); err != nil {
		return err
	}
	return w.mkdirAll(name)
}

func (w *writer) file(name string, mode fs.FileMode, r io.Reader) (err error) {
	if err := w.count(); err != nil {
		return err
	}
	if err := w.mkdirAll(path.Dir(name)); err != nil {
		return err
	}
	// Of several entries with one name, the last counts.
	if fi, err := w.root.Lstat(name); err == nil && !fi.IsDir() {
		if err := w.root.Remove(name); err != nil {
			return err
		}
	}
	perm := Perm(mode)
	f, err := w.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	left := w.o.MaxBytes - w.bytes
	n, err := io.Copy(f, io.LimitReader(r, left+1))
	w.bytes += n
	switch {
	case n > left:
		return exit.BadInputf("unpack: more than %d MiB", w.o.MaxBytes>>20)
	case err != nil:
		var writing *fs.PathError // of f; anything else is the archive's
		if errors.As(err, &writing) {
			return err
		}
		return exit.BadInputf("read %s from the archive: %w", name, err)
	}
	return f.Chmod(perm) // whatever the umask
}

// Perm returns the permissions for a file of somebody else's: 0755 if its owner
// may execute it, else 0644.
func Perm(mode fs.FileMode) fs.FileMode {
	if mode&0o100 != 0 {
		return 0o755
	}
	return 0o644
}

func (w *writer) copyOf(src *os.Root, name string) error {
	f, fi, err := Open(src, name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := w.file(name, fi.Mode(), f); err != nil {
		return err
	}
	return w.root.Chtimes(name, fi.ModTime(), fi.ModTime())
}

// hardLink makes a copy of what the archive had under another name.
func (w *writer) hardLink(name, old string) error {
	if name == old {
		return nil
	}
	f, fi, err := Open(w.root, old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // left out
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return w.file(name, fi.Mode(), f)
}

func (w *writer) symlink(name, target string) error {
	if !w.o.Symlinks || !stays(name, target) {
		return nil
	}
	w.pending = append(w.pending, [2]string{name, target})
	return w.count()
}

// stays reports whether a link at name, whose directory is no link, leads to a
// place in its root, whatever other links of that kind are on the way: ".." only
// at its start, where it counts real directories.
func stays(name, target string) bool {
	if target == "" || path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		return false
	}
	down := false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if down {
				return false
			}
		default:
			down = true
		}
	}
	return true
}

// isReal reports whether a path of the root is a directory without a link on
// the way to it.
func (w *writer) isReal(dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		if fi, err := w.root.Lstat(dir); err != nil || !fi.IsDir() {
			return false
		}
	}
	return true
}

func (w *writer) links() error {
	for _, l := range w.pending {
		if dir := path.Dir(l[0]); w.mkdirAll(dir) != nil || !w.isReal(dir) {
			continue // it would be below a link
		}
		if err := w.root.Symlink(l[1], l[0]); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// formats are the compressions that [Decompress] knows.
var formats = []struct {
	magic string
	tool  []string // nil: Go reads it
}{
	{"\x1f\x8b", nil},
	{"BZh", nil},
	{"\xfd7zXZ\x00", []string{"xz", "-dc"}},
	{"\x5d\x00\x00", []string{"xz", "-dc", "--format=lzma"}},
	{"\x28\xb5\x2f\xfd", []string{"zstd", "-dcq"}},
	{"\x02\x21\x4c\x18", []string{"lz4", "-dcq"}},
	{"\x04\x22\x4d\x18", []string{"lz4", "-dcq"}},
	{"\x89LZO", []string{"lzop", "-dc"}},
}

// Decompress returns the decompressed content of r, or r's content itself where
// it is in none of the known formats. The caller limits what it reads of it,
// and must close it.
func Decompress(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	start, err := b.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, f := range formats {
		switch {
		case !strings.HasPrefix(string(start), f.magic):
		case f.tool != nil:
			return through(ctx, b, f.tool)
		case f.magic == "BZh":
			return io.NopCloser(bzip2.NewReader(b)), nil
		default:
			return gzip.NewReader(b)
		}
	}
	return io.NopCloser(b), nil
}

// Compressed reports whether a file that starts so is in a format that
// [Decompress] knows.
func Compressed(start []byte) bool {
	for _, f := range formats {
		if strings.HasPrefix(string(start), f.magic) {
			return true
		}
	}
	return false
}

// through reads r through a program of the host.
func through(ctx context.Context, r io.Reader, tool []string) (io.ReadCloser, error) {
	path, err := host.Find(tool[0])
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := child.Command(ctx, path, tool[1:]...)
	cmd.Env = host.Env()
	cmd.Stdin = r
	said := bounded.Head{Limit: 4 << 10}
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	p := &process{out: out, cancel: cancel}
	p.wait = func() error {
		if err := cmd.Wait(); err != nil {
			return exit.BadInputf("%s: %w", tool[0], host.With(said.String(), err))
		}
		return nil
	}
	return p, nil
}

// A process is what a program writes. Its failure is an error of the last Read.
type process struct {
	out    io.Reader
	cancel context.CancelFunc
	wait   func() error
	ended  bool
	err    error
}

func (p *process) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if errors.Is(err, io.EOF) {
		if p.finish(); p.err != nil {
			return n, p.err
		}
	}
	return n, err
}

func (p *process) finish() {
	if !p.ended {
		p.ended = true
		p.err = p.wait()
	}
}

func (p *process) Close() error {
	p.cancel() // what was not read is not wanted
	p.finish()
	return nil
}

// UntarFile is [Untar] for a file that may be compressed.
func UntarFile(ctx context.Context, file, dir string, o Options) error {
	f, err := os.Open(file)
	if err != nil {
		return exit.BadInput(err)
	}
	defer func() { _ = f.Close() }()
	r, err := Decompress(ctx, f)
	if err != nil {
		return exit.BadInputf("read %s: %w", file, err)
	}
	defer func() { _ = r.Close() }()
	if err := Untar(ctx, r, dir, o); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(file), err)
	}
	return nil
}
