// SPDX-License-Identifier: Apache-2.0

// Package testboard is a board for tests without a board: a QEMU machine with a
// Debian of its own, sshd on a loopback port, its serial console on a unix
// socket, and a switch for its power. Proofhouse reaches it as it reaches any
// board; nothing here is part of proofhouse itself.
package testboard

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cavaliergopher/cpio"

	"proofhouse/internal/apt"
	"proofhouse/internal/archive"
	"proofhouse/internal/cache"
	"proofhouse/internal/child"
	"proofhouse/internal/host"
	"proofhouse/kernels"
)

//go:embed build.sh
var buildScript string

//go:embed board-network.service
var network string

// suite and kernel are the Debian of the board.
const (
	suite  = "trixie"
	kernel = "debian:trixie"
)

var packages = []string{
	"systemd-sysv", "openssh-server", "apparmor", "busybox-static", "kmod", "iproute2", "procps",
	"perl", "attr", "libcap2-bin", "libdbus-1-3", "liburing2",
}

// Disk is the board as it leaves its maker.
type Disk struct {
	Dir   string // disk.ext4, busybox
	Build *kernels.Build
}

// Get makes the board's disk, once.
func Get(ctx context.Context, progress func(string)) (*Disk, error) {
	b, err := kernels.Resolve(ctx, kernel, progress)
	if err != nil {
		return nil, err
	}
	words := []string{"--mode=root", "--variant=minbase", "--include=" + strings.Join(packages, ","),
		`--dpkgopt=path-exclude=/usr/share/doc/*`, `--dpkgopt=path-exclude=/usr/share/locale/*`, suite, "ROOT"}
	h := sha256.Sum256([]byte(buildScript + network + strings.Join(words, " ") + b.ID()))
	dir, err := cache.Entry(ctx, "images", "board-"+hex.EncodeToString(h[:8]), func(ctx context.Context, dir string) error {
		a, err := apt.Open(ctx, progress)
		if err != nil {
			return err
		}
		archive, err := a.Mmdebstrap(suite)
		if err != nil {
			return err
		}
		for name, text := range map[string]string{"build.sh": buildScript, "board-network.service": network} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				return err
			}
		}
		if err := os.Mkdir(filepath.Join(dir, "work"), 0o755); err != nil {
			return err
		}
		args := []string{"--fork", "--kill-child", "--pid", "--mount", "--mount-proc"}
		tmpfs := ""
		if os.Geteuid() != 0 {
			args = append(args, "--user", "--map-root-user", "--map-auto")
			tmpfs = "3G"
		}
		args = slices.Concat(args, []string{"sh", "build.sh", b.Modules}, words, archive)
		cmd := child.Command(ctx, "unshare", args...)
		cmd.Dir = dir
		cmd.Env = append(host.Env(), "BOARD_TMPFS="+tmpfs)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("make the test board: %w: %s", err, out[max(0, len(out)-2000):])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Disk{Dir: dir, Build: b}, nil
}

// initScript finds the board's disk and starts its Debian.
const initScript = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for m in /modules/*; do
	case $m in
	*ramoops*) /bin/busybox insmod $m mem_address=0x3e000000 mem_size=0x100000 record_size=0x20000 ;;
	*) /bin/busybox insmod $m ;;
	esac
done
until /bin/busybox mount -t ext4 -o %s /dev/vda /root; do /bin/busybox usleep 20000; done
exec /bin/busybox switch_root /root /sbin/init
`

// modules are what the kernel needs to find its disk and its network, and to keep the
// text of a panic in memory that a reset leaves alone.
var modules = []string{"virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk", "failover", "net_failover", "virtio_net", "reed_solomon", "ramoops"}

func (d *Disk) writeInitrd(file string, readOnly bool) error {
	busybox, err := os.ReadFile(filepath.Join(d.Dir, "busybox"))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := cpio.NewWriter(&b)
	add := func(name string, mode cpio.FileMode, content []byte) {
		if err == nil {
			err = w.WriteHeader(&cpio.Header{Name: name, Mode: mode, Size: int64(len(content)), Links: 1})
		}
		if err == nil {
			_, err = w.Write(content)
		}
	}
	for _, dir := range []string{"bin", "dev", "root", "modules"} {
		add(dir, cpio.TypeDir|0o755, nil)
	}
	how := "rw"
	if readOnly {
		how = "ro"
	}
	add("init", cpio.TypeReg|0o755, fmt.Appendf(nil, initScript, how))
	add("bin/busybox", cpio.TypeReg|0o755, busybox)
	files := map[string]string{}
	_ = filepath.WalkDir(d.Build.Modules, func(path string, e os.DirEntry, _ error) error {
		name, _, ok := strings.Cut(filepath.Base(path), ".ko")
		if !ok || !e.Type().IsRegular() {
			return nil
		}
		files[strings.ReplaceAll(name, "-", "_")] = path
		return nil
	})
	for i, m := range modules {
		path, ok := files[m]
		if !ok {
			continue // built in
		}
		content, readErr := unpack(path)
		if readErr != nil {
			return readErr
		}
		add(fmt.Sprintf("modules/%02d-%s.ko", i, m), cpio.TypeReg|0o644, content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o600)
}

func unpack(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	r, err := archive.Decompress(context.Background(), f)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	var b bytes.Buffer
	_, err = b.ReadFrom(r)
	return b.Bytes(), err
}

// Board is one test board.
type Board struct {
	Dir     string // of its files
	Port    int    // of sshd, on 127.0.0.1
	Console string // unix socket
	Monitor string // unix socket of QEMU's human monitor
	Config  string // for ssh -F: host "board"
	disk    *Disk
	params  []string

	mu  sync.Mutex
	cmd *exec.Cmd
	end context.CancelFunc
}

// Options of a board.
type Options struct {
	ReadOnly bool     // its root is mounted read-only
	Append   []string // kernel parameters
	// Files are put on the board's disk: path there -> file here.
	Files map[string]string
	// Unknown leaves the board's host key out of known_hosts.
	Unknown bool
	// Port of sshd, 0: any free one.
	Port int
}

// New makes the files of a board in dir. Its power is off.
func (d *Disk) New(ctx context.Context, dir string, o Options) (*Board, error) {
	b := &Board{
		Dir: dir, Console: filepath.Join(dir, "console"), Monitor: filepath.Join(dir, "monitor"),
		Config: filepath.Join(dir, "ssh_config"), disk: d, Port: o.Port,
	}
	if b.Port == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		b.Port = l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
	}
	disk := filepath.Join(dir, "disk.ext4")
	run := func(name string, args ...string) error {
		cmd := child.Command(ctx, name, args...)
		cmd.Env = host.Env()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
		}
		return nil
	}
	if err := run("cp", "--sparse=always", "--reflink=auto", filepath.Join(d.Dir, "disk.ext4"), disk); err != nil {
		return nil, err
	}
	key, hostKey := filepath.Join(dir, "id"), filepath.Join(dir, "host_key")
	for _, k := range []string{key, hostKey} {
		if err := run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", k); err != nil {
			return nil, err
		}
	}
	public, err := os.ReadFile(hostKey + ".pub")
	if err != nil {
		return nil, err
	}
	known := fmt.Sprintf("[127.0.0.1]:%d %s", b.Port, public)
	if o.Unknown {
		known = ""
	}
	config := fmt.Sprintf("Host board\n\tHostName 127.0.0.1\n\tPort %d\n\tUser root\n\tIdentityFile %s\n\tIdentitiesOnly yes\n\tUserKnownHostsFile %s\n\tGlobalKnownHostsFile /dev/null\n\tStrictHostKeyChecking ask\n",
		b.Port, key, filepath.Join(dir, "known_hosts"))
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "known_hosts"), []byte(known), 0o600), os.WriteFile(b.Config, []byte(config), 0o600)); err != nil {
		return nil, err
	}
	script := []string{"cd /"}
	put := func(to, from, mode string) {
		script = append(script, "rm "+to, "write "+from+" "+to, "sif "+to+" mode "+mode, "sif "+to+" uid 0", "sif "+to+" gid 0")
	}
	for _, t := range []string{"rsa", "ecdsa"} {
		script = append(script, "rm /etc/ssh/ssh_host_"+t+"_key", "rm /etc/ssh/ssh_host_"+t+"_key.pub")
	}
	put("/etc/ssh/ssh_host_ed25519_key", hostKey, "0100600")
	put("/etc/ssh/ssh_host_ed25519_key.pub", hostKey+".pub", "0100644")
	put("/root/.ssh/authorized_keys", key+".pub", "0100600")
	dirs := map[string]bool{}
	for to := range o.Files {
		for p := filepath.Dir(to); p != "/"; p = filepath.Dir(p) {
			dirs[p] = true
		}
	}
	var made []string
	for p := range dirs {
		made = append(made, p)
	}
	slices.Sort(made)
	for _, p := range made {
		script = append(script, "mkdir "+p)
	}
	for to, from := range o.Files {
		put(to, from, "0100644")
	}
	commands := filepath.Join(dir, "debugfs")
	if err := os.WriteFile(commands, []byte(strings.Join(script, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	if err := run("debugfs", "-w", "-f", commands, disk); err != nil {
		return nil, err
	}
	if err := d.writeInitrd(filepath.Join(dir, "initrd"), o.ReadOnly); err != nil {
		return nil, err
	}
	b.params = append([]string{"console=ttyS0", "loglevel=4", "systemd.show_status=no", "rcupdate.rcu_cpu_stall_timeout=60", "watchdog_thresh=30", "mitigations=off", "tsc=reliable", "no_timer_check", "nokaslr", "net.ifnames=0", "memmap=1M$0x3e000000"}, o.Append...)
	return b, nil
}

// Params adds kernel parameters, for the next boot.
func (b *Board) Params(more ...string) { b.params = append(b.params, more...) }

// PowerOn starts the board, and PowerOff cuts its power.
func (b *Board) PowerOn() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cmd != nil {
		return nil
	}
	_ = os.Remove(b.Console)
	_ = os.Remove(b.Monitor)
	ctx, end := context.WithCancel(context.Background())
	cmd := child.Command(ctx, "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "q35", "-accel", "tcg", "-cpu", "qemu64,+rdrand", "-smp", "1", "-m", "1024M",
		"-kernel", b.disk.Build.Image, "-initrd", filepath.Join(b.Dir, "initrd"), "-append", strings.Join(b.params, " "),
		"-drive", "if=none,id=root,format=raw,cache=unsafe,file="+filepath.Join(b.Dir, "disk.ext4"), "-device", "virtio-blk-pci,drive=root",
		"-netdev", fmt.Sprintf("user,id=net,hostfwd=tcp:127.0.0.1:%d-:22", b.Port), "-device", "virtio-net-pci,netdev=net,id=nic",
		"-device", "virtio-rng-pci",
		"-chardev", "socket,id=console,path="+b.Console+",server=on,wait=off,logfile="+filepath.Join(b.Dir, "console.log")+",logappend=on", "-serial", "chardev:console",
		"-monitor", "unix:"+b.Monitor+",server=on,wait=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		end()
		return err
	}
	b.cmd, b.end = cmd, end
	return os.WriteFile(filepath.Join(b.Dir, "pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
}

// PowerOff cuts the power.
func (b *Board) PowerOff() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cmd == nil {
		return
	}
	b.end()
	_ = b.cmd.Wait()
	b.cmd = nil
}

// Command runs a command of QEMU's monitor: "set_link nic off", "stop".
func (b *Board) Command(line string) error {
	c, err := net.Dial("unix", b.Monitor)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	buf := make([]byte, 4096)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(buf); err != nil {
		return err
	}
	if _, err := c.Write([]byte(line + "\n")); err != nil {
		return err
	}
	_, err = c.Read(buf)
	time.Sleep(200 * time.Millisecond)
	return err
}

// Run runs a command on the board as anyone with an ssh client would.
func (b *Board) Run(ctx context.Context, line string) (string, error) {
	cmd := child.Command(ctx, "ssh", "-F", b.Config, "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "board", line)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Wait waits until sshd answers.
func (b *Board) Wait(ctx context.Context) error {
	for {
		_, err := b.Run(ctx, "true")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the test board does not answer: %w", err)
		case <-time.After(time.Second):
		}
	}
}
