// Package machines runs commands on a kernel: one in a virtual machine that is
// booted for it (User Mode Linux, QEMU), or the one that this machine runs.
//
//	m, err := machines.Open(ctx, machines.Options{Kernel: build, Root: root, Init: "bin/guest-init"})
//	if err != nil { … }
//	defer m.Close()
//	res, err := m.Run(ctx, machines.Command{Args: []string{"uname", "-r"}, Stdout: os.Stdout})
//
// A machine whose kernel dies returns an error that is [ErrLost]; what it said
// on its console is in [Machine.Console]. It knows nothing of AppArmor.
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
	// Run runs one command to its end. A command that ran is no error,
	// whatever its exit status; ErrLost says that the machine is gone.
	Run(ctx context.Context, c Command) (Result, error)
	// Console is what the kernel has written to its console.
	Console() *Log
	// Audit is what the kernel's security modules have logged. SyncAudit
	// waits until it holds all that was logged before the call.
	Audit() *Log
	SyncAudit(ctx context.Context) error
	// Sane says whether the machine can go on being used: it answers, and
	// its kernel has not been tainted by a warning or an oops since it booted.
	Sane(ctx context.Context) error
	Info() Info
	// Close ends the machine at once. What it had not told is lost.
	Close() error
}

// Command is a process to run on a machine.
type Command struct {
	Args  []string
	Stdin io.Reader // nil = empty
	// nil = discarded; the same writer gets both, in the order they were
	// written. One that fails makes Run fail, when the command has ended.
	Stdout, Stderr io.Writer
	Dir            string   // "" = /root
	Env            []string // NAME=VALUE, over the machine's own
	// Deadline ends the command with its process tree; 0 = none. It is as
	// given: scale it with Info.Slowness.
	Deadline time.Duration
	// Detach leaves the processes that the command started running at its
	// end; otherwise they end with it.
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
	Deadline bool   // it was ended because its time was over
	Usage    wire.Usage
}

// Info is what a machine is, and how long it took to be there.
type Info struct {
	Kind        string // "uml", "qemu", "local"
	Accelerator string // qemu: "kvm" or "tcg"; uml: "seccomp" or "ptrace"
	Version     string // of the emulator
	Cmdline     string // the kernel's command line
	// Sandbox is what confines the machine's process on the host, such as
	// "landlock ABI 7, seccomp"; "" for a machine that is none of ours.
	Sandbox string
	Boot    Boot
	// Slowness is how many times longer starting a process takes than the
	// millisecond it takes on hardware; at least 1. Deadlines scale with it.
	Slowness float64
	// Taint has the bits of /proc/sys/kernel/tainted that tell of trouble, as
	// they were when the machine was opened. Sane reports only later ones.
	Taint int64
}

// Boot is what the time to the first command was spent on.
type Boot struct {
	Prepare time.Duration // disks, initramfs, accelerator
	Start   time.Duration // from the start of the process to the channel's first byte
	Channel time.Duration // SSH handshake
	Measure time.Duration // the slowness factor
}

// Total is all of it.
func (b Boot) Total() time.Duration { return b.Prepare + b.Start + b.Channel + b.Measure }

// Options say what to boot.
type Options struct {
	Kernel *kernels.Build
	// Root and Modules are ext4 images; they are never written to. The
	// machine gets a throw-away view. Modules may be "".
	Root, Modules string
	// Init is our static guest init; Tools are more programs to put
	// on the machine's PATH, by name.
	Init  string
	Tools map[string]string
	// Prepare are programs to run once in the guest before the first command.
	Prepare [][]string
	// Accelerator is "auto", "kvm" or "tcg", for QEMU; "" is auto.
	Accelerator string
	// Memory of the machine in MiB; 0 = DefaultMemory.
	Memory int
	// Parameters are added to the kernel's command line, before those of the
	// build (Kernel.Append), which win.
	Parameters []string
	// Plain leaves out the words that make a kernel under QEMU boot faster
	// (see tuning).
	Plain bool
	// ConsoleFile gets the console; "" = kept in memory only. A second
	// machine with the same file appends.
	ConsoleFile string
	// BootTimeout ends a boot that hangs; 0 = three minutes.
	BootTimeout time.Duration
	// Progress gets a line for whatever takes a while; may be nil.
	Progress func(string)
}

// DefaultMemory is the memory of a machine in MiB. The upstream suite makes do
// with it, swap files included.
const DefaultMemory = 1024

// ErrLost is the error of a machine that is gone: its kernel has panicked, it
// hangs, or its process was killed.
var ErrLost = errors.New("the machine is lost")

// ErrInsane is the error of a machine that answers but is not to be trusted
// any more.
var ErrInsane = errors.New("the machine is no longer sane")

// openers are the kinds of machines, by the kind of build that each runs.
var openers = map[kernels.Kind]func(context.Context, Options) (Machine, error){
	kernels.UML:     openUML,
	kernels.BzImage: openQEMU,
	"image":         openQEMU, // an arm64 Image
	kernels.Local:   openLocal,
}

// Open boots the kernel, or for a local build takes this machine, and returns
// when it runs commands.
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
	if open, ok := openers[o.Kernel.Kind]; ok {
		return open(ctx, o)
	}
	return nil, exit.BadInputf("kernel %s: no machine runs a build of kind %q", o.Kernel.Spec, o.Kernel.Kind)
}

// Sandbox describes what confines a machine's process on this host, and what it
// can still do there, each with what closes the gap.
func Sandbox() (summary string, gaps []string) {
	s := sandbox.Supported()
	return s.String(), s.Gaps()
}

// Output runs a short command and returns what it wrote to stdout. An exit
// status other than 0 is an error that holds what it wrote to stderr.
func Output(ctx context.Context, m Machine, deadline time.Duration, args ...string) (string, error) {
	var out, errOut bounded.Head
	res, err := m.Run(ctx, Command{Args: args, Stdout: &out, Stderr: &errOut, Deadline: deadline})
	if err != nil {
		return "", err
	}
	if res.Deadline {
		return out.String(), fmt.Errorf("%s: not done after %v", args[0], deadline)
	}
	if res.Signal != "" || res.Status != 0 {
		return out.String(), fmt.Errorf("%s: %s: %s", args[0], res, errOut.String())
	}
	return out.String(), nil
}

func (r Result) String() string {
	switch {
	case r.Deadline:
		return "ended at its deadline"
	case r.Signal != "":
		return "ended by signal " + r.Signal
	default:
		return fmt.Sprintf("exit status %d", r.Status)
	}
}
