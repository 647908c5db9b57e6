// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"proofhouse/internal/archive"
)

// A File is put into the root, owned by root.
type File struct {
	Mode fs.FileMode // with fs.ModeDir for a directory; a symlink's is ignored
	Data []byte
	Link string // a symlink to there, if not empty
}

// settings are the root's files that are ours, by path, put in place at the
// very end. Paths go through no symlink: /usr/lib, not /lib.
var settings = map[string]File{
	"/etc/hosts":       {Mode: 0o644, Data: []byte("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n127.0.1.1\tproofhouse\n")},
	"/etc/hostname":    {Mode: 0o644, Data: []byte("proofhouse\n")},
	"/etc/resolv.conf": {Mode: 0o644}, // nothing to resolve with, and no waiting for it
	// dbus-daemon and systemd's libraries want one; it is no secret here.
	"/etc/machine-id": {Mode: 0o444, Data: []byte("70726f6f66686f75736500000000feed\n")},
	// Containers with mapped ids: room for sixteen.
	"/etc/subuid": {Mode: 0o644, Data: []byte("root:100000:1048576\n")},
	"/etc/subgid": {Mode: 0o644, Data: []byte("root:100000:1048576\n")},
	// A package installed in the guest starts no service.
	"/usr/sbin/policy-rc.d": {Mode: 0o755, Data: []byte("#!/bin/sh\nexit 101\n")},
	// The run brings nsmgr along; /run is empty at boot.
	"/usr/local/bin/nsmgr": {Link: "/run/proofhouse/bin/nsmgr"},
	"/usr/lib/modules":     {Mode: fs.ModeDir | 0o755}, // the kernel's modules are mounted here
	"/var/lib/lxc":         {Mode: fs.ModeDir | 0o755},
}

// writeTar packs files, and the content of directories (path inside -> directory of
// the host), as root's and readable by all: upstream's scripts run helpers as
// nobody and refuse to start where a parent directory shuts that user out.
func writeTar(name string, files map[string]File, directories map[string]string) error {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	buffered := bufio.NewWriterSize(out, 1<<20)
	t := &tarWriter{Writer: tar.NewWriter(buffered), directories: map[string]bool{"/": true}}
	for _, inside := range sorted(directories) {
		if err := t.directory(inside, directories[inside]); err != nil {
			return err
		}
	}
	for _, inside := range sorted(files) {
		if err := t.file(inside, files[inside]); err != nil {
			return fmt.Errorf("pack %s: %w", inside, err)
		}
	}
	return errors.Join(t.Close(), buffered.Flush(), out.Close())
}

type tarWriter struct {
	*tar.Writer
	directories map[string]bool // written already
}

// add writes a header, and those of the directories above that are not there yet.
func (t *tarWriter) add(h *tar.Header) error {
	dir := path.Dir(path.Clean(h.Name))
	if !t.directories[dir] {
		if err := t.add(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: epoch}); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir {
		name := path.Clean(h.Name)
		if t.directories[name] {
			return nil
		}
		t.directories[name] = true
	}
	relative := *h
	relative.Name = "." + path.Clean(h.Name)
	relative.Format = tar.FormatPAX // sub-second times, long names
	return t.WriteHeader(&relative)
}

// epoch is the time of what has none of its own.
var epoch = time.Unix(0, 0)

func (t *tarWriter) file(name string, f File) error {
	h := &tar.Header{Name: name, Mode: int64(f.Mode.Perm()), ModTime: epoch, Typeflag: tar.TypeReg, Size: int64(len(f.Data))}
	switch {
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
	case f.Mode.IsDir():
		h.Typeflag = tar.TypeDir
	}
	if err := t.add(h); err != nil {
		return err
	}
	_, err := t.Write(f.Data)
	return err
}

// directory packs dir as inside. It keeps the files' times, which make goes by.
func (t *tarWriter) directory(inside, dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		h := &tar.Header{Name: path.Join(inside, filepath.ToSlash(rel)), ModTime: info.ModTime()}
		switch {
		case d.IsDir():
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
			return t.add(h)
		case info.Mode()&fs.ModeSymlink != 0:
			h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
			if h.Linkname, err = os.Readlink(name); err != nil {
				return err
			}
			return t.add(h)
		case info.Mode().IsRegular():
			h.Typeflag, h.Mode, h.Size = tar.TypeReg, int64(archive.Perm(info.Mode())), info.Size()
			return t.regular(h, name)
		}
		return nil // a socket or a pipe that a test left
	})
}

func (t *tarWriter) regular(h *tar.Header, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := t.add(h); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
