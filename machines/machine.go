// SPDX-License-Identifier: Apache-2.0

// Package machines runs commands on a kernel: one in a virtual machine that is
// booted for it (User Mode Linux, QEMU), the one of a board, or the one that this
// host runs. What a virtual machine's process may reach on the host is limited (internal/sandbox).
//
//	m, err := machines.Open(ctx, machines.Options{Kernel: build, Root: root, Init: "bin/guest-init"})
//	if err != nil { … }
//	defer m.Close()
//	res, err := m.Run(ctx, machines.Command{Args: []string{"uname", "-r"}, Stdout: os.Stdout})
//
// A call to a machine whose kernel crashed returns [ErrLost]; the console is in
// [Machine.Console], and machines/crash reads it. Nothing here is about AppArmor.
package machines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"proofhouse/internal/bounded"
	"proofhouse/internal/exit"
	"proofhouse/internal/sandbox"
	"proofhouse/kernels"
	"proofhouse/machines/wire"
)

// Machine is one running kernel to run commands on. Its methods may be called
// from several goroutines.
type Machine interface {
	// Run runs one command and waits until it ends. A command that ran is not
	// an error, whatever its exit status; ErrLost means that the machine is
	// lost. An agent that hangs is found out, also without a deadline.
	Run(ctx context.Context, c Command) (Result, error)
	// Console is what the kernel wrote to its console.
	Console() *Log
	// Audit has the audit records of the kernel's security modules, one a
	// line. Where records were lost, a line begins with wire.RecordsLost.
	// SyncAudit waits until it has every record logged before the call.
	Audit() *Log
	SyncAudit(ctx context.Context) error
	// Sane returns nil if the machine answers and no warning or oops has
	// tainted its kernel since it booted; else ErrLost or ErrInsane.
	Sane(ctx context.Context) error
	Info() Info
	// Close kills the machine. Output that has not arrived is lost.
	Close() error
}

// Command is a process to run on a machine.
type Command struct {
	Args  []string
	Stdin io.Reader // nil = empty
	// nil = discarded. If both are the same writer, it gets stdout and stderr in
	// the order they were written. If one fails, Run fails when the command ends.
	Stdout, Stderr io.Writer
	Dir            string   // "" = /root
	Env            []string // NAME=VALUE, over the machine's own
	// Deadline kills the command and its process tree; 0 = none. It is not
	// scaled: multiply by Info.Slowness.
	Deadline time.Duration
	// Detach leaves the processes that the command started running when it
	// ends; otherwise they are killed.
	Detach bool
	// TTY runs the command on a terminal.
	TTY *TTY
}

// TTY is the terminal of an interactive command.
type TTY struct {
	Term          string
	Rows, Columns int
	Resize        <-chan [2]int // rows, columns
}

// Result is how a command ended.
type Result struct {
	Status   int    // exit status, where Signal is ""
	Signal   string // name of the signal that ended it, without SIG: "KILL"
	Deadline bool   // it was killed at its deadline
	Usage    wire.Usage
}

// Info describes a machine.
type Info struct {
	Kind        string // "uml", "qemu", "local", "board"
	Accelerator string // qemu: "kvm" or "tcg"; uml: "seccomp" or "ptrace"
	Version     string // of the emulator
	Cmdline     string // the kernel's command line
	// Sandbox is what confines the machine's process on the host, such as
	// "landlock ABI 7, seccomp"; "" for the host itself.
	Sandbox string
	Boot    Boot
	// Slowness is how many times longer starting a process takes than the
	// millisecond it takes on hardware; at least 1. Deadlines scale with it.
	Slowness float64
	// Taint has the bits of /proc/sys/kernel/tainted that tell of trouble, as
	// they were when the machine was opened. Sane reports only later ones.
	Taint int64
	// Board describes a board: its model, build ID, boot ID, console.
	Board map[string]string
}

// Boot is how long each step took until the machine ran commands.
type Boot struct {
	Prepare time.Duration // disks, initramfs, accelerator
	Start   time.Duration // from the start of the process to the channel's first byte
	Channel time.Duration // SSH handshake
	Measure time.Duration // the slowness factor
}

// Total is their sum.
func (b Boot) Total() time.Duration { return b.Prepare + b.Start + b.Channel + b.Measure }

// Options say what to boot.
type Options struct {
	Kernel *kernels.Build
	// Root and Modules are ext4 images. The machine's writes are discarded
	// when it ends; the images do not change. Modules may be "".
	Root, Modules string
	// Init is the path of guest-init, static and for the kernel's architecture.
	// Tools are more programs to put on the machine's PATH, by name.
	Init  string
	Tools map[string]string
	// Trees are tar files to unpack at / of a board whose own root is used.
	Trees []string
	// Prepare are programs to run once in the guest before the first command. Not
	// with Systemd, which starts the guest's own services.
	Prepare [][]string
	// Systemd makes the guest's systemd the init. Open returns when the machine
	// runs commands, which is before systemd has started all units.
	Systemd bool
	// State is an existing directory on the host that keeps what the machine writes
	// to its root: the next machine with the same Root and State finds it there.
	// "" discards it. User Mode Linux only. One machine at a time.
	State string
	// Accelerator is "auto", "kvm" or "tcg", for QEMU; "" is auto.
	Accelerator string
	// Memory of the machine in MiB; 0 = DefaultMemory.
	Memory int
	// Parameters are added to the kernel's command line, before those of the
	// build (Kernel.Append), which win.
	Parameters []string
	// Plain leaves out the kernel parameters that make a boot under QEMU faster
	// (see tuning).
	Plain bool
	// ConsoleFile is a file that the console is appended to; "" = none.
	ConsoleFile string
	// BootTimeout is the timeout of the boot; 0 = three minutes.
	BootTimeout time.Duration
	// Progress gets a line for each slow step and each note; may be nil.
	Progress func(string)
}

// DefaultMemory is the memory of a machine in MiB. It is enough for the upstream
// suite, swap files included.
const DefaultMemory = 1024

// ErrLost is the error of a machine that no longer runs commands: its kernel
// panicked, it hangs, or its process was killed.
var ErrLost = errors.New("the machine is lost")

// ErrInsane is the error of a machine that answers, but whose results can no longer
// be trusted.
var ErrInsane = errors.New("the machine's results can no longer be trusted")

// openers are the kinds of machines, by the kind of build that each runs.
var openers = map[kernels.Kind]func(context.Context, Options) (Machine, error){
	kernels.UML:     openUML,
	kernels.BzImage: openQEMU,
	"image":         openQEMU, // an arm64 Image
	kernels.Local:   openLocal,
	kernels.OnBoard: openBoard,
}

// Open boots the kernel, or for a local build uses this host, and returns when the
// machine runs commands.
func Open(ctx context.Context, o Options) (Machine, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.BootTimeout == 0 {
		o.BootTimeout = 3 * time.Minute
	}
	if o.State != "" && o.Kernel.Kind != kernels.UML {
		return nil, exit.BadInputf("kernel %s: only User Mode Linux keeps what a machine writes", o.Kernel.Spec)
	}
	if open, ok := openers[o.Kernel.Kind]; ok {
		return open(ctx, o)
	}
	return nil, exit.BadInputf("kernel %s: no machine for a build of kind %q", o.Kernel.Spec, o.Kernel.Kind)
}

// PowerOff runs a command that powers the machine off, such as "systemctl poweroff",
// and returns once the machine has ended: what it wrote is then on its disk. The
// machine must still be closed.
func PowerOff(ctx context.Context, m Machine, c Command) error {
	v, ok := m.(*vm)
	if !ok {
		return exit.BadInputf("power off: the machine is not virtual")
	}
	// The command may end before the machine does, or with it.
	res, err := m.Run(ctx, c)
	if err != nil && !errors.Is(err, ErrLost) {
		return fmt.Errorf("power off: %w", err)
	}
	if err == nil && res.Status != 0 {
		return fmt.Errorf("power off: %s: %s", c.Args[0], res)
	}
	select {
	case <-v.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("power off: %w", context.Cause(ctx))
	}
}

// Sandbox describes what confines a machine's process on this host, and what it
// can still do there, each with what closes the gap.
func Sandbox() (summary string, gaps []string) {
	s := sandbox.Supported()
	return s.String(), s.Gaps()
}

// Output runs a short command and returns its stdout, 4 MiB of it at most. An exit
// status other than 0 is an error, which has its stderr.
func Output(ctx context.Context, m Machine, deadline time.Duration, args ...string) (string, error) {
	var out, errOut bounded.Head
	res, err := m.Run(ctx, Command{Args: args, Stdout: &out, Stderr: &errOut, Deadline: deadline})
	if err != nil {
		return "", err
	}
	if res.Deadline {
		return out.String(), fmt.Errorf("%s: timed out after %v", args[0], deadline)
	}
	if res.Signal != "" || res.Status != 0 {
		return out.String(), fmt.Errorf("%s: %s: %s", args[0], res, errOut.String())
	}
	return out.String(), nil
}

func (r Result) String() string {
	switch {
	case r.Deadline:
		return "killed at its deadline"
	case r.Signal != "":
		return "killed by signal " + r.Signal
	default:
		return fmt.Sprintf("exit status %d", r.Status)
	}
}
