package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

func hookCommand() *cobra.Command {
	var paths []string
	c := &cobra.Command{
		Use: "hook pre-start|post-stop", Short: "Give an LXC container its namespace, and take it back",
		Long: `For a container's configuration. Before the container starts, the namespace that
its lxc.apparmor.profile names is made, with the shipped profile that fits or
the policy of --profiles, and the host's side of the label is loaded if it is
not there. After it has stopped, the namespace is removed again, if nsmgr made
it.`,
		Example: `  lxc.apparmor.profile = host-ct//&:c1:container
  lxc.hook.pre-start = /usr/bin/nsmgr hook pre-start
  lxc.hook.post-stop = /usr/bin/nsmgr hook post-stop`,
		ValidArgs: []string{"pre-start", "post-stop"},
		// LXC adds the container's name, "lxc" and the hook's name.
		Args: args(1, 0, "name the hook: pre-start or post-stop"),
		RunE: func(c *cobra.Command, got []string) error {
			ct, err := readContainer(os.Getenv("LXC_NAME"), os.Getenv("LXC_CONFIG_FILE"))
			if err != nil {
				return err
			}
			v, err := nsmgr.Open()
			if err != nil {
				return err
			}
			switch got[0] {
			case "pre-start":
				return ct.start(c.Context(), v, paths)
			case "post-stop":
				return ct.stop(c.Context(), v)
			}
			return exit.BadInputf("hook %q: there are pre-start and post-stop", got[0])
		},
	}
	c.Flags().StringArrayVarP(&paths, "profiles", "p", nil, "policy for the namespace: a file or folder, `PATH`")
	return c
}

// container is what a hook needs to know of one.
type container struct {
	name, host string
	ns         nsmgr.Name
	profile    string
	mapped     bool // it has a user namespace
	nesting    bool
}

// readContainer reads a container's configuration.
func readContainer(name, config string) (container, error) {
	ct := container{name: name}
	if name == "" || config == "" {
		return ct, exit.BadInputf("nsmgr hook: LXC_NAME and LXC_CONFIG_FILE are not set: this is for lxc.hook.pre-start and lxc.hook.post-stop")
	}
	f, err := os.Open(config)
	if err != nil {
		return ct, exit.BadInput(err)
	}
	defer func() { _ = f.Close() }()
	label := ""
	s := bufio.NewScanner(f)
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), "=")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "lxc.apparmor.profile":
			label = value
		case "lxc.idmap":
			ct.mapped = value != ""
		case "lxc.apparmor.allow_nesting":
			ct.nesting = value == "1"
		}
	}
	if err := s.Err(); err != nil {
		return ct, exit.BadInputf("read %s: %w", config, err)
	}
	l, err := nsmgr.ParseLabel(label)
	if label == "" || err != nil || len(l.Parts) != 2 || l.Parts[0].Namespace != "" || l.Parts[1].Namespace == "" {
		return ct, exit.BadInputf("%s has %q as lxc.apparmor.profile: it takes a stack such as %s//&:%s:%s", config, label, profiles.Host, filepath.Base(name), profiles.DefaultName)
	}
	ct.host, ct.ns, ct.profile = l.Parts[0].Profile, l.Parts[1].Namespace, l.Parts[1].Profile
	return ct, nil
}

func (ct container) kind() string {
	switch {
	case ct.nesting:
		return profiles.Nested
	case ct.mapped:
		return profiles.Unprivileged
	}
	return profiles.Privileged
}

func (ct container) start(ctx context.Context, v *nsmgr.View, paths []string) error {
	if _, err := loadHost(ctx, v, ct.host); err != nil {
		return err
	}
	comp, err := compiler(v)
	if err != nil {
		return err
	}
	var policy nsmgr.Policy
	switch {
	case len(paths) > 0:
		policy, err = comp.Files(ctx, paths...)
	case ct.profile != "" && ct.profile != nsmgr.Unconfined:
		policy, err = comp.Shipped(ctx, ct.kind(), profiles.Parameters{Name: ct.profile})
	}
	if err != nil {
		return err
	}
	if err := v.Mend(ctx); err != nil {
		return err
	}
	err = v.Create(ctx, ct.ns, nsmgr.Making{Policy: policy, Container: ct.name})
	if !errors.Is(err, nsmgr.ErrExist) {
		return err
	}
	// An administrator's namespace keeps its policy; one that a crash of the
	// container left gets the present policy.
	if v.Container(ct.ns) == ct.name && len(policy) > 0 {
		return v.Load(ctx, ct.ns, policy, nsmgr.LoadOptions{})
	}
	return nil
}

// stopPatience is how long the tasks of a stopped container may take to go.
const stopPatience = 20 * time.Second

func (ct container) stop(ctx context.Context, v *nsmgr.View) error {
	if v.Container(ct.ns) != ct.name {
		return nil // not made by the hook
	}
	var err error
	for end := time.Now().Add(stopPatience); ; {
		err = v.Delete(ctx, ct.ns, nsmgr.Deletion{Recursive: true})
		var inUse *nsmgr.InUseError
		if !errors.As(err, &inUse) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
