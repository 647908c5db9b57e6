// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

// Config is the part of a container's LXC configuration that decides how it is
// confined, as LXC itself reads it: with includes, quotes, and the last value
// of a key in force.
type Config struct {
	Label   string // lxc.apparmor.profile; "" if it is not set
	Mapped  bool   // lxc.idmap is set: the container has a user namespace
	Nesting bool   // lxc.apparmor.allow_nesting = 1
}

// configTimeout limits one run of lxc-info or lxc-config, which read files only.
const configTimeout = 30 * time.Second

// ReadConfig has lxc-info read the configuration file of a container. It may be
// called from a hook of that container. A missing lxc-info and a file that LXC
// rejects are user errors.
func ReadConfig(ctx context.Context, name, file string) (Config, error) {
	var c Config
	if err := CheckName(name); err != nil {
		return c, err
	}
	if _, err := os.Stat(file); err != nil {
		return c, exit.BadInputf("read the configuration of container %q: %w", name, err)
	}
	// While a hook runs, the container's monitor does not answer, and lxc-info
	// would wait for it. In another lxcpath it finds no monitor.
	nowhere, err := os.MkdirTemp("", "nsmgr-lxc-")
	if err != nil {
		return c, err
	}
	defer func() { _ = os.RemoveAll(nowhere) }()
	keys := []string{keyProfile, keyNesting, keyIDMap}
	args := []string{"--name", name, "--lxcpath", nowhere, "--rcfile", file}
	for _, key := range keys {
		args = append(args, "--config", key)
	}
	out, err := runLXC(ctx, "lxc-info", args...)
	if err != nil {
		return c, exit.BadInputf("read %s with lxc-info: %w", file, err)
	}
	return parseInfo(out)
}

// parseInfo reads the "key = value" lines of lxc-info --config. A key with
// several values has a line for each of them.
func parseInfo(out string) (c Config, err error) {
	for line := range strings.Lines(out) {
		key, value, ok := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		switch key = strings.TrimSpace(key); {
		case key == keyProfile && ok:
			c.Label = value
		case key == keyIDMap && ok:
			c.Mapped = c.Mapped || value != ""
		case key == keyNesting && ok:
			c.Nesting = value == "1"
		case strings.HasPrefix(key, "lxc."):
			return c, exit.BadInputf("unexpected line %q from lxc-info", strings.TrimSpace(line))
		}
	}
	return c, nil
}

// The keys of LXC's configuration that are used here (lxc.container.conf(5)).
const (
	keyProfile = "lxc.apparmor.profile"
	keyNesting = "lxc.apparmor.allow_nesting"
	keyRootfs  = "lxc.rootfs.path"
	keyOptions = "lxc.rootfs.options"
	keyManaged = "lxc.rootfs.managed"
	keyIDMap   = "lxc.idmap"
	keyLink    = "lxc.net.0.link"
	keyMounts  = "lxc.mount.entry"
)

// runLXC runs one of LXC's programs and returns its standard output.
func runLXC(ctx context.Context, program string, args ...string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%w (Debian: apt install lxc)", err)
	}
	ctx, cancel := context.WithTimeout(ctx, configTimeout)
	defer cancel()
	cmd := child.Command(ctx, path, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("%w%s", err, lastWords(errOut.String()+out.String()))
	}
	return out.String(), nil
}

// Binding is a container's label taken apart: the profile of the host, and the
// profile of a namespace that is stacked on it.
type Binding struct {
	Host      string
	Namespace nsmgr.Name
	Profile   string
}

// Binding reads the label. A label of another form is a user error.
func (c Config) Binding() (Binding, error) {
	l, err := nsmgr.ParseLabel(c.Label)
	if c.Label == "" || err != nil || len(l.Parts) != 2 || l.Parts[0].Namespace != "" || l.Parts[1].Namespace == "" {
		return Binding{}, exit.BadInputf("lxc.apparmor.profile is %q: want HOST_PROFILE//&:NAMESPACE:PROFILE", c.Label)
	}
	return Binding{l.Parts[0].Profile, l.Parts[1].Namespace, l.Parts[1].Profile}, nil
}

// lxcPathByProgram asks lxc-config for lxc.lxcpath.
func lxcPathByProgram(ctx context.Context) (string, error) {
	out, err := runLXC(ctx, "lxc-config", "lxc.lxcpath")
	if errors.Is(err, exec.ErrNotFound) {
		return DefaultPath, nil // without LXC there are no containers either
	}
	if err != nil {
		return "", exit.BadInputf("read LXC's lxcpath with lxc-config: %w (give it with --lxcpath)", err)
	}
	if path := strings.TrimSpace(out); filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	return "", exit.BadInputf("read LXC's lxcpath with lxc-config: it printed %q", strings.TrimSpace(out))
}
