// SPDX-License-Identifier: Apache-2.0

// Package doctor examines what this host can do, what it lacks, and how to fix
// it. It installs Debian packages on request and changes nothing else.
package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"proofhouse/images"
	"proofhouse/internal/apt"
	"proofhouse/internal/cache"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
	"proofhouse/machines"
)

// State of one finding.
type State string

// The states. Only Missing stops a run.
const (
	OK      State = "ok"
	Advice  State = "advice"  // works, and could be better
	Missing State = "missing" // required by a run
)

// Finding is the result of one check.
type Finding struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"` // the command that fixes it
}

// program is a program of this host that proofhouse calls.
type program struct {
	name string
	qemu string // the architecture whose kernels need it, as Debian names it; "": all runs do
	why  string
}

var programs = []program{
	{"mmdebstrap", "", "builds guest root file systems"},
	{"mkfs.ext4", "", "creates disk images"},
	{"newuidmap", "", "lets an unprivileged user build a guest root file system"},
	{"patchelf", "", "makes a UML kernel run with an older libc"},
	{"dpkg-deb", "", "unpacks kernel packages"},
	{"dpkg-source", "", "unpacks the upstream suite and applies Debian's patches"},
	{"depmod", "", "creates the module list of a kernel"},
	{"xz", "", "unpacks modules"},
	{"zstd", "", "unpacks modules"},
	{"unshare", "", "ends child processes together with proofhouse"},
	{"qemu-system-x86_64", "amd64", "boots kernels for x86-64 other than UML"},
	{"qemu-system-aarch64", "arm64", "boots kernels for arm64"},
}

// Lacking returns the Debian packages that runs need and that are not installed.
// qemu are the architectures, as Debian names them, of the kernels that need QEMU.
func Lacking(qemu []string) []string {
	var pkgs []string
	for _, p := range programs {
		if (p.qemu == "" || slices.Contains(qemu, p.qemu)) && !host.Have(p.name) {
			pkgs = append(pkgs, host.Package(p.name))
		}
	}
	return pkgs
}

// InstallCommand returns the command that installs packages, to be run as root.
func InstallCommand(pkgs []string) []string {
	return append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, pkgs...)
}

// Examine runs all checks for kernels of some architectures, as Debian names them.
// What only other architectures need is advice.
func Examine(ctx context.Context, arches []string) []Finding {
	var all []Finding
	for _, p := range programs {
		f := Finding{Name: p.name, State: OK, Text: p.why}
		if !host.Have(p.name) {
			f.State = Missing
			if p.qemu != "" && !slices.Contains(arches, p.qemu) {
				f.State = Advice
			}
			f.Fix = strings.Join(InstallCommand([]string{host.Package(p.name)}), " ")
		}
		all = append(all, f)
	}
	all = append(all, mirror(), kvm(arches))
	for _, a := range arches {
		all = append(all, emulator(ctx, a), guest(ctx, a))
	}
	return append(all, confinement(), shm(), disk(), ownKernel())
}

// guest reports whether a guest of the architecture can be made here.
func guest(ctx context.Context, arch string) Finding {
	f := Finding{Name: "guest " + arch, State: OK, Text: "can be built"}
	if arch != runtime.GOARCH {
		f.Text = "can be built, with QEMU's emulation of " + arch + " programs"
	}
	if err := images.CanBuild(ctx, arch); err != nil {
		f.State, f.Text = Missing, err.Error()
	}
	return f
}

func mirror() Finding {
	m, err := apt.Mirror()
	if err != nil {
		return Finding{"mirror", Missing, err.Error(), "export PROOFHOUSE_MIRROR=http://…/debian"}
	}
	return Finding{"mirror", OK, m, ""}
}

func kvm(arches []string) Finding {
	if !slices.Contains(arches, runtime.GOARCH) {
		return Finding{"kvm", Advice, "this host is " + runtime.GOARCH + ": QEMU emulates (TCG) kernels of other architectures, about ten times slower", ""}
	}
	switch state := machines.KVM(); state {
	case "works":
		return Finding{"kvm", OK, "works", ""}
	case "fails":
		return Finding{"kvm", Advice, "/dev/kvm opens, but a kernel did not boot with it: QEMU uses TCG", ""}
	case "untried":
		return Finding{"kvm", OK, "/dev/kvm opens; the first boot under QEMU tests it", ""}
	}
	return Finding{"kvm", Advice, "not available: QEMU emulates (TCG), about ten times slower; UML does not need it", ""}
}

var versionRE = regexp.MustCompile(`version (\d+)\.(\d+)`)

// goodQEMU is the first version whose TCG is two to three times faster than
// that of 7.2 in Debian 12.
const goodQEMU = 10

func emulator(ctx context.Context, arch string) Finding {
	program := qemuOf(arch)
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		text := "not installed: only UML kernels and the kernel of this host can be tested"
		if arch != runtime.GOARCH {
			text = program + " is not installed: kernels for " + arch + " cannot be tested"
		}
		return Finding{"qemu", Advice, text, "apt-get install " + host.Package(program)}
	}
	m := versionRE.FindStringSubmatch(string(out))
	if m == nil {
		return Finding{"qemu", Advice, "unknown version", ""}
	}
	if major, _ := strconv.Atoi(m[1]); major < goodQEMU {
		return Finding{"qemu", Advice, m[1] + "." + m[2] + ": version 10 is two to three times faster without KVM", "make setup QEMU=backports"}
	}
	return Finding{"qemu", OK, m[1] + "." + m[2], ""}
}

// confinement reports what keeps a kernel under test from the files of the host.
func confinement() Finding {
	text, gaps := machines.Sandbox()
	if len(gaps) > 0 {
		return Finding{"sandbox", Advice, text + ": " + strings.Join(gaps, "; "), ""}
	}
	return Finding{"sandbox", OK, text, ""}
}

// shm checks /dev/shm, where UML keeps the guest's memory.
func shm() Finding {
	const needed = 2 << 30 // two machines
	var st unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		return Finding{"/dev/shm", Missing, "not a tmpfs: UML needs one for the guest's memory", "mount -t tmpfs tmpfs /dev/shm"}
	}
	free := st.Bavail * uint64(st.Bsize)
	text := fmt.Sprintf("%.1f GB free", float64(free)/1e9)
	if free < needed {
		return Finding{"/dev/shm", Advice, text + "; two machines need 2.1 GB", "mount -o remount,size=4g /dev/shm"}
	}
	return Finding{"/dev/shm", OK, text, ""}
}

func disk() Finding {
	const needed = 6 << 30 // building a guest root, kernels, runs
	dir := cache.Root()
	for {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return Finding{"disk", Missing, fmt.Sprintf("cannot write to the cache %s: %s: %v", cache.Root(), dir, err), "export PROOFHOUSE_CACHE=/a/writable/directory"}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Finding{"disk", Advice, err.Error(), ""}
	}
	free := st.Bavail * uint64(st.Bsize)
	text := fmt.Sprintf("%.1f GB free for %s", float64(free)/1e9, cache.Root())
	if free < needed {
		return Finding{"disk", Missing, text + "; 6 GB required", "proofhouse cache clean, or export PROOFHOUSE_CACHE=/another/disk"}
	}
	return Finding{"disk", OK, text, ""}
}

func ownKernel() Finding {
	if b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err == nil && strings.TrimSpace(string(b)) == "Y" {
		return Finding{"this kernel", OK, "AppArmor is enabled: -k local can test it", ""}
	}
	return Finding{"this kernel", OK, "AppArmor is not enabled; proofhouse does not need it", ""}
}

// qemuOf returns the name of QEMU for an architecture.
func qemuOf(arch string) string {
	for _, p := range programs {
		if p.qemu == arch {
			return p.name
		}
	}
	return ""
}

// Setup installs the packages that runs lack. qemu are the architectures, as
// Debian names them, of the kernels that need QEMU. Without root, the error
// names the command that root must run. fromBackports takes QEMU from the
// backports of this Debian release, without changing the host's apt sources.
func Setup(ctx context.Context, qemu []string, fromBackports bool, say func(string)) error {
	pkgs := Lacking(qemu)
	var backports []string
	for _, a := range qemu {
		if fromBackports && emulator(ctx, a).State != OK {
			backports = append(backports, host.Package(qemuOf(a)))
		}
	}
	if len(pkgs) == 0 && len(backports) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return exit.BadInputf("packages are missing; run as root: %s", strings.Join(InstallCommand(pkgs), " "))
	}
	if len(backports) > 0 {
		pkgs = slices.DeleteFunc(pkgs, func(p string) bool { return slices.Contains(backports, p) })
		if err := installBackports(ctx, say, backports...); err != nil {
			return err
		}
	}
	if len(pkgs) == 0 {
		return nil
	}
	say("installing " + strings.Join(pkgs, " "))
	install := InstallCommand(pkgs)
	if aptGet(ctx, install[1:]...) == nil {
		return nil
	}
	// The package lists may be old or missing.
	if err := aptGet(ctx, "update"); err != nil {
		return err
	}
	return aptGet(ctx, install[1:]...)
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := child.Command(ctx, "apt-get", append([]string{"-q"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", strings.Join(args, " "), err, lastLine(out))
	}
	return nil
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// installBackports installs packages from the backports with its own apt sources
// and package lists, which it removes afterwards.
func installBackports(ctx context.Context, say func(string), pkgs ...string) error {
	suite, err := release()
	if err != nil {
		return err
	}
	mirror, err := apt.Mirror()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "proofhouse-setup-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// apt reads them without privileges.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	list := filepath.Join(dir, "sources.list")
	lines := fmt.Sprintf("deb [signed-by=%s] %s %s main\ndeb [signed-by=%[1]s] %[2]s %[3]s-backports main\n", keyring, mirror, suite)
	if err := os.WriteFile(list, []byte(lines), 0o644); err != nil {
		return err
	}
	lists := filepath.Join(dir, "lists")
	if err := os.MkdirAll(filepath.Join(lists, "partial"), 0o755); err != nil {
		return err
	}
	own := []string{"-o", "Dir::Etc::SourceList=" + list, "-o", "Dir::Etc::SourceParts=-", "-o", "Dir::State::Lists=" + lists}
	say("installing " + strings.Join(pkgs, " ") + " from " + suite + "-backports")
	if err := aptGet(ctx, append(own, "update")...); err != nil {
		return err
	}
	return aptGet(ctx, append(own, append(InstallCommand(pkgs)[1:], "-t", suite+"-backports")...)...)
}

// release returns the codename of the Debian release that this host runs.
func release() (string, error) {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", exit.BadInputf("find the Debian release of this host: %w", err)
	}
	var id, codename string
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch v = strings.Trim(v, `"`); k {
		case "ID":
			id = v
		case "VERSION_CODENAME":
			codename = v
		}
	}
	if id != "debian" || codename == "" {
		return "", exit.BadInputf("QEMU from backports needs Debian; this host runs %s", id)
	}
	return codename, nil
}
