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
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

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

// A Purpose is what a package is needed for.
type Purpose string

// The purposes. Each one includes those before it.
const (
	Run  Purpose = "run"  // runs on User Mode Linux
	QEMU Purpose = "qemu" // runs on kernels that need QEMU
)

// program is a program of this host that proofhouse calls.
type program struct {
	name    string
	purpose Purpose
	why     string
}

var programs = []program{
	{"mmdebstrap", Run, "builds guest root file systems"},
	{"mkfs.ext4", Run, "creates disk images"},
	{"newuidmap", Run, "lets an unprivileged user build a guest root file system"},
	{"patchelf", Run, "makes a UML kernel run with an older libc"},
	{"dpkg-deb", Run, "unpacks kernel packages"},
	{"dpkg-source", Run, "unpacks the upstream suite and applies Debian's patches"},
	{"depmod", Run, "creates the module list of a kernel"},
	{"xz", Run, "unpacks modules"},
	{"zstd", Run, "unpacks modules"},
	{"unshare", Run, "ends child processes together with proofhouse"},
	{"qemu-system-x86_64", QEMU, "boots kernels other than UML"},
}

// Lacking returns the Debian packages that the purpose needs and that are not
// installed.
func Lacking(purpose Purpose) []string {
	var pkgs []string
	for _, p := range programs {
		if (p.purpose == Run || purpose == QEMU) && !host.Have(p.name) {
			pkgs = append(pkgs, host.Package(p.name))
		}
	}
	return pkgs
}

// InstallCommand returns the command that installs packages, to be run as root.
func InstallCommand(pkgs []string) []string {
	return append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, pkgs...)
}

// Examine runs all checks.
func Examine(ctx context.Context) []Finding {
	var all []Finding
	for _, p := range programs {
		f := Finding{Name: p.name, State: OK, Text: p.why}
		if !host.Have(p.name) {
			f.State = Missing
			f.Fix = strings.Join(InstallCommand([]string{host.Package(p.name)}), " ")
		}
		all = append(all, f)
	}
	return append(all, mirror(), kvm(), emulator(ctx), confinement(), shm(), disk(), ownKernel())
}

func mirror() Finding {
	m, err := apt.Mirror()
	if err != nil {
		return Finding{"mirror", Missing, err.Error(), "export PROOFHOUSE_MIRROR=http://…/debian"}
	}
	return Finding{"mirror", OK, m, ""}
}

func kvm() Finding {
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

func emulator(ctx context.Context) Finding {
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "--version").Output()
	if err != nil {
		return Finding{"qemu", Advice, "not installed: only UML kernels and the kernel of this host can be tested", "make setup QEMU=1"}
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

// Setup installs the packages that the purpose lacks. Without root, the error
// names the command that root must run. fromBackports takes QEMU from the
// backports of this Debian release, without changing the host's apt sources.
func Setup(ctx context.Context, purpose Purpose, fromBackports bool, say func(string)) error {
	pkgs := Lacking(purpose)
	backports := fromBackports && emulator(ctx).State != OK
	if len(pkgs) == 0 && !backports {
		return nil
	}
	if os.Geteuid() != 0 {
		return exit.BadInputf("packages are missing; run as root: %s", strings.Join(InstallCommand(pkgs), " "))
	}
	if backports {
		pkgs = without(pkgs, "qemu-system-x86")
		if err := installBackports(ctx, say, "qemu-system-x86"); err != nil {
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

func without(list []string, word string) []string {
	var kept []string
	for _, w := range list {
		if w != word {
			kept = append(kept, w)
		}
	}
	return kept
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
