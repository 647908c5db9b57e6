// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"sort"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/kernels"
	"proofhouse/runs/progress"
)

func kernelsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "kernels", Short: "List, fetch and show kernel builds",
		Example: "  proofhouse kernels list\n  proofhouse kernels show debian:trixie",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return exit.BadInputf("unknown command %q: want proofhouse kernels list, fetch or show", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var asJSON bool
	show := &cobra.Command{
		Use: "show SPEC", Short: "Show the properties of a kernel build", Example: "  proofhouse kernels show debian:trixie",
		Args: someArgs(1, "give one kernel"),
		RunE: func(c *cobra.Command, args []string) error {
			b, err := resolve(c, args[0])
			if err != nil {
				return err
			}
			return printBuild(b, asJSON)
		},
	}
	show.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	fetch := &cobra.Command{
		Use: "fetch SPEC...", Short: "Fetch kernel builds into the cache", Example: "  proofhouse kernels fetch debian:bookworm debian:trixie",
		Args: someArgs(0, "give at least one kernel"),
		RunE: func(c *cobra.Command, args []string) error {
			for _, spec := range args {
				b, err := resolve(c, spec)
				if err != nil {
					return err
				}
				fmt.Printf("%s\t%s\n", spec, b.ID())
			}
			return nil
		},
	}
	list := &cobra.Command{
		Use: "list", Short: "List the kernels in the cache and those that Debian offers", Args: noArgs,
		Example: "  proofhouse kernels list --json",
		RunE: func(c *cobra.Command, _ []string) error {
			t, err := kernelTable(c, "")
			if err != nil {
				return err
			}
			return t.print(asJSON)
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(list, fetch, show)
	return c
}

func resolve(c *cobra.Command, spec string) (*kernels.Build, error) {
	if err := cache.Check(); err != nil {
		return nil, err
	}
	display := progress.New(os.Stderr)
	defer display.Close()
	b, err := kernels.Resolve(c.Context(), spec, display.Step)
	if err == nil && b.Kind == kernels.OnBoard {
		err = exit.BadInputf("kernel %s runs on a board: proofhouse board check shows it", spec)
	}
	return b, err
}

func printJSON(v any) error { return printable.EncodeJSON(os.Stdout, v, "  ") }

func printBuild(b *kernels.Build, asJSON bool) error {
	if asJSON {
		return printJSON(struct {
			ID string `json:"id"`
			*kernels.Build
		}{b.ID(), b})
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"id", b.ID()}, {"kind", string(b.Kind)}, {"release", b.Release}, {"version", b.Version},
		{"arch", b.Arch}, {"source", b.Source}, {"image", b.Image}, {"sha256", b.SHA256},
		{"modules", b.Modules}, {"config", b.Config},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
	}
	return w.Flush()
}

func cacheCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "cache", Short: "Show and clean the cache",
		Example: "  proofhouse cache show\n  proofhouse cache clean",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return exit.BadInputf("unknown command %q: want proofhouse cache show or clean", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var asJSON bool
	show := &cobra.Command{
		Use: "show", Short: "List the entries of the cache with their sizes", Args: noArgs,
		Example: "  proofhouse cache show --json",
		RunE: func(*cobra.Command, []string) error {
			items, err := cache.List()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(append([]cache.Item{}, items...))
			}
			sort.SliceStable(items, func(i, j int) bool { return items[i].Bytes > items[j].Bytes })
			var sum int64
			w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			for _, it := range items {
				sum += it.Bytes
				fmt.Fprintf(w, "%s\t%s\t%s\tlast used %s\n", it.Room, it.Key, megabytes(it.Bytes), it.Used.Format("2006-01-02 15:04"))
			}
			fmt.Fprintf(w, "total\t%s\t%s\t\n", cache.Root(), megabytes(sum))
			return w.Flush()
		},
	}
	show.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	clean := &cobra.Command{
		Use: "clean", Short: "Remove everything from the cache that no run is using", Args: noArgs,
		Example: "  proofhouse cache clean",
		RunE: func(c *cobra.Command, _ []string) error {
			items, err := cache.List()
			if err != nil {
				return err
			}
			var sum int64
			for _, it := range items {
				if err := cache.Remove(c.Context(), it); err != nil {
					return err
				}
				sum += it.Bytes
			}
			fmt.Printf("removed %d entries, %s\n", len(items), megabytes(sum))
			return nil
		},
	}
	c.AddCommand(show, clean)
	return c
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
