// SPDX-License-Identifier: Apache-2.0

package regression

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"proofhouse/internal/apt"
	"proofhouse/internal/archive"
	"proofhouse/internal/bounded"
	"proofhouse/internal/cache"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// Source is the upstream suite's source, as far as a guest needs it.
type Source struct {
	Dir     string // holds tests/regression/apparmor and common; not to be changed
	Spec    string // what was asked for
	Version string // "4.1.0-1" with Debian's patches, "4.1.0", "4.1.0 (based on v4.1.0-7-g1a2b3c4)" from a git checkout
	Hash    string // SHA-256 of the names, modes and contents below Dir
	Note    string // what a reader of the results should know: "without Debian's patches (the mirror lacks …)"
}

// room is the cache's room of sources. Its entries hold the tree in treeDir and
// a [Source], without Dir and Spec, in infoFile.
const (
	room     = "regression"
	treeDir  = "src"
	infoFile = "source.json"
)

// limits are for a source tree of somebody else's. AppArmor's has 30 MB in
// 3,000 files.
var limits = archive.Options{MaxBytes: 1 << 30, MaxFiles: 100_000, Symlinks: true}

// Fetch gets the source that spec names, into the cache:
//
//   - debian:SUITE, Debian's source package apparmor. It is fetched once; what
//     that Debian release has later is fetched after its cache entry is removed
//   - a directory that holds tests/regression/apparmor, such as a git checkout or
//     an unpacked release. What was built in it is left behind
//   - a tarball of such a directory
//
// progress, which may be nil, gets a line for what takes a while. A spec that
// cannot be read is a user error.
func Fetch(ctx context.Context, spec string, progress func(string)) (*Source, error) {
	if progress == nil {
		progress = func(string) {}
	}
	s, err := fetch(ctx, spec, progress)
	if err != nil {
		return nil, fmt.Errorf("AppArmor source %q: %w", spec, err)
	}
	s.Spec = spec
	return s, nil
}

func fetch(ctx context.Context, spec string, progress func(string)) (*Source, error) {
	if suite, ok := strings.CutPrefix(spec, "debian:"); ok {
		return fromDebian(ctx, suite, progress)
	}
	st, err := os.Stat(spec)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, exit.BadInputf("no such file or directory, and not debian:SUITE")
	case err != nil:
		return nil, exit.BadInput(err)
	case st.IsDir():
		return fromFolder(ctx, spec)
	case st.Mode().IsRegular():
		return fromTarball(ctx, spec)
	}
	return nil, exit.BadInputf("neither a directory nor a tarball")
}

func fromDebian(ctx context.Context, suite string, progress func(string)) (*Source, error) {
	if suite == "" || strings.ContainsAny(suite, "/: \t\n") {
		return nil, exit.BadInputf("%q is not the name of a Debian suite", suite)
	}
	return entry(ctx, "debian-"+suite, func(ctx context.Context, tmp string) (string, Source, error) {
		a, err := apt.Open(ctx, progress)
		if err != nil {
			return "", Source{}, err
		}
		files, err := a.Source(ctx, suite, "apparmor", tmp)
		if err != nil {
			return "", Source{}, err
		}
		dir, info, err := unpackDebian(ctx, files, filepath.Join(tmp, "unpacked"))
		if err == nil && info.Note != "" {
			progress("the AppArmor source is used " + info.Note)
		}
		return dir, info, err
	})
}

// unpackDebian unpacks with Debian's patches where that can be done, else
// upstream's tarball alone. The files are known to be Debian's: apt checked
// them.
func unpackDebian(ctx context.Context, files apt.SourceFiles, to string) (string, Source, error) {
	var why string
	switch {
	case !files.Complete:
		why = "the mirror lacks " + strings.Join(baseNames(files.Missing), ", ")
	case !host.Have("dpkg-source"):
		why = "dpkg-source, which applies them, not found: apt-get install " + host.Package("dpkg-source")
	default:
		err := host.Run(ctx, "", "dpkg-source", "--no-check", "-x", files.DSC, to)
		if err == nil {
			return to, Source{Version: files.Version}, nil
		}
		if ctx.Err() != nil || files.Orig == "" {
			return "", Source{}, err
		}
		why = oneLine(err.Error())
	}
	if files.Orig == "" {
		return "", Source{}, fmt.Errorf("unpack Debian's apparmor %s: no upstream tarball: %s", files.Version, why)
	}
	if err := archive.UntarFile(ctx, files.Orig, to, limits); err != nil {
		return "", Source{}, err
	}
	return to, Source{Note: fmt.Sprintf("without Debian's patches (%s)", why)}, nil
}

func baseNames(paths []string) []string {
	var names []string
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names
}

func fromTarball(ctx context.Context, path string) (*Source, error) {
	sum, err := cache.SHA256(path)
	if err != nil {
		return nil, exit.BadInputf("read the tarball: %w", err)
	}
	return entry(ctx, "tar-"+sum[:32], func(ctx context.Context, tmp string) (string, Source, error) {
		if err := archive.UntarFile(ctx, path, tmp, limits); err != nil {
			return "", Source{}, err
		}
		return tmp, Source{}, nil
	})
}

func fromFolder(ctx context.Context, path string) (*Source, error) {
	root, err := findRoot(path)
	if err != nil {
		return nil, err
	}
	files, err := needed(root)
	if err != nil {
		return nil, exit.BadInputf("read the source: %w", err)
	}
	sum, err := hashTree(root, files)
	if err != nil {
		return nil, exit.BadInputf("read the source: %w", err)
	}
	s, err := entry(ctx, "dir-"+sum[:32], func(context.Context, string) (string, Source, error) {
		return root, Source{}, nil
	})
	if err != nil {
		return nil, err
	}
	// The same content can be at several commits: not a property of the entry.
	if at := describe(ctx, root); at != "" {
		s.Version = strings.TrimSpace(s.Version + " (based on " + at + ")")
	}
	return s, nil
}

// describe is the commit that the checkout at dir is based on, or nothing. The
// checkout is somebody else's: git runs no filter, hook or monitor of it and
// fetches nothing. So it is not asked whether files are changed; the hash tells.
func describe(ctx context.Context, dir string) string {
	if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
		return ""
	}
	cmd := child.Command(ctx, "git", "-C", dir, "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never", "describe", "--tags", "--always")
	cmd.Env = append(host.Env(), "GIT_NO_LAZY_FETCH=1", "GIT_OPTIONAL_LOCKS=0")
	said := bounded.Head{Limit: 200}
	cmd.Stdout = &said
	if cmd.Run() != nil {
		return "" // no git, or not this user's: the hash identifies it too
	}
	return strings.TrimSpace(said.String())
}

// entry returns the cache's entry key. find, where it has to be made, says
// where a source tree is; it may use the directory tmp for it, which goes when
// the entry is complete.
func entry(ctx context.Context, key string, find func(ctx context.Context, tmp string) (string, Source, error)) (*Source, error) {
	dir, err := cache.Entry(ctx, room, key, func(ctx context.Context, dir string) error {
		tmp := filepath.Join(dir, "tmp")
		if err := os.Mkdir(tmp, 0o755); err != nil {
			return err
		}
		from, info, err := find(ctx, tmp)
		if err != nil {
			return err
		}
		if err := keep(ctx, from, dir, info); err != nil {
			return err
		}
		return os.RemoveAll(tmp)
	})
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, infoFile))
	if err != nil {
		return nil, fmt.Errorf("read the cached source: %w", err)
	}
	var s Source
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read the cached source %s: %w", dir, err)
	}
	s.Dir = filepath.Join(dir, treeDir)
	return &s, nil
}

// keep copies what is needed of the source at from into the entry at dir, and
// completes info.
func keep(ctx context.Context, from, dir string, info Source) error {
	root, err := findRoot(from)
	if err != nil {
		return err
	}
	files, err := needed(root)
	if err != nil {
		return exit.BadInputf("read the source: %w", err)
	}
	wanted := map[string]bool{}
	for _, f := range files {
		for p := f; p != "."; p = path.Dir(p) {
			wanted[p] = true
		}
	}
	tree := filepath.Join(dir, treeDir)
	only := limits
	only.Skip = func(name string) bool { return !wanted[name] }
	if err := archive.Copy(ctx, root, tree, only); err != nil {
		return fmt.Errorf("copy the source: %w", err)
	}
	if files, err = needed(tree); err != nil { // without links that lead elsewhere
		return err
	}
	if info.Hash, err = hashTree(tree, files); err != nil {
		return err
	}
	if info.Version == "" {
		b, _ := host.ReadFile(filepath.Join(tree, commonPath, "Version"), 1<<10)
		info.Version = stable(oneLine(string(b)))
	}
	b, err := json.Marshal(info)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, infoFile), b, 0o644)
}

// findRoot finds the tree's root: dir, or the only directory in it, or, where dir
// is the suite's own directory, three above it.
func findRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	candidates := []string{dir, filepath.Join(dir, "../../..")}
	if only, err := os.ReadDir(dir); err == nil && len(only) == 1 && only[0].IsDir() {
		candidates = append(candidates, filepath.Join(dir, only[0].Name()))
	}
	for _, c := range candidates {
		if isFile(filepath.Join(c, testPath, "prologue.inc")) {
			if !isFile(filepath.Join(c, commonPath, "Make.rules")) {
				return "", exit.BadInputf("%s found, but not common/Make.rules, which its build needs", testPath)
			}
			return c, nil
		}
	}
	return "", exit.BadInputf("no %s in it", testPath)
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// needed lists the files that a guest needs, with slashes, relative to root and
// sorted. What make writes is left out: it is built anew in the guest, against
// the guest's libraries.
func needed(dir string) ([]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	var files []string
	for _, top := range []string{commonPath, testPath} {
		err := fs.WalkDir(root.FS(), top, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if !d.Type().IsRegular() && d.Type() != fs.ModeSymlink {
				return nil
			}
			if built, err := isBuilt(root, name, d); built || err != nil {
				return err
			}
			files = append(files, name)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	sort.Strings(files)
	return files, nil
}

func isBuilt(root *os.Root, name string, d fs.DirEntry) (bool, error) {
	if d.Name() == "uservars.inc" {
		return true, nil
	}
	if !d.Type().IsRegular() {
		return false, nil
	}
	f, _, err := archive.Open(root, name)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	magic := make([]byte, 4)
	n, err := io.ReadFull(f, magic)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return bytes.Equal(magic[:n], []byte("\x7fELF")), nil
}

// hashTree is the SHA-256 of the files' names, kinds and contents.
func hashTree(dir string, files []string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	h := sha256.New()
	for _, name := range files {
		if err := hashFile(h, root, name); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFile(h io.Writer, root *os.Root, name string) error {
	fi, err := root.Lstat(name)
	if err != nil {
		return err
	}
	executable := archive.Perm(fi.Mode()) == 0o755
	if fi.Mode()&fs.ModeSymlink != 0 {
		target, err := root.Readlink(name)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(h, "%q %v %v %d\n%s", name, fi.Mode().Type(), executable, len(target), target)
		return err
	}
	f, fi, err := archive.Open(root, name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := fmt.Fprintf(h, "%q %v %v %d\n", name, fi.Mode().Type(), executable, fi.Size()); err != nil {
		return err
	}
	_, err = io.Copy(h, f)
	return err
}
