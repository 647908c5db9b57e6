// SPDX-License-Identifier: Apache-2.0

// Package host finds and runs programs of this host and copies its files.
//
// Processes that outlive a call belong to package child, archives to package
// archive.
package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
)

// packages are the Debian packages of the programs that this project runs.
// A program without a row has the name of its package.
var packages = map[string]string{
	"apt-get": "apt", "apt-cache": "apt", "apt-config": "apt",
	"depmod":              "kmod",
	"dpkg-deb":            "dpkg",
	"dpkg-source":         "dpkg-dev",
	"mkfs.ext4":           "e2fsprogs",
	"newuidmap":           "uidmap",
	"qemu-system-aarch64": "qemu-system-arm",
	"qemu-system-x86_64":  "qemu-system-x86",
	"unshare":             "util-linux",
	"xargs":               "findutils",
	"xz":                  "xz-utils",
}

// sbin are the directories with programs that are not in an ordinary user's
// PATH.
var sbin = []string{"/usr/sbin", "/sbin"}

// Find returns the path of a program: from PATH, or from the sbin directories.
// If it is not found, the error is exit.BadInput and names the Debian package.
func Find(name string) (path string, err error) {
	if path := find(name); path != "" {
		return path, nil
	}
	return "", exit.BadInputf("%s not found on this host: apt-get install %s", name, Package(name))
}

// Have reports whether [Find] finds a program.
func Have(name string) bool { return find(name) != "" }

// Package returns the Debian package of a program.
func Package(program string) string {
	if p := packages[program]; p != "" {
		return p
	}
	return program
}

func find(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range sbin {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

// Need finds programs. The error names all that are not found, and how to
// install them.
func Need(names ...string) error {
	var missing, install []string
	for _, name := range names {
		if !Have(name) {
			missing, install = append(missing, name), append(install, Package(name))
		}
	}
	if missing == nil {
		return nil
	}
	return exit.BadInputf("%s not found on this host; run as root: apt-get install %s", strings.Join(missing, ", "), strings.Join(install, " "))
}

// Env returns this process's environment with the sbin directories in PATH and
// with English messages.
func Env() []string {
	env := os.Environ()
	path := "/usr/bin:/bin"
	for i := len(env) - 1; i >= 0; i-- {
		if p, ok := strings.CutPrefix(env[i], "PATH="); ok {
			path = p
			env = append(env[:i], env[i+1:]...)
		}
	}
	return append(env, "PATH="+path+":"+strings.Join(sbin, ":"), "LC_ALL=C.UTF-8", "LANGUAGE=")
}

// maxSaid is how much of what a program wrote is kept for an error, in bytes.
const maxSaid = 64 << 10

// Run runs a program in the directory dir ("" is the current one), with [Env].
// The error has the last line that the program wrote; a full disk is ENOSPC.
func Run(ctx context.Context, dir, program string, args ...string) error {
	path, err := Find(program)
	if err != nil {
		return err
	}
	cmd := child.Command(ctx, path, args...)
	cmd.Dir, cmd.Env = dir, Env()
	var said tailWriter
	cmd.Stdout, cmd.Stderr = &said, &said
	if err = cmd.Run(); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", filepath.Base(program), context.Cause(ctx))
	}
	if strings.Contains(said.String(), "No space left on device") {
		err = syscall.ENOSPC
	}
	return fmt.Errorf("%s: %w", filepath.Base(program), With(said.String(), err))
}

// With returns err with the last line of text before it.
func With(text string, err error) error {
	text = strings.TrimSpace(text)
	if text == "" {
		return err
	}
	return fmt.Errorf("%s (%w)", strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:]), err)
}

// tailWriter keeps the end of what is written to it.
type tailWriter struct{ bytes.Buffer }

func (w *tailWriter) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > maxSaid {
		p = p[len(p)-maxSaid:]
	}
	if over := w.Len() + len(p) - maxSaid; over > 0 {
		w.Next(over)
	}
	_, err := w.Buffer.Write(p)
	return n, err
}

// CopyFile copies the content of a file to a new file with the permissions
// perm, whatever the umask. It fails if to exists, also as a symbolic link.
func CopyFile(from, to string, perm fs.FileMode) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	return WriteNew(to, src, perm)
}

// WriteNew writes what r holds to a new file with the permissions perm,
// whatever the umask. It fails if the file exists, also as a symbolic link.
func WriteNew(name string, r io.Reader, perm fs.FileMode) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err = io.Copy(f, r); err != nil {
		return err
	}
	return f.Chmod(perm)
}

// ReadFile is os.ReadFile for a file of at most max bytes. A longer one, and
// one that is no regular file, is an error.
func ReadFile(name string, max int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // no waiting for a FIFO
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if fi, err := f.Stat(); err != nil {
		return nil, err
	} else if !fi.Mode().IsRegular() {
		return nil, exit.BadInputf("read %s: not a regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		return nil, exit.BadInputf("read %s: more than %d bytes", name, max)
	}
	return b, err
}
