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
	"proofhouse/internal/printable"
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
			say(c, "saved %s of %s in %s", printable.Count(len(policy), "profile"), ns, got[1])
			return nil
		},
	}
}

// replaceable checks that a file can be replaced: a device such as /dev/null must
// not become a regular file.
func replaceable(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	return nil
}

// replaceFile replaces a file atomically.
func replaceFile(path string, write func(io.Writer) error) error {
	if err := replaceable(path); err != nil {
		return err
	}
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
				return exit.BadInputf("read the archive: %w", err)
			}
			defer func() { _ = f.Close() }()
			m, policy, err := nsmgr.ReadArchive(f)
			if err != nil {
				return exit.BadInputf("read the archive %s: %w", got[1], err)
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
			say(c, "restored %s into %s", printable.Count(len(policy), "profile"), ns)
			return nil
		},
	}
	r = removal(c)
	return c
}

func applyCommand() *cobra.Command {
	var file string
	var dryRun, prune, watch bool
	var r func() nsmgr.Removal
	c := &cobra.Command{
		Use: "apply -f FILE", Short: "Create and update the namespaces that a file declares", Args: noArgs,
		Long: `Reads the declared namespaces from a YAML file, prints the differences, and makes
the changes; a second run has nothing to do. A declared namespace has the
declared policy and no other. --prune deletes namespaces that an earlier apply
created and that are no longer declared. A change that would leave a task
unconfined is refused; --force makes it nevertheless, and says which tasks become
unconfined.

--watch continues to run: it applies the declaration now, and again each time that
it or a policy file that it names changes, or on SIGHUP. A file that another process
is still writing is not read. If a file is invalid, or a change is refused, what is
in force stays, and a line says why; refused changes are tried again. A namespace
that is no longer declared is deleted if this declaration created it and no task is
in it (--prune=false keeps it).

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
		Example: "  nsmgr apply -f namespaces.yaml --dry-run\n  nsmgr apply -f /etc/nsmgr --watch",
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return exit.BadInputf("apply: give a file or directory: -f FILE")
			}
			removal := r()
			if watch {
				if err := watchable(c, file); err != nil {
					return err
				}
				return watchApply(c, file, prune || !c.Flags().Changed("prune"))
			}
			return apply(c, file, dryRun, prune, removal)
		},
	}
	r = removal(c)
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "", "`FILE` or directory to read; - is the standard input")
	f.BoolVarP(&dryRun, "dry-run", "n", false, "only print the differences")
	f.BoolVarP(&watch, "watch", "w", false, "continue to run, and apply each change")
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
	failed, n := change(c, v, d, wanted, changing{source: source(file), dryRun: dryRun, prune: nsmgr.Prune{All: prune}, removal: r})
	if len(failed) > 0 {
		return hint(c, failed[0])
	}
	if n == 0 {
		say(c, "nothing to do")
	}
	return nil
}

// changing is how [change] works.
type changing struct {
	source  string // see nsmgr.Making
	dryRun  bool
	prune   nsmgr.Prune
	removal nsmgr.Removal
	all     bool // continue after a change that failed
}

// change loads the host profiles, and makes the changes after which the namespaces
// are as wanted. It returns what failed, and the number of changes that are needed.
func change(c *cobra.Command, v *nsmgr.View, d declaration.File, wanted []nsmgr.Wanted, how changing) (failed []error, n int) {
	for i := range wanted {
		wanted[i].Source = how.source
	}
	if !how.dryRun {
		if err := v.Mend(c.Context()); err != nil {
			return []error{err}, 0
		}
		if err := loadHosts(c, v, d.Kinds()); err != nil {
			return []error{err}, 0
		}
	}
	changes, err := v.Diff(wanted, how.prune)
	if err != nil {
		return []error{err}, 0
	}
	for _, ch := range changes {
		if how.dryRun {
			say(c, "%s", ch)
			continue
		}
		if !how.all {
			say(c, "%s", ch) // a change that is refused is named, too
		}
		if err := v.Apply(c.Context(), ch, how.removal); err != nil {
			failed = append(failed, err)
			if !how.all {
				break
			}
			continue
		}
		if how.all {
			say(c, "%s", ch)
		}
	}
	return failed, len(changes)
}

// loadHosts loads the host profiles of the declared kinds that the host lacks.
func loadHosts(c *cobra.Command, v *nsmgr.View, kinds []string) error {
	for _, kind := range kinds {
		hosts, err := containers.HostProfiles(v, kind)
		if err != nil {
			return err
		}
		for _, host := range hosts {
			loaded, err := containers.LoadHost(c.Context(), v, host)
			if err != nil {
				return err
			}
			if loaded {
				say(c, "load %s on the host", host)
			}
		}
	}
	return nil
}

// source is the absolute path of the declaration; "" for the standard input.
func source(file string) string {
	if file == "-" {
		return ""
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return ""
	}
	return path
}

// readDeclaration reads the file or directory of apply; "-" is the standard
// input.
func readDeclaration(c *cobra.Command, file string) (declaration.File, error) {
	if file == "-" {
		return declaration.Read(c.InOrStdin(), "the standard input", ".")
	}
	return declaration.Open(file)
}
