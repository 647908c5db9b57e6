// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"proofhouse/internal/apt"
	"proofhouse/internal/cache"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

var (
	//go:embed build.sh
	buildScript string
	//go:embed customize.sh
	customizeScript string
)

const (
	// packagesFile and releaseFile are what the customize hook writes.
	packagesFile = "packages"
	releaseFile  = "release"

	// freeKiB is the room that a guest has for what its tests write.
	freeKiB = 1 << 20
	// workspace is what an ordinary user's build may take of memory: the root
	// (800 MiB on sid), and the packages that it is unpacked from.
	workspace = "3g"
	// imageUUID is every image's file system UUID and hash seed: the same
	// input makes the same image.
	imageUUID = "70726f6f-6668-4f75-8365-617070617273"
	// workFolder is where the root stands while it is made.
	workFolder = "work"
)

// leftOut are paths of packages that no test reads. LXC's templates and
// AppArmor's abstractions lie elsewhere.
var leftOut = []string{
	"/usr/share/man/*",
	"/usr/share/doc/*",
	"/usr/share/info/*",
	"/usr/share/locale/*",
	"/usr/share/lintian/*",
	"/usr/share/bug/*",
}

// mmdebstrapOptions are the options that do not depend on the host.
func mmdebstrapOptions(arch string, packages []string) []string {
	options := []string{
		"--mode=root", // in a user namespace of our own, where we are not root
		"--variant=apt",
		"--format=directory",
		"--architectures=" + arch,
		"--include=" + strings.Join(packages, ","),
		// apt's own unprivileged user cannot enter a home directory.
		`--aptopt=APT::Sandbox::User "root"`,
	}
	// A root that is not finished is thrown away: dpkg need not sync it.
	options = append(options, "--dpkgopt=force-unsafe-io")
	for _, path := range leftOut {
		options = append(options, "--dpkgopt=path-exclude="+path)
	}
	return append(options, `--customize-hook=sh "$PROOFHOUSE_BUILD/customize.sh" "$1"`)
}

// makeCommand is what is run in the root to build the helpers, through env so
// that nothing of the host's environment gets in.
func makeCommand(dir string, args []string) []string {
	return append([]string{
		"env", "--ignore-environment", "--chdir=" + dir,
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8",
	}, args...)
}

// run makes the image, the list of packages and the log in dir.
func (r *rootRecipe) run(ctx context.Context, dir string, progress func(string)) error {
	sandbox, err := foreignSandbox(ctx, *archOf(r.Arch), progress)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, logFile))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	steps := &stepWriter{root: rootName(r.Suite, r.Arch), progress: progress, estimate: lastSeconds(r.Arch)}
	steps.say(0)
	archive, err := mirror(ctx, r.Suite, progress)
	if err != nil {
		return err
	}
	if err := r.prepare(dir); err != nil {
		return err
	}

	args := slices.Concat([]string{"sh", filepath.Join(dir, "build.sh")}, r.Options)
	if !archOf(r.Arch).native() {
		// It looks for the host's registration. Whether programs run was tried.
		args = append(args, "--skip=check/qemu")
	}
	args = append(args, r.Suite, "ROOT")
	args = append(args, archive...)
	cmd := sandbox.run(ctx, args...)
	cmd.Dir = dir
	cmd.Env = append(host.Env(),
		"PROOFHOUSE_BUILD="+dir,
		"PROOFHOUSE_TMPFS="+sandbox.tmpfs,
		"PROOFHOUSE_UUID="+imageUUID,
		"PROOFHOUSE_FREE_KIB="+strconv.Itoa(freeKiB),
		"MKE2FS_CONFIG="+filepath.Join(dir, "mke2fs.conf"),
	)
	out := io.MultiWriter(log, steps)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return buildError(steps.tail(), err)
	}
	return nil
}

// mirror is where the suite comes from, as mmdebstrap's arguments.
func mirror(ctx context.Context, suite string, progress func(string)) ([]string, error) {
	a, err := apt.Open(ctx, progress)
	if err != nil {
		return nil, err
	}
	return a.Mmdebstrap(suite)
}

// prepare writes what the scripts need into dir; tidy removes it again.
func (r *rootRecipe) prepare(dir string) error {
	if err := writeTar(filepath.Join(dir, "settings.tar"), r.Settings, nil); err != nil {
		return err
	}
	if err := writeTar(filepath.Join(dir, "tests.tar"), r.Guest, r.tests.Dirs); err != nil {
		return fmt.Errorf("pack the test suite: %w", err)
	}
	for name, content := range map[string]string{
		"build.sh":     buildScript,
		"customize.sh": customizeScript,
		"mke2fs.conf":  mke2fsConf,
		"make.args":    strings.Join(makeCommand(r.MakeDir, r.Make), "\x00") + "\x00",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return os.Mkdir(filepath.Join(dir, workFolder), 0o755)
}

func tidy(dir string) error {
	for _, name := range []string{
		"settings.tar", "tests.tar", "build.sh", "customize.sh", "mke2fs.conf", "make.args",
		packagesFile, releaseFile, workFolder, "sysroot.packages", "sysroot.files",
	} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// A sandbox is the command that starts another in namespaces that end with it.
type sandbox struct {
	command  []string
	tmpfs    string // size of the tmpfs to work in, "" to work on disk
	ownUsers bool   // in a user namespace of its own; see attributes
}

// run is a command in the sandbox.
func (s sandbox) run(ctx context.Context, args ...string) *exec.Cmd {
	cmd := child.Command(ctx, s.command[0], slices.Concat(s.command[1:], args)...)
	s.attributes(cmd.SysProcAttr)
	return cmd
}

// unshare makes the leader PID 1: when it dies, and it does when we do, the
// kernel kills all that it started, and its mounts go with its mount
// namespace. Killing the process group alone would miss what maintainer
// scripts put into groups of their own.
var unshare = []string{"unshare", "--fork", "--kill-child", "--pid", "--mount", "--mount-proc"}

// sandboxFor finds out what this user can build in.
func sandboxFor(ctx context.Context) (sandbox, error) {
	if err := host.Need("unshare", "mmdebstrap", "mkfs.ext4", "tar", "xargs"); err != nil {
		return sandbox{}, err
	}
	s := sandbox{command: append([]string(nil), unshare...)}
	if os.Geteuid() != 0 {
		s.command = append(s.command, "--user", "--map-root-user", "--map-auto")
		s.tmpfs = workspace
	}
	cmd := s.run(ctx, "true")
	cmd.Env = host.Env()
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return s, nil
	case ctx.Err() != nil:
		return sandbox{}, context.Cause(ctx)
	}
	why := strings.TrimSuffix(lastLine(out, err), ": Success") // where unshare reports no errno
	if os.Geteuid() == 0 {
		return sandbox{}, exit.BadInputf("build the guest: root may not create namespaces: %s (in a container: give it CAP_SYS_ADMIN)", why)
	}
	return sandbox{}, exit.BadInputf("build the guest: this user cannot create user and mount namespaces: %s: run as root: %s", why, remedy(why))
}

// remedy is the command that lets this user make user namespaces with many
// uids, by what unshare complained about.
func remedy(why string) string {
	name := "USER"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	switch {
	case strings.Contains(why, "newuidmap") || !host.Have("newuidmap"):
		return "apt-get install uidmap"
	case strings.Contains(why, "unshare failed"), strings.Contains(why, "Permission denied"), strings.Contains(why, "Operation not permitted"):
		// What Debian and Ubuntu forbid it with, where they do.
		return "sysctl -e user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
	default:
		return fmt.Sprintf("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", name)
	}
}

// steps are what a person is told, by the line of the log that begins each.
var steps = []struct{ line, say string }{
	{"", "reading the package lists"},
	{"I: downloading packages with apt", "fetching packages"},
	{"I: extracting archives", "installing packages"},
	{"proofhouse: building the tests' helpers", "building the upstream tests' helpers"},
	{"proofhouse: writing the image", "writing the image"},
}

// tailLines is how much of the log is kept for finding a failure's cause.
const tailLines = 200

// A stepWriter reads the build's output as it comes and tells the steps.
type stepWriter struct {
	root     string // as [rootName] has it
	progress func(string)
	estimate float64 // seconds the whole takes, 0 if unknown

	partial []byte
	lines   []string
	next    int
}

func (w *stepWriter) Write(p []byte) (int, error) {
	w.partial = append(w.partial, p...)
	for {
		line, rest, ok := bytes.Cut(w.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.partial = rest
		w.line(string(line))
	}
}

func (w *stepWriter) line(line string) {
	w.lines = append(w.lines, line)
	if len(w.lines) > 2*tailLines {
		w.lines = append(w.lines[:0], w.lines[tailLines:]...)
	}
	for i := w.next; i < len(steps); i++ {
		if steps[i].line != "" && strings.HasPrefix(line, steps[i].line) {
			w.say(i)
		}
	}
}

func (w *stepWriter) say(step int) {
	w.next = step + 1
	text := fmt.Sprintf("guest root %s: %s (%d/%d)", w.root, steps[step].say, step+1, len(steps))
	if step == 0 && w.estimate > 0 {
		text += fmt.Sprintf(", about %.0f s in all", w.estimate)
	}
	w.progress(text)
}

func (w *stepWriter) tail() []string {
	if len(w.partial) > 0 {
		return append(w.lines[:len(w.lines):len(w.lines)], string(w.partial))
	}
	return w.lines
}

var noSpace = regexp.MustCompile(`No space left on device|don't have enough free space|Disk quota exceeded`)

// causes recognise the line that says why a build failed, the telling ones
// first. mmdebstrap's own last words only name the step.
var causes = []*regexp.Regexp{
	noSpace,
	regexp.MustCompile(`^E: (?:Unable to locate package|Package .* has no installation candidate|The repository|Failed to fetch)`),
	regexp.MustCompile(`NO_PUBKEY|is not signed`),
	regexp.MustCompile(`(?:fatal )?error: |\*\*\* .*(?:Error|Stop)|^dpkg: error`),
	regexp.MustCompile(`^E: `),
	regexp.MustCompile(`^mkfs\.ext4: |^tar: `),
}

// buildError is what went wrong, from the log's last lines and the command's
// end.
func buildError(log []string, err error) error {
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.Sys().(syscall.WaitStatus).Signaled() {
		return fmt.Errorf("build it: %w", err) // the log does not know
	}
	for _, cause := range causes {
		for _, line := range log {
			if !cause.MatchString(line) {
				continue
			}
			line = strings.TrimPrefix(strings.TrimSpace(line), "E: ")
			if cause == noSpace {
				return fmt.Errorf("build it: %s: %w", line, syscall.ENOSPC)
			}
			return fmt.Errorf("build it: %s", line)
		}
	}
	return fmt.Errorf("build it: %s", lastLine([]byte(strings.Join(log, "\n")), err))
}

// lastLine is the last line that a command said, or how it ended if it was
// silent.
func lastLine(out []byte, err error) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return last
	}
	return err.Error()
}

// keepLog saves a failed build's log from the directory that is about to be
// removed, and says where it is.
func keepLog(log string, err error) error {
	b, readErr := os.ReadFile(log)
	if readErr != nil || len(b) == 0 {
		return err
	}
	kept := filepath.Join(cache.Root(), "images-failed.log")
	_ = os.Remove(kept)
	if writeErr := host.WriteNew(kept, bytes.NewReader(b), 0o644); writeErr != nil {
		return err
	}
	return fmt.Errorf("%w; its log: %s", err, kept)
}

// readPackages reads what the customize hook wrote of dpkg-query.
func readPackages(path string) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the list of installed packages: %w", err)
	}
	packages := parsePackages(string(b))
	if len(packages) == 0 {
		return nil, errors.New("read the list of installed packages: it is empty")
	}
	return packages, nil
}

// parsePackages reads lines "status<tab>name<tab>version" and keeps what is
// installed, status "ii ".
func parsePackages(text string) map[string]string {
	packages := map[string]string{}
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) == 3 && strings.HasPrefix(fields[0], "ii") && fields[1] != "" && fields[2] != "" {
			packages[fields[1]] = fields[2]
		}
	}
	return packages
}

// readArchiveDate reads the dates of the Release files that the customize hook
// collected; the newest is the state of the archive.
func readArchiveDate(path string) (time.Time, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the archive's date: %w", err)
	}
	var newest time.Time
	for line := range strings.Lines(string(b)) {
		date, err := time.Parse(time.RFC1123, strings.TrimSpace(line))
		if err != nil {
			return time.Time{}, fmt.Errorf("read the archive's date: %w", err)
		}
		if date.After(newest) {
			newest = date
		}
	}
	if newest.IsZero() {
		return time.Time{}, errors.New("read the archive's date: no Release file has a date")
	}
	return newest.UTC(), nil
}
