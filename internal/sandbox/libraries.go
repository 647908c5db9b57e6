// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxLibraries bounds what a program may drag in.
const maxLibraries = 1000

// libraries are the files that the dynamic linker loads for the program: the
// linker itself and, by name and directory, each library and those that it needs.
// What is not found is left out: the linker will not find it either. The program
// is not trusted, so a file that it names counts only if it is a shared object.
func libraries(program string) []string {
	var found []string
	seen := map[string]bool{}
	standard := linkerDirs()
	var add func(path string)
	add = func(path string) {
		if len(seen) > maxLibraries {
			return
		}
		f, err := elf.Open(path)
		if err != nil {
			return
		}
		defer func() { _ = f.Close() }()
		dirs := searchPath(f, path)
		if i := interpreter(f); i != "" && !seen[i] && isSharedObject(i) {
			seen[i] = true
			found = append(found, i)
			standard = append(standard, filepath.Dir(i))
		}
		names, err := f.ImportedLibraries()
		if err != nil {
			return
		}
		for _, name := range names {
			if strings.ContainsAny(name, `/*?[\`) {
				continue // no soname; and not to be treated as a pattern
			}
			for _, dir := range slices.Concat(dirs, standard) {
				candidates, _ := filepath.Glob(filepath.Join(dir, "glibc-hwcaps", "*", name))
				for _, c := range append(candidates, filepath.Join(dir, name)) {
					if seen[c] || !isSharedObject(c) {
						continue
					}
					seen[c] = true
					found = append(found, c)
					add(c)
				}
			}
		}
	}
	if i := scriptInterpreter(program); i != "" && isProgram(i) {
		found = append(found, i)
		program = i
	}
	add(program)
	return found
}

// scriptInterpreter is the program that a script names in its first line, or "".
func scriptInterpreter(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, 256) // as much as the kernel reads: fs/binfmt_script.c
	n, _ := f.Read(b)
	line, ok := strings.CutPrefix(string(b[:n]), "#!")
	if !ok {
		return ""
	}
	line, _, _ = strings.Cut(line, "\n")
	words := strings.Fields(line)
	if len(words) == 0 || !filepath.IsAbs(words[0]) {
		return ""
	}
	return words[0]
}

func isSharedObject(path string) bool { return isELF(path, elf.ET_DYN) }

// isProgram includes executables without position-independent code.
func isProgram(path string) bool { return isELF(path, elf.ET_DYN) || isELF(path, elf.ET_EXEC) }

func isELF(path string, kind elf.Type) bool {
	if fi, err := os.Stat(path); err != nil || !fi.Mode().IsRegular() {
		return false
	}
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return f.Type == kind
}

// interpreter is the dynamic linker that the file names, or "".
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > 4096 {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return ""
		}
		return strings.TrimRight(string(b), "\x00")
	}
	return ""
}

// searchPath are the directories that the file names itself.
func searchPath(f *elf.File, path string) []string {
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, err := f.DynString(tag)
		if err != nil {
			continue
		}
		for _, v := range values {
			for _, d := range strings.Split(v, ":") {
				d = strings.NewReplacer("$ORIGIN", filepath.Dir(path), "${ORIGIN}", filepath.Dir(path)).Replace(d)
				if filepath.IsAbs(d) {
					dirs = append(dirs, d)
				}
			}
		}
	}
	return dirs
}

// linkerDirs are the directories that the host's dynamic linker searches.
func linkerDirs() []string {
	dirs := []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib"}
	files, _ := filepath.Glob("/etc/ld.so.conf.d/*.conf")
	for _, file := range append(files, "/etc/ld.so.conf") {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); filepath.IsAbs(line) {
				dirs = append(dirs, line)
			}
		}
	}
	multiarch, _ := filepath.Glob("/usr/lib/*-linux-gnu*")
	return append(dirs, multiarch...)
}
