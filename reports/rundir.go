// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"proofhouse/internal/exit"
)

// A run's directory may come from somebody else, such as an artifact of CI: no
// name in it leads out of it, nothing is read or written through a symbolic
// link, only regular files are read, and none without a limit.

// MaxFile is the most that is read of one journal, results.json or log, in
// bytes. A full run of two kernels writes about 5 MB.
const MaxFile = 256 << 20

// errNotFile is for names that are no regular file.
var errNotFile = errors.New("not a regular file")

// OpenFile opens a regular file below the directory of a run for reading. name
// has slashes and is relative to dir. Symbolic links are refused, also in the
// middle of the name.
func OpenFile(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return openFile(root, name)
}

// IsFile reports whether name is a regular file below dir, as [OpenFile] takes
// it.
func IsFile(dir, name string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer func() { _ = root.Close() }()
	return checkFile(root, name) == nil
}

// ReadFile reads a file as [OpenFile] opens it. One that is larger than
// [MaxFile] is an error.
func ReadFile(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return readFile(root, name, MaxFile)
}

// checkFile refuses a name that is no regular file, or leads through a link.
func checkFile(root *os.Root, name string) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	parts := strings.Split(name, "/")
	for i := range parts {
		st, err := root.Lstat(path.Join(parts[:i+1]...))
		switch {
		case err != nil:
			return err
		case i < len(parts)-1 && !st.IsDir():
			return &fs.PathError{Op: "open", Path: name, Err: errNotDirectory}
		case i == len(parts)-1 && !st.Mode().IsRegular():
			return &fs.PathError{Op: "open", Path: name, Err: errNotFile}
		}
	}
	return nil
}

var errNotDirectory = errors.New("not a directory")

func openFile(root *os.Root, name string) (*os.File, error) {
	if err := checkFile(root, name); err != nil {
		return nil, err
	}
	// Should it be replaced by a FIFO meanwhile, this does not wait.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = f.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNotFile}
	}
	return f, nil
}

func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := openFile(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readAll(f, limit)
}

func readAll(f *os.File, limit int64) ([]byte, error) {
	tooLarge := exit.BadInputf("%s is larger than %d MiB", f.Name(), limit>>20)
	if st, err := f.Stat(); err == nil && st.Size() > limit {
		return nil, tooLarge
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1)) // it may grow
	if err == nil && int64(len(b)) > limit {
		err = tooLarge
	}
	return b, err
}

// subdirectory opens the directory of that name, which is made if it is not
// there. A link is refused.
func subdirectory(root *os.Root, name string) (*os.Root, error) {
	if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	st, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, exit.BadInputf("%s in the run's directory is not a directory (%s): nothing is written through it", name, st.Mode().Type())
	}
	sub, err := root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	if now, err := sub.Stat("."); err != nil || !os.SameFile(st, now) {
		_ = sub.Close()
		return nil, fmt.Errorf("%s was replaced while it was opened", name)
	}
	return sub, nil
}

// replace makes the file of that name anew, or leaves the old one. A link of
// that name is replaced, and what it leads to is not touched.
func replace(root *os.Root, name string, write func(io.Writer) error) (err error) {
	tmp := "." + name + "-" + rand.Text()
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = root.Remove(tmp)
		}
	}()
	w := bufio.NewWriter(f)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return root.Rename(tmp, name)
}

// ReplaceFile makes a file in dir anew, or leaves the old one: never half of
// it. It becomes readable for all, as far as the umask lets it.
func ReplaceFile(dir, name string, write func(io.Writer) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return replace(root, name, write)
}
