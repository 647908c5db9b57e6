// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"proofhouse/internal/sandbox"
	"proofhouse/kernels"
	"proofhouse/machines/wire"
)

// openUML boots a kernel that is an ordinary process. It needs no privilege,
// no KVM and no QEMU.
func openUML(ctx context.Context, o Options) (Machine, error) {
	begun := time.Now()
	dir, err := newRunDir(ctx)
	if err != nil {
		return nil, err
	}
	m, err := bootUML(ctx, o, dir, begun)
	if err != nil {
		_ = dir.remove()
		return nil, err
	}
	return m, nil
}

func bootUML(ctx context.Context, o Options, dir *runDir, begun time.Time) (Machine, error) {
	seed, key, err := hostKey()
	if err != nil {
		return nil, err
	}
	cfg := initFor(o, seed, "/dev/ttyS0")
	cfg.Root = wire.Disk{Device: "/dev/ubda", Type: "ext4"}
	// "COW,BASE": UML writes to its own sparse file and reads the rest of BASE.
	written, writable := dir.guest, []string{dir.guest, dir.memory}
	if o.State != "" {
		if written, err = filepath.Abs(o.State); err != nil {
			return nil, err
		}
		writable = append(writable, written)
	}
	disks := []string{"ubd0=" + filepath.Join(written, "root.cow") + "," + o.Root}
	if o.Modules != "" {
		cfg.Modules = &wire.Disk{Device: "/dev/ubdb", Type: "ext4"}
		disks = append(disks, "ubd1r="+o.Modules)
	}
	initrd := filepath.Join(dir.path, "initramfs")
	files := []string{initrd, o.Root}
	if o.Modules != "" {
		files = append(files, o.Modules)
	}
	if err := writeInitramfs(initrd, o, cfg, nil); err != nil {
		return nil, err
	}
	seccomp := hasSeccomp(o.Kernel)
	words := append([]string{
		fmt.Sprintf("mem=%dM", o.Memory),
		"uml_dir=" + dir.guest, "umid=machine", // its pid file, else in the home
		// Where hostfs is built in, a mount of it begins here: nowhere.
		"hostfs=" + filepath.Join(dir.guest, "none"),
		"initrd=" + initrd, "con=null", "con0=null,fd:1", "ssl0=fd:3",
	}, disks...)
	words = append(words, "audit_backlog_limit=8192", "loglevel=5", "panic=-1")
	if seccomp {
		words = append(words, "seccomp=on")
	}
	words = append(words, o.Parameters...)
	words = append(words, o.Kernel.Append...)
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	info := Info{Kind: "uml", Accelerator: "ptrace", Version: o.Kernel.Release, Cmdline: guestCmdline(words, dir.path)}
	if seccomp {
		info.Accelerator = "seccomp"
	}
	l := launch{
		sandbox: sandbox.Spec{
			Program:   o.Kernel.Image,
			ReadFiles: files,
			WriteDirs: writable,
			MaxFile:   maxFile(o),
		},
		args: words, channel: theirs,
		// The guest's memory is a file there; only a tmpfs is fast, and
		// executable as seccomp mode demands.
		env:    []string{"TMPDIR=" + dir.memory, "HOME=" + dir.guest},
		pinned: true,
		paced:  true,
	}
	return boot(ctx, o, l, ours, key, dir, info, begun)
}

// guestCmdline leaves out the parameters that name files of this run, so that the
// same build always has the same command line.
func guestCmdline(words []string, dir string) string {
	var kept []string
	for _, w := range words {
		if !strings.Contains(w, dir) && !strings.HasPrefix(w, "ubd") {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " ")
}

// hasSeccomp reports whether the kernel can run its processes under seccomp instead
// of ptrace: faster, and it works on processors whose register state an older kernel
// does not know. Since 6.16.
func hasSeccomp(b *kernels.Build) bool {
	var major, minor int
	if _, err := fmt.Sscanf(b.Release, "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 6 || major == 6 && minor >= 16
}
