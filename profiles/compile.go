package profiles

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

// Compiler makes policy for one kernel, through one apparmor_parser.
type Compiler struct {
	features nsmgr.FeatureSet
	parser   string // path
	identity string // of the parser and its configuration
	digest   string // of the features
	store    store
	known    string // version
}

// NewCompiler finds the parser. The features are those of the kernel that the
// policy is for: this machine's.
func NewCompiler(f nsmgr.FeatureSet) (*Compiler, error) {
	c := &Compiler{features: f, digest: f.Digest(), store: openStore()}
	var err error
	if c.parser, err = findParser(); err != nil {
		return nil, err
	}
	c.identity, err = identify(c.parser, parserConf)
	return c, err
}

const (
	parserConf  = "/etc/apparmor/parser.conf" // can name an ABI and optimizations
	includeBase = "/etc/apparmor.d"
)

func findParser() (string, error) {
	// It is an administrator's program, and not on everybody's PATH.
	for _, name := range []string{"apparmor_parser", "/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", exit.BadInputf("apparmor_parser is not installed (Debian: apt install apparmor); compiled policy loads without it")
}

// identify names a state of files without reading them: the parser's version
// would take a process to learn, each time.
func identify(paths ...string) (string, error) {
	var b strings.Builder
	for _, p := range paths {
		st, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("look at %s: %w", p, err)
		}
		fmt.Fprintf(&b, "%s %d %d", p, st.Size(), st.ModTime().UnixNano())
		if s, ok := st.Sys().(*syscall.Stat_t); ok {
			fmt.Fprintf(&b, " %d %d\n", s.Ino, s.Ctim.Nano())
		}
	}
	return b.String(), nil
}

func key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d %s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

var versionRE = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`version (\d+\.\d+[\w.~-]*)`) })

// version is the parser's, remembered beside the policy that it compiled.
func (c *Compiler) version(ctx context.Context) (string, error) {
	if c.known != "" {
		return c.known, nil
	}
	k := key("version", c.identity)
	if b, ok := c.store.get(k); ok {
		c.known = string(b)
		return c.known, nil
	}
	out, err := child.Command(ctx, c.parser, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", c.parser, err)
	}
	m := versionRE().FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("ask %s for its version: it says %q", c.parser, out)
	}
	c.known = string(m[1])
	c.store.put(k, m[1])
	return c.known, nil
}

// older says whether a version such as "4.1.0" is from before a major one.
func older(version string, major int) bool {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	return err == nil && n < major
}

// Version is the parser's.
func (c *Compiler) Version(ctx context.Context) (string, error) { return c.version(ctx) }

// Text compiles policy that is no file. origin is what errors call it.
func (c *Compiler) Text(ctx context.Context, origin string, text []byte) (nsmgr.Blob, error) {
	return c.compile(ctx, origin, "", text)
}

// Source is policy that is no file.
type Source struct {
	Origin string // what errors call it
	Text   []byte
}

// Texts compiles several as [Compiler.Text] does one, all in one start of the
// parser: where processes are slow to start, that takes as long as to compile
// two or three profiles.
func (c *Compiler) Texts(ctx context.Context, sources ...Source) (nsmgr.Policy, error) {
	ready := c.together(ctx, sources)
	p := make(nsmgr.Policy, len(sources))
	for i, s := range sources {
		if data := ready[string(s.Text)]; data != nil {
			p[i] = nsmgr.Blob{Origin: s.Origin, Data: data}
			continue
		}
		var err error
		if p[i], err = c.Text(ctx, s.Origin, s.Text); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// together compiles what the store does not have of the texts, by text. What
// the parser will not have so is left out: alone, it is told what is wrong.
func (c *Compiler) together(ctx context.Context, sources []Source) map[string][]byte {
	ready := map[string][]byte{}
	var missing [][]byte
	var keys []string
	for _, s := range sources {
		if _, known := ready[string(s.Text)]; known {
			continue
		}
		k, sure := c.key("", s.Text)
		if !sure {
			continue
		}
		data, ok := c.store.get(k)
		if ok = ok && nsmgr.IsCompiled(data); !ok {
			data = nil
			missing, keys = append(missing, s.Text), append(keys, k)
		}
		ready[string(s.Text)] = data
	}
	if len(missing) < 2 {
		return ready
	}
	dir, err := os.MkdirTemp("", "policy-")
	if err != nil {
		return ready
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// Into the parser's own cache, where each file's policy is by itself; on its
	// output, the end of one cannot be told from a hat of the next.
	args, err := c.arguments(ctx, "--skip-kernel-load", "--skip-read-cache", "--write-cache", "--cache-loc", filepath.Join(dir, "cache"), "--quiet", "--jobs=1")
	if err != nil {
		return ready
	}
	args = append(args, "--")
	for i, text := range missing {
		name := filepath.Join(dir, strconv.Itoa(i))
		if os.WriteFile(name, text, 0o600) != nil {
			return ready
		}
		args = append(args, name)
	}
	_ = c.command(ctx, args).Run()
	for i, text := range missing {
		// The cache has a folder for each set of features.
		found, _ := filepath.Glob(filepath.Join(dir, "cache", "*", strconv.Itoa(i)))
		if len(found) != 1 {
			continue
		}
		if data, err := os.ReadFile(found[0]); err == nil && nsmgr.IsCompiled(data) {
			ready[string(text)] = data
			c.store.put(keys[i], data)
		}
	}
	return ready
}

// Files reads policy from files and folders: text, which is compiled, or
// compiled already. Of a folder, it is the files right in it that are no
// editor's or package manager's copies.
func (c *Compiler) Files(ctx context.Context, paths ...string) (nsmgr.Policy, error) {
	var p nsmgr.Policy
	for _, path := range paths {
		list, err := expand(path)
		if err != nil {
			return nil, err
		}
		for _, file := range list {
			data, _, err := readFile(file, 0)
			if err != nil {
				return nil, exit.BadInputf("read policy: %w", err)
			}
			b := nsmgr.Blob{Origin: file, Data: data}
			if !nsmgr.IsCompiled(data) {
				if b, err = c.compile(ctx, file, file, data); err != nil {
					return nil, err
				}
			}
			p = append(p, b)
		}
	}
	return p, nil
}

func expand(path string) ([]string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, exit.BadInputf("read policy: %w", err)
	}
	if !st.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, exit.BadInputf("read policy: %w", err)
	}
	var list []string
	for _, e := range entries {
		if e.Type().IsRegular() && !ignored(e.Name()) {
			list = append(list, filepath.Join(path, e.Name()))
		}
	}
	if len(list) == 0 {
		return nil, exit.BadInputf("read policy: %s has no file with policy", path)
	}
	return list, nil
}

// ignored are the files that the parser leaves out of a folder too.
func ignored(name string) bool {
	if strings.HasPrefix(name, ".") || name == "README" {
		return true
	}
	for _, end := range []string{"~", ".dpkg-new", ".dpkg-old", ".dpkg-dist", ".dpkg-bak", ".rpmnew", ".rpmsave", ".orig", ".rej"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// compile gets the compiled form from the store, or has the parser make it. A
// text without a file is given to the parser as its input.
func (c *Compiler) compile(ctx context.Context, origin, file string, text []byte) (nsmgr.Blob, error) {
	b := nsmgr.Blob{Origin: origin}
	k, sure := c.key(file, text)
	if sure {
		if data, ok := c.store.get(k); ok && nsmgr.IsCompiled(data) {
			b.Data = data
			return b, nil
		}
	}
	args, err := c.arguments(ctx, "--skip-kernel-load", "--skip-cache", "--stdout", "--quiet")
	if err != nil {
		return b, err
	}
	if file != "" {
		args = append(args, "--", file)
	}
	cmd := c.command(ctx, args)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &out, &errOut
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return b, fmt.Errorf("compile %s: %w", origin, context.Cause(ctx))
		}
		return b, exit.BadInput(explain(origin, errOut.String(), err))
	}
	if out.Len() == 0 {
		return b, exit.BadInputf("compile %s: there is no profile in it", origin)
	}
	b.Data = out.Bytes()
	if !nsmgr.IsCompiled(b.Data) {
		return b, fmt.Errorf("compile %s: what apparmor_parser wrote is %w", origin, nsmgr.ErrNoPolicy)
	}
	if sure {
		c.store.put(k, b.Data)
	}
	return b, nil
}

// key is what the store calls the compiled form of a text, and whether that is
// sure: see [included].
func (c *Compiler) key(file string, text []byte) (k string, sure bool) {
	closure, sure := included(includeBase, filepath.Dir(file), text)
	return key("policy", c.identity, c.digest, closure), sure
}

// arguments are the parser's, with those that it takes for this kernel.
func (c *Compiler) arguments(ctx context.Context, args ...string) ([]string, error) {
	// Compressed policy is for the parser's own cache (see nsmgr.ErrCompressed).
	// Only a parser that compresses knows the option.
	version, err := c.version(ctx)
	if err == nil && c.features.Has("policy/compressed_load", "") && !older(version, 5) {
		args = append(args, "--zstd-compress-level=0")
	}
	return args, err
}

func (c *Compiler) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := child.Command(ctx, c.parser, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// CompileError is what the parser has against a text.
type CompileError struct {
	Origin string // the file that was to be compiled
	File   string // the one with the error: Origin, or one that it includes
	Line   int    // 0 where the parser named none
	Reason string
}

func (e *CompileError) Error() string {
	at := e.File
	if e.Line > 0 {
		at += ":" + strconv.Itoa(e.Line)
	}
	if e.File != e.Origin {
		at = e.Origin + ", in " + at
	}
	return fmt.Sprintf("compile %s: %s", at, e.Reason)
}

// "AppArmor parser error for FILE in profile FILE at line 3: syntax error, …";
// the first is what was given, the second where it is. Both may be missing.
var parserErrorRE = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^AppArmor parser error(?: for (.*?))?(?: in (?:profile )?(.*?))? at line (\d+): (.*)$`)
})

func explain(origin, said string, err error) error {
	if m := parserErrorRE().FindStringSubmatch(said); m != nil {
		e := &CompileError{Origin: origin, File: origin, Reason: m[4]}
		e.Line, _ = strconv.Atoi(m[3])
		// A text on the parser's input has no name there.
		if m[2] != "" && m[2] != m[1] && m[2] != "stdin" {
			e.File = m[2]
		}
		return e
	}
	said = strings.Join(strings.Fields(said), " ")
	if said == "" {
		said = err.Error()
	}
	return &CompileError{Origin: origin, File: origin, Reason: said}
}

var includeRE = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[ \t]*(?:#?include|abi)[ \t]+(?:if[ \t]+exists[ \t]+)?(?:<([^>\n]+)>|"([^"\n]+)"|([^\s,]+))`)
})

// refers says whether the text may include others, without the expression that
// says which: to compile that takes longer than most policy does to load.
func refers(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimLeft(line, " \t")
		if bytes.HasPrefix(line, []byte("include")) || bytes.HasPrefix(line, []byte("#include")) ||
			bytes.HasPrefix(line, []byte("abi")) && !bytes.Equal(bytes.TrimSpace(line), []byte("abi <kernel>,")) {
			return true
		}
	}
	return false
}

// included is all text that the compiled form depends on, and whether that is
// surely all: an include whose name is made of variables is beyond it.
func included(base, dir string, text []byte) (closure string, sure bool) {
	var b strings.Builder
	seen := map[string]bool{}
	sure = true
	var add func(text []byte, depth int)
	var visit func(path string, depth int)
	visit = func(path string, depth int) {
		if seen[path] || depth > 32 {
			return
		}
		seen[path] = true
		st, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "\x00absent %s\x00", path)
			return
		}
		if st.IsDir() {
			entries, err := os.ReadDir(path)
			sure = sure && err == nil
			for _, e := range entries {
				visit(filepath.Join(path, e.Name()), depth+1)
			}
			return
		}
		data, err := os.ReadFile(path)
		sure = sure && err == nil
		fmt.Fprintf(&b, "\x00file %s %d\x00", path, len(data))
		add(data, depth+1)
	}
	add = func(text []byte, depth int) {
		b.Write(text)
		if !refers(text) {
			return
		}
		for _, m := range includeRE().FindAllSubmatch(text, -1) {
			magic, name := string(m[1]), string(m[2])+string(m[3])
			switch {
			case strings.Contains(magic+name, "@{"):
				sure = false
			case magic == "kernel": // abi <kernel>: the features are in the key
			case magic != "":
				visit(filepath.Join(base, magic), depth)
			case filepath.IsAbs(name):
				visit(name, depth)
			default:
				visit(filepath.Join(dir, name), depth)
				visit(filepath.Join(base, name), depth)
			}
		}
	}
	add(text, 0)
	return b.String(), sure
}
