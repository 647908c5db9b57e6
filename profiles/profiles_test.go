// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

var modern = nsmgr.Features{"namespaces/mask": "userns_create", "io_uring/mask": "sqpoll override_creds", "domain/stack": "yes"}

func TestRender(t *testing.T) {
	for _, name := range Names() {
		for _, c := range []struct {
			parser string
			f      nsmgr.Features
			userns bool
		}{
			{"5.0.2", modern, true},
			{"4.1.0", modern, true},
			{"3.0.8", modern, false}, // bookworm's: it does not know the rule
			{"5.0.2", nsmgr.Features{}, false},
		} {
			text, err := Render(name, Parameters{Name: "some name"}, c.f, c.parser)
			if err != nil {
				t.Fatal(err)
			}
			if got := bytes.Contains(text, []byte("userns,")); got != c.userns {
				t.Errorf("%s for parser %s: userns rule %v", name, c.parser, got)
			}
			for _, want := range []string{"abi <kernel>,", `profile "some name" `} {
				if !bytes.Contains(text, []byte(want)) {
					t.Errorf("%s has no %q", name, want)
				}
			}
			if bytes.Contains(text, []byte("{{")) || bytes.Contains(text, []byte("<no value>")) {
				t.Errorf("%s is not rendered whole:\n%s", name, text)
			}
		}
	}
	for _, c := range [][2]string{{"nope", "p"}, {Host, ""}, {Host, `a"b`}, {Host, ":ns:p"}, {Host, "a*"}} {
		if _, err := Render(c[0], Parameters{Name: c[1]}, modern, "5.0.2"); exit.Status(err) != exit.Usage {
			t.Errorf("Render(%q, %q): %v", c[0], c[1], err)
		}
	}
}

// Every shipped profile compiles, where there is a parser.
func TestShippedCompile(t *testing.T) {
	if _, err := exec.LookPath("apparmor_parser"); err != nil {
		t.Skip("apparmor_parser is not installed")
	}
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	v, err := nsmgr.Open()
	if err != nil {
		t.Skip(err)
	}
	f, err := v.Features()
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCompiler(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		p, err := c.Shipped(t.Context(), name, Parameters{Name: "p"})
		if err != nil {
			t.Error(err)
			continue
		}
		if names, err := p.Names(); err != nil || !slices.Equal(names, []string{"p"}) {
			t.Errorf("%s has %q, %v", name, names, err)
		}
	}
}

// parser stands in for apparmor_parser: it counts how often it is called, and
// "compiles" by putting a head before the text.
func parser(t *testing.T) (c *Compiler, calls func() int) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PROOFHOUSE_CACHE", filepath.Join(dir, "cache"))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	log := filepath.Join(dir, "calls")
	script := `#!/bin/sh
if [ "$1" = --version ]; then echo "AppArmor parser version 4.1.0"; exit; fi
compiled() { printf '\004\010\000version\000\002\007\040\000\000\004\010\000profile\000\007\005\002\000p\000\010'; cat "$@"; }
if [ "$1" = --preprocess ]; then
	text=$(cat); printf '%s' "$text"
	cat /dev/null $(printf '%s' "$text" | sed -n 's/.*include "\(.*\)".*/\1/p')
	exit
fi
echo x >> ` + log + `
loc= cache= files= failed=0
for word; do
	[ -z "$files" ] || { grep -q wrong "$word" && failed=1 || compiled "$word" > "$cache/${word##*/}"; }
	[ -z "$loc" ] || { loc= cache=$word/features.0; mkdir -p "$cache"; }
	case "$word" in --cache-loc) loc=1;; --) [ -z "$cache" ] || files=1;; esac
done
[ -z "$files" ] || exit $failed
text=$(cat)
case "$text" in
*wrong*) echo "AppArmor parser error at line 1: syntax error, unexpected TOK_MODE" >&2; exit 1;;
bad) echo "AppArmor parser error for stdin in profile stdin at line 3: syntax error, unexpected TOK_MODE" >&2; exit 1;;
empty) exit 0;;
esac
printf %s "$text" | compiled
`
	if err := os.WriteFile(filepath.Join(dir, "apparmor_parser"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := NewCompiler(modern)
	if err != nil {
		t.Fatal(err)
	}
	return c, func() int {
		b, _ := os.ReadFile(log)
		return bytes.Count(b, []byte("x"))
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCache(t *testing.T) {
	c, calls := parser(t)
	dir := t.TempDir()
	inner := write(t, dir, "inner", "/etc/** r,")
	file := write(t, dir, "p.aa", "profile p {\n include \""+inner+"\"\n}")
	compile := func() []byte {
		t.Helper()
		p, err := c.Files(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		return p[0].Data
	}
	first := compile()
	if again := compile(); calls() != 1 || !bytes.Equal(again, first) {
		t.Errorf("compiled %d times", calls())
	}
	entry := func() string {
		t.Helper()
		all, err := filepath.Glob(filepath.Join(os.Getenv("PROOFHOUSE_CACHE"), "policy", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range all {
			if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte("profile p")) {
				return path
			}
		}
		t.Fatalf("no entry among %q", all)
		return ""
	}
	path := entry()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Whatever is wrong with an entry, it counts as not there.
	for name, spoil := range map[string]func() error{
		"half written": func() error { return os.WriteFile(path, whole[:len(whole)/2], 0o600) },
		"changed": func() error {
			return os.WriteFile(path, bytes.Replace(whole, []byte("profile p"), []byte("profile q"), 1), 0o600)
		},
		"empty":     func() error { return os.WriteFile(path, nil, 0o600) },
		"anybody's": func() error { return os.Chmod(path, 0o666) },
		"a link": func() error {
			other := write(t, t.TempDir(), "x", string(whole))
			return errors.Join(os.Remove(path), os.Symlink(other, path))
		},
	} {
		before := calls()
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if got := compile(); !bytes.Equal(got, first) || calls() != before+1 {
			t.Errorf("%s: compiled %d times", name, calls()-before)
		}
	}
	// What the text includes is part of it.
	before := calls()
	if err := os.WriteFile(inner, []byte("/home/** r,"), 0o644); err != nil {
		t.Fatal(err)
	}
	compile()
	if calls() != before+1 {
		t.Error("a changed include is not noticed")
	}
	// So are the features.
	other, err := NewCompiler(nsmgr.Features{"domain/stack": "yes"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Files(t.Context(), file); err != nil || calls() != before+2 {
		t.Errorf("another kernel gets the same: %v", err)
	}
	// A directory that others can write to is not used at all.
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	compile()
	if calls() != before+3 {
		t.Error("a directory that anybody can write to is trusted")
	}
}

// TestTexts demands that many texts are compiled in one start of the parser,
// each once and no less than alone, and that one that is wrong is told as if it
// were alone.
func TestTexts(t *testing.T) {
	c, calls := parser(t)
	t.Setenv("TMPDIR", t.TempDir())
	source := func(name, text string) Source { return Source{Origin: name, Text: []byte(text)} }
	sources := []Source{source("one", "profile a {}"), source("two", "profile b {}"), source("three", "profile a {}"), source("four", "profile d {}")}
	check := func(p nsmgr.Policy, err error) {
		t.Helper()
		if err != nil || len(p) != len(sources) {
			t.Fatalf("%d, %v", len(p), err)
		}
		for i, s := range sources {
			if p[i].Origin != s.Origin || !nsmgr.IsCompiled(p[i].Data) || !bytes.HasSuffix(p[i].Data, s.Text) {
				t.Errorf("%s: %+v", s.Origin, p[i])
			}
		}
	}
	check(c.Texts(t.Context(), sources...))
	check(c.Texts(t.Context(), sources...))
	if calls() != 1 {
		t.Errorf("the parser was started %d times", calls())
	}
	one, err := c.Text(t.Context(), "two", []byte("profile b {}"))
	if err != nil || calls() != 1 || !bytes.HasSuffix(one.Data, []byte("profile b {}")) {
		t.Errorf("what was compiled together is not found alone: %d starts, %v", calls(), err)
	}
	_, err = c.Texts(t.Context(), source("good", "profile e {}"), source("bad", "profile wrong {"), source("good too", "profile f {}"))
	var wrong *CompileError
	if !errors.As(err, &wrong) || wrong.Origin != "bad" || wrong.Line != 1 {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestCacheWriters(t *testing.T) {
	s := store{t.TempDir()}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("policy"), 10000)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				s.put("k", content)
				if got, ok := s.get("k"); !ok || !bytes.Equal(got, content) {
					t.Error("a reader finds less than all")
				}
			}
		})
	}
	wg.Wait()
	if left, err := os.ReadDir(s.dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestFiles(t *testing.T) {
	c, _ := parser(t)
	dir := t.TempDir()
	write(t, dir, "b.aa", "profile b {}")
	write(t, dir, "a.aa", "profile a {}")
	write(t, dir, "a.aa.dpkg-old", "")
	write(t, dir, "a.aa~", "")
	write(t, dir, ".hidden", "")
	write(t, dir, "README", "")
	// As in a ConfigMap, and a link beside a file.
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "..data"), 0o755), os.Symlink("..data/c.aa", filepath.Join(dir, "c.aa"))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "..data"), "c.aa", "profile c {}")
	p, err := c.Files(t.Context(), dir)
	if err != nil || len(p) != 3 || filepath.Base(p[0].Origin) != "a.aa" || filepath.Base(p[1].Origin) != "b.aa" || filepath.Base(p[2].Origin) != "c.aa" {
		t.Errorf("a directory is %+v, %v", p, err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling.aa")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Files(t.Context(), dir); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "dangling.aa") {
		t.Errorf("a link that leads nowhere is left out: %v", err)
	}
	for name, want := range map[string]string{
		write(t, t.TempDir(), "bad.aa", "bad"):     "bad.aa:3: syntax error",
		write(t, t.TempDir(), "empty.aa", "empty"): "it has no profile",
		"/no/such/file": "no such file",
		t.TempDir():     "no policy file found",
	} {
		_, err := c.Files(t.Context(), name)
		if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// The parser's own words, of 5.0.2 and 4.1.0.
func TestExplain(t *testing.T) {
	for said, want := range map[string]CompileError{
		"AppArmor parser error for /tmp/bad.aa in profile /tmp/bad.aa at line 4: syntax error, unexpected end of file\n":     {"o", "o", 4, "syntax error, unexpected end of file"},
		"AppArmor parser error for /tmp/p in /etc/apparmor.d/abstractions/x at line 7: Could not open 'abstractions/nope'\n": {"o", "/etc/apparmor.d/abstractions/x", 7, "Could not open 'abstractions/nope'"},
		"Warning from /tmp/p: cache disabled\nAppArmor parser error at line 2: Could not open 'abi/9.9'\nmore":               {"o", "o", 2, "Could not open 'abi/9.9'"},
		"something\nquite different": {"o", "o", 0, "something quite different"},
	} {
		var got *CompileError
		if err := explain("o", said, os.ErrInvalid); !errors.As(err, &got) || *got != want {
			t.Errorf("%q: %+v, want %+v", said, got, want)
		}
	}
}

// What the parser itself reads for a text is in its key, whatever the form and
// the place of the include.
func TestKeyOfIncludes(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	c, err := NewCompiler(modern)
	if err != nil {
		t.Skip(err)
	}
	t.Chdir(dir)
	if err := os.MkdirAll("d/e", 0o755); err != nil {
		t.Fatal(err)
	}
	features := "domain {stack {yes\n}\n}\nfile {mask {create read write exec append mmap_exec link lock\n}\n}\npolicy {versions {v8 {yes\n}\n}\n}\n"
	rules := write(t, dir, "rules", "/etc/x r,")
	abi := write(t, dir, "abi", features)
	write(t, dir, "outer", "include \""+rules+"\"\n")
	head := "abi \"" + abi + "\",\n"
	for name, c2 := range map[string]struct{ text, file, change string }{
		"on a line of its own":      {"profile p {\n  include \"" + rules + "\"\n}\n", rules, "/etc/y r,"},
		"after the brace":           {"profile p { include \"" + rules + "\"\n}\n", rules, "/etc/y r,"},
		"after a rule":              {"profile p {\n  file, include \"" + rules + "\"\n}\n", rules, "/etc/y r,"},
		"with a hash after a brace": {"profile p { #include \"" + rules + "\"\n}\n", rules, "/etc/y r,"},
		"without quotes":            {"profile p {\n include " + rules + "\n}\n", rules, "/etc/y r,"},
		"relative":                  {"profile p {\n include rules\n}\n", rules, "/etc/y r,"},
		"in an include":             {"profile p {\n include \"outer\"\n}\n", rules, "/etc/y r,"},
		"of a directory":            {"profile p { include \"d\"\n}\n", "d/one", "/etc/y r,"},
		"if it exists":              {"profile p { include if exists \"later\"\n}\n", "later", "/etc/y r,"},
		"after the ABI":             {"include \"" + rules + "\"\nprofile p { file, }\n", rules, "@{x}=/y\n"},
		"an ABI":                    {"profile p { file, }\n", abi, features + "network {af_mask {unix\n}\n}\n"},
	} {
		was, _ := os.ReadFile(c2.file)
		text := []byte(head + c2.text)
		if name == "after the ABI" {
			write(t, dir, "rules", "@{x}=/x\n")
		}
		before, sure := c.key(t.Context(), text)
		if !sure {
			_, said, err := c.run(t.Context(), text, "--preprocess", "-Q", "-K")
			t.Errorf("%s: not sure: %v: %s", name, err, said)
			continue
		}
		if again, _ := c.key(t.Context(), text); again != before {
			t.Errorf("%s: the key is another each time", name)
		}
		if err := os.WriteFile(c2.file, []byte(c2.change), 0o644); err != nil {
			t.Fatal(err)
		}
		if after, sure := c.key(t.Context(), text); !sure || after == before {
			t.Errorf("%s: a change is not in the key", name)
		}
		if was == nil {
			_ = os.Remove(c2.file)
		} else if err := os.WriteFile(c2.file, was, 0o644); err != nil {
			t.Fatal(err)
		}
		write(t, dir, "rules", "/etc/x r,")
	}
}

func TestSetup(t *testing.T) {
	dir := t.TempDir()
	parser := write(t, dir, "parser", "")
	named := write(t, dir, "some features", "one")
	conf := write(t, dir, "parser.conf", "# policy-features=/nowhere\nwrite-cache\n  Include "+dir+"\npolicy-features="+named+"\n")
	read := func() setup {
		t.Helper()
		s, err := readSetup(parser, conf)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := read()
	if !slices.Contains(first.search, dir) || first.identity != read().identity {
		t.Errorf("%+v", first)
	}
	write(t, dir, "some features", "two")
	second := read()
	if second.identity == first.identity {
		t.Error("the content of a file that parser.conf names is not in the key")
	}
	write(t, dir, "parser.conf", "Optimize=no-minimize\n")
	if read().identity == second.identity {
		t.Error("parser.conf is not in the key")
	}
}

// The shipped profiles must not cost a start of the parser to find out what
// they include.
func TestShippedRefersToNothing(t *testing.T) {
	for _, name := range Names() {
		text, err := Render(name, Parameters{Name: "p"}, modern, "5.0.2")
		if err != nil || refers(text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefers(t *testing.T) {
	for text, want := range map[string]bool{
		"abi <kernel>,\nprofile p { capability, /a r, # included\n}\n": false,
		"abi <abi/4.0>,":                  true,
		"abi \"x\",":                      true,
		"abi\t<kernel>,":                  true, // not worth to know
		"abi <kernel>, abi <abi/4.0>,":    true,
		"profile p { include <x>\n}":      true,
		"profile p { include\t<x>\n}":     true,
		"profile p { #include<x>\n}":      true,
		"profile p { #included\n}":        true, // the parser includes a file d
		"x include if exists <local/x>\n": true,
		"/include/x r,":                   false,
		"":                                false,
	} {
		if got := refers([]byte(text)); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// A sparse file can claim to be larger than memory, and a FIFO may have no writer.
func TestReadFileBounds(t *testing.T) {
	dir := t.TempDir()
	sparse, fifo := filepath.Join(dir, "sparse"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(sparse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, 1<<42); err != nil {
		t.Skip(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Compiler{}).Files(t.Context(), sparse); !errors.Is(err, errTooLarge) {
		t.Errorf("a sparse file: %v", err)
	}
	if _, err := (&Compiler{}).RegularFiles(t.Context(), fifo); !errors.Is(err, errNotRegular) {
		t.Errorf("a FIFO: %v", err)
	}
}
