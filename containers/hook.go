// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// Hook gives a container its namespace before it starts, and removes the
// namespace after it has stopped. It is what LXC calls as a hook.
type Hook struct {
	Name   string // of the container
	File   string // its configuration
	Config Config
	// Profiles are files or directories with policy for the namespace; without
	// them it gets the shipped profile that fits the container.
	Profiles []string

	bind Binding
}

// NewHook reads the configuration of the container that LXC names in the
// hook's environment, LXC_NAME and LXC_CONFIG_FILE.
func NewHook(ctx context.Context, getenv func(string) string) (Hook, error) {
	h := Hook{Name: getenv("LXC_NAME"), File: getenv("LXC_CONFIG_FILE")}
	if h.Name == "" || h.File == "" {
		return h, exit.BadInputf("LXC_NAME and LXC_CONFIG_FILE are not set: this command is for lxc.hook.pre-start and lxc.hook.post-stop")
	}
	var err error
	if h.Config, err = ReadConfig(ctx, h.Name, h.File); err != nil {
		return h, err
	}
	if h.bind, err = h.Config.Binding(); err != nil {
		return h, exit.BadInputf("container %q: %w", h.Name, err)
	}
	return h, nil
}

// id is how the container is noted as the owner of its namespace: its name, or
// its directory where it is not in LXC's own.
func (h Hook) id() string {
	dir := filepath.Dir(h.File)
	if filepath.Base(dir) == h.Name && filepath.IsAbs(dir) && filepath.Dir(dir) != (Container{}).path() {
		return dir
	}
	return h.Name
}

// kind is the shipped profile that fits the container.
func (h Hook) kind() string {
	switch {
	case h.Config.Nesting:
		return profiles.Nested
	case h.Config.Mapped:
		return profiles.Unprivileged
	}
	return profiles.Privileged
}

// checkOwner refuses a namespace that belongs to another container: lxc-copy
// takes the label along, and two containers in one namespace share policy and
// may signal and trace each other.
func (h Hook) checkOwner(v *nsmgr.View) error {
	owner := v.Container(h.bind.Namespace)
	if owner == "" && string(h.bind.Namespace) != h.Name {
		other := filepath.Join(filepath.Dir(filepath.Dir(h.File)), string(h.bind.Namespace), "config")
		if CheckName(string(h.bind.Namespace)) == nil && exists(other) {
			owner = string(h.bind.Namespace)
		}
	}
	if owner == "" || owner == h.id() {
		return nil
	}
	return exit.BadInputf("container %q has lxc.apparmor.profile = %s, but namespace %q belongs to container %q (was the container copied?): give it a namespace of its own, such as %s//&:%s:%s",
		h.Name, h.Config.Label, h.bind.Namespace, owner, h.bind.Host, h.Name, cmp.Or(h.bind.Profile, profiles.DefaultName))
}

// PreStart makes the container's namespace and loads what is missing of its
// label.
func (h Hook) PreStart(ctx context.Context, v *nsmgr.View) error {
	if err := h.checkOwner(v); err != nil {
		return err
	}
	if h.bind.Host != nsmgr.Unconfined {
		l := nsmgr.Label{Parts: []nsmgr.Part{{Profile: h.bind.Host}}}
		if err := CheckLabel(ctx, v, l); err != nil {
			return err
		}
	}
	policy, err := h.policy(ctx, v)
	if err != nil {
		return err
	}
	if err := v.Mend(ctx); err != nil {
		return err
	}
	err = v.Create(ctx, h.bind.Namespace, nsmgr.Making{Policy: policy, Container: h.id()})
	if err == nil {
		if err = h.checkTransition(v); err != nil {
			err = errors.Join(err, v.Delete(context.WithoutCancel(ctx), h.bind.Namespace, nsmgr.Deletion{}))
		}
		return err
	}
	if !errors.Is(err, nsmgr.ErrExist) {
		return err
	}
	// An administrator's namespace keeps its policy; one that a crash of the
	// container left gets the present policy.
	if v.Container(h.bind.Namespace) == h.id() && len(policy) > 0 {
		if err := v.Load(ctx, h.bind.Namespace, policy, nsmgr.LoadOptions{}); err != nil {
			return err
		}
	}
	return h.checkTransition(v)
}

// checkTransition refuses a label that the policy of LXC's own programs does
// not let them give to the container. The hook has the label of LXC's monitor,
// whose own error would name neither the profile nor a fix.
func (h Hook) checkTransition(v *nsmgr.View) error {
	l, err := nsmgr.ParseLabel(h.Config.Label)
	if err != nil {
		return exit.BadInputf("container %q: %w", h.Name, err)
	}
	err = v.CheckTransition(l)
	if !errors.Is(err, nsmgr.ErrTransition) {
		return err
	}
	return exit.BadInputf("container %q: %w: let its label begin with %s, such as %s%s, or add the rule \"change_profile -> %s//&**,\" to %s and reload %s",
		h.Name, err, lxcPrefix, lxcPrefix+h.bind.Host, strings.TrimPrefix(h.Config.Label, h.bind.Host), h.bind.Host, StartAbstraction, "/etc/apparmor.d/usr.bin.lxc-start")
}

// StartAbstraction is the file with the rules of lxc-start's profile, as
// distributions ship it.
const StartAbstraction = "/etc/apparmor.d/abstractions/lxc/start-container"

func (h Hook) policy(ctx context.Context, v *nsmgr.View) (nsmgr.Policy, error) {
	comp, err := Compiler(v)
	switch {
	case err != nil:
		return nil, err
	case len(h.Profiles) > 0:
		return comp.Files(ctx, h.Profiles...)
	case h.bind.Profile != "" && h.bind.Profile != nsmgr.Unconfined:
		return comp.Shipped(ctx, h.kind(), profiles.Parameters{Name: h.bind.Profile})
	}
	return nil, nil
}

// stopTimeout is how long the tasks of a stopped container may take to end.
const stopTimeout = 20 * time.Second

// PostStop removes the namespace if the hook made it for this container.
func (h Hook) PostStop(ctx context.Context, v *nsmgr.View) error {
	if v.Container(h.bind.Namespace) != h.id() {
		return nil
	}
	for end := time.Now().Add(stopTimeout); ; {
		err := v.Delete(ctx, h.bind.Namespace, nsmgr.Deletion{Recursive: true})
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
