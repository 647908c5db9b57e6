// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"bytes"
	"context"
	"crypto/rand"
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

	"golang.org/x/sys/unix"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

// Compiler compiles policy for one kernel with one apparmor_parser.
type Compiler struct {
	features nsmgr.FeatureSet
	parser   string // path
	setup    setup
	digest   string // of the features
	store    store
	known    string // version
}

// NewCompiler finds the parser. The features are those of the kernel that the
// policy is for: this host's.
func NewCompiler(f nsmgr.FeatureSet) (*Compiler, error) {
	c := &Compiler{features: f, digest: f.Digest(), store: openStore()}
	var err error
	if c.parser, err = findParser(); err != nil {
		return nil, err
	}
	c.setup, err = readSetup(c.parser, parserConf)
	return c, err
}

const (
	parserConf  = "/etc/apparmor/parser.conf" // can name an ABI, include directories and optimizations
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

// setup is what the parser brings to a text: its own version and its
// configuration.
type setup struct {
	identity string   // names a state of the parser, of parser.conf and of all files that this names
	search   []string // directories in which the parser may look for an ABI's features
}

// readSetup reads parser.conf, and every file that it may name, whatever the
// option. Of the parser it goes by the file's state: to learn its version takes
// a process.
func readSetup(parser, conf string) (setup, error) {
	s := setup{search: []string{includeBase, "."}}
	st, err := os.Stat(parser)
	if err != nil {
		return s, fmt.Errorf("read the state of %s: %w", parser, err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %d", parser, st.Size(), st.ModTime().UnixNano())
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		fmt.Fprintf(&b, " %d %d", sys.Ino, sys.Ctim.Nano())
	}
	text, _, err := readFile(conf, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, exit.BadInputf("read the parser's configuration: %w", err)
	}
	fmt.Fprintf(&b, "\n%q\n", text)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		// "option value" or "option=value"; the value may have spaces.
		at := strings.IndexAny(line, " \t=")
		if at < 0 {
			continue
		}
		value := strings.TrimLeft(line[at:], " \t=")
		for _, path := range append(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t=,", r) }), value) {
			if st, err := os.Stat(path); err == nil && st.IsDir() {
				s.search = append(s.search, path)
			} else if err == nil {
				b.WriteString(fileState(path))
			}
		}
	}
	s.identity = b.String()
	return s, nil
}

// fileState names a file's content, or that it cannot be read.
func fileState(path string) string {
	b, st, err := readFile(path, unix.O_NONBLOCK)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Sprintf("%q is not read\n", path)
	}
	return fmt.Sprintf("%q %s\n", path, digest(b))
}

func key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d %s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

var versionRE = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`version (\d+\.\d+[\w.~-]*)`) })

// version is the parser's. It is kept in the store beside compiled policy.
func (c *Compiler) version(ctx context.Context) (string, error) {
	if c.known != "" {
		return c.known, nil
	}
	k := key("version", c.setup.identity)
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
		return "", fmt.Errorf("ask %s for its version: unexpected answer %q", c.parser, out)
	}
	c.known = string(m[1])
	c.store.put(k, m[1])
	return c.known, nil
}

// older reports whether a version such as "4.1.0" is lower than a major one.
func older(version string, major int) bool {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	return err == nil && n < major
}

// Version is the parser's.
func (c *Compiler) Version(ctx context.Context) (string, error) { return c.version(ctx) }

// Source is the text of policy.
type Source struct {
	Origin string // what errors call it
	Text   []byte
}

// Texts compiles several texts as [Compiler.Text] compiles one, in one start of
// the parser: where processes start slowly, a start takes as long as to compile
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

// together compiles the texts that are not in the store, and returns all by
// text. Texts that the parser rejects, and those that include others, are
// skipped: compiled alone, their errors are exact.
func (c *Compiler) together(ctx context.Context, sources []Source) map[string][]byte {
	ready := map[string][]byte{}
	var missing [][]byte
	var keys []string
	for _, s := range sources {
		if _, known := ready[string(s.Text)]; known || refers(s.Text) {
			continue
		}
		k, sure := c.key(ctx, s.Text)
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
	// The parser's own cache has each file's policy by itself. On its output,
	// the end of one cannot be distinguished from a hat of the next.
	args, err := c.arguments(ctx, "--skip-kernel-load", "--skip-read-cache", "--write-cache", "--cache-loc", filepath.Join(dir, "cache"), "--quiet", "--jobs=1")
	if err != nil {
		return ready
	}
	args = append(args, "--")
	// The parser looks up a file's bare name in /etc/apparmor.d/disable and
	// force-complain. Nothing there can have a name that is drawn here.
	prefix := rand.Text() + "-"
	for i, text := range missing {
		name := filepath.Join(dir, prefix+strconv.Itoa(i))
		if os.WriteFile(name, text, 0o600) != nil {
			return ready
		}
		args = append(args, name)
	}
	_ = c.command(ctx, args).Run()
	for i, text := range missing {
		// The cache has a directory for each set of features.
		found, _ := filepath.Glob(filepath.Join(dir, "cache", "*", prefix+strconv.Itoa(i)))
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

// Files reads policy from files and directories: text, which is compiled, or
// compiled policy. Of a directory, it reads the files directly in it, also those
// behind symbolic links, without the copies that editors and package managers
// leave. It is about these files alone: what /etc/apparmor.d/disable and
// force-complain say of a host's file of the same name has no effect.
func (c *Compiler) Files(ctx context.Context, paths ...string) (nsmgr.Policy, error) {
	return c.files(ctx, 0, paths)
}

// RegularFiles is [Compiler.Files] without pipes: it never waits for a writer.
func (c *Compiler) RegularFiles(ctx context.Context, paths ...string) (nsmgr.Policy, error) {
	return c.files(ctx, unix.O_NONBLOCK, paths)
}

func (c *Compiler) files(ctx context.Context, flags int, paths []string) (nsmgr.Policy, error) {
	var p nsmgr.Policy
	for _, path := range paths {
		list, err := expand(path)
		if err != nil {
			return nil, err
		}
		for _, file := range list {
			if file != path { // of a directory, which others may change meanwhile
				flags |= unix.O_NONBLOCK
			}
			data, _, err := readFile(file, flags)
			if err != nil {
				return nil, exit.BadInputf("read policy: %w", err)
			}
			b := nsmgr.Blob{Origin: file, Data: data}
			if !nsmgr.IsCompiled(data) {
				if b, err = c.Text(ctx, file, data); err != nil {
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
		file := filepath.Join(path, e.Name())
		if ignored(e.Name()) {
			continue
		}
		// A directory of links is usual: a Kubernetes ConfigMap, GNU stow, NixOS.
		st, err := os.Stat(file)
		if err != nil {
			return nil, exit.BadInputf("read policy: %w", err)
		}
		if st.Mode().IsRegular() {
			list = append(list, file)
		}
	}
	if len(list) == 0 {
		return nil, exit.BadInputf("read policy: no policy file found in %s", path)
	}
	return list, nil
}

// Ignored reports whether a file of that name in a directory of policy is not read.
func Ignored(name string) bool { return ignored(name) }

// ignored reports whether the parser, too, ignores a file of that name in a
// directory (libapparmor is_blacklisted).
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

// Text compiles policy. origin is what errors call it. The parser gets the text
// as its input: from a file, it would go by its bare name in
// /etc/apparmor.d/disable and force-complain, which are about the host's policy.
func (c *Compiler) Text(ctx context.Context, origin string, text []byte) (nsmgr.Blob, error) {
	b := nsmgr.Blob{Origin: origin}
	k, sure := c.key(ctx, text)
	if sure {
		if data, ok := c.store.get(k); ok && nsmgr.IsCompiled(data) {
			b.Data = data
			return b, nil
		}
	}
	out, said, err := c.run(ctx, text, "--skip-kernel-load", "--skip-cache", "--stdout", "--quiet")
	switch {
	case err != nil && ctx.Err() != nil:
		return b, fmt.Errorf("compile %s: %w", origin, context.Cause(ctx))
	case err != nil:
		return b, exit.BadInput(explain(origin, said, err))
	case len(out) == 0:
		return b, exit.BadInputf("compile %s: it has no profile", origin)
	case !nsmgr.IsCompiled(out):
		return b, fmt.Errorf("compile %s: the output of apparmor_parser is %w", origin, nsmgr.ErrNoPolicy)
	}
	b.Data = out
	// What the text includes may have changed between key and compilation.
	if sure {
		if again, sure := c.key(ctx, text); sure && again == k {
			c.store.put(k, out)
		}
	}
	return b, nil
}

// key is the store's key for the compiled form of a text: of the text, the
// parser with its configuration, the features, and of all that the parser
// reads for it. It is not sure where the parser rejects the text.
func (c *Compiler) key(ctx context.Context, text []byte) (k string, sure bool) {
	closure := ""
	if refers(text) {
		out, _, err := c.run(ctx, text, "--preprocess", "--skip-kernel-load", "--skip-cache", "--quiet")
		if err != nil || len(out) == 0 {
			return "", false
		}
		closure = string(out) + c.abis(text) + c.abis(out)
	}
	return key("policy", c.setup.identity, c.digest, string(text), closure), true
}

// refers reports whether the parser may read another file for the text: an
// included one, or the features of an ABI (parser_lex.l). It may say so of a
// comment.
func refers(text []byte) bool {
	if bytes.Contains(text, []byte("#include")) {
		return true
	}
	follows := func(word, after string) bool {
		for rest := text; ; {
			i := bytes.Index(rest, []byte(word))
			if i < 0 {
				return false
			}
			rest = rest[i+len(word):]
			if word == "abi" && bytes.HasPrefix(rest, []byte(" <kernel>,")) {
				continue // the features, which are in the key
			}
			if len(rest) > 0 && strings.IndexByte(after, rest[0]) >= 0 {
				return true
			}
		}
	}
	return follows("include", " \t\r\n\v\f<\"") || follows("abi", " \t\r\n\v\f<\"")
}

var abiRE = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`abi\s*(?:<\s*"?([^>"\n]+?)"?\s*>|"([^"\n]+)"|([^\s,<>"]+))`)
})

// abis is the content of the ABIs that a text names. The preprocessor leaves
// them out. Of each, all files are read that the parser may take for it.
func (c *Compiler) abis(text []byte) string {
	var b strings.Builder
	for _, m := range abiRE().FindAllSubmatch(text, -1) {
		name := string(m[1]) + string(m[2]) + string(m[3])
		if string(m[1]) == "kernel" {
			continue
		}
		b.WriteString(fileState(name))
		for _, dir := range c.setup.search {
			b.WriteString(fileState(dir + "/" + name))
		}
	}
	return b.String()
}

// run starts the parser with the text as its input, and returns its output and
// its errors.
func (c *Compiler) run(ctx context.Context, text []byte, args ...string) (out []byte, said string, err error) {
	if args, err = c.arguments(ctx, args...); err != nil {
		return nil, "", err
	}
	cmd := c.command(ctx, args)
	var output, errOutput bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &output, &errOutput
	err = cmd.Run()
	return output.Bytes(), errOutput.String(), err
}

// arguments adds the parser's arguments for this kernel.
func (c *Compiler) arguments(ctx context.Context, args ...string) ([]string, error) {
	// Compressed policy is for the parser's own cache (nsmgr.ErrCompressed). Only
	// a parser that compresses has the option.
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

// CompileError is the parser's complaint about a text.
type CompileError struct {
	Origin string // what was to be compiled
	File   string // the file with the error: Origin, or one that it includes
	Line   int    // 0 if the parser named none
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
// the first is the file that was given, the second the one with the error. Both
// may be missing.
var parserErrorRE = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^AppArmor parser error(?: for (.*?))?(?: in (?:profile )?(.*?))? at line (\d+): (.*)$`)
})

func explain(origin, said string, err error) error {
	if m := parserErrorRE().FindStringSubmatch(said); m != nil {
		e := &CompileError{Origin: origin, File: origin, Reason: m[4]}
		e.Line, _ = strconv.Atoi(m[3])
		// The parser calls its input "stdin", or does not name it.
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
