// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/internal/sandbox"
	"proofhouse/kernels"
	"proofhouse/machines/wire"
)

// arch is what QEMU needs to know of the architecture of a kernel.
type arch struct {
	names   []string // as uname -m, Go and Debian have it
	binary  string
	pkg     string // Debian's package of it
	machine string
	console string // the first serial port's name in the guest
	serial  string // the second one's
	// cpuTCG is the plainest processor that Debian boots on. With "max" on x86 a
	// process starts a fifth slower, on arm64 pointer authentication much slower.
	cpuTCG string
	tuning []string // see tuning
	// secondSince is the first version of QEMU whose machine has a second serial
	// port, {0, 0} for any.
	secondSince [2]int
}

var arches = []arch{
	{
		names: []string{"x86_64", "amd64"}, binary: "qemu-system-x86_64", pkg: "qemu-system-x86", machine: "q35",
		console: "ttyS0", serial: "/dev/ttyS1", cpuTCG: "qemu64,+rdrand",
		tuning: []string{"tsc=reliable", "no_timer_check"},
	},
	{
		names: []string{"aarch64", "arm64"}, binary: "qemu-system-aarch64", pkg: "qemu-system-arm", machine: "virt",
		console: "ttyAMA0", serial: "/dev/ttyAMA1", cpuTCG: "cortex-a57",
		secondSince: [2]int{9, 1}, // hw/arm/virt.c
	},
}

// secondSerial returns why QEMU of a version, "10.0.2", has no serial port beside the
// console for a kernel without virtio-serial; a user error.
func (a arch) secondSerial(b *kernels.Build, version string) error {
	var has [2]int
	if n, _ := fmt.Sscanf(version, "%d.%d", &has[0], &has[1]); n < 2 || slices.Compare(has[:], a.secondSince[:]) >= 0 {
		return nil
	}
	return exit.BadInputf("kernel %s is without virtio serial ports (CONFIG_VIRTIO_CONSOLE is not set), and the machine %s of QEMU %s has no second serial port: use QEMU %d.%d or later, or set the option",
		b.Spec, a.machine, version, a.secondSince[0], a.secondSince[1])
}

// archOf finds an architecture by one of its names.
func archOf(name string) (arch, bool) {
	for _, a := range arches {
		if slices.Contains(a.names, name) {
			return a, true
		}
	}
	return arch{}, false
}

// programArch is the architecture that an executable is for, as Go names it; "" if
// it is none that a machine here has.
func programArch(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	return map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[f.Machine]
}

// native reports whether the host has this architecture: only then is there KVM.
func (a arch) native() bool { return slices.Contains(a.names, runtime.GOARCH) }

// tuning are the kernel parameters that make a kernel boot faster under emulation,
// on every architecture. They leave the security modules alone; Options.Plain
// leaves them out.
var tuning = []string{
	"nokaslr", "mitigations=off", "random.trust_cpu=on", "cryptomgr.notests", "raid=noautodetect",
}

// slow are the kernel parameters for an emulated processor. The host may not run it
// for more than the 20 s after which the kernel reports a soft lockup.
var slow = []string{"watchdog_thresh=30", "rcupdate.rcu_cpu_stall_timeout=60"}

// rootModules are the modules that a kernel may need for its root, its channel and
// its randomness under QEMU.
var rootModules = []string{"virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "crc32c_generic", "ext4"}

// probeTimeout is how long the first boot under KVM may take. A stock kernel
// is in user space in two seconds.
const probeTimeout = 15 * time.Second

// openQEMU boots a kernel for hardware, unchanged.
func openQEMU(ctx context.Context, o Options) (Machine, error) {
	a, err := qemuFor(o.Kernel, o.Accelerator)
	if err != nil {
		return nil, err
	}
	if name := programArch(o.Init); name != "" && !slices.Contains(a.names, name) {
		return nil, exit.BadInputf("kernel %s is for %s, but %s is for %s: build the guest's programs for the kernel's architecture", o.Kernel.Spec, o.Kernel.Arch, o.Init, name)
	}
	for name, path := range o.Tools {
		if is := programArch(path); is != "" && !slices.Contains(a.names, is) {
			return nil, exit.BadInputf("kernel %s is for %s, but the program %s is for %s", o.Kernel.Spec, o.Kernel.Arch, name, is)
		}
	}
	if o.Accelerator == "" || o.Accelerator == "auto" {
		return autoQEMU(ctx, o, a)
	}
	return startQEMU(ctx, o, a, o.Accelerator)
}

// Check returns why this host cannot open a machine for the kernel with the
// accelerator; a user error. It lets a run fail before it makes what the machine
// needs.
func Check(b *kernels.Build, accelerator string) error {
	if b.Kind != kernels.BzImage && b.Kind != kernels.Image {
		return nil
	}
	_, err := qemuFor(b, accelerator)
	return err
}

// qemuFor returns the QEMU for a kernel.
func qemuFor(b *kernels.Build, accelerator string) (arch, error) {
	a, ok := archOf(b.Arch)
	if !ok {
		return arch{}, exit.BadInputf("kernel %s: no QEMU machine for architecture %q: want x86_64 or aarch64", b.Spec, b.Arch)
	}
	if !slices.Contains([]string{"", "auto", "kvm", "tcg"}, accelerator) {
		return arch{}, exit.BadInputf("accelerator %q: want auto, kvm or tcg", accelerator)
	}
	if accelerator == "kvm" && !a.native() {
		return arch{}, exit.BadInputf("kernel %s: accelerator kvm runs kernels of this host's architecture (%s) only: use tcg", b.Spec, runtime.GOARCH)
	}
	if _, err := exec.LookPath(a.binary); err != nil {
		return arch{}, exit.BadInputf("kernel %s needs QEMU: %s not found: proofhouse setup --kernel %[1]s, or apt-get install %[3]s", b.Spec, a.binary, a.pkg)
	}
	return a, nil
}

// autoQEMU uses KVM if it has booted a kernel on this host. That /dev/kvm opens
// proves nothing: on some hosts KVM creates virtual machines in which no stock kernel
// starts. So the first boot is the probe, and its outcome is remembered until the
// host reboots.
func autoQEMU(ctx context.Context, o Options, a arch) (Machine, error) {
	memory, err := kvmMemory()
	if err != nil || !a.native() || !memory.possible() {
		return startQEMU(ctx, o, a, "tcg")
	}
	switch memory.recall() {
	case "works":
		return startQEMU(ctx, o, a, "kvm")
	case "fails":
		return startQEMU(ctx, o, a, "tcg")
	}
	o.Progress("trying KVM")
	probe := o
	probe.BootTimeout = probeTimeout
	m, err := startQEMU(ctx, probe, a, "kvm")
	if err == nil {
		memory.remember("works")
		o.Progress("KVM works")
		return m, nil
	}
	if ctx.Err() != nil {
		return nil, err
	}
	// It is KVM's fault only if the same kernel boots without it.
	o.Progress(fmt.Sprintf("KVM does not boot this kernel (%v): using TCG", err))
	m, err = startQEMU(ctx, o, a, "tcg")
	if err == nil {
		memory.remember("fails")
	}
	return m, err
}

func startQEMU(ctx context.Context, o Options, a arch, accel string) (Machine, error) {
	begun := time.Now()
	dir, err := newRunDir(ctx)
	if err != nil {
		return nil, err
	}
	m, err := bootQEMU(ctx, o, a, accel, dir, begun)
	if err != nil {
		_ = dir.remove()
		return nil, err
	}
	return m, nil
}

func bootQEMU(ctx context.Context, o Options, a arch, accel string, dir *runDir, begun time.Time) (Machine, error) {
	seed, key, err := hostKey()
	if err != nil {
		return nil, err
	}
	modules, err := moduleFiles(o.Kernel.Modules, rootModules...)
	if err != nil {
		return nil, err
	}
	version := qemuVersion(ctx, a.binary)
	q := command{name: a.binary}
	q.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	q.add("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
	q.add("-machine", a.machine, "-accel", accel, "-smp", "1", "-m", fmt.Sprintf("%dM", o.Memory))
	q.add("-cpu", map[string]string{"kvm": "host", "tcg": a.cpuTCG}[accel])
	q.add("-kernel", o.Kernel.Image)
	q.add("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console")
	channel := a.serial
	q.add("-chardev", "socket,id=channel,fd=3")
	if hasVirtioConsole(o.Kernel) {
		channel = "virtio:proofhouse"
		q.add("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=channel,name=proofhouse")
	} else {
		if err := a.secondSerial(o.Kernel, version); err != nil {
			return nil, err
		}
		q.add("-serial", "chardev:channel")
	}
	q.add("-device", "virtio-rng-pci")
	cfg := initFor(o, seed, channel)
	cfg.Root = wire.Disk{Device: "/dev/vda", Type: "ext4"}
	// What the guest writes goes to a temporary file that QEMU has already
	// unlinked; the image stays as it is.
	q.disk("root", o.Root, "snapshot=on")
	if o.Modules != "" {
		cfg.Modules = &wire.Disk{Device: "/dev/vdb", Type: "ext4"}
		q.disk("modules", o.Modules, "read-only=on")
	}
	initrd := filepath.Join(dir.path, "initramfs")
	if err := writeInitramfs(initrd, o, cfg, modules); err != nil {
		return nil, err
	}
	q.add("-initrd", initrd)
	words := []string{"console=" + a.console, "loglevel=5", "panic=-1", "audit_backlog_limit=8192"}
	if !o.Plain {
		words = append(words, append(slices.Clone(tuning), a.tuning...)...)
		if accel == "tcg" {
			words = append(words, slow...)
		}
	}
	words = append(words, o.Parameters...)
	words = append(words, o.Kernel.Append...)
	q.add("-append", strings.Join(words, " "))
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	info := Info{Kind: "qemu", Accelerator: accel, Version: version, Cmdline: strings.Join(words, " ")}
	l := launch{sandbox: qemuSandbox(o, a, accel, initrd, dir), args: q.args, channel: theirs, env: []string{"TMPDIR=" + dir.guest}}
	m, err := boot(ctx, o, l, ours, key, dir, info, begun)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, suspicion(o.Kernel))
	}
	return m, nil
}

// qemuSandbox is what QEMU may reach: its firmware and libraries, the files of
// this machine, and KVM.
func qemuSandbox(o Options, a arch, accel, initrd string, dir *runDir) sandbox.Spec {
	s := sandbox.Spec{
		Program: a.binary, LibraryDirs: true,
		ReadFiles: []string{o.Kernel.Image, initrd, o.Root},
		WriteDirs: []string{dir.guest},
		MaxFile:   maxFile(o),
	}
	if o.Modules != "" {
		s.ReadFiles = append(s.ReadFiles, o.Modules)
	}
	if accel == "kvm" {
		s.Devices = []string{"/dev/kvm"}
	}
	// Debian's firmware is in packages of its own, linked from qemu/.
	prefixes := []string{"/usr"}
	if path, err := exec.LookPath(a.binary); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			prefixes = append(prefixes, filepath.Dir(filepath.Dir(real)))
		}
	}
	for _, p := range prefixes {
		for _, d := range []string{"qemu", "seabios", "ipxe", "qemu-efi-aarch64", "AAVMF", "edk2"} {
			s.ReadDirs = append(s.ReadDirs, filepath.Join(p, "share", d))
		}
	}
	return s
}

// maxFile is the largest file, in bytes, that a machine has reason to write: its
// view of the root image, or its memory; with some room for headers.
func maxFile(o Options) uint64 {
	most := int64(o.Memory) << 20
	for _, f := range []string{o.Root, o.Modules} {
		if fi, err := os.Stat(f); err == nil {
			most = max(most, fi.Size())
		}
	}
	return uint64(most) + 256<<20
}

// suspicion is why a kernel may not have booted that its config could not show
// before, in parentheses; or "".
func suspicion(b *kernels.Build) string {
	var all []string
	if _, known := b.ConfigValue(""); !known {
		all = append(all, "its config is unknown: check CONFIG_BLK_DEV_INITRD and the serial console's driver, or give its build tree")
	}
	if b.Modules == "" {
		all = append(all, "it has no modules: if its disk or file system driver is a module, add ,modules=DIR")
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, "; ") + ")"
}

// command collects QEMU's arguments.
type command struct {
	name string
	args []string
}

func (c *command) add(args ...string) { c.args = append(c.args, args...) }

// disk adds a virtio disk. QEMU's option parser wants commas in names doubled. It
// takes no lock: the file is never written to, and QEMU's lock treats some readers
// as writers.
func (c *command) disk(id, file, more string) {
	file = strings.ReplaceAll(file, ",", ",,")
	c.add("-drive", "if=none,id="+id+",format=raw,file.locking=off,file="+file+","+more)
	c.add("-device", "virtio-blk-pci,drive="+id)
}

// hasVirtioConsole reports whether the kernel supports virtio-serial ports. A kernel
// about which nothing is known gets a second serial port: slower, but always there.
func hasVirtioConsole(b *kernels.Build) bool {
	if v, known := b.ConfigValue("CONFIG_VIRTIO_CONSOLE"); known {
		if v == "m" {
			files, err := moduleFiles(b.Modules, "virtio_console")
			return err == nil && len(files) > 0
		}
		return v == "y"
	}
	files, err := moduleFiles(b.Modules, "virtio_console")
	return err == nil && len(files) > 0
}

func qemuVersion(ctx context.Context, binary string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd, err := sandbox.Spec{Program: binary, LibraryDirs: true}.Command(ctx, "--version")
	if err != nil {
		return ""
	}
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	_, version, _ := strings.Cut(line, "version ")
	return version
}
