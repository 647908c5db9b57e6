// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"proofhouse/machines/wire"
)

// The agent of a board is this program too, started by the board's sshd:
//
//	agent board facts DIR        tells of the board; DIR keeps the guest's root
//	agent board put DIR NAME     keeps its input as that file in DIR
//	agent board serve            takes a wire.BoardServe, then serves its input and output
//	agent board root             the part of serve in a mount namespace of its own
//	agent board pstore [NAME]... prints, or removes, the crash records of earlier boots
//	agent board reboot           restarts the board
//	agent board clean DIR        removes what other calls left, and DIR
func board(args []string) error {
	if len(args) == 0 {
		return errors.New("board: no command")
	}
	switch command, args := args[0], args[1:]; {
	case command == "facts" && len(args) == 1:
		return json.NewEncoder(os.Stdout).Encode(facts(args[0]))
	case command == "put" && len(args) == 2:
		return put(args[0], args[1], os.Stdin)
	case command == "serve" && len(args) == 0:
		return serveBoard()
	case command == "root" && len(args) == 0:
		return serveRoot()
	case command == "pstore" && len(args) == 0:
		return json.NewEncoder(os.Stdout).Encode(readPstore(pstoreDir))
	case command == "pstore":
		return removePstore(args)
	case command == "reboot" && len(args) == 0:
		return reboot()
	case command == "clean" && len(args) == 1:
		return cleanBoard(args[0])
	default:
		return fmt.Errorf("board: unknown command %q", command)
	}
}

const (
	apparmorDir = "/sys/kernel/security/apparmor"
	pstoreDir   = "/sys/fs/pstore"
	panicCtl    = "/proc/sys/kernel/panic"
)

// lockFile is locked by the agent that uses the board. Tests replace it.
var lockFile = "/run/proofhouse.lock"

// The bounds of what is told.
const (
	maxText        = 64 << 10
	maxConfigBytes = 2 << 20
	maxNames       = 4096
	// maxPstore bounds the text of all crash records, so that the answer is none
	// that the host refuses.
	maxPstore = 1 << 20
)

func facts(cache string) wire.BoardFacts {
	var u unix.Utsname
	_ = unix.Uname(&u)
	f := wire.BoardFacts{
		Release: unix.ByteSliceToString(u.Release[:]), Version: unix.ByteSliceToString(u.Version[:]), Machine: unix.ByteSliceToString(u.Machine[:]),
		Boot: text("/proc/sys/kernel/random/boot_id"), Cmdline: text("/proc/cmdline"),
		AppArmor: text("/sys/module/apparmor/parameters/enabled"),
		Overlay:  hasFS("overlay"), Loop: hasLoop(), Programs: map[string]string{},
	}
	if b, err := os.ReadFile("/sys/kernel/notes"); err == nil {
		f.BuildID = buildID(b)
	}
	for _, p := range []string{"/proc/config.gz", "/boot/config-" + f.Release, "/lib/modules/" + f.Release + "/config"} {
		if b, err := readBounded(p, maxConfigBytes); err == nil {
			f.Config = b
			break
		}
	}
	for _, p := range []string{"/proc/device-tree/model", "/sys/class/dmi/id/product_name"} {
		if t := strings.Trim(text(p), "\x00\n "); t != "" {
			f.Model = t
			break
		}
	}
	f.Taint, _ = strconv.ParseInt(text("/proc/sys/kernel/tainted"), 10, 64)
	f.Panic, _ = strconv.Atoi(text(panicCtl))
	if up, _, ok := strings.Cut(text("/proc/uptime"), " "); ok {
		f.Uptime, _ = strconv.ParseFloat(up, 64)
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		f.Memory = info.Totalram * uint64(info.Unit)
	}
	f.Profiles = len(profiles())
	f.Pstore = names(pstoreDir)
	f.Cache = cacheFacts(cache)
	if l, held := lockOwner(); held {
		f.Owner = &l
	}
	for _, p := range []string{"bash", "perl", "apparmor_parser", "awk", "getfattr", "lxc-start"} {
		f.Programs[p] = find(p)
	}
	return f
}

// find finds a program on the PATH of a guest.
func find(name string) string {
	for dir := range strings.SplitSeq(path, ":") {
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

func text(file string) string {
	b, _ := readBounded(file, maxText)
	return strings.TrimSpace(string(b))
}

func readBounded(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", file, limit)
	}
	return b, err
}

func names(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var all []string
	for _, e := range entries[:min(len(entries), maxNames)] {
		all = append(all, e.Name())
	}
	return all
}

// buildID is the GNU build ID among ELF notes; "" if there is none.
func buildID(notes []byte) string {
	const ntGNUBuildID = 3
	for len(notes) >= 12 {
		size, desc := le32(notes), le32(notes[4:])
		kind := le32(notes[8:])
		notes = notes[12:]
		padded, descPadded := (int(size)+3)&^3, (int(desc)+3)&^3
		if size > 64 || desc > 4096 || padded+descPadded > len(notes) {
			return ""
		}
		if kind == ntGNUBuildID && string(notes[:size]) == "GNU\x00" {
			return hex.EncodeToString(notes[padded : padded+int(desc)])
		}
		notes = notes[padded+descPadded:]
	}
	return ""
}

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// modprobe loads a module, where the board has the program and the module.
func modprobe(name string) {
	if p := find("modprobe"); p != "" {
		_ = exec.Command(p, "-q", name).Run()
	}
}

func hasFS(name string) bool {
	has := func() bool { return bytes.Contains([]byte(text("/proc/filesystems")+"\n"), []byte("\t"+name+"\n")) }
	if !has() {
		modprobe(name)
	}
	return has()
}

func hasLoop() bool {
	if !exists("/dev/loop-control") {
		modprobe("loop")
	}
	return exists("/dev/loop-control")
}

// cacheFacts describes the directory that keeps the guest's root, or the one that
// it would be made in.
func cacheFacts(dir string) wire.BoardCache {
	c := wire.BoardCache{Dir: dir, Files: names(dir)}
	at := dir
	for !exists(at) && at != "/" {
		at = filepath.Dir(at)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		c.Error = err.Error()
		return c
	}
	c.Free = st.Bavail * uint64(st.Bsize)
	c.ReadOnly = st.Flags&unix.ST_RDONLY != 0
	return c
}

// put keeps what comes as a file. A file of that name is complete: it is written
// under another name, synced, and renamed.
func put(dir, name string, from io.Reader) error {
	if !nameRE.MatchString(name) {
		return fmt.Errorf("put: %q is not a name", name)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	partial := name + ".partial"
	_ = root.Remove(partial)
	f, err := root.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	err = unpackTo(f, from)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(partial, name)
	}
	if err != nil {
		_ = root.Remove(partial)
	}
	return err
}

var nameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$`)

func readPstore(dir string) map[string]string {
	records := map[string]string{}
	left := maxPstore
	for _, n := range newestFirst(dir) {
		b, err := readBounded(filepath.Join(dir, n), maxText)
		b = b[:min(len(b), maxText)]
		if err != nil && len(b) == 0 {
			continue
		}
		if left -= len(b); left < 0 {
			break
		}
		records[n] = string(b)
	}
	return records
}

// newestFirst are the names in a directory by the times of the files: those of crash
// records are when they were written.
func newestFirst(dir string) []string {
	entries, _ := os.ReadDir(dir)
	at := map[string]time.Time{}
	var all []string
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			at[e.Name()] = info.ModTime()
			all = append(all, e.Name())
		}
	}
	slices.SortStableFunc(all, func(a, b string) int { return at[b].Compare(at[a]) })
	return all[:min(len(all), maxNames)]
}

func removePstore(files []string) error {
	root, err := os.OpenRoot(pstoreDir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for _, n := range files {
		err = errors.Join(err, root.Remove(n))
	}
	return err
}

// reboot restarts the board as its administrator would, and by the system call if
// nothing happens.
func reboot() error {
	unix.Sync()
	for _, words := range [][]string{{"systemctl", "reboot"}, {"reboot"}} {
		if p := find(words[0]); p != "" && exec.Command(p, words[1:]...).Run() == nil {
			time.Sleep(30 * time.Second)
			break
		}
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// serveBoard is the agent of a run, in the board's own namespaces. What it changes
// on the board ends with it, whatever ends it: the mounts are in a namespace of
// their own, and the next agent cleans up after one that was killed.
func serveBoard() error {
	cfg, err := readServe(os.Stdin)
	if err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	lock, err := takeLock(cfg.Lock)
	if err != nil {
		return err
	}
	defer unlock(lock)
	before := snapshot()
	// What an agent that was killed has left, the state file of it says.
	if old, ok := readBaseline(); ok {
		left := clean(old, false)
		if len(left.Stuck) > 0 {
			return fmt.Errorf("stuck: an earlier run left what cannot be removed: %s", strings.Join(left.Stuck, ", "))
		}
		before = snapshot()
		before.Panic = old.Panic
	}
	if err := before.save(); err != nil {
		return err
	}
	stop := make(chan os.Signal, 4)
	signal.Notify(stop, unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGPIPE)
	err = runRoot(cfg, stop)
	left := clean(before, true)
	if b, jsonErr := json.Marshal(left); jsonErr == nil {
		fmt.Fprintf(os.Stderr, "%s%s\n", wire.CleanPrefix, b)
	}
	return err
}

// readServe reads one line, and not one byte more: the rest is the channel's.
func readServe(r io.Reader) (*wire.BoardServe, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < 1<<20 {
		if _, err := io.ReadFull(r, one); err != nil {
			return nil, err
		}
		if one[0] == '\n' {
			cfg := new(wire.BoardServe)
			return cfg, json.Unmarshal(line, cfg)
		}
		line = append(line, one[0])
	}
	return nil, errors.New("the line is too long")
}

// runRoot starts the agent in its mount namespace and waits for it.
func runRoot(cfg *wire.BoardServe, stop <-chan os.Signal) error {
	if cfg.Panic > 0 {
		if err := os.WriteFile(panicCtl, []byte(strconv.Itoa(cfg.Panic)), 0); err != nil {
			return fmt.Errorf("set kernel.panic: %w", err)
		}
	}
	if cfg.Root != "" {
		_ = hasFS("ext4")
	}
	_, _ = hasFS("overlay"), hasLoop()
	b, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	group := sessionGroup()
	cmd := exec.Command(self, "board", "root")
	cmd.Args[0] = "agent"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{r}
	cmd.Env = environment()
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if f, err := os.Open(group); group != "" && err == nil {
		defer func() { _ = f.Close() }()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(f.Fd())
	}
	// Pdeathsig is sent when the thread that started it ends.
	runtime.LockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the agent in a mount namespace: %w", err)
	}
	_ = r.Close()
	_, err = w.Write(append(b, '\n'))
	_ = w.Close()
	if err != nil {
		_ = cmd.Process.Kill()
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case s := <-stop:
		_ = cmd.Process.Kill()
		select {
		case <-done: //nolint:errcheck // it was killed
		case <-time.After(10 * time.Second): // it hangs in the kernel: clean says so
		}
		return fmt.Errorf("ended by signal %v", s)
	}
}

// serveRoot is the agent in its mount namespace. Its configuration is on file
// descriptor 3.
func serveRoot() error {
	cfg, err := readServe(os.NewFile(3, "configuration"))
	if err != nil {
		return err
	}
	if err := enterRoot(cfg); err != nil {
		fmt.Fprintf(os.Stderr, "%s%v\n", wire.ErrorPrefix, err)
		return err
	}
	os.Clearenv()
	for _, kv := range environment() {
		k, v, _ := strings.Cut(kv, "=")
		_ = os.Setenv(k, v)
	}
	for _, words := range cfg.Prepare {
		prepare(words)
	}
	go watchHost()
	return ServeBoard(stdioConn(), cfg.HostKey, cfg.After)
}

// ServeBoard is [Serve] on a board: it also sends the kernel's log, from the record
// behind after; 0: from now on.
func ServeBoard(conn net.Conn, seed []byte, after uint64) error {
	return serve(conn, seed, &boardAgent{after: after, before: snapshot()})
}

func stdioConn() pipeConn {
	return pipeConn{struct {
		io.Reader
		io.WriteCloser
	}{os.Stdin, os.Stdout}}
}

// cleanBoard removes what a run has left, and the cache.
func cleanBoard(dir string) error {
	lock, err := takeLock(cleanLock())
	if err != nil {
		return err
	}
	defer unlock(lock)
	var left wire.Leftovers
	if old, ok := readBaseline(); ok {
		left = clean(old, true)
	}
	cleanCache(dir, &left)
	_ = os.Remove(dir)
	slices.Sort(left.Removed)
	return json.NewEncoder(os.Stdout).Encode(left)
}

// cleanLock is the lock of one who cleans: nobody else's run, as the agents of one run
// end each other.
func cleanLock() wire.BoardLock {
	return wire.BoardLock{Owner: "clean", Run: "clean-" + rand.Text(), Since: time.Now().UTC()}
}

// cleanCache removes the files that put made.
func cleanCache(dir string, left *wire.Leftovers) {
	for _, n := range names(dir) {
		if cacheName.MatchString(n) {
			if err := os.Remove(filepath.Join(dir, n)); err == nil {
				left.Removed = append(left.Removed, n)
			}
		}
	}
}

// cacheName matches the files that put made.
var cacheName = regexp.MustCompile(`^(root|tool|tree)-[0-9a-f]{16,64}(\.partial)?$`)
