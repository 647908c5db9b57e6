// Package doctor looks at what this machine can do and what it lacks, and
// knows the command that mends it.
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
	"proofhouse/machines"
)

// State of one finding.
type State string

// The states. Only Missing stops a run.
const (
	OK      State = "ok"
	Advice  State = "advice"  // works, and could be better
	Missing State = "missing" // some run needs it
)

// Finding is one thing that was looked at.
type Finding struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Text  string `json:"text"`
	Mend  string `json:"mend,omitempty"` // the command that mends it
}

// A Purpose is what a package is needed for.
type Purpose string

// The purposes, each more than the one before.
const (
	Run  Purpose = "run"  // runs on UML
	QEMU Purpose = "qemu" // runs on kernels that boot on a PC
)

// program is one that we call, and Debian's package of it.
type program struct {
	name, pkg string
	purpose   Purpose
	why       string
}

var programs = []program{
	{"mmdebstrap", "mmdebstrap", Run, "makes guest roots"},
	{"mkfs.ext4", "e2fsprogs", Run, "makes disk images"},
	{"newuidmap", "uidmap", Run, "lets an ordinary user make a guest root"},
	{"patchelf", "patchelf", Run, "fits a UML kernel to an older libc"},
	{"dpkg-deb", "dpkg", Run, "unpacks kernels"},
	{"dpkg-source", "dpkg-dev", Run, "unpacks the upstream suite with Debian's patches"},
	{"depmod", "kmod", Run, "makes a kernel's module list"},
	{"xz", "xz-utils", Run, "unpacks modules"},
	{"zstd", "zstd", Run, "unpacks modules"},
	{"unshare", "util-linux", Run, "makes what we start end with us"},
	{"qemu-system-x86_64", "qemu-system-x86", QEMU, "boots the kernel that will ship"},
}

// found looks for a program also where an ordinary user's PATH does not.
func found(name string) bool {
	if _, err := exec.LookPath(name); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// Lacking are the Debian packages that are not there and the purpose needs.
func Lacking(purpose Purpose) []string {
	var pkgs []string
	for _, p := range programs {
		if (p.purpose == Run || purpose == QEMU) && !found(p.name) {
			pkgs = append(pkgs, p.pkg)
		}
	}
	return pkgs
}

// InstallCommand is what root must run to install packages.
func InstallCommand(pkgs []string) []string {
	return append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, pkgs...)
}

// Examine looks at everything.
func Examine(ctx context.Context) []Finding {
	var all []Finding
	for _, p := range programs {
		f := Finding{Name: p.name, State: OK, Text: p.why}
		if !found(p.name) {
			f.State = Missing
			f.Mend = strings.Join(InstallCommand([]string{p.pkg}), " ")
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
		return Finding{"kvm", OK, "boots kernels", ""}
	case "fails":
		return Finding{"kvm", Advice, "/dev/kvm opens, but a kernel that was tried did not boot: TCG is taken", ""}
	case "untried":
		return Finding{"kvm", OK, "/dev/kvm opens; the first boot under QEMU will tell whether it works", ""}
	}
	return Finding{"kvm", Advice, "not usable here: QEMU emulates (TCG), some ten times slower; UML does without", ""}
}

var versionRE = regexp.MustCompile(`version (\d+)\.(\d+)`)

// goodQEMU is the version from which TCG is two to three times faster than
// Debian 12's 7.2.
const goodQEMU = 10

func emulator(ctx context.Context) Finding {
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "--version").Output()
	if err != nil {
		return Finding{"qemu", Advice, "not installed: only UML kernels and this machine's own can be tested", "make setup QEMU=1"}
	}
	m := versionRE.FindStringSubmatch(string(out))
	if m == nil {
		return Finding{"qemu", Advice, "of unknown version", ""}
	}
	if major, _ := strconv.Atoi(m[1]); major < goodQEMU {
		return Finding{"qemu", Advice, m[1] + "." + m[2] + ": version 10 is two to three times faster without KVM", "make setup QEMU=backports"}
	}
	return Finding{"qemu", OK, m[1] + "." + m[2], ""}
}

// confinement is what keeps a kernel under test from the host's files.
func confinement() Finding {
	text, gaps := machines.Sandbox()
	if len(gaps) > 0 {
		return Finding{"sandbox", Advice, text + ": " + strings.Join(gaps, "; "), ""}
	}
	return Finding{"sandbox", OK, text, ""}
}

// shm is where UML has the guest's memory.
func shm() Finding {
	const needed = 2 << 30 // two machines
	var st unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		return Finding{"/dev/shm", Missing, "no tmpfs there: UML needs one for the guest's memory", "mount -t tmpfs tmpfs /dev/shm"}
	}
	free := st.Bavail * uint64(st.Bsize)
	text := fmt.Sprintf("%.1f GB free", float64(free)/1e9)
	if free < needed {
		return Finding{"/dev/shm", Advice, text + ": two machines need 2.1 GB", "mount -o remount,size=4g /dev/shm"}
	}
	return Finding{"/dev/shm", OK, text, ""}
}

func disk() Finding {
	const needed = 6 << 30 // a guest root with its making, kernels, runs
	dir := cache.Root()
	for {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return Finding{"disk", Missing, fmt.Sprintf("the cache %s cannot be written: %s: %v", cache.Root(), dir, err), "export PROOFHOUSE_CACHE=/a/folder/of/yours"}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Finding{"disk", Advice, err.Error(), ""}
	}
	free := st.Bavail * uint64(st.Bsize)
	text := fmt.Sprintf("%.1f GB free for %s", float64(free)/1e9, cache.Root())
	if free < needed {
		return Finding{"disk", Missing, text + ": 6 GB are needed", "proofhouse cache clean, or export PROOFHOUSE_CACHE=/another/disk"}
	}
	return Finding{"disk", OK, text, ""}
}

func ownKernel() Finding {
	if b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err == nil && strings.TrimSpace(string(b)) == "Y" {
		return Finding{"this kernel", OK, "has AppArmor: -k local can test it", ""}
	}
	return Finding{"this kernel", OK, "has no AppArmor at work; nothing here needs it", ""}
}

// Setup installs what the purpose lacks, or says in one line what root must
// run. fromBackports takes QEMU from the backports of this Debian release,
// without changing the machine's own apt sources.
func Setup(ctx context.Context, purpose Purpose, fromBackports bool, say func(string)) error {
	pkgs := Lacking(purpose)
	backports := fromBackports && emulator(ctx).State != OK
	if len(pkgs) == 0 && !backports {
		return nil
	}
	if os.Geteuid() != 0 {
		return exit.BadInputf("missing here; root must run: %s", strings.Join(InstallCommand(pkgs), " "))
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
	// The lists may be old, or were never fetched.
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

// installBackports installs packages from the backports with sources and
// lists of its own, which are gone afterwards.
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
	// apt drops its privileges to read them.
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

// release is the codename of the Debian that this machine runs.
func release() (string, error) {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", exit.BadInputf("find this machine's Debian release: %w", err)
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
		return "", exit.BadInputf("QEMU from backports is for Debian only, and this is %s", id)
	}
	return codename, nil
}
