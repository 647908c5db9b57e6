// SPDX-License-Identifier: Apache-2.0

// Package declaration reads the YAML files in which users declare policy
// namespaces, and compiles the policy that they name. It changes nothing in the
// kernel: that is nsmgr's.
package declaration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// File is a declaration: all documents of one or several files together.
type File struct{ entries []entry }

// entry is one declared namespace.
type entry struct {
	Name      string    `yaml:"name"`
	Kind      string    `yaml:"kind"`     // a shipped profile
	Profiles  yaml.Node `yaml:"profiles"` // paths, relative to the file
	Container string    `yaml:"container"`

	paths []string
}

// document is one YAML document. Without a list it is refused: with --prune an
// empty one would delete every declared namespace.
type document struct {
	Namespaces *[]entry `yaml:"namespaces"`
}

// maxSize limits a declaration, in bytes.
const maxSize = 4 << 20

// Read reads all YAML documents of r; name is the file's name in errors. Paths
// of profiles are relative to dir. Documents that are empty, such as one behind
// a final "---", are skipped, but not all of them may be.
func Read(r io.Reader, name, dir string) (File, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return File{}, exit.BadInputf("read %s: %w", name, err)
	}
	if len(text) > maxSize {
		return File{}, exit.BadInputf("read %s: it is larger than %d MiB", name, maxSize>>20)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	var all File
	found := false
	for number := 1; ; number++ {
		var d *document
		switch err := dec.Decode(&d); {
		case errors.Is(err, io.EOF) && found:
			return all, nil
		case errors.Is(err, io.EOF):
			return all, exit.BadInputf("read %s: it declares nothing (write \"namespaces: []\" to declare no namespace)", name)
		case err != nil:
			return all, exit.BadInputf("read %s, document %d: %w", name, number, err)
		}
		if d == nil {
			continue
		}
		if d.Namespaces == nil {
			return all, exit.BadInputf("read %s, document %d: namespaces has no value (write \"namespaces: []\" to declare no namespace)", name, number)
		}
		found = true
		for _, e := range *d.Namespaces {
			if err := e.readPaths(dir); err != nil {
				return all, exit.BadInputf("read %s, document %d: namespace %q: %w", name, number, e.Name, err)
			}
			all.entries = append(all.entries, e)
		}
	}
}

// Open reads the declaration at path: a file, or a directory, of which it reads
// the files *.yaml and *.yml in the order of their names, as one declaration.
// Names that begin with a dot are skipped. A directory without such files
// declares nothing, which is no error.
func Open(path string) (File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return File{}, exit.BadInputf("read the declaration: %w", err)
	}
	if !info.IsDir() {
		return openFile(path, 0)
	}
	return openDir(path)
}

func openDir(path string) (File, error) {
	list, err := os.ReadDir(path)
	if err != nil {
		return File{}, exit.BadInputf("read the declaration: %w", err)
	}
	var all File
	for _, e := range list {
		if !isDeclaration(e.Name()) {
			continue
		}
		file := filepath.Join(path, e.Name())
		f, err := openFile(file, syscall.O_NONBLOCK)
		if err != nil {
			return File{}, err
		}
		all.entries = append(all.entries, f.entries...)
	}
	return all, nil
}

// isDeclaration reports whether a file of that name in a directory is read.
func isDeclaration(name string) bool {
	ext := filepath.Ext(name)
	return (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(name, ".")
}

// openFile reads a file; with O_NONBLOCK only a regular one: opening a FIFO
// would otherwise wait for its writer.
func openFile(path string, flags int) (File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|flags, 0)
	if err != nil {
		return File{}, exit.BadInputf("read the declaration: %w", err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); flags != 0 && (err != nil || !info.Mode().IsRegular()) {
		return File{}, exit.BadInputf("read the declaration: %s is not a regular file", path)
	}
	return Read(f, path, filepath.Dir(path))
}

// Kinds returns the shipped profiles that are declared, each once, sorted.
func (f File) Kinds() []string {
	var all []string
	for _, e := range f.entries {
		if e.Kind != "" {
			all = append(all, e.Kind)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (e *entry) readPaths(dir string) error {
	if e.Profiles.IsZero() {
		return nil
	}
	if err := e.Profiles.Decode(&e.paths); err != nil {
		return err
	}
	if e.paths == nil {
		return errors.New("profiles has no value (leave it out, or write \"profiles: []\" for none)")
	}
	for i, path := range e.paths {
		switch {
		case path == "":
			return errors.New("profiles has an empty path")
		case !filepath.IsAbs(path):
			e.paths[i] = filepath.Join(dir, path)
		}
	}
	return nil
}

// Paths returns the files and directories of policy that are declared.
func (f File) Paths() []string {
	var all []string
	for _, e := range f.entries {
		all = append(all, e.paths...)
	}
	return all
}

// Wanted checks the names and compiles the policy of all declared namespaces.
func (f File) Wanted(ctx context.Context, comp *profiles.Compiler) ([]nsmgr.Wanted, error) {
	all := make([]nsmgr.Wanted, 0, len(f.entries))
	for _, e := range f.entries {
		w, err := e.wanted(ctx, comp)
		if err != nil {
			return nil, fmt.Errorf("namespace %q: %w", e.Name, err)
		}
		all = append(all, w)
	}
	return all, nil
}

func (e entry) wanted(ctx context.Context, comp *profiles.Compiler) (w nsmgr.Wanted, err error) {
	w.Container = e.Container
	if w.Name, err = nsmgr.ParseName(e.Name); err != nil {
		return w, err
	}
	for _, part := range w.Name.Parts() {
		if err := nsmgr.CheckName(part); err != nil {
			return w, err
		}
	}
	if e.Kind != "" {
		if w.Policy, err = comp.Shipped(ctx, e.Kind, profiles.Parameters{Name: profiles.DefaultName}); err != nil {
			return w, err
		}
	}
	for _, path := range e.paths {
		p, err := comp.RegularFiles(ctx, path)
		if err != nil {
			return w, err
		}
		w.Policy = append(w.Policy, p...)
	}
	return w, nil
}
