// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"proofhouse/internal/cache"
)

// store keeps compiled policy, one file for each key. Its content is loaded into
// the kernel, so it is checked: the directory and the file must belong to this
// user and be writable to nobody else, and the content must have the checksum
// that the file begins with. Otherwise the entry is ignored. Errors of the store
// are ignored, too: they only cost time.
type store struct{ dir string }

func openStore() store { return store{filepath.Join(cache.Root(), "policy")} }

// get returns the content of the key, and reports whether the entry is valid.
func (s store) get(key string) ([]byte, bool) {
	var dir unix.Stat_t
	if unix.Lstat(s.dir, &dir) != nil || !ours(&dir) {
		return nil, false
	}
	b, st, err := readFile(filepath.Join(s.dir, key), unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil || !ours(&st) || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, false
	}
	sum, content, ok := bytes.Cut(b, []byte("\n"))
	if !ok || string(sum) != digest(content) {
		return nil, false
	}
	return content, true
}

// put stores the content. A concurrent reader finds all of it or nothing; a
// concurrent writer of the same key writes the same.
func (s store) put(key string, content []byte) {
	var dir unix.Stat_t
	if os.MkdirAll(s.dir, 0o700) != nil || unix.Lstat(s.dir, &dir) != nil || !ours(&dir) {
		return
	}
	f, err := os.CreateTemp(s.dir, ".new-")
	if err != nil {
		return
	}
	_, err = f.Write(append([]byte(digest(content)+"\n"), content...))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.dir, key))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ours reports whether a file belongs to this user and nobody else can write to it.
func ours(st *unix.Stat_t) bool { return int(st.Uid) == os.Geteuid() && st.Mode&0o022 == 0 }

// maxFile limits a file that is read, in bytes. A sparse file can claim any size.
const maxFile = 64 << 20

var (
	errNotRegular = errors.New("it is not a regular file")
	errTooLarge   = fmt.Errorf("it is larger than %d MiB", maxFile>>20)
)

// readFile reads a file of at most maxFile bytes and returns its state. With
// O_NONBLOCK it reads only a regular file, and does not wait for the writer of a
// FIFO. Package os would register the file with the runtime's poller, which takes
// three more system calls and a thread.
func readFile(path string, flags int) ([]byte, unix.Stat_t, error) {
	var st unix.Stat_t
	fail := func(err error) ([]byte, unix.Stat_t, error) {
		return nil, st, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	fd, err := again(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0) })
	if err != nil {
		return fail(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(err)
	}
	if flags&unix.O_NONBLOCK != 0 && st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fail(errNotRegular)
	}
	if st.Size > maxFile {
		return fail(errTooLarge)
	}
	const more = 512 // room for the read that finds the end
	b := make([]byte, 0, max(st.Size, 0)+more)
	for {
		n, err := again(func() (int, error) { return unix.Read(fd, b[len(b):cap(b)]) })
		if err != nil {
			return fail(err)
		}
		if n == 0 {
			return b, st, nil
		}
		if len(b)+n > maxFile {
			return fail(errTooLarge)
		}
		b = slices.Grow(b[:len(b)+n], more)
	}
}

// again repeats a call that a signal interrupted.
func again(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
