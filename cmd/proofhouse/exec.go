// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"proofhouse/internal/exit"
	"proofhouse/machines"
	"proofhouse/machines/crash"
	"proofhouse/runs"
	"proofhouse/runs/progress"
)

// onMachine has the flags of exec and shell.
type onMachine struct {
	cfg  runs.Config
	spec string
}

func (o *onMachine) flags(c *cobra.Command) {
	c.Flags().StringVarP(&o.spec, "kernel", "k", runs.DefaultKernel, "`SPEC` of the kernel")
	runs.MachineFlags(c.Flags(), &o.cfg)
}

// open boots the kernel. extra are programs of this host to copy to the machine,
// by name.
func (o *onMachine) open(ctx context.Context, extra map[string]string) (machines.Machine, error) {
	o.cfg.Kernels = []string{o.spec}
	display := progress.New(os.Stderr)
	defer display.Close()
	plan, err := runs.Prepare(ctx, o.cfg, display.Step)
	if err != nil {
		return nil, err
	}
	opts := plan.Options(plan.Builds[0])
	opts.Progress = display.Step
	for name, path := range extra {
		opts.Tools[name] = path
	}
	return machines.Open(ctx, opts)
}

func execCommand() *cobra.Command {
	var o onMachine
	c := &cobra.Command{
		Use:   "exec [-k SPEC] [--] CMD ARG...",
		Short: "Run one command on a kernel and return its exit status",
		Long: `Boots the kernel, runs the command as root and powers the machine off. Standard
input, output and the exit status are those of the command. If a signal ended
it, the status is 128 plus the number of the signal, as in a shell.

A CMD with a relative path, such as ./mytest, is an executable of this host. It
is copied to the machine.`,
		Example: `  proofhouse exec -- uname -a
  proofhouse exec -k debian:trixie -- cat /sys/kernel/security/lsm
  proofhouse exec -- ./mytest --verbose`,
		Args: someArgs(0, "give the command to run"),
		RunE: func(c *cobra.Command, args []string) error { return o.exec(c.Context(), args) },
	}
	c.Flags().SetInterspersed(false)
	o.flags(c)
	return c
}

func (o *onMachine) exec(ctx context.Context, args []string) error {
	extra := map[string]string{}
	if strings.Contains(args[0], "/") && !filepath.IsAbs(args[0]) {
		path, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
			return exit.BadInputf("exec: %s is not an executable file", args[0])
		}
		name := filepath.Base(path)
		extra[name] = path
		args = append([]string{name}, args[1:]...)
	}
	m, err := o.open(ctx, extra)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	res, err := m.Run(ctx, machines.Command{Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	return passOn(m, res, err)
}

// passOn returns the error that gives proofhouse the exit status of the command.
func passOn(m machines.Machine, res machines.Result, err error) error {
	switch {
	case errors.Is(err, machines.ErrLost):
		if c, ok := crash.Find(m.Console().Since(0)); ok {
			_, _ = os.Stderr.WriteString(c.Text + "\n")
			return errors.New("the kernel crashed: " + c.Title)
		}
		return err
	case err != nil:
		return err
	case res.Signal != "":
		return exit.With(128+int(unix.SignalNum("SIG"+res.Signal)), errSaid)
	case res.Status != 0:
		return exit.With(res.Status, errSaid)
	}
	return nil
}

func shellCommand() *cobra.Command {
	var o onMachine
	c := &cobra.Command{
		Use:     "shell [-k SPEC]",
		Short:   "Open an interactive root shell on a kernel",
		Example: "  proofhouse shell -k debian:trixie",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return o.shell(c.Context()) },
	}
	o.flags(c)
	return c
}

func (o *onMachine) shell(ctx context.Context) error {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return exit.BadInputf("shell needs a terminal (proofhouse exec runs a command without one)")
	}
	m, err := o.open(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	columns, rows, err := term.GetSize(fd)
	if err != nil {
		return err
	}
	state, err := term.MakeRaw(fd)
	if err != nil {
		return err
	}
	resize := make(chan [2]int, 1)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	go func() {
		for range changed {
			if columns, rows, err := term.GetSize(fd); err == nil {
				resize <- [2]int{rows, columns}
			}
		}
	}()
	res, err := m.Run(ctx, machines.Command{
		Args: []string{"/bin/bash", "-l"}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		TTY: &machines.TTY{Term: os.Getenv("TERM"), Rows: rows, Columns: columns, Resize: resize},
	})
	_ = term.Restore(fd, state)
	return passOn(m, res, err)
}
