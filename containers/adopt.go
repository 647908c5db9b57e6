// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// The lines that Adopt adds to a configuration are between these two.
const (
	adoptBegin = "# nsmgr adopt: begin (nsmgr adopt --undo removes these lines)\n"
	adoptEnd   = "# nsmgr adopt: end\n"
)

// Adoption is the change that gives an existing container a namespace of its own.
type Adoption struct {
	Container Container
	Label     nsmgr.Label
	Lines     string // that are added to the configuration

	before []byte
	file   string
}

// PrepareAdoption checks that the container can get a namespace of its own name,
// and returns the change. program is the path of nsmgr, for the hooks. Nothing
// is changed yet.
func (c Container) PrepareAdoption(ctx context.Context, v *nsmgr.View, program string) (Adoption, error) {
	a, config, err := c.adoption(ctx)
	if err != nil {
		return a, err
	}
	if b, err := config.Binding(); err == nil {
		return a, exit.BadInputf("adopt container %q: namespace %q already confines it", c.Name, b.Namespace)
	}
	if err := nsmgr.CheckName(c.Name); err != nil {
		return a, err
	}
	if ns := nsmgr.Name(c.Name); v.Exists(ns) && v.Container(ns) != c.Name {
		return a, exit.BadInputf("adopt container %q: namespace %q already exists, for something else", c.Name, ns)
	}
	kind := profiles.Privileged
	if config.Nesting {
		kind = profiles.Nested
	}
	host, err := HostProfileHere(v, kind)
	if err != nil {
		return a, err
	}
	t := nsmgr.Target{Namespace: nsmgr.Name(c.Name), Profile: profiles.DefaultName, Host: host}
	a.Label = t.Label()
	a.Lines = fmt.Sprintf("%s = %s\nlxc.hook.pre-start = %s hook pre-start\nlxc.hook.post-stop = %[3]s hook post-stop\n", keyProfile, a.Label, program)
	return a, nil
}

// adoption reads the configuration of a container that must be stopped.
func (c Container) adoption(ctx context.Context) (Adoption, Config, error) {
	a := Adoption{Container: c, file: c.config()}
	if err := CheckName(c.Name); err != nil {
		return a, Config{}, err
	}
	var err error
	if a.before, err = os.ReadFile(a.file); err != nil {
		return a, Config{}, exit.BadInputf("adopt container %q: %w", c.Name, err)
	}
	state, err := runLXC(ctx, "lxc-info", "--name", c.Name, "--lxcpath", c.path(), "--state", "--no-humanize")
	if err != nil {
		return a, Config{}, exit.BadInputf("adopt container %q: read its state: %w", c.Name, err)
	}
	if state = strings.TrimSpace(state); state != "STOPPED" {
		return a, Config{}, exit.BadInputf("adopt container %q: it is %s: stop it first", c.Name, strings.ToLower(state))
	}
	config, err := ReadConfig(ctx, c.Name, a.file)
	return a, config, err
}

// Apply adds the lines to the configuration, and has LXC read it back: if
// another label is in force then, it restores the configuration.
func (a Adoption) Apply(ctx context.Context) error {
	text := string(a.before)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	adopted := []byte(text + adoptBegin + a.Lines + adoptEnd)
	if err := replaceConfig(a.file, a.before, adopted); err != nil {
		return exit.BadInputf("adopt container %q: %w", a.Container.Name, err)
	}
	config, err := ReadConfig(ctx, a.Container.Name, a.file)
	if err == nil && config.Label != a.Label.String() {
		err = exit.BadInputf("LXC reads lxc.apparmor.profile = %s", config.Label)
	}
	if err != nil {
		return fmt.Errorf("adopt container %q: %w", a.Container.Name, errors.Join(err, replaceConfig(a.file, adopted, a.before)))
	}
	return nil
}

// UndoAdoption removes the lines of an adoption from the configuration.
func (c Container) UndoAdoption(ctx context.Context) error {
	a, _, err := c.adoption(ctx)
	if err != nil {
		return err
	}
	text, ok := withoutAdoption(string(a.before))
	if !ok {
		return exit.BadInputf("undo the adoption of container %q: %s has no lines of it", c.Name, a.file)
	}
	if err := replaceConfig(a.file, a.before, []byte(text)); err != nil {
		return exit.BadInputf("undo the adoption of container %q: %w", c.Name, err)
	}
	return nil
}

// withoutAdoption returns a configuration without the lines of all adoptions. It is
// false for one that does not have them, or not whole.
func withoutAdoption(text string) (string, bool) {
	rest, found := text, false
	for {
		before, after, ok := strings.Cut(rest, adoptBegin)
		if !ok {
			return rest, found
		}
		_, after, ok = strings.Cut(after, adoptEnd)
		if !ok {
			return text, false
		}
		rest, found = before+after, true
	}
}

// replaceConfig replaces a file atomically, and keeps its owner and mode. It refuses
// if the content is not the one that was read before: an edit would be lost, or, in
// a user's directory, another file's content would be written to one of the user's.
func replaceConfig(path string, before, content []byte) error {
	old, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = old.Close() }()
	info, err := old.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	now, err := io.ReadAll(io.LimitReader(old, int64(len(before))+1))
	if err != nil {
		return err
	}
	if !bytes.Equal(now, before) {
		return fmt.Errorf("%s was changed meanwhile: run the command again", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".nsmgr-config-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && err == nil {
		err = f.Chown(int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
