// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"proofhouse/containers"
	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// creation has the flags of create.
type creation struct {
	paths       []string
	parent      string
	container   string
	lxcPath     string
	kind        string
	ifNotExists bool
	bare        bool
}

func createCommand() *cobra.Command {
	var o creation
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a namespace and load its policy",
		Long: `Creates the namespace, loads policy into it, and prints the label for
lxc.apparmor.profile and how to undo it. Without --profiles the policy is the
shipped profile of --kind, named "container". The matching host profile, host-ct,
is loaded on the host if it is not loaded yet; where LXC's own programs are
confined, its name is lxc-host-ct, which they may change to.

With --for-container, the name is the one that LXC itself would choose, and NAME
is omitted. If the command fails, nothing is left of the namespace.`,
		Example: `  nsmgr create container-ns
  nsmgr create web --profiles /etc/apparmor.d/containers/web
  nsmgr create --for-container c1
  nsmgr create inner --parent outer --kind nested`,
		Args: args(0, 1, "give one name (--parent creates it below another)"),
		RunE: o.run,
	}
	f := c.Flags()
	f.StringArrayVarP(&o.paths, "profiles", "p", nil, "policy, text or compiled: `PATH` of a file or directory; may be given several times")
	f.StringVar(&o.kind, "kind", profiles.Privileged, "shipped profile to load, by its `KIND`: privileged, unprivileged or nested")
	f.StringVar(&o.parent, "parent", "", "create it below the namespace `NS`")
	f.StringVar(&o.container, "for-container", "", "name it as LXC does for the container `CT`")
	f.StringVar(&o.lxcPath, "lxcpath", "", "`directory` of LXC's containers (default: what \"lxc-config lxc.lxcpath\" prints)")
	f.BoolVar(&o.ifNotExists, "if-not-exists", false, "do nothing if it already exists")
	f.BoolVar(&o.bare, "empty", false, "load no policy")
	return c
}

// name returns the name of the namespace to create.
func (o *creation) name(ctx context.Context, got []string) (nsmgr.Name, error) {
	name := ""
	switch {
	case o.container != "" && len(got) == 0:
		if o.lxcPath == "" {
			var err error
			if o.lxcPath, err = containers.SystemPath(ctx); err != nil {
				return "", err
			}
		}
		name = nsmgr.LXCName(o.container, o.lxcPath)
	case o.container == "" && len(got) == 1:
		name = got[0]
	default:
		return "", exit.BadInputf("create: give a name, or --for-container")
	}
	// Checked before it is joined to the parent's name, which would hide a slash.
	if err := nsmgr.CheckName(name); err != nil {
		if strings.Contains(name, "/") {
			err = exit.BadInput(fmt.Errorf("%w (--parent creates one below another)", err))
		}
		return "", err
	}
	if o.parent == "" {
		return nsmgr.Name(name), nil
	}
	parent, err := nsmgr.ParseName(o.parent)
	return parent.Child(name), err
}

func (o *creation) run(c *cobra.Command, got []string) error {
	ns, err := o.name(c.Context(), got)
	if err != nil {
		return err
	}
	v, err := nsmgr.Open()
	if err != nil {
		return err
	}
	if o.ifNotExists && v.Exists(ns) {
		say(c, "namespace %s already exists", ns)
		return nil
	}
	policy, err := o.policy(c.Context(), v)
	if err != nil {
		return err
	}
	host, err := containers.HostProfileHere(v, o.kind)
	if err != nil {
		return err
	}
	loaded, err := containers.LoadHost(c.Context(), v, host)
	if err != nil {
		return err
	}
	err = v.Create(c.Context(), ns, nsmgr.Making{Policy: policy, Container: o.container})
	if err != nil && loaded {
		err = errors.Join(err, v.Unload(context.WithoutCancel(c.Context()), "", nsmgr.Removal{}, host))
	}
	if o.ifNotExists && errors.Is(err, nsmgr.ErrExist) {
		say(c, "namespace %s already exists", ns)
		return nil // created by another process in the meantime
	}
	if err != nil {
		return err
	}
	names, err := policy.Names()
	if err != nil {
		return err
	}
	t := nsmgr.Target{Namespace: ns, Profile: nsmgr.Unconfined, Host: host}
	if len(names) > 0 {
		t.Profile = names[0]
	}
	say(c, "created namespace %s with %s", ns, printable.Count(len(names), "profile"))
	say(c, "label  lxc.apparmor.profile = %s", t.Label())
	say(c, "undo   nsmgr delete %s", ns)
	return nil
}

func (o *creation) policy(ctx context.Context, v *nsmgr.View) (nsmgr.Policy, error) {
	if o.bare {
		return nil, nil
	}
	comp, err := containers.Compiler(v)
	if len(o.paths) > 0 {
		if err != nil {
			return nil, err
		}
		return comp.Files(ctx, o.paths...)
	}
	if err != nil {
		return nil, err
	}
	if o.kind == profiles.Host {
		return nil, exit.BadInputf("profile %s is a host profile: it cannot be loaded into a namespace", o.kind)
	}
	return comp.Shipped(ctx, o.kind, profiles.Parameters{Name: profiles.DefaultName})
}

func loadCommand() *cobra.Command {
	var o nsmgr.LoadOptions
	var r func() nsmgr.Removal
	c := &cobra.Command{
		Use:   "load NAME PATH...",
		Short: "Load or replace profiles in a namespace, all or nothing",
		Long: `Loads policy from files and directories, text or compiled, in one write: the
kernel loads all of it or nothing. Profiles of the same name are replaced, for
running tasks too. With --replace-all the others are removed, which is refused if a
task is confined by one of them alone. A task that enters one of them during the
removal is killed, and the previous policy is loaded again. --force removes them all
the same, says which tasks become unconfined, and kills none.`,
		Example: `  nsmgr load container-ns /etc/apparmor.d/containers/web
  nsmgr load container-ns --replace-all ./policy`,
		Args: args(2, 0, "give the namespace and the files or directories to load"), ValidArgsFunction: completeNames,
		RunE: func(c *cobra.Command, got []string) error {
			v, ns, err := onNamespace(got[0])
			if err != nil {
				return err
			}
			comp, err := containers.Compiler(v)
			if err != nil {
				return err
			}
			policy, err := comp.Files(c.Context(), got[1:]...)
			if err != nil {
				return err
			}
			o.Removal = r()
			if err := v.Load(c.Context(), ns, policy, o); err != nil {
				return hint(c, err)
			}
			names, err := policy.Names()
			if err != nil {
				return err
			}
			say(c, "loaded %s into %s", printable.Count(len(names), "profile"), ns)
			return nil
		},
	}
	r = removal(c)
	c.Flags().BoolVar(&o.ReplaceAll, "replace-all", false, "remove the profiles that are not in the given policy")
	return c
}

func unloadCommand() *cobra.Command {
	var r func() nsmgr.Removal
	c := &cobra.Command{
		Use:   "unload NAME PROFILE...",
		Short: "Remove profiles from a namespace",
		Long: `Removes the profiles, with their children. A task that only such a profile
confines would become unconfined within the namespace: the command is refused and
names the tasks. A task that enters such a profile during the removal is killed,
and the profiles are loaded again. --force removes the profiles all the same, says
which tasks become unconfined, kills none, and asks if it is on a terminal. A task
that is stacked on a profile of the host keeps the removed policy.`,
		Example: "  nsmgr unload container-ns web",
		Args:    args(2, 0, "give the namespace and the profiles to remove"), ValidArgsFunction: completeNames,
		RunE: func(c *cobra.Command, got []string) error {
			v, ns, err := onNamespace(got[0])
			if err != nil {
				return err
			}
			if err := v.Unload(c.Context(), ns, r(), got[1:]...); err != nil {
				return hint(c, err)
			}
			say(c, "removed %s from %s", printable.Count(len(got)-1, "profile"), ns)
			return nil
		},
	}
	r = removal(c)
	return c
}
