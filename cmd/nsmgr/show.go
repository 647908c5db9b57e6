// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"proofhouse/containers"
	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/nsmgr"
)

// table writes rows with aligned columns. Cells are printed without control
// characters: containers choose names that are in them.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = printable.Text(row[i])
		}
		if _, err := fmt.Fprintln(t, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

func listCommand() *cobra.Command {
	var tree, asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the namespaces", Args: noArgs,
		Example: "  nsmgr list --tree\n  nsmgr list --json",
		RunE: func(c *cobra.Command, _ []string) error {
			v, err := nsmgr.Open()
			if err != nil {
				return err
			}
			list, err := v.List()
			if err != nil {
				return err
			}
			all := make([]listed, len(list))
			owner := ownerOf(c, v)
			for i, l := range list {
				all[i] = listed{l, owner(l.Name)}
			}
			if asJSON {
				return printJSON(c, all)
			}
			return printList(c.OutOrStdout(), all, tree)
		},
	}
	c.Flags().BoolVar(&tree, "tree", false, "as a tree")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

// listed is the JSON form of list.
type listed struct {
	nsmgr.Listed
	Container string `json:"container,omitempty"`
}

// ownerOf returns a function that names the container of a namespace: the one
// that nsmgr created it for, or that of LXC, Incus or LXD which its name tells.
func ownerOf(c *cobra.Command, v *nsmgr.View) func(nsmgr.Name) string {
	owners := sync.OnceValue(func() *containers.Owners {
		o, err := containers.FindOwners(c.Context())
		if err != nil {
			note(c, "nsmgr: note: %v", err)
			return nil
		}
		return o
	})
	return func(ns nsmgr.Name) string {
		if own := v.Container(ns); own != "" {
			return own
		}
		if !containers.MayHaveOwner(ns) || owners() == nil {
			return ""
		}
		owner, ok := owners().Of(ns)
		if !ok {
			return ""
		}
		return owner.String()
	}
}

func printList(w io.Writer, list []listed, tree bool) error {
	if len(list) == 0 {
		return nil
	}
	rows := [][]string{{"NAMESPACE", "PROFILES", "TASKS", "CREATED BY", "CONTAINER"}}
	for _, l := range list {
		name, by := string(l.Name), "others"
		if tree {
			parts := l.Name.Parts()
			name = strings.Repeat("  ", len(parts)-1) + parts[len(parts)-1]
		}
		if l.Mine {
			by = "nsmgr"
		}
		rows = append(rows, []string{name, fmt.Sprint(l.Profiles), fmt.Sprint(l.Tasks), by, cmp.Or(l.Container, "-")})
	}
	return table(w, rows)
}

// task is the JSON form of a task.
type task struct {
	PID     int    `json:"pid"`
	TID     int    `json:"tid"`
	Command string `json:"comm"`
	Label   string `json:"label"`
	Flat    bool   `json:"flat"`                 // removing the namespace unconfines it
	Inside  []int  `json:"inside_pids,omitzero"` // process ids in inner pid namespaces
	Pending bool   `json:"pending,omitzero"`     // it has requested the label for its next exec
}

func tasksJSON(ns nsmgr.Name, tasks []nsmgr.Task) []task {
	list := make([]task, len(tasks))
	for i, t := range tasks {
		list[i] = task{t.PID, t.TID, t.Command, t.Label.String(), t.Label.Flat(ns), t.Inside, t.Pending}
	}
	return list
}

func printTasks(w io.Writer, ns nsmgr.Name, tasks []nsmgr.Task) error {
	rows := [][]string{{"PID", "TID", "INSIDE", "COMMAND", "LABEL"}}
	for _, t := range tasks {
		inside := "-"
		if len(t.Inside) > 0 {
			inside = strings.Trim(fmt.Sprint(t.Inside), "[]")
		}
		label := t.Label.String()
		switch {
		case t.Label.Flat(ns):
			label += "  (not stacked)"
		case !t.Label.Held(ns):
			label += "  (stacked on unconfined)"
		}
		if t.Pending {
			label += "  (requested for its next exec)"
		}
		rows = append(rows, []string{fmt.Sprint(t.PID), fmt.Sprint(t.TID), inside, t.Command, label})
	}
	return table(w, rows)
}

func tasksCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "tasks NAME", Short: "List the tasks that a namespace confines",
		Long: `Lists each task whose label has a part in the namespace or below it: all threads,
including those in other pid namespaces.`,
		Example: "  nsmgr tasks container-ns",
		Args:    args(1, 1, "give one namespace"), ValidArgsFunction: completeNames,
		RunE: func(c *cobra.Command, got []string) error {
			v, ns, err := onNamespace(got[0])
			if err != nil {
				return err
			}
			if _, err := v.Children(ns); err != nil { // is it there?
				return err
			}
			tasks, err := v.Tasks(ns)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c, tasksJSON(ns, tasks))
			}
			if len(tasks) == 0 {
				say(c, "no task is in %s", ns)
				return nil
			}
			return printTasks(c.OutOrStdout(), ns, tasks)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

// shown is the JSON form of show.
type shown struct {
	Name      nsmgr.Name      `json:"name"`
	Level     int             `json:"level"`
	Revision  int             `json:"revision"`
	Mine      bool            `json:"made_by_nsmgr"`
	Container string          `json:"container,omitempty"`
	Profiles  []nsmgr.Profile `json:"profiles"`
	Children  []nsmgr.Name    `json:"children"`
	Tasks     []task          `json:"tasks"`
}

func showCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "show NAME", Short: "Show one namespace: its profiles, children and tasks",
		Example: "  nsmgr show container-ns",
		Args:    args(1, 1, "give one namespace"), ValidArgsFunction: completeNames,
		RunE: func(c *cobra.Command, got []string) error {
			v, ns, err := onNamespace(got[0])
			if err != nil {
				return err
			}
			s := shown{Name: ns, Level: len(ns.Parts()), Container: v.Container(ns)}
			if s.Profiles, err = v.Profiles(ns); err != nil {
				return err
			}
			if s.Children, err = v.Children(ns); err != nil {
				return err
			}
			if s.Revision, err = v.Revision(ns); err != nil {
				return err
			}
			tasks, err := v.Tasks(ns)
			if err != nil {
				return err
			}
			s.Tasks, s.Mine = tasksJSON(ns, tasks), v.Mine(ns)
			if asJSON {
				s.Profiles = append([]nsmgr.Profile{}, s.Profiles...)
				return printJSON(c, s)
			}
			return s.print(c, tasks)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func (s shown) print(c *cobra.Command, tasks []nsmgr.Task) error {
	say(c, "namespace %s, level %d, revision %d", s.Name, s.Level, s.Revision)
	if s.Container != "" {
		say(c, "created for container %s", s.Container)
	}
	rows := [][]string{{"PROFILE", "MODE", "ATTACHES TO", "HASH"}}
	for _, p := range s.Profiles {
		attach := p.Attach
		if attach == p.Name || attach == "" {
			attach = "-"
		}
		hash := p.Hash
		if algorithm, sum, ok := strings.Cut(hash, ":"); ok && len(sum) > 12 {
			hash = algorithm + ":" + sum[:12]
		}
		rows = append(rows, []string{p.Name, p.Mode, attach, hash})
	}
	if len(s.Profiles) == 0 {
		say(c, "no profiles")
	} else if err := table(c.OutOrStdout(), rows); err != nil {
		return err
	}
	for _, child := range s.Children {
		say(c, "child: %s", child)
	}
	if len(tasks) == 0 {
		say(c, "no tasks")
		return nil
	}
	return printTasks(c.OutOrStdout(), s.Name, tasks)
}

// featuresShown is the JSON form of features.
type featuresShown struct {
	Digest   string         `json:"digest"`
	Features nsmgr.Features `json:"features"`
	Missing  []missingNeed  `json:"missing"`
}

type missingNeed struct {
	Feature string `json:"feature"`
	For     string `json:"for"`
	Since   string `json:"since"`
	Must    bool   `json:"must"`
}

func featuresCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "features", Short: "Show what this kernel's AppArmor supports, and what stacked containers lack", Args: noArgs,
		Long: `Prints the kernel's feature files, and the features that stacked containers need
or can use and that are missing. Exit status 1: a required one is missing.`,
		Example: "  nsmgr features\n  nsmgr features --json",
		RunE: func(c *cobra.Command, _ []string) error {
			v, err := nsmgr.Open()
			if err != nil {
				return err
			}
			f, err := v.Features()
			if err != nil {
				return err
			}
			if asJSON {
				s := featuresShown{f.Digest(), f, []missingNeed{}}
				for _, n := range f.Missing() {
					s.Missing = append(s.Missing, missingNeed{strings.TrimSpace(n.File + " " + n.Word), n.For, n.Since, n.Must})
				}
				if err := printJSON(c, s); err != nil {
					return err
				}
			} else {
				printFeatures(c, f)
			}
			return exit.With(exit.Failed, f.CheckStacking())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func printFeatures(c *cobra.Command, f nsmgr.Features) {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		say(c, "%s: %s", name, strings.Join(strings.Fields(f[name]), " "))
	}
	missing := f.Missing()
	if len(missing) == 0 {
		say(c, "")
		say(c, "nothing is missing for stacked containers")
	}
	for _, n := range missing {
		weight := "optional"
		if n.Must {
			weight = "required"
		}
		say(c, "")
		say(c, "missing: %s (from %s on), %s for %s", strings.TrimSpace(n.File+" "+n.Word), n.Since, weight, n.For)
	}
}

// printLine writes a value as one line of JSON.
func printLine(c *cobra.Command, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n", b)
	return err
}
