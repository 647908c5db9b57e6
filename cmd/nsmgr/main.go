// nsmgr manages AppArmor policy namespaces.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	_ "proofhouse/cmd/nsmgr/brief" // makes the start short
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
	{"probe", probeCommand}, {"audit", auditCommand}, {"watch", watchCommand},
	{"save", saveCommand}, {"restore", restoreCommand}, {"apply", applyCommand},
	{"hook", hookCommand}, {"doctor", doctorCommand}, {"man", manCommand},
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

// command is nsmgr for these words: with the one command that they begin with,
// or with all, which takes a twentieth of a short one's time.
func command(words []string) *cobra.Command {
	root := cli.Root(&cobra.Command{
		Use:   "nsmgr",
		Short: "Manage AppArmor policy namespaces",
		Long: `nsmgr makes, fills, shows and removes AppArmor policy namespaces, in which LXC
containers can have policy of their own. It manages what it can see: on a host
all of it, within a container that has a namespace, what is below that.

A namespace below another is written outer//inner.

Exit status: 0 done, 1 refused or not as it should be, 2 bad usage or bad
input, 3 something broke.`,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	})
	for _, m := range makers {
		if len(words) == 0 || words[0] != m.name {
			continue
		}
		if m.name == "man" || m.name == "completion" { // they look at the others
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

// args and noArgs are what commands take.
var (
	args   = cli.Args
	noArgs = cli.NoArgs
)

// onNamespace opens the view and reads the namespace's name.
func onNamespace(name string) (*nsmgr.View, nsmgr.Name, error) {
	ns, err := nsmgr.ParseName(name)
	if err != nil {
		return nil, "", err
	}
	v, err := nsmgr.Open()
	return v, ns, err
}

// completeNames offers the namespaces there are.
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
	e := json.NewEncoder(c.OutOrStdout())
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// say writes a line to the command's output. What a name in it contains, it
// stays one line, without control characters.
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
		Args:      args(1, 1, "name the shell: bash, zsh or fish"),
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
			return exit.BadInputf("shell %q: there are bash, zsh and fish", got[0])
		},
	}
}
