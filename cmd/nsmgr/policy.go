// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"proofhouse/containers"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles/declaration"
)

func saveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "save NAME FILE", Short: "Save the loaded policy of a namespace to an archive",
		Long: `Writes the compiled policy of the namespace, as it was loaded, and a hash of each
profile to a tar archive. Namespaces below it are not included.`,
		Example: "  nsmgr save container-ns container-ns.tar",
		Args:    args(2, 2, "give the namespace and the file"), ValidArgsFunction: completeNames,
		RunE: func(c *cobra.Command, got []string) error {
			v, ns, err := onNamespace(got[0])
			if err != nil {
				return err
			}
			f, err := v.Features()
			if err != nil {
				return err
			}
			policy, err := v.Save(c.Context(), ns)
			if err != nil {
				return err
			}
			m := nsmgr.Manifest{Namespace: ns, Saved: time.Now().UTC().Truncate(time.Second), Features: f.Digest()}
			if err := replaceFile(got[1], func(w io.Writer) error { return nsmgr.WriteArchive(w, m, policy) }); err != nil {
				return exit.BadInputf("save namespace %q: %w", ns, err)
			}
			say(c, "saved %s of %s in %s", count(len(policy), "profile"), ns, got[1])
			return nil
		},
	}
}

// replaceFile replaces a file atomically.
func replaceFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".nsmgr-")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func restoreCommand() *cobra.Command {
	var r func() nsmgr.Removal
	c := &cobra.Command{
		Use: "restore NAME FILE", Short: "Replace a namespace's policy with that of an archive",
		Long: `Checks the archive and loads its policy; the namespace then has that policy and no
other. It is created if it does not exist. The command is refused if that would
leave a task unconfined; --force restores it nevertheless, and says which tasks
become unconfined.`,
		Example: "  nsmgr restore container-ns container-ns.tar",
		Args:    args(2, 2, "give the namespace and the file"), ValidArgsFunction: completeNames,
		RunE: func(c *cobra.Command, got []string) error {
			v, ns, err := onNamespace(got[0])
			if err != nil {
				return err
			}
			f, err := os.Open(got[1])
			if err != nil {
				return exit.BadInput(err)
			}
			defer func() { _ = f.Close() }()
			m, policy, err := nsmgr.ReadArchive(f)
			if err != nil {
				return exit.BadInputf("%s: %w", got[1], err)
			}
			if v.Exists(ns) {
				err = v.Load(c.Context(), ns, policy, nsmgr.LoadOptions{ReplaceAll: true, Removal: r()})
			} else {
				err = v.Create(c.Context(), ns, nsmgr.Making{Policy: policy})
			}
			if err != nil {
				if here, e := v.Features(); e == nil && here.Digest() != m.Features {
					err = fmt.Errorf("%w (the archive is from a kernel with other features: compile and load the policy's source text instead)", err)
				}
				return hint(c, err)
			}
			say(c, "restored %s into %s", count(len(policy), "profile"), ns)
			return nil
		},
	}
	r = removal(c)
	return c
}

func applyCommand() *cobra.Command {
	var file string
	var dryRun, prune bool
	var r func() nsmgr.Removal
	c := &cobra.Command{
		Use: "apply -f FILE", Short: "Create and update the namespaces that a file declares", Args: noArgs,
		Long: `Reads the declared namespaces from a YAML file, prints the differences, and makes
the changes; a second run has nothing to do. A declared namespace has the
declared policy and no other. --prune deletes namespaces that an earlier apply
created and that are no longer declared. A change that would leave a task
unconfined is refused; --force makes it nevertheless, and says which tasks become
unconfined.

All YAML documents of a file are read. If FILE is a directory, all files *.yaml
and *.yml in it are read, and are one declaration. The host profiles of the
declared kinds are loaded on the host if they are not loaded yet.

  namespaces:
    - name: web
      profiles: [./web.aa]      # files or directories, relative to this file
    - name: outer
      kind: nested              # a shipped profile
      container: c1
    - name: outer//inner
      kind: unprivileged`,
		Example: "  nsmgr apply -f namespaces.yaml --dry-run",
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return exit.BadInputf("apply: give the file with -f")
			}
			return apply(c, file, dryRun, prune, r())
		},
	}
	r = removal(c)
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "", "`FILE` or directory to read; - is the standard input")
	f.BoolVarP(&dryRun, "dry-run", "n", false, "only print the differences")
	f.BoolVar(&prune, "prune", false, "delete namespaces that an earlier apply created and that are no longer declared")
	return c
}

func apply(c *cobra.Command, file string, dryRun, prune bool, r nsmgr.Removal) error {
	d, err := readDeclaration(c, file)
	if err != nil {
		return err
	}
	v, err := nsmgr.Open()
	if err != nil {
		return err
	}
	comp, err := containers.Compiler(v)
	if err != nil {
		return err
	}
	wanted, err := d.Wanted(c.Context(), comp)
	if err != nil {
		return err
	}
	if !dryRun {
		if err := v.Mend(c.Context()); err != nil {
			return err
		}
	}
	if !dryRun {
		for _, kind := range d.Kinds() {
			host := containers.HostProfile(kind)
			loaded, err := containers.LoadHost(c.Context(), v, host)
			if err != nil {
				return err
			}
			if loaded {
				say(c, "load %s on the host", host)
			}
		}
	}
	changes, err := v.Diff(wanted, prune)
	if err != nil {
		return err
	}
	for _, ch := range changes {
		say(c, "%s", ch)
		if dryRun {
			continue
		}
		if err := v.Apply(c.Context(), ch, r); err != nil {
			return hint(c, err)
		}
	}
	if len(changes) == 0 {
		say(c, "nothing to do")
	}
	return nil
}

// readDeclaration reads the file or directory of apply; "-" is the standard
// input.
func readDeclaration(c *cobra.Command, file string) (declaration.File, error) {
	if file == "-" {
		return declaration.Read(c.InOrStdin(), "the standard input", ".")
	}
	return declaration.Open(file)
}
