// SPDX-License-Identifier: Apache-2.0

// Package gcov reads what a kernel counted that was built with CONFIG_GCOV_KERNEL:
// which lines of security/apparmor ran, and how often.
//
//	tree, err := gcov.Open(ctx, "path/to/linux")
//	…
//	defer tree.Close()
//	set, err := tree.Count(ctx, archive) // of what Collect prints in the guest
//
// The compiler's notes (.gcno) and the source come from the build tree, the
// counters (.gcda) from the guest, which is hostile. Only gcov(1) of the
// compiler's release can read them. It runs in a sandbox, on files with names of
// ours, and what it prints must be about the lines in the notes: a guest can
// lie about counts, and about nothing else.
//
// What is done with the counts is in package coverage.
package gcov

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/internal/host"
	"proofhouse/internal/sandbox"
	"proofhouse/reports/coverage"
)

// Limits of what comes from a guest or from gcov, in bytes. AppArmor's counters
// have 300 KB, and gcov prints 5 MB for them.
const (
	maxCounters = 1 << 20  // of one object file
	maxNotes    = 16 << 20 // of one object file
	maxPrinted  = 64 << 20
	maxMemory   = 2 << 30 // of gcov
	maxObjects  = 200
)

// timeout is how long gcov may take for all files. It takes less than a second.
const timeout = 3 * time.Minute

// Tree is the build tree of a kernel, with the notes of AppArmor's object files.
type Tree struct {
	Dir     string // of the build
	Program string // path of gcov
	Version string // of the compiler, as the notes have it: "12"

	notes  map[string]head // by the name of the object file: "lsm"
	work   string          // a private directory with copies of the notes
	zero   coverage.Set    // all that has code
	source string          // the directory of the source
}

// head is the beginning of a file of notes or counters: the release of the
// compiler, and the stamp of this compilation (gcc/gcov-io.h).
type head struct {
	Version [4]byte
	Stamp   uint32
}

// Magic numbers of the two kinds of files.
const (
	notesMagic    = 0x67636e6f // "gcno"
	countersMagic = 0x67636461 // "gcda"
)

func readHead(b []byte, magic uint32) (h head, err error) {
	if len(b) < 12 {
		return h, errors.New("too short")
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint32(b) != magic {
		return h, errors.New("not a file of gcov")
	}
	v := order.Uint32(b[4:])
	binary.BigEndian.PutUint32(h.Version[:], v)
	h.Stamp = order.Uint32(b[8:])
	return h, nil
}

// release returns the major release of GCC, or "" for another compiler and for
// GCC before 10: "B22*" is 12.2.
func (h head) release() string {
	a, b := h.Version[0], h.Version[1]
	if a < 'B' || a > 'Z' || b < '0' || b > '9' {
		return ""
	}
	return fmt.Sprintf("%d%c", a-'A', b)
}

var objectName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,60}$`)

// Open reads the notes in a build tree. A tree without notes, or one whose notes no
// gcov of this host can read, is bad input.
func Open(ctx context.Context, dir string) (*Tree, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	t := &Tree{Dir: dir, source: dir}
	if _, err := os.Stat(filepath.Join(dir, coverage.Dir, "lsm.c")); err != nil {
		t.source = filepath.Join(dir, "source") // a link, where it was built with O=
	}
	if t.work, err = os.MkdirTemp("", "proofhouse-gcov-"); err != nil {
		return nil, err
	}
	if err := t.read(ctx); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Tree) read(ctx context.Context) (err error) {
	if err := t.copyNotes(); err != nil {
		return err
	}
	if t.Program, err = program(ctx, t.Version); err != nil {
		return fmt.Errorf("coverage of %s: %w", t.Dir, err)
	}
	if t.zero, err = t.gcov(ctx, t.work); err != nil {
		return fmt.Errorf("coverage of %s: %w", t.Dir, err)
	}
	if len(t.zero) == 0 {
		return exit.BadInputf("coverage of %s: gcov finds no code of %s in its notes", t.Dir, coverage.Dir)
	}
	return nil
}

// Close removes the copies of the notes.
func (t *Tree) Close() { _ = os.RemoveAll(t.work) }

func (t *Tree) copyNotes() error {
	dir := filepath.Join(t.Dir, coverage.Dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return exit.BadInputf("coverage needs the build tree of the kernel: %w", err)
	}
	t.notes = map[string]head{}
	for _, e := range entries {
		name, isNotes := strings.CutSuffix(e.Name(), ".gcno")
		if !isNotes || !objectName.MatchString(name) || len(t.notes) >= maxObjects {
			continue
		}
		b, err := host.ReadFile(filepath.Join(dir, e.Name()), maxNotes)
		if err != nil {
			return exit.BadInput(err)
		}
		h, err := readHead(b, notesMagic)
		if err != nil {
			return exit.BadInputf("notes %s: %w", filepath.Join(dir, e.Name()), err)
		}
		v := h.release()
		if v == "" {
			return exit.BadInputf("notes %s: not of GCC 10 or later (clang's are not supported)", filepath.Join(dir, e.Name()))
		}
		if t.Version != "" && v != t.Version {
			return exit.BadInputf("notes in %s: of GCC %s and of GCC %s: build the kernel again", dir, t.Version, v)
		}
		t.Version = v
		t.notes[name] = h
		if err := os.WriteFile(filepath.Join(t.work, e.Name()), b, 0o600); err != nil {
			return err
		}
	}
	if len(t.notes) == 0 {
		return exit.BadInputf("%s has no .gcno files: build the kernel with CONFIG_GCOV_KERNEL=y and GCOV_PROFILE := y in %s/Makefile (docs/coverage.md)", dir, coverage.Dir)
	}
	return nil
}

var versionRE = regexp.MustCompile(`(?m)^gcov \(.*\) ([0-9]+)\.`)

// program finds the gcov of a release of GCC.
func program(ctx context.Context, release string) (string, error) {
	candidates := []string{"gcov-" + release, "gcov"}
	if given := os.Getenv("PROOFHOUSE_GCOV"); given != "" {
		candidates = []string{given}
	}
	var found []string
	for _, name := range candidates {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			continue
		}
		m := versionRE.FindSubmatch(out)
		if m == nil {
			continue
		}
		if string(m[1]) == release {
			return path, nil
		}
		found = append(found, fmt.Sprintf("%s is of GCC %s", path, m[1]))
	}
	why := "not found on this host"
	if len(found) > 0 {
		why = strings.Join(found, ", ")
	}
	return "", exit.BadInputf("the kernel was compiled by GCC %s and needs its gcov: %s: apt-get install gcc-%s, or set PROOFHOUSE_GCOV", release, why, release)
}

// Source returns the text of AppArmor's source files, and refuses one that was
// changed after the kernel was built.
func (t *Tree) Source() (coverage.Source, error) {
	source := coverage.Source{}
	root, err := os.OpenRoot(t.source)
	if err != nil {
		return nil, exit.BadInput(err)
	}
	defer func() { _ = root.Close() }()
	size := 0
	err = fs.WalkDir(root.FS(), coverage.Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || coverage.CheckName(name) != nil || !isSource(name) {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		b, err := io.ReadAll(io.LimitReader(f, coverage.MaxSource+1))
		if err != nil {
			return err
		}
		if size += len(b); size > coverage.MaxSource {
			return fmt.Errorf("the source in %s is larger than %d MiB", coverage.Dir, coverage.MaxSource>>20)
		}
		source[name] = strings.ToValidUTF8(string(b), "\uFFFD")
		return t.older(f, name)
	})
	if err != nil {
		return nil, exit.BadInputf("coverage of %s: %w", t.Dir, err)
	}
	if err := source.Check(); err != nil {
		return nil, exit.BadInputf("coverage of %s: %w", t.Dir, err)
	}
	return source, nil
}

func isSource(name string) bool {
	base := path.Base(name)
	return slices.Contains([]string{".c", ".h"}, path.Ext(base)) || base == "Makefile" || base == "Kconfig"
}

// older returns an error if a source file was changed after its object file was
// made.
func (t *Tree) older(f *os.File, name string) error {
	object, isC := strings.CutSuffix(path.Base(name), ".c")
	if _, built := t.notes[object]; !isC || !built {
		return nil
	}
	notes, err := os.Stat(filepath.Join(t.Dir, coverage.Dir, object+".gcno"))
	if err != nil {
		return err
	}
	source, err := f.Stat()
	if err != nil {
		return err
	}
	if source.ModTime().After(notes.ModTime()) {
		return fmt.Errorf("%s was changed after the kernel was built: build it again", name)
	}
	return nil
}

// Collect are the arguments of a command that runs in the guest: it prints the
// counters as a tar archive, and resets them. It reads all counters within some
// milliseconds, as what it does itself is counted, too.
func Collect() []string { return []string{"sh", "-c", collect} }

// The files have a size of 0 until they are read (Documentation/dev-tools/gcov.rst):
// tar alone would store nothing.
const collect = `set -e
d=/sys/kernel/debug
test -e $d/gcov || mount -t debugfs debugfs $d || true
cd $d/gcov || { echo "the kernel has no $d/gcov: it was built without CONFIG_GCOV_KERNEL" >&2; exit 4; }
t=$(mktemp -d /run/proofhouse-gcov.XXXXXX)
trap 'rm -rf "$t"' EXIT
find . -path '*/security/apparmor/*.gcda' -exec cp -t "$t" {} +
echo 1 > reset
tar -C "$t" -cf - .
`

// Count returns the counts in an archive that [Collect] printed in a guest.
func (t *Tree) Count(ctx context.Context, archive []byte) (coverage.Set, error) {
	dir, err := os.MkdirTemp(t.work, "counters-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := t.unpack(archive, dir); err != nil {
		return nil, fmt.Errorf("counters of the guest: %w", err)
	}
	for name := range t.notes {
		if err := os.Link(filepath.Join(t.work, name+".gcno"), filepath.Join(dir, name+".gcno")); err != nil {
			return nil, err
		}
	}
	set, err := t.gcov(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := t.zero.Same(set); err != nil {
		return nil, err
	}
	return set, nil
}

// unpack writes the counters to files named like the notes. Everything else in the
// archive is refused.
func (t *Tree) unpack(archive []byte, dir string) error {
	r := tar.NewReader(bytes.NewReader(archive))
	seen := map[string]bool{}
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if n > 2*maxObjects {
			return fmt.Errorf("more than %d files", 2*maxObjects)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		name, ok := strings.CutSuffix(strings.TrimPrefix(h.Name, "./"), ".gcda")
		want, known := t.notes[name]
		switch {
		case h.Typeflag != tar.TypeReg || !ok || !objectName.MatchString(name):
			return fmt.Errorf("unexpected file %.80q", h.Name)
		case !known:
			return fmt.Errorf("%s.gcda: the tree has no %s.gcno: it is of a different build", name, name)
		case seen[name]:
			return fmt.Errorf("%s.gcda is there twice", name)
		case h.Size > maxCounters:
			return fmt.Errorf("%s.gcda is larger than %d KiB", name, maxCounters>>10)
		}
		seen[name] = true
		b, err := io.ReadAll(io.LimitReader(r, maxCounters))
		if err != nil {
			return err
		}
		got, err := readHead(b, countersMagic)
		if err != nil {
			return fmt.Errorf("%s.gcda: %w", name, err)
		}
		if got != want {
			return fmt.Errorf("%s.gcda: %w: its stamp is not that of %s.gcno in %s", name, coverage.ErrDifferent, name, t.Dir)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".gcda"), b, 0o600); err != nil {
			return err
		}
	}
	for name := range t.notes {
		if !seen[name] {
			return fmt.Errorf("no counters of %s.o", name)
		}
	}
	return nil
}

// document is what gcov --json-format prints, as far as it is used
// (gcov(1), "JSON").
type document struct {
	Files []struct {
		File      string `json:"file"`
		Functions []struct {
			Name  string `json:"name"`
			Start int    `json:"start_line"`
			Count uint64 `json:"execution_count"`
		} `json:"functions"`
		Lines []struct {
			Number int    `json:"line_number"`
			Count  uint64 `json:"count"`
		} `json:"lines"`
	} `json:"files"`
}

// gcov runs gcov in the directory with notes, and perhaps counters.
func (t *Tree) gcov(ctx context.Context, dir string) (coverage.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	args := []string{"--json-format", "--stdout"}
	for name := range t.notes {
		args = append(args, name+".gcno")
	}
	slices.Sort(args[2:])
	cmd, err := sandbox.Spec{Program: t.Program, ReadDirs: []string{dir}, MaxFile: 1, MaxMemory: maxMemory}.Command(ctx, args...)
	if err != nil {
		return nil, err
	}
	cmd.Dir = dir
	var said, printed limited
	said.limit, printed.limit = 64<<10, maxPrinted
	cmd.Stdout, cmd.Stderr = &printed, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("%s: %w", t.Program, host.With(said.String(), err))
	}
	if printed.over {
		return nil, fmt.Errorf("%s printed more than %d MiB", t.Program, maxPrinted>>20)
	}
	set, err := parse(&printed.Buffer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Program, err)
	}
	return set, nil
}

// parse reads what gcov printed: one JSON document for each object file. Only
// files of AppArmor are kept.
func parse(r io.Reader) (set coverage.Set, err error) {
	d := json.NewDecoder(r)
	lines := 0
	for {
		var doc document
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("its output: %w", err)
		}
		for _, f := range doc.Files {
			name := sourceName(f.File)
			if name == "" {
				continue
			}
			file := coverage.File{Name: name}
			for _, fn := range f.Functions {
				file.Functions = append(file.Functions, coverage.Function{Name: fn.Name, Start: fn.Start, Count: fn.Count})
			}
			for _, l := range f.Lines {
				file.Lines = append(file.Lines, coverage.Line{Number: l.Number, Count: l.Count})
			}
			if lines += len(f.Lines) + len(f.Functions); lines > coverage.MaxLines {
				return nil, fmt.Errorf("its output has more than %d lines", coverage.MaxLines)
			}
			one := coverage.Set{file}
			if err := one.Normalize(); err != nil {
				return nil, fmt.Errorf("its output: %w", err)
			}
			set.Add(one)
		}
	}
	return set, nil
}

// sourceName returns the name of a source file below the top of its tree, or "" if
// it is not AppArmor's. The compiler has relative paths, or absolute ones where the
// kernel was built with O=.
func sourceName(file string) string {
	name := path.Clean(file)
	if i := strings.LastIndex("/"+name, "/"+coverage.Dir+"/"); i >= 0 {
		name = name[i:]
	}
	if coverage.CheckName(name) != nil {
		return ""
	}
	return name
}

// limited keeps the beginning of what is written to it.
type limited struct {
	bytes.Buffer
	limit int
	over  bool
}

func (l *limited) Write(p []byte) (int, error) {
	n := len(p)
	if room := l.limit - l.Len(); n > room {
		l.over = true
		p = p[:room]
	}
	l.Buffer.Write(p)
	return n, nil
}
