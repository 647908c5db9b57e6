// SPDX-License-Identifier: Apache-2.0

// Command nsmgr manages AppArmor policy namespaces. This package has its commands:
// flags, calls of the packages nsmgr, profiles and containers, and output. Logic
// lives in those packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	_ "proofhouse/cmd/nsmgr/brief" // shortens the start
	"proofhouse/internal/cli"
	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/nsmgr"
)

func main() { os.Exit(start()) }

// start runs the command and returns its exit status.
func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := command(os.Args[1:]).ExecuteContext(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	return exit.Report(os.Stderr, "nsmgr", err)
}

// maker makes a command.
type maker struct {
	name string
	make func() *cobra.Command
}

// makers make the commands of nsmgr. Commands are made on demand: making all of
// them takes a twentieth of the time of a short one.
var makers = []maker{
	{"create", createCommand}, {"list", listCommand}, {"show", showCommand},
	{"load", loadCommand}, {"unload", unloadCommand}, {"exec", execCommand},
	{"tasks", tasksCommand}, {"delete", deleteCommand}, {"container", containerCommand},
	{"features", featuresCommand}, {"gc", gcCommand}, {"verify", verifyCommand},
	{"probe", probeCommand}, {"audit", auditCommand}, {"watch", watchCommand}, {"metrics", metricsCommand}, {"top", topCommand},
	{"save", saveCommand}, {"restore", restoreCommand}, {"apply", applyCommand},
	{"hook", hookCommand}, {"adopt", adoptCommand}, {"doctor", doctorCommand}, {"man", manCommand},
	{"completion", completionCommand}, {"version", versionCommand},
}

func versionCommand() *cobra.Command { return cli.Version("nsmgr") }

func manCommand() *cobra.Command {
	return cli.Man("nsmgr", cli.Manual{
		Files: [][2]string{
			{"/sys/kernel/security/apparmor", "the kernel's interface"},
			{"/run/nsmgr", "locks, and what is known of the namespaces that nsmgr created"},
			{"/etc/nsmgr/*.yaml", "declarations that nsmgr-apply.service applies at boot"},
		},
		SeeAlso: []string{"apparmor(7)", "apparmor_parser(8)", "aa-exec(1)", "lxc.container.conf(5)"},
	})
}

// command returns nsmgr for these arguments: with only the command that is their
// first, or with all commands.
func command(arguments []string) *cobra.Command {
	root := cli.Root(&cobra.Command{
		Use:   "nsmgr",
		Short: "Manage AppArmor policy namespaces",
		Long: `nsmgr creates, shows and removes AppArmor policy namespaces, and loads policy
into them. LXC containers can have a namespace with policy of their own. nsmgr
manages the namespaces that it sees: all of them on the host, and those below its
own namespace inside a container that has one.

A namespace below another is written outer//inner.

Exit status: 0 success, 1 refused or a check failed, 2 bad usage or bad input,
3 internal error.`,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	})
	for _, m := range makers {
		if len(arguments) == 0 || arguments[0] != m.name {
			continue
		}
		if m.name == "man" || m.name == "completion" { // these read the other commands
			break
		}
		root.AddCommand(m.make())
		return root
	}
	for _, m := range makers {
		root.AddCommand(m.make())
	}
	return root
}

// args and noArgs check a command's arguments.
var (
	args   = cli.Args
	noArgs = cli.NoArgs
)

// onNamespace opens the view and parses the namespace's name.
func onNamespace(name string) (*nsmgr.View, nsmgr.Name, error) {
	ns, err := nsmgr.ParseName(name)
	if err != nil {
		return nil, "", err
	}
	v, err := nsmgr.Open()
	return v, ns, err
}

// completeNames completes the names of namespaces.
func completeNames(_ *cobra.Command, got []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(got) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	v, err := nsmgr.Open()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := v.Below("")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, n := range names {
		out = append(out, string(n))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// printJSON writes a value as the command's --json form.
func printJSON(c *cobra.Command, value any) error {
	return printable.EncodeJSON(c.OutOrStdout(), value, "  ")
}

// say writes one line to the command's output. Control characters are escaped:
// containers choose some of the names that are printed.
func say(c *cobra.Command, format string, a ...any) {
	_, _ = fmt.Fprintln(c.OutOrStdout(), printable.Text(fmt.Sprintf(format, a...)))
}

// note writes a line to the command's error output, like say.
func note(c *cobra.Command, format string, a ...any) {
	_, _ = fmt.Fprintln(c.ErrOrStderr(), printable.Text(fmt.Sprintf(format, a...)))
}

func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print a completion script for a shell",
		Example:   "  nsmgr completion bash > /etc/bash_completion.d/nsmgr",
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      args(1, 1, "give the shell: bash, zsh or fish"),
		RunE: func(c *cobra.Command, got []string) error {
			root, out := c.Root(), c.OutOrStdout()
			switch got[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return exit.BadInputf("completion: unknown shell %q: want bash, zsh or fish", got[0])
		},
	}
}
