// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"proofhouse/containers"
	"proofhouse/internal/cli"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

func containerCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "container COMMAND", Short: "Manage LXC containers that a namespace confines",
		Long: `Creates, starts and stops LXC containers whose tasks have the label
HOST_PROFILE//&:NAMESPACE:PROFILE, and runs commands in them. The label of a
container is in its LXC configuration, as lxc.apparmor.profile. After a start,
and for each command, nsmgr reads the label back from the kernel, and kills a
task that has another one.`,
		Example: `  nsmgr create container-ns
  nsmgr container create web --namespace container-ns
  nsmgr container start web
  nsmgr container run web -- cat /proc/self/attr/current
  nsmgr container destroy web`,
		Args: func(_ *cobra.Command, got []string) error {
			if len(got) > 0 {
				return exit.BadInputf("unknown command \"container %s\" (nsmgr container --help lists the commands)", got[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var lxcPath string
	c.PersistentFlags().StringVar(&lxcPath, "lxcpath", "", "`directory` of LXC's containers (default: what \"lxc-config lxc.lxcpath\" prints)")
	named := func(name string) containers.Container { return containers.Container{Name: name, Path: lxcPath} }
	c.AddCommand(
		containerCreateCommand(named), containerStartCommand(named), containerRunCommand(named), containerStopCommand(named),
		containerDestroyCommand(named), containerListCommand(named), containerStatusCommand(named),
	)
	for _, sub := range c.Commands() {
		// Before the arguments are checked: they do not matter without liblxc.
		check := sub.Args
		sub.Args = func(c *cobra.Command, got []string) error {
			if err := containers.Available(); err != nil {
				return errors.Join(becomeLXC(), err)
			}
			return check(c, got)
		}
		sub.ValidArgsFunction = completeContainers(&lxcPath)
	}
	return c
}

// withLXC is the name of an nsmgr that was built with liblxc. It may be beside one
// that was not: a static program starts several times faster, and only the
// container commands need liblxc.
const withLXC = "nsmgr-lxc"

// becomeLXC executes the nsmgr with liblxc in place of this one. It returns nil if
// that does not exist, and an error if it cannot be executed.
func becomeLXC() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	path := filepath.Join(filepath.Dir(self), withLXC)
	if err := syscall.Exec(path, append([]string{"nsmgr"}, os.Args[1:]...), os.Environ()); !errors.Is(err, fs.ErrNotExist) {
		return exit.BadInputf("run %s: %w", path, err)
	}
	return nil
}

// completeContainers completes the names of containers.
func completeContainers(lxcPath *string) cobra.CompletionFunc {
	return func(c *cobra.Command, got []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(got) > 0 || c.Name() == "create" || c.Name() == "list" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, err := containers.List(*lxcPath)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// containerCreation are the flags of container create.
type containerCreation struct {
	namespace, profile, host string
	making                   containers.Making
}

func containerCreateCommand(named func(string) containers.Container) *cobra.Command {
	var o containerCreation
	c := &cobra.Command{
		Use: "create NAME [-- TEMPLATE_ARG...]", Short: "Create a container for a namespace, or set the namespace of an existing one",
		Long: `Creates a container from LXC's busybox template, which needs no network, from
another template of LXC, or from a directory with a root file system, which
destroy keeps. If a container of that name already exists, and neither --template
nor --rootfs is given, only its lxc.apparmor.profile is changed.

The label is HOST_PROFILE//&:NAMESPACE:PROFILE. The namespace and the profile must
exist. Without --profile, the namespace must have only one.

If LXC's default configuration names a network bridge that does not exist, the
container has no network.`,
		Example: `  nsmgr container create web --namespace container-ns
  nsmgr container create web --namespace outer//inner --unprivileged
  nsmgr container create web --namespace container-ns --rootfs /srv/web
  nsmgr container create web --namespace container-ns --template download -- -d debian -r trixie -a amd64`,
		Args: args(1, 0, "give the container's name"),
		RunE: func(c *cobra.Command, got []string) error { return o.run(c, named(got[0]), got[1:]) },
	}
	f := c.Flags()
	f.StringVarP(&o.namespace, "namespace", "n", "", "`namespace` that confines it (default: the one of its own name)")
	f.StringVarP(&o.profile, "profile", "p", "", "`profile` of the namespace")
	f.StringVar(&o.host, "host-profile", "", "`profile` of the host to stack it on (default: the shipped one, host-ct)")
	f.StringVarP(&o.making.Template, "template", "t", "", "`NAME` of a template of LXC, or a program's path")
	f.StringVar(&o.making.Rootfs, "rootfs", "", "`directory` with a root file system")
	f.BoolVar(&o.making.Unprivileged, "unprivileged", false, "map its users to subordinate ids of root")
	f.BoolVar(&o.making.Nesting, "nesting", false, "allow containers in it")
	return c
}

func (o *containerCreation) run(c *cobra.Command, ct containers.Container, templateArgs []string) error {
	if err := containers.CheckName(ct.Name); err != nil {
		return err
	}
	m := o.making
	if m.Args = templateArgs; len(m.Args) > 0 && m.Template == "" {
		return exit.BadInputf("container create: arguments for a template (%s) without --template", strings.Join(m.Args, " "))
	}
	if m.Template != "" && m.Rootfs != "" {
		return exit.BadInputf("container create: give --template or --rootfs, not both")
	}
	v, ns, err := onNamespace(cmp.Or(o.namespace, ct.Name))
	if err != nil {
		return err
	}
	t := nsmgr.Target{Namespace: ns, Profile: o.profile, Host: o.host}
	if t.Host == "" {
		kind := profiles.Privileged
		if m.Nesting {
			kind = profiles.Nested
		}
		if t.Host, err = containers.HostProfileHere(v, kind); err != nil {
			return err
		}
	}
	if t.Profile == "" {
		if t.Profile, err = onlyProfile(v, ns); err != nil {
			return err
		}
	}
	m.Label = t.Label()
	if err := containers.CheckLabel(c.Context(), v, m.Label); err != nil {
		return err
	}
	if err := ct.Create(c.Context(), m); err != nil {
		return err
	}
	say(c, "created container %s", ct.Name)
	say(c, "label  %s", m.Label)
	say(c, "undo   nsmgr container destroy %s", ct.Name)
	return nil
}

func containerStartCommand(named func(string) containers.Container) *cobra.Command {
	return &cobra.Command{
		Use: "start NAME", Short: "Start a container, and check its label",
		Long: `Removes what a crash left of the container, starts it, and reads the label of its
init back from the kernel. If that is not the configured label, the container is
stopped. A host profile that nsmgr ships is loaded if it is missing; all other
parts of the label must be loaded.`,
		Example: "  nsmgr container start web",
		Args:    args(1, 1, "give one container"),
		RunE: func(c *cobra.Command, got []string) error {
			ct := named(got[0])
			s, err := ct.Status(c.Context())
			if err != nil {
				return err
			}
			if l, err := nsmgr.ParseLabel(s.Label); err == nil && l.In("") {
				v, err := nsmgr.Open()
				if err != nil {
					return err
				}
				if err := containers.CheckLabel(c.Context(), v, l); err != nil {
					return fmt.Errorf("start container %q: %w", ct.Name, err)
				}
			}
			if err := ct.Start(c.Context()); err != nil {
				return err
			}
			if s, err = ct.Status(c.Context()); err != nil {
				return err
			}
			say(c, "started container %s", ct.Name)
			say(c, "init   %d %s", s.PID, s.Confined)
			return nil
		},
	}
}

func containerRunCommand(named func(string) containers.Container) *cobra.Command {
	var cmd containers.Command
	c := &cobra.Command{
		Use: "run NAME [--] CMD ARG...", Short: "Run a command in a container",
		Long: `Runs the command in the container, under the container's label, and reads its
label back from the kernel. A command that the host or the namespace does not
confine is killed. Policy may name another profile of the same namespace for a
program. The environment is PATH, HOME and the variables of --env.

The exit status is the command's. If a signal killed the command, nsmgr says so and
is killed by the same signal: $? in a shell is 128 plus the signal's number.`,
		Example: `  nsmgr container run web -- cat /proc/self/attr/current
  nsmgr container run web --env LANG=C --cwd /srv -- ./task`,
		Args: args(2, 0, "give the container and the command"),
		RunE: func(c *cobra.Command, got []string) error {
			for _, kv := range cmd.Env {
				if name, _, ok := strings.Cut(kv, "="); !ok || name == "" {
					return exit.BadInputf("container run: --env %q is not NAME=VALUE", kv)
				}
			}
			cmd.Args = got[1:]
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
			// A terminal sends signals to both. The command would inherit an ignored
			// signal, so these are caught and dropped.
			signals, dropped := make(chan os.Signal, 8), make(chan os.Signal, 1)
			signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
			if term.IsTerminal(int(os.Stdin.Fd())) {
				signal.Notify(dropped, syscall.SIGINT, syscall.SIGQUIT)
			} else {
				signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT)
			}
			cmd.Signals = signals
			end, err := named(got[0]).Run(c.Context(), cmd)
			if err != nil {
				return err
			}
			if end.Signal != 0 {
				note(c, "nsmgr: container %s: %s was %s", got[0], got[1], end)
				containers.DieOf(end.Signal)
				return exit.With(128+int(end.Signal), errors.New(""))
			}
			if end.Status != 0 {
				return exit.With(end.Status, errors.New(""))
			}
			return nil
		},
	}
	f := c.Flags()
	f.SetInterspersed(true)
	f.StringArrayVarP(&cmd.Env, "env", "e", nil, "environment variable `NAME=VALUE`; may be given several times")
	f.StringVar(&cmd.Dir, "cwd", "", "working `directory` in the container")
	return c
}

// defaultTimeout is how long a container may take to shut down.
const defaultTimeout = 10 * time.Second

func containerStopCommand(named func(string) containers.Container) *cobra.Command {
	timeout := defaultTimeout
	var kill bool
	c := &cobra.Command{
		Use: "stop NAME", Short: "Shut a container down, or kill it",
		Long: `Has the container's init shut down, and kills what is left of the container after
--timeout. It returns when no task of the container is left.`,
		Example: "  nsmgr container stop web\n  nsmgr container stop web --kill",
		Args:    args(1, 1, "give one container"),
		RunE: func(c *cobra.Command, got []string) error {
			if kill {
				timeout = 0
			}
			if err := named(got[0]).Stop(c.Context(), timeout); err != nil {
				return err
			}
			say(c, "stopped container %s", got[0])
			return nil
		},
	}
	c.Flags().Var(cli.Duration(&timeout, 0), "timeout", "kill it if it has not shut down after this `duration`")
	c.Flags().BoolVar(&kill, "kill", false, "kill it without shutting it down")
	return c
}

func containerDestroyCommand(named func(string) containers.Container) *cobra.Command {
	return &cobra.Command{
		Use: "destroy NAME", Short: "Stop a container and remove it",
		Long: `Kills the container if it is running, and removes it with its root file system. A
root file system that was given with --rootfs is kept, and so is the namespace
(nsmgr delete removes it).`,
		Example: "  nsmgr container destroy web",
		Args:    args(1, 1, "give one container"),
		RunE: func(c *cobra.Command, got []string) error {
			if err := named(got[0]).Destroy(c.Context()); err != nil {
				return err
			}
			say(c, "removed container %s", got[0])
			return nil
		},
	}
}

func containerListCommand(named func(string) containers.Container) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the LXC containers and their labels",
		Long:    "Lists all LXC containers, including those that no namespace confines.",
		Example: "  nsmgr container list --json", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			names, err := containers.List(named("").Path)
			if err != nil {
				return err
			}
			slices.Sort(names)
			list := []containers.Status{}
			for _, name := range names {
				s, err := named(name).Status(c.Context())
				if err != nil { // a broken configuration must not hide the others
					note(c, "nsmgr: %v", err)
					s = containers.Status{Name: name, State: "UNREADABLE"}
				}
				list = append(list, s)
			}
			if asJSON {
				return printJSON(c, list)
			}
			if len(list) == 0 {
				return nil
			}
			rows := [][]string{{"CONTAINER", "STATE", "PID", "NAMESPACE", "LABEL"}}
			for _, s := range list {
				pid := "-"
				if s.PID > 0 {
					pid = fmt.Sprint(s.PID)
				}
				rows = append(rows, []string{s.Name, s.State, pid, cmp.Or(string(s.Namespace), "-"), inForce(s)})
			}
			return table(c.OutOrStdout(), rows)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

// inForce returns the label of a container, or the configured one if it is not
// running.
func inForce(s containers.Status) string {
	switch {
	case s.PID == 0:
		return cmp.Or(s.Label, "-")
	case !s.AsAsked:
		return s.Confined + "  (configured: " + s.Label + ")"
	}
	return s.Confined
}

func containerStatusCommand(named func(string) containers.Container) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "status NAME", Short: "Show one container and its label",
		Long: `Shows the container. Exit status 1: it is running with another label than the
configured one, or a profile of its label is no longer loaded. Its tasks keep the
policy of that profile, but it can no longer be updated.`,
		Example: "  nsmgr container status web",
		Args:    args(1, 1, "give one container"),
		RunE: func(c *cobra.Command, got []string) error {
			s, err := named(got[0]).Status(c.Context())
			if err != nil {
				return err
			}
			if s.NotLoaded, err = notLoaded(s); err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(c, s); err != nil {
					return err
				}
			} else {
				printStatus(c, s)
			}
			if s.PID > 0 && !s.AsAsked {
				return exit.Fail(fmt.Errorf("container %q has the label %s instead of %s", s.Name, s.Confined, s.Label))
			}
			if len(s.NotLoaded) > 0 {
				return exit.Fail(fmt.Errorf("container %q: no longer loaded: %s: stop and start the container to confine it by current policy", s.Name, strings.Join(s.NotLoaded, ", ")))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

// notLoaded returns the parts of the label of a running container whose profiles
// are no longer loaded.
func notLoaded(s containers.Status) (lost []string, err error) {
	if s.PID == 0 {
		return nil, nil
	}
	l, err := nsmgr.ParseLabel(s.Confined)
	if err != nil {
		return nil, nil //nolint:nilerr // it has no AppArmor label
	}
	v, err := nsmgr.Open()
	if err != nil {
		return nil, err
	}
	for _, p := range l.Parts {
		if p.Profile == nsmgr.Hidden {
			continue
		}
		loaded, err := v.IsLoaded(p)
		if err != nil && !errors.Is(err, nsmgr.ErrNotExist) {
			return nil, err
		}
		if !loaded {
			lost = append(lost, fmt.Sprintf("profile %q of %s", p.Profile, place(p.Namespace)))
		}
	}
	return lost, nil
}

func place(ns nsmgr.Name) string {
	if ns == "" {
		return "the host"
	}
	return fmt.Sprintf("namespace %q", ns)
}

func printStatus(c *cobra.Command, s containers.Status) {
	say(c, "container  %s, %s", s.Name, strings.ToLower(s.State))
	say(c, "label      %s", cmp.Or(s.Label, "none"))
	if s.PID > 0 {
		say(c, "init       %d %s", s.PID, s.Confined)
	}
	for _, p := range s.NotLoaded {
		say(c, "not loaded %s", p)
	}
	if s.Mapped {
		say(c, "users      mapped")
	}
	say(c, "root       %s", s.Rootfs)
	for _, left := range s.Leftovers {
		say(c, "left over  %s", left)
	}
}
