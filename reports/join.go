// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
)

// Join makes one run in the directory out, which must be empty or absent, of the
// runs in dirs: the shards of one run, runs on different kernels, or both.
// Kernels with the same ID become one. [Write] then makes the reports.
//
// What cannot be joined correctly is refused as bad input: a run that is still
// running, runs of different formats, a kernel that was tested
// with two userspaces, shards of different runs of the same kernel, and a spec
// that several runs have on the same kernel, unless attempts says that these
// are to count as attempts, like those of a run that was repeated.
func Join(out string, attempts bool, dirs ...string) (err error) {
	if err := emptyOrAbsent(out); err != nil {
		return err
	}
	p, err := pieces(dirs)
	if err != nil {
		return err
	}
	if err := joinable(p, attempts); err != nil {
		return err
	}
	out, err = filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return exit.BadInputf("create the directory of the joined run: %w", err)
	}
	// Whole or not at all: half of the pieces would look like a run.
	tmp, err := os.MkdirTemp(filepath.Dir(out), ".join-")
	if err != nil {
		return exit.BadInputf("create the directory of the joined run: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(tmp)
		}
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	process := 0
	for i := range p {
		if err := p[i].copyTo(tmp, &process); err != nil {
			return fmt.Errorf("join %s: %w", p[i].dir, noSpace(out, err))
		}
	}
	// An empty directory may exist, which os.Rename would leave alone.
	if err := syscall.Rename(tmp, out); err != nil {
		return fmt.Errorf("put the joined run into %s: %w", out, err)
	}
	return nil
}

func emptyOrAbsent(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return exit.BadInputf("write the joined run: %w", err)
	case len(entries) > 0:
		return exit.BadInputf("write the joined run: directory %s is not empty: give a new one", dir)
	}
	return nil
}

// Require adds to the joined run in dir which kernels have to be in it, each by
// its ID, its spec or its release. A run that lacks one has no verdict: nothing
// else tells that all parts on one kernel of a matrix are missing.
func Require(dir string, kernels ...string) error {
	if len(kernels) == 0 {
		return nil
	}
	journals, _, err := readJournals(dir)
	if err != nil {
		return err
	}
	process, part := 0, 0
	for _, j := range journals {
		process, part = max(process, j.process), max(part, j.part.Number)
	}
	at := now()
	var text []byte
	for _, e := range []Event{
		{Event: PartStarted, Format: FormatVersion, Part: &Part{Number: part + 1, Name: "the kernels to be joined"}},
		{Event: ProcessStarted, Format: FormatVersion},
		{Event: RunStarted, Run: &RunStart{Kernels: kernels}},
		{Event: RunEnded},
		{Event: ProcessEnded},
	} {
		e.Time, e.Process = at, process+1
		line, err := encodeLine(e)
		if err != nil {
			return err
		}
		text = append(text, line...)
	}
	err = ReplaceFile(dir, fmt.Sprintf("journal-%d.jsonl", process+1), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return fmt.Errorf("add the required kernels to %s: %w", dir, noSpace(dir, err))
	}
	return nil
}

// piece is a run that is to be joined, or a part of one that was.
type piece struct {
	dir      string
	part     Part // its number is that of the joined run
	was      int  // its number in dir; 0 for a run that was no joined one
	journals []journal
	texts    map[int][]byte // of the journals, by process
	run      *Run           // this piece alone
	whole    map[specKey]int
}

// pieces reads the runs in dirs.
func pieces(dirs []string) ([]piece, error) {
	var all []piece
	for i, dir := range dirs {
		st, err := os.Stat(dir)
		if err != nil {
			return nil, noRun(dir, err, wantRunDir)
		}
		for _, other := range dirs[:i] {
			if o, err := os.Stat(other); err == nil && os.SameFile(o, st) {
				return nil, exit.BadInputf("join the runs: %s is given twice", dir)
			}
		}
		if Running(dir) {
			return nil, exit.BadInputf("join the run %s: %w: wait for its end", dir, ErrRunning)
		}
		journals, texts, err := readJournals(dir)
		if err != nil {
			return nil, err
		}
		for _, part := range parts(journals) {
			one := piece{dir: dir, was: part[0].part.Number, journals: part, texts: texts}
			one.part = Part{Number: len(all) + 1, Name: cmp.Or(part[0].part.Name, directoryName(dir))}
			one.run = merge(part)
			one.whole = wholeOf(part)
			all = append(all, one)
		}
	}
	return all, nil
}

// directoryName returns the name of the directory: of a link, what it points to.
func directoryName(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return filepath.Base(dir)
}

func wholeOf(part []journal) map[specKey]int {
	whole := map[specKey]int{}
	for _, j := range part {
		for _, e := range j.events {
			if e.Event == RunStarted {
				for _, p := range e.Run.Whole {
					whole[specKey{p.Kernel, p.ID}] = 1
				}
			}
		}
	}
	return whole
}

func (p *piece) shard() *Shard {
	if p.was > 0 && len(p.run.Parts) > 0 {
		return p.run.Parts[0].Shard
	}
	return p.run.Shard
}

// format is that of the piece's journals.
func (p *piece) format() (n int) {
	for _, j := range p.journals {
		for _, e := range j.events {
			if e.Event == ProcessStarted {
				n = max(n, e.Format)
			}
		}
	}
	return n
}

// userspace are the properties that two runs on one kernel must share to be
// one run.
var userspace = []string{"suite", "guest", "parser", "libapparmor", "lxc", "libc"}

func joinable(all []piece, attempts bool) error {
	type owner struct {
		piece  *piece
		kernel *Kernel
	}
	owners := map[string]owner{}
	ran := map[specKey]*piece{}
	for i := range all {
		p := &all[i]
		if first := &all[0]; p.format() != first.format() {
			return exit.BadInputf("join the runs: %s has format %d, and %s has format %d: runs of different versions of proofhouse do not join", first.dir, first.format(), p.dir, p.format())
		}
		for n := range p.run.Kernels {
			k := &p.run.Kernels[n]
			o, ok := owners[k.ID]
			if !ok {
				owners[k.ID] = owner{p, k}
			} else if what := differ(o.kernel, k); what != "" {
				return exit.BadInputf("join kernel %s: %s and %s have different %s", k.ID, o.piece.dir, p.dir, what)
			} else if !attempts && p.shard() != nil && o.piece.shard() != nil && !sameSplit(o.piece, p) {
				return exit.BadInputf("join kernel %s: %s (shard %s) and %s (shard %s) are not shards of the same run", k.ID, o.piece.dir, o.piece.shard(), p.dir, p.shard())
			}
			for _, s := range k.Specs {
				key := specKey{k.ID, s.ID}
				if other := ran[key]; other != nil && other != p && !attempts {
					return exit.BadInputf("join kernel %s: %s is in %s and in %s: is a shard given twice? (--attempts joins them as attempts)", k.ID, s.ID, other.dir, p.dir)
				}
				ran[key] = p
			}
		}
	}
	return nil
}

func sameSplit(a, b *piece) bool {
	return a.shard().Count == b.shard().Count && maps.Equal(a.whole, b.whole)
}

// differ names what is not the same in two descriptions of one kernel, as far
// as both know it.
func differ(a, b *Kernel) string {
	for _, name := range userspace {
		if x, y := a.Properties[name], b.Properties[name]; x != "" && y != "" && x != y {
			return fmt.Sprintf("%s (%s, %s)", name, x, y)
		}
	}
	if len(a.Features) > 0 && len(b.Features) > 0 && !maps.Equal(a.Features, b.Features) {
		return "features"
	}
	return ""
}

// made reports whether [Write] makes the file of that name anew.
func made(name string) bool {
	return name == ConsoleFile || name == CoverageFile || name == CoveragePage || slices.ContainsFunc(formats, func(f Format) bool { return f.File == name })
}

var consoleName = regexp.MustCompile(`^console-([0-9]+)\.log$`)

// copyTo copies the piece's files and journals into the joined run. process is
// the number of the last journal there.
func (p *piece) copyTo(out string, process *int) error {
	number := map[int]int{} // process in the joined run, by that in the piece
	for _, j := range p.journals {
		*process++
		number[j.process] = *process
	}
	moved, err := p.copyKernels(out, number)
	if err != nil {
		return err
	}
	if err := p.copyRest(filepath.Join(out, partsDir, strconv.Itoa(p.part.Number))); err != nil {
		return err
	}
	for _, j := range p.journals {
		if err := p.copyJournal(out, j, number[j.process], moved); err != nil {
			return err
		}
	}
	return nil
}

// partsDir has, for each part of a joined run, the files that are about that
// part as a whole.
const partsDir = "parts"

// copyKernels copies the directories of the kernels. It returns the
// files that got another name, below the run's directory.
func (p *piece) copyKernels(out string, number map[int]int) (moved map[string]string, err error) {
	moved = map[string]string{}
	for _, k := range p.run.Kernels {
		name, err := directoryOf(k.ID)
		if err != nil {
			return nil, err
		}
		root := filepath.Join(p.dir, name)
		err = filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error { // it does not follow links
			if errors.Is(err, fs.ErrNotExist) && at == root {
				return nil // no machine ever came up
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(p.dir, at)
			if err != nil {
				return err
			}
			to := rel
			if filepath.Dir(at) == root {
				if made(d.Name()) {
					return nil
				}
				if m := consoleName.FindStringSubmatch(d.Name()); m != nil {
					n, _ := strconv.Atoi(m[1])
					if number[n] == 0 {
						return nil // of another part in the same directory
					}
					to = filepath.Join(name, fmt.Sprintf("console-%d.log", number[n]))
				}
			}
			if p.was > 0 && !p.mentions(rel) && to == rel {
				return nil // of another part in the same directory
			}
			if to, err = copyNew(p.dir, rel, out, to); err != nil {
				return err
			}
			if to != rel && !strings.HasPrefix(d.Name(), "console-") {
				moved[rel] = to
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return moved, nil
}

// mentions reports whether a journal of the piece names the file.
func (p *piece) mentions(rel string) bool {
	quoted := quote(rel)
	for _, j := range p.journals {
		if bytes.Contains(p.texts[j.process], quoted) {
			return true
		}
	}
	return false
}

// copyRest copies the files beside the journals.
func (p *piece) copyRest(to string) error {
	from := ""
	if p.was > 0 {
		from = path.Join(partsDir, strconv.Itoa(p.was))
	}
	for _, name := range kept {
		rel := path.Join(from, name)
		if !IsFile(p.dir, rel) {
			continue
		}
		if _, err := copyNew(p.dir, rel, to, name); err != nil {
			return err
		}
	}
	return nil
}

// kept are the files beside the journals that cannot be made anew.
var kept = []string{"plan.json", "ginkgo.log", "refused.json"}

// copyJournal writes the journal as that of another process, after a line that
// says which part it is of. Its lines stay as they are, but for the names of
// files that were moved.
func (p *piece) copyJournal(out string, j journal, process int, moved map[string]string) error {
	first := Event{Event: PartStarted, Time: now(), Process: process, Format: FormatVersion, Part: &p.part}
	if len(j.events) > 0 {
		first.Time = j.events[0].Time
	}
	line, err := encodeLine(first)
	if err != nil {
		return err
	}
	text := p.texts[j.process]
	if p.was > 0 { // its own such line goes
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	for _, from := range slices.Sorted(maps.Keys(moved)) {
		text = bytes.ReplaceAll(text, quote(from), quote(moved[from]))
	}
	return os.WriteFile(filepath.Join(out, fmt.Sprintf("journal-%d.jsonl", process)), slices.Concat(line, text), 0o644)
}

// quote is s as a journal has it.
func quote(s string) []byte {
	var b bytes.Buffer
	_ = printable.EncodeJSON(&b, s, "") // a string always can be
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// maxCopied is the most that one file of a run may have to be joined, in bytes:
// a sparse file would fill the disk.
const maxCopied = 4 * MaxFile

// copyNew copies the file dir/name to root/rel, or, where something is there
// already, to a name with a number more, which it returns.
func copyNew(dir, name, root, rel string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(filepath.Join(root, rel)), 0o755); err != nil {
		return "", err
	}
	src, err := OpenFile(dir, filepath.ToSlash(name))
	if err != nil {
		return "", err
	}
	defer func() { _ = src.Close() }()
	dst, made, err := CreateNumbered(filepath.Join(root, rel))
	if err != nil {
		return "", err
	}
	n, err := io.Copy(dst, io.LimitReader(src, maxCopied+1))
	if err == nil && n > maxCopied {
		err = exit.BadInputf("%s is larger than %d MiB", name, maxCopied>>20)
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return "", err
	}
	return filepath.Rel(root, made)
}

// CreateNumbered creates a file that did not exist: the one at path, or, of
// further attempts, open.2.log, open.3.log beside open.log, and
// open.2.audit.log beside open.audit.log.
func CreateNumbered(path string) (*os.File, string, error) {
	dir, base := filepath.Split(path)
	stem, rest := base, ""
	if i := strings.IndexByte(base, '.'); i > 0 {
		stem, rest = base[:i], base[i:]
	}
	for n := 1; ; n++ {
		name := path
		if n > 1 {
			name = fmt.Sprintf("%s%s.%d%s", dir, stem, n, rest)
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return f, name, err
		}
	}
}
