// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/isolation"
	"proofhouse/kernels"
	"proofhouse/regression"
	"proofhouse/reports/expect"
	"proofhouse/runs"
	"proofhouse/runs/progress"
)

// table is what a list prints: a header and rows, or the same as JSON.
type table struct {
	header []string
	rows   [][]string
	json   any
}

// listed are the things that `proofhouse list` lists, by name.
var listed = map[string]func(c *cobra.Command, source, pattern string) (table, error){
	"kernels": func(c *cobra.Command, _, pattern string) (table, error) { return kernelTable(c, pattern) },
	"scripts": scriptTable,
	"groups":  func(_ *cobra.Command, _, pattern string) (table, error) { return groupTable(pattern), nil },
	"rows":    func(_ *cobra.Command, _, pattern string) (table, error) { return rowTable(pattern), nil },
}

func listCommand() *cobra.Command {
	var asJSON bool
	source := runs.DefaultSource
	c := &cobra.Command{
		Use:   "list kernels|scripts|groups|rows [PATTERN]",
		Short: "List what can be tested, and on what",
		Long: `Lists kernels (those in the cache and those that Debian offers), the scripts of
the upstream suite, or the groups and rows of the isolation matrix.

With a PATTERN, only names that contain it are listed; in a PATTERN with *, the
* matches any text and the whole name must match.`,
		Example: `  proofhouse list rows file/
  proofhouse list scripts 'stack*'
  proofhouse list kernels trixie --json`,
		ValidArgs: []string{"kernels", "scripts", "groups", "rows"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 || listed[args[0]] == nil {
				return exit.BadInputf("list: give kernels, scripts, groups or rows, and at most one PATTERN")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			pattern := ""
			if len(args) == 2 {
				pattern = args[1]
			}
			t, err := listed[args[0]](c, source, pattern)
			if err != nil {
				return err
			}
			if len(t.rows) == 0 && pattern != "" {
				return exit.BadInputf("list %s: none matches %q (list %[1]s without a pattern prints all)", args[0], pattern)
			}
			return t.print(asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&source, "apparmor-src", source, "`SPEC` of the source of the upstream suite")
	return c
}

func (t table) print(asJSON bool) error {
	if asJSON {
		return printJSON(t.json)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i := range row {
			row[i] = printable.Line(row[i])
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return w.Flush()
}

// fits reports whether a name matches the pattern.
func fits(pattern string, names ...string) bool {
	return pattern == "" || slices.ContainsFunc(names, func(name string) bool {
		if strings.Contains(pattern, "*") {
			return expect.Match(pattern, name)
		}
		return strings.Contains(name, pattern)
	})
}

func kernelTable(c *cobra.Command, pattern string) (table, error) {
	display := progress.New(os.Stderr)
	offers, err := kernels.Known(c.Context(), display.Step)
	display.Close()
	if len(offers) == 0 && err != nil {
		return table{}, err
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "proofhouse: some Debian suites could not be read:", err)
	}
	t := table{header: []string{"SPEC", "RELEASE", "VERSION", "CACHED"}}
	kept := []kernels.Offer{}
	for _, o := range offers {
		if !fits(pattern, o.Spec, o.Release, o.Version) {
			continue
		}
		kept = append(kept, o)
		cached, spec := "", o.Spec
		if o.Cached {
			cached = "yes"
		}
		if spec == "" {
			spec = "-"
		}
		t.rows = append(t.rows, []string{spec, o.Release, o.Version, cached})
	}
	t.json = kept
	return t, nil
}

func scriptTable(c *cobra.Command, source, pattern string) (table, error) {
	display := progress.New(os.Stderr)
	defer display.Close()
	src, err := regression.Fetch(c.Context(), source, display.Step)
	if err != nil {
		return table{}, err
	}
	all, err := src.Scripts()
	if err != nil {
		return table{}, err
	}
	type script struct {
		Name    string  `json:"name"`
		ID      string  `json:"id"`
		Seconds float64 `json:"seconds"` // expected on User Mode Linux
		Smoke   bool    `json:"smoke,omitempty"`
		NotRun  string  `json:"not_run,omitempty"`
	}
	list := []script{}
	t := table{header: []string{"SCRIPT", "EXPECTED", "NOTE"}}
	for _, s := range all {
		if !fits(pattern, s.Name) {
			continue
		}
		x := script{s.Name, runs.SpecID(s.Name), regression.DefaultSeconds(s.Name), slices.Contains(regression.Smoke(), s.Name), s.NotRun}
		list = append(list, x)
		note := ""
		switch {
		case x.NotRun != "":
			note = "not run: " + x.NotRun
		case x.Smoke:
			note = "smoke"
		}
		t.rows = append(t.rows, []string{x.Name, fmt.Sprintf("%.0f s", x.Seconds), note})
	}
	t.json = list
	return t, nil
}

func groupTable(pattern string) table {
	type group struct {
		Name string `json:"name"`
		Rows int    `json:"rows"`
	}
	list := []group{}
	for _, r := range isolation.Rows() {
		i := slices.IndexFunc(list, func(g group) bool { return g.Name == r.Group })
		switch {
		case !fits(pattern, r.Group):
		case i < 0:
			list = append(list, group{r.Group, 1})
		default:
			list[i].Rows++
		}
	}
	t := table{header: []string{"GROUP", "ROWS"}, json: list}
	for _, g := range list {
		t.rows = append(t.rows, []string{g.Name, fmt.Sprint(g.Rows)})
	}
	return t
}

func rowTable(pattern string) table {
	type row struct {
		Name  string   `json:"name"`
		ID    string   `json:"id"`
		About string   `json:"about"`
		Needs []string `json:"needs,omitempty"`
		Smoke bool     `json:"smoke,omitempty"`
	}
	list := []row{}
	t := table{header: []string{"ROW", "ABOUT"}}
	for _, r := range isolation.Rows() {
		name := r.Group + "/" + r.Name
		if !fits(pattern, name) {
			continue
		}
		list = append(list, row{name, r.ID(), r.About, r.Needs, r.Smoke})
		t.rows = append(t.rows, []string{name, r.About})
	}
	t.json = list
	return t
}

// completeNames has the shell complete --row and --script, also behind a comma.
func completeNames(c *cobra.Command) {
	for flag, names := range map[string]func(context.Context) []string{"row": rowNames, "script": scriptNames} {
		complete := func(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			before := typed[:strings.LastIndexByte(typed, ',')+1]
			var list []string
			for _, n := range names(c.Context()) {
				if strings.HasPrefix(n, typed[len(before):]) {
					list = append(list, before+n)
				}
			}
			return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		if err := c.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // the flag is not defined
		}
	}
}

func rowNames(context.Context) (list []string) {
	for _, r := range isolation.Rows() {
		list = append(list, r.Group+"/"+r.Name)
	}
	return list
}

// scriptNames are those of the default source if it is in the cache: a shell
// does not wait for a download.
func scriptNames(ctx context.Context) (list []string) {
	if ctx == nil {
		ctx = context.Background()
	}
	const limit = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	src, err := regression.Fetch(ctx, runs.DefaultSource, func(string) {})
	if err != nil {
		return nil
	}
	scripts, err := src.Scripts()
	if err != nil {
		return nil
	}
	for _, s := range scripts {
		list = append(list, s.Name)
	}
	return list
}
