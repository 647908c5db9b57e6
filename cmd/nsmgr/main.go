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
	"time"

	"github.com/spf13/cobra"

	"proofhouse/internal/cli"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

func main() { os.Exit(start()) }

// start runs the command and returns its exit status.
func start() int {
	ctx := interruptible()
	err := command().ExecuteContext(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	return exit.Report(os.Stderr, "nsmgr", err)
}

// unheard is for how long a signal ends nsmgr as it would any program.
const unheard = 200 * time.Millisecond

// interruptible is done when the process is told to end, which a command that
// takes its time does in good order. A short one does not listen: that takes a
// thread, a tenth of its time, and what is killed so early leaves what any
// kill leaves, the old state or the new one.
func interruptible() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(unheard, func() {
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt, syscall.SIGTERM)
		<-c
		signal.Stop(c) // the second one ends it at once
		cancel()
	})
	return ctx
}

func command() *cobra.Command {
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
	root.AddCommand(
		createCommand(), listCommand(), showCommand(), loadCommand(), unloadCommand(), execCommand(), tasksCommand(),
		deleteCommand(), containerCommand(), featuresCommand(), gcCommand(), verifyCommand(), probeCommand(), auditCommand(), watchCommand(),
		saveCommand(), restoreCommand(), applyCommand(), hookCommand(), doctorCommand(), manCommand(),
		completionCommand(root), cli.Version("nsmgr"),
	)
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

// compiler compiles for this machine's kernel.
func compiler(v *nsmgr.View) (*profiles.Compiler, error) {
	f, err := v.StableFeatures()
	if err != nil {
		return nil, err
	}
	return profiles.NewCompiler(f)
}

// printJSON writes a value as the command's --json form.
func printJSON(c *cobra.Command, value any) error {
	e := json.NewEncoder(c.OutOrStdout())
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// say writes a line to the command's output.
func say(c *cobra.Command, format string, a ...any) {
	_, _ = fmt.Fprintf(c.OutOrStdout(), format+"\n", a...)
}

func completionCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print a completion script for a shell",
		Example:   "  nsmgr completion bash > /etc/bash_completion.d/nsmgr",
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      args(1, 1, "name the shell: bash, zsh or fish"),
		RunE: func(c *cobra.Command, got []string) error {
			out := c.OutOrStdout()
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
