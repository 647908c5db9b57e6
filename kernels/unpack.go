package kernels

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
)

// unpack puts the regular files of a .deb below root; a kernel needs no
// others. (dpkg-deb --extract leaves the writing to a process of its own,
// which outlives us if we are killed, and goes on to write into a cache folder
// that the next run wants to remove.)
func unpack(ctx context.Context, deb, root string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
	}()
	dpkg, err := tool("dpkg-deb", "dpkg")
	if err != nil {
		return err
	}
	cmd := child.Command(ctx, dpkg, "--fsys-tarfile", deb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	unpackErr := untar(out, root)
	if unpackErr == nil {
		_, unpackErr = io.Copy(io.Discard, out) // what is behind the end
	} else {
		_ = out.Close() // so that dpkg-deb ends
	}
	waitErr := cmd.Wait()
	var writing *fs.PathError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(unpackErr, &writing):
		return unpackErr // then dpkg-deb fails too: nobody reads it
	case waitErr != nil && stderr.Len() > 0:
		return exit.BadInputf("not a whole .deb: %s", strings.TrimSpace(stderr.String()))
	case unpackErr != nil:
		return unpackErr
	}
	return waitErr
}

// untar writes the regular files of an archive below root, and nowhere else,
// whatever names they have.
func untar(r io.Reader, root string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	base, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer func() { _ = base.Close() }()
	files := tar.NewReader(r)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		name := strings.TrimLeft(filepath.Clean(h.Name), "/")
		if err := untarFile(base, name, files); err != nil {
			return err
		}
	}
}

func untarFile(base *os.Root, name string, r io.Reader) (err error) {
	if err := base.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := base.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, r)
	return err
}
