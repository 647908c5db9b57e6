// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"proofhouse/cmd/nsmgr/brief"
	"proofhouse/internal/cli/clitest"
	"proofhouse/internal/exit"
)

// run calls the command in this process.
func run(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	c := command(args)
	var out, errOut bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&errOut)
	c.SetIn(strings.NewReader(""))
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return out.String(), err
}

// Bad input is one line and exit status 2, whatever the kernel.
func TestBadInput(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"nope", "unknown command"},
		{"create", "give a name"},
		{"create a b", "give one name"},
		{"create a/b", "slash"},
		{"create a//b", "--parent"},
		{"create ..", "dot"},
		{"create -- -x", "option"},
		{"create root", "first namespace"},
		{"create a --for-container c", "give a name, or --for-container"},
		{"create --nope", "unknown flag"},
		{"list x", "takes no argument"},
		{"show", "give one namespace"},
		{"show a:b", "colon"},
		{"delete a/b", "slash"},
		{"load a", "files or directories"},
		{"unload a", "profiles to remove"},
		{"exec a", "the command"},
		{"exec a --flat --stack-on h -- true", "stack-on"},
		{"gc --idle x", `--idle "x": want a duration, such as 90s`},
		{"save a", "the file"},
		{"apply", "-f"},
		{"apply -f /no/such/file", "no such file"},
		{"hook pre-start", "LXC_NAME"},
		{"hook nope", "unknown hook"},
		{"completion tcsh", "bash, zsh or fish"},
		{"container nope", "unknown command"},
	} {
		_, err := run(t, strings.Fields(c.args)...)
		var line bytes.Buffer
		status := exit.Report(&line, "nsmgr", err)
		if status != exit.Usage || !strings.Contains(line.String(), c.want) || strings.Count(line.String(), "\n") != 1 {
			t.Errorf("nsmgr %s: status %d, %q; want %q", c.args, status, line.String(), c.want)
		}
	}
}

func TestBadFlags(t *testing.T) { clitest.BadFlags(t, command(nil)) }

// commands are all that a user is shown.
func commands() []*cobra.Command {
	all := slices.Clone(command(nil).Commands())
	for _, c := range all {
		all = append(all, c.Commands()...)
	}
	return slices.DeleteFunc(all, func(c *cobra.Command) bool { return c.Hidden || c.Name() == "help" })
}

func TestMakers(t *testing.T) {
	for _, m := range makers {
		if c := m.make(); c.Name() != m.name {
			t.Errorf("%s makes %s", m.name, c.Name())
		}
	}
	for _, name := range brief.Commands {
		if !slices.ContainsFunc(makers, func(m maker) bool { return m.name == name }) {
			t.Errorf("package brief names the unknown command %s", name)
		}
	}
}

func TestHelp(t *testing.T) {
	if n := len(commands()); n < 19 {
		t.Errorf("there are only %d commands", n)
	}
	for _, c := range commands() {
		if !strings.Contains(c.Example, "nsmgr ") {
			t.Errorf("%s has no example", c.Name())
		}
		out, err := run(t, append(strings.Fields(c.CommandPath())[1:], "--help")...)
		if err != nil || !strings.Contains(out, "Usage:") {
			t.Errorf("%s --help: %v, %q", c.Name(), err, out)
		}
	}
}

// The manual in docs/ is what the commands say.
func TestManual(t *testing.T) {
	got, err := run(t, "man")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands() {
		if !strings.Contains(got, ".SS \""+c.CommandPath()) {
			t.Errorf("%s is not in it", c.Name())
		}
	}
	kept, err := os.ReadFile("nsmgr.1")
	if err != nil || string(kept) != got {
		t.Errorf("nsmgr.1 is out of date: nsmgr man > cmd/nsmgr/nsmgr.1 (%v)", err)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, err := run(t, "completion", shell); err != nil || !strings.Contains(out, "nsmgr") {
			t.Errorf("%s: %v", shell, err)
		}
	}
}
