// SPDX-License-Identifier: Apache-2.0

// Package guest is the inside of a virtual machine: the init that runs as its
// first process, and the SSH server that runs commands for the host.
//
// The program has three stages. In the initramfs it loads modules, mounts the
// guest's root and executes itself there. As the root's init it mounts what a Debian
// system has mounted, starts the agent and reaps orphans. The agent serves the channel
// until the host closes it; then init powers the machine off. Where the root's own
// systemd is the init, it starts the agent as a unit.
package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"proofhouse/machines/wire"
)

const (
	newRoot   = "/sysroot"
	stateDir  = "/run/proofhouse"
	stateFile = stateDir + "/init.json"
	path      = wire.BinDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Main is the program. args are those of the process.
func Main(args []string) error {
	if os.Getpid() == 1 {
		// On any error, print it and power off: the host then sees an end
		// instead of a machine that hangs.
		err := first()
		console("%v", err)
		time.Sleep(100 * time.Millisecond) // the console's last line
		return powerOff()
	}
	if len(args) == 1 && filepath.Base(args[0]) == "agent" {
		return agent()
	}
	if len(args) > 1 && args[1] == "board" {
		return board(args[2:])
	}
	return errors.New("guest-init runs as the first process of a virtual machine only")
}

func first() error {
	if !exists(wire.InitFile) {
		return supervise()
	}
	cfg, err := early()
	if err != nil {
		return fmt.Errorf("early boot: %w", err)
	}
	return fmt.Errorf("move to the root: %w", moveTo(cfg))
}

// console writes a line to the kernel's log, which reaches the console
// whatever state stdout is in.
func console(format string, args ...any) {
	line := "proofhouse: " + strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	if f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		_, _ = f.WriteString("<3>" + line + "\n")
		_ = f.Close()
		return
	}
	fmt.Fprintln(os.Stderr, line)
}

func powerOff() error {
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
	optional               bool
}

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil && !m.optional {
		return err
	}
	err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data)
	if err != nil && !m.optional && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount %s (%s) on %s: %w", m.source, m.fstype, m.target, err)
	}
	return nil
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// early is the stage in the initramfs, up to a mounted root.
func early() (*wire.Init, error) {
	err := mountAll([]mount{
		{source: "proc", target: "/proc", fstype: "proc", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{source: "sysfs", target: "/sys", fstype: "sysfs", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{source: "devtmpfs", target: "/dev", fstype: "devtmpfs", flags: unix.MS_NOSUID},
	})
	if err != nil {
		return nil, err
	}
	cfg, err := readInit(wire.InitFile)
	if err != nil {
		return nil, err
	}
	for _, m := range cfg.Load {
		if err := insert(m); err != nil {
			return nil, err
		}
	}
	if err := waitFor(cfg.Root.Device, cfg.Wait); err != nil {
		return nil, err
	}
	mounts := []mount{{source: cfg.Root.Device, target: newRoot, fstype: cfg.Root.Type, flags: unix.MS_NOATIME}}
	if cfg.Modules != nil {
		if err := waitFor(cfg.Modules.Device, cfg.Wait); err != nil {
			return nil, err
		}
		mounts = append(mounts, mount{
			source: cfg.Modules.Device, target: newRoot + "/usr/lib/modules",
			fstype: cfg.Modules.Type, flags: unix.MS_RDONLY,
		})
	}
	mounts = append(mounts, mount{
		source: "tmpfs", target: newRoot + "/run", fstype: "tmpfs",
		flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=755",
	})
	if err := mountAll(mounts); err != nil {
		return nil, err
	}
	return cfg, nil
}

// insert loads the module at path. A module that is loaded already, or whose
// hardware is missing, is not an error: waitFor notices a missing device.
func insert(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("load module %s: %w", filepath.Base(path), err)
	}
	return nil
}

func waitFor(path string, limit time.Duration) error {
	for end := time.Now().Add(limit); !exists(path); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("wait for %s: timed out after %v", path, limit)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func readInit(path string) (*wire.Init, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	cfg := new(wire.Init)
	if err := json.Unmarshal(b, cfg); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// moveTo makes the mounted root the root of the file system and executes the second
// stage there. It returns only on failure.
func moveTo(cfg *wire.Init) error {
	bin := newRoot + wire.BinDir
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for from, to := range programs(cfg.Tools) {
		if err := copyFile(from, filepath.Join(bin, to)); err != nil {
			return err
		}
	}
	b, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	if err := os.WriteFile(newRoot+stateFile, b, 0o600); err != nil {
		return err
	}
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if err := unix.Mount(dir, newRoot+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	if err := unix.Chdir(newRoot); err != nil {
		return err
	}
	// The initramfs uses memory that the tests need.
	removeInitramfs()
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if cfg.Systemd {
		return startSystemd()
	}
	self := filepath.Join(wire.BinDir, "init")
	return unix.Exec(self, []string{"init"}, environment())
}

const (
	systemd   = "/usr/lib/systemd/systemd"
	unitDir   = "/run/systemd/system"
	agentUnit = "proofhouse-agent.service"
)

// agentService starts early and ends only with the machine, so that the host can
// examine a boot that fails, and learns when a shutdown is complete.
const agentService = `[Unit]
Description=Command channel of proofhouse
DefaultDependencies=no
IgnoreOnIsolate=yes

[Service]
ExecStart=@` + wire.BinDir + `/init agent
Environment=PATH=` + path + ` HOME=/root USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8 TERM=linux
StandardOutput=null
StandardError=null
OOMScoreAdjust=-900
`

// startSystemd makes the agent a unit and executes the root's systemd, with its
// own environment: systemd takes the environment of PID 1 for that of its units.
func startSystemd() error {
	wants := filepath.Join(unitDir, "sysinit.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	file := filepath.Join(unitDir, agentUnit)
	if err := os.WriteFile(file, []byte(agentService), 0o644); err != nil {
		return err
	}
	if err := os.Symlink(file, filepath.Join(wants, agentUnit)); err != nil {
		return err
	}
	return unix.Exec(systemd, []string{systemd}, []string{"TERM=linux"})
}

func programs(tools []string) map[string]string {
	m := map[string]string{"/init": "init"}
	for _, t := range tools {
		m["/tools/"+t] = t
	}
	return m
}

func removeInitramfs() {
	for _, p := range []string{"/init", "/tools", "/modules", wire.InitFile} {
		_ = os.RemoveAll(p)
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

func environment() []string {
	return []string{"PATH=" + path, "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8", "TERM=linux"}
}

// supervise is the second stage: it mounts what a Debian system has mounted, starts
// the agent and reaps orphans. It returns when the agent ends.
func supervise() error {
	cfg, err := readInit(stateFile)
	if err != nil {
		return err
	}
	nosuid := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	err = mountAll([]mount{
		{source: "devpts", target: "/dev/pts", fstype: "devpts", flags: unix.MS_NOSUID | unix.MS_NOEXEC, data: "gid=5,mode=620,ptmxmode=666"},
		{source: "tmpfs", target: "/dev/shm", fstype: "tmpfs", flags: unix.MS_NOSUID | unix.MS_NODEV},
		{source: "mqueue", target: "/dev/mqueue", fstype: "mqueue", flags: nosuid, optional: true},
		{source: "tmpfs", target: "/run/lock", fstype: "tmpfs", flags: nosuid, data: "mode=1777"},
		{source: "securityfs", target: "/sys/kernel/security", fstype: "securityfs", flags: nosuid, optional: true},
		{source: "cgroup2", target: "/sys/fs/cgroup", fstype: "cgroup2", flags: nosuid, data: "nsdelegate", optional: true},
		{source: "debugfs", target: "/sys/kernel/debug", fstype: "debugfs", flags: nosuid, optional: true},
		{source: "tracefs", target: "/sys/kernel/tracing", fstype: "tracefs", flags: nosuid, optional: true},
	})
	if err != nil {
		return err
	}
	for link, target := range map[string]string{"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2"} {
		_ = os.Symlink(target, link)
	}
	// As systemd does: a mount made in one mount namespace shows in the others.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		console("share the root mount: %v", err)
	}
	if b, err := os.ReadFile("/etc/hostname"); err == nil {
		_ = unix.Sethostname([]byte(strings.TrimSpace(string(b))))
	}
	if err := loopbackUp(); err != nil {
		console("bring up the loopback interface: %v", err)
	}
	os.Clearenv()
	for _, kv := range environment() {
		k, v, _ := strings.Cut(kv, "=")
		_ = os.Setenv(k, v)
	}
	delegateCgroups()
	for _, words := range cfg.Prepare {
		prepare(words)
	}
	return reap()
}

// prepare runs one program before the channel opens. A failure is printed and
// ignored: the tests that need the program report it.
func prepare(words []string) {
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		console("%s: %v: %s", strings.Join(words, " "), err, out)
	}
}

// delegateCgroups enables the controllers for child cgroups, as systemd does on
// Debian, so that containers find them; but not the processor's controller: where the
// kernel schedules real-time tasks by group (CONFIG_RT_GROUP_SCHED), a group
// that was given none cannot have any, and a test that wants SCHED_RR fails.
func delegateCgroups() {
	b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		return
	}
	for c := range strings.FieldsSeq(string(b)) {
		if c == "cpu" {
			continue
		}
		_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+"+c), 0)
	}
}

// reap starts the agent and reaps processes until the agent ends.
func reap() error {
	self := filepath.Join(wire.BinDir, "init")
	agent, err := os.StartProcess(self, []string{"agent"}, &os.ProcAttr{
		Env: environment(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case pid == agent.Pid && status.Exited() && status.ExitStatus() == 0:
			return errors.New("the host closed the channel: powering off")
		case pid == agent.Pid:
			return fmt.Errorf("the agent died (wait status %#x)", uint32(status))
		}
	}
}

// loopbackUp is `ip link set lo up`.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return err
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// openChannel opens the command channel's device.
func openChannel(name string, wait time.Duration) (*os.File, error) {
	dev := name
	if port, ok := strings.CutPrefix(name, "virtio:"); ok {
		var err error
		if dev, err = virtioPort(port, wait); err != nil {
			return nil, err
		}
	}
	if err := waitFor(dev, wait); err != nil {
		return nil, err
	}
	fd, err := unix.Open(dev, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dev, err)
	}
	if !strings.HasPrefix(name, "virtio:") {
		if err := makeRaw(fd); err != nil {
			return nil, fmt.Errorf("make %s raw: %w", dev, err)
		}
	}
	return os.NewFile(uintptr(fd), dev), nil
}

// virtioPort finds the device of the named virtio-serial port.
func virtioPort(name string, wait time.Duration) (string, error) {
	for end := time.Now().Add(wait); ; time.Sleep(5 * time.Millisecond) {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		i := slices.IndexFunc(names, func(p string) bool {
			b, _ := os.ReadFile(p)
			return strings.TrimSpace(string(b)) == name
		})
		if i >= 0 {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(names[i]))), nil
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("wait for virtio-serial port %q: timed out after %v", name, wait)
		}
	}
}

// makeRaw is cfmakeraw(3): bytes go through as they are, without echo.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8 | unix.CLOCAL | unix.CREAD
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
