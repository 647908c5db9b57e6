package profiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"proofhouse/internal/cache"
)

// store keeps compiled policy, one file for each key. What is in it goes to
// the kernel, so nothing is taken on trust: the folder and the file must
// belong to this user and be writable to nobody else, and the content must
// have the sum that stands before it, or it counts as not there. It is an aid:
// what goes wrong with it only costs time.
type store struct{ dir string }

func openStore() store { return store{filepath.Join(cache.Root(), "policy")} }

// get returns the content of the key, and whether it is there and whole.
func (s store) get(key string) ([]byte, bool) {
	if !private(os.Lstat(s.dir)) {
		return nil, false
	}
	f, err := os.OpenFile(filepath.Join(s.dir, key), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, false
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); !private(st, err) || !st.Mode().IsRegular() {
		return nil, false
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, false
	}
	sum, content, ok := bytes.Cut(b, []byte("\n"))
	if !ok || string(sum) != digest(content) {
		return nil, false
	}
	return content, true
}

// put keeps the content: another reader finds all of it or nothing, another
// writer of the same key writes the same.
func (s store) put(key string, content []byte) {
	if os.MkdirAll(s.dir, 0o700) != nil || !private(os.Lstat(s.dir)) {
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

// private says whether a file is this user's and nobody else can write to it.
func private(st os.FileInfo, err error) bool {
	if err != nil {
		return false
	}
	s, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid() && st.Mode().Perm()&0o022 == 0
}
