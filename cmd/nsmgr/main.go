// nsmgr manages AppArmor policy namespaces.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	_ "proofhouse/cmd/nsmgr/brief" // makes the start short
	"proofhouse/internal/cli"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

func main() { os.Exit(start()) }

// start runs the command and returns its exit status.
func start() int {
	ctx := interruptible()
	err := command(os.Args[1:]).ExecuteContext(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	return exit.Report(os.Stderr, "nsmgr", err)
}

// told is done when the process is told to end, and listens for that from when
// somebody first waits for it: to listen takes a thread. Until then a signal
// ends nsmgr as it would any program, which leaves what any kill leaves: the old
// state, the new one, or what gc finishes or undoes.
type told struct {
	context.Context
	listen func()
}

func (t told) Done() <-chan struct{} {
	t.listen()
	return t.Context.Done()
}

func interruptible() told {
	ctx, cancel := context.WithCancel(context.Background())
	return told{ctx, sync.OnceFunc(func() {
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt, syscall.SIGTERM)
		go func() {
			<-c
			signal.Stop(c) // the second one ends it at once
			cancel()
		}()
	})}
}

// maker makes a command.
type maker struct {
	name string
	make func() *cobra.Command
	long bool // it changes several things, and is to end between two of them; or it goes on until it is told to end
}

// command is the command; a long one listens from its start.
func (m maker) command() *cobra.Command {
	c := m.make()
	if m.long {
		c.PersistentPreRun = func(c *cobra.Command, _ []string) { _ = c.Context().Done() }
	}
	return c
}

// makers make the commands of nsmgr, in a list that takes no time at the start.
// What else is known of them before that is in package brief.
var makers = []maker{
	{"create", createCommand, false}, {"list", listCommand, false}, {"show", showCommand, false},
	{"load", loadCommand, false}, {"unload", unloadCommand, false}, {"exec", execCommand, false},
	{"tasks", tasksCommand, false}, {"delete", deleteCommand, false}, {"container", containerCommand, true},
	{"features", featuresCommand, false}, {"gc", gcCommand, true}, {"verify", verifyCommand, true},
	{"probe", probeCommand, false}, {"audit", auditCommand, false}, {"watch", watchCommand, true},
	{"save", saveCommand, false}, {"restore", restoreCommand, false}, {"apply", applyCommand, true},
	{"hook", hookCommand, true}, {"doctor", doctorCommand, false}, {"man", manCommand, false},
	{"completion", completionCommand, false}, {"version", versionCommand, false},
}

func versionCommand() *cobra.Command { return cli.Version("nsmgr") }

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
		root.AddCommand(m.command())
		return root
	}
	for _, m := range makers {
		root.AddCommand(m.command())
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
