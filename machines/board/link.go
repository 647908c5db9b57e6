// SPDX-License-Identifier: Apache-2.0

// Package board reaches a board: a connection over the system's ssh, our agent on
// the board, the board's serial console, its power. It runs no tests; package
// machines makes a machine of it. Nothing that a board says is believed: answers are
// bounded, and are text.
package board

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"proofhouse/internal/bounded"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/machines/wire"
)

// ErrUnreachable is the error of a board that does not answer.
var ErrUnreachable = errors.New("the board does not answer")

// ErrStuck is the error of a board on which an earlier run left what cannot be removed
// without a reboot.
var ErrStuck = errors.New("the board needs a reboot")

// Link is a connection to a board, with our agent on it.
type Link struct {
	Board   *kernels.Board
	Machine string // uname -m, as the board says

	dir    string // of the control socket, on this host
	master *exec.Cmd
	stderr *bounded.Head
	ended  chan struct{} // closed when the master has ended
	kill   context.CancelFunc
	agent  string // directory of the agent on the board
}

// The time limits of the transport.
const (
	connectTimeout = 15 * time.Second
	commandTimeout = 2 * time.Minute
	// aliveInterval and aliveCount end a connection whose board is silent for half
	// a minute.
	aliveInterval, aliveCount = 6, 5
)

// Connect connects to the board as root. Its errors are those that the user can fix
// (exit.BadInput), and ErrUnreachable.
func Connect(ctx context.Context, b *kernels.Board) (_ *Link, err error) {
	if _, err := exec.LookPath("ssh"); err != nil {
		return nil, exit.BadInputf("%s: ssh not found: apt-get install openssh-client", b.Name)
	}
	l := &Link{Board: b, stderr: &bounded.Head{Limit: 64 << 10}, ended: make(chan struct{})}
	// The path of a socket has at most 107 bytes.
	if l.dir, err = os.MkdirTemp("", "ph-"); err != nil {
		return nil, err
	}
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	l.kill = kill
	l.master = child.Command(life, "ssh", l.options("-M", "-N", "-T", "-o", "ControlPersist=no")...)
	// The destination is last, behind "--": it is no option whatever it is.
	l.master.Args = append(l.master.Args, "--", b.SSH)
	l.master.Stdout, l.master.Stderr = io.Discard, l.stderr
	if err := l.master.Start(); err != nil {
		kill()
		_ = os.RemoveAll(l.dir)
		return nil, fmt.Errorf("start ssh: %w", err)
	}
	go func() {
		_ = l.master.Wait()
		close(l.ended)
	}()
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	timer := time.NewTimer(2 * connectTimeout)
	defer timer.Stop()
	for {
		if _, err := os.Stat(l.socket()); err == nil {
			return l, nil
		}
		select {
		case <-l.ended:
			return nil, l.refusal()
		case <-timer.C:
			return nil, fmt.Errorf("%s: %w: no connection within %v", b.Name, ErrUnreachable, 2*connectTimeout)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (l *Link) socket() string { return filepath.Join(l.dir, "s") }

// options are those of every call of ssh. The rest is the user's configuration:
// host keys, jump hosts, identities.
func (l *Link) options(more ...string) []string {
	args := []string{
		"-S", l.socket(), "-o", "BatchMode=yes", "-o", "ConnectTimeout=" + strconv.Itoa(int(connectTimeout.Seconds())),
		"-o", "ServerAliveInterval=" + strconv.Itoa(aliveInterval), "-o", "ServerAliveCountMax=" + strconv.Itoa(aliveCount),
		"-o", "ForwardX11=no", "-o", "ForwardAgent=no", "-o", "ClearAllForwardings=yes", "-o", "PermitLocalCommand=no", "-o", "RemoteCommand=none",
	}
	if l.Board.SSHConfig != "" {
		args = append(args, "-F", l.Board.SSHConfig)
	}
	if l.Board.Port != 0 {
		args = append(args, "-p", strconv.Itoa(l.Board.Port))
	}
	return append(args, more...)
}

// refusal is why ssh ended, from what it said.
func (l *Link) refusal() error {
	said := l.stderr.String()
	last := "ssh said nothing"
	for line := range strings.Lines(said) {
		if t := strings.TrimSpace(line); t != "" {
			last = t
		}
	}
	name := l.Board.Name
	switch {
	case strings.Contains(said, "REMOTE HOST IDENTIFICATION HAS CHANGED"):
		return exit.BadInputf("%s: its host key has changed: check that it is your board, then: ssh-keygen -R HOST", name)
	case strings.Contains(said, "Host key verification failed"):
		return exit.BadInputf("%s: its host key is unknown: connect to it once with ssh %s, and check the key", name, l.Board.SSH)
	case strings.Contains(said, "Permission denied"):
		return exit.BadInputf("%s: login refused: add your public key to its /root/.ssh/authorized_keys (%s)", name, last)
	case strings.Contains(said, "Could not resolve hostname"), strings.Contains(said, "Bad configuration option"), strings.Contains(said, "Bad owner or permissions"):
		return exit.BadInputf("%s: %s", name, last)
	}
	return fmt.Errorf("%s: %w: %s", name, ErrUnreachable, last)
}

// Close ends the connection.
func (l *Link) Close() {
	l.kill()
	<-l.ended
	_ = os.RemoveAll(l.dir)
}

// Ended is closed when the connection has ended.
func (l *Link) Ended() <-chan struct{} { return l.ended }

// Command is a command on the board, over the connection. The words reach a shell
// there, quoted.
func (l *Link) Command(ctx context.Context, words ...string) *exec.Cmd {
	args := l.options("-T", "-o", "ControlMaster=no", "--", l.Board.SSH, wire.Quote(words))
	return child.Command(ctx, "ssh", args...)
}

// maxAnswer bounds what a command on the board may say.
const maxAnswer = 8 << 20

// answer ends a command that says too much.
type answer struct {
	bounded.Head
	end func()
}

func (a *answer) Write(p []byte) (int, error) {
	n, err := a.Head.Write(p)
	if a.Cut() {
		a.end()
	}
	return n, err
}

// run runs a command on the board and returns its stdout. stdin may be nil.
func (l *Link) run(ctx context.Context, timeout time.Duration, stdin io.Reader, words ...string) (string, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := l.Command(limited, words...)
	out, errOut := &answer{Head: bounded.Head{Limit: maxAnswer}, end: cancel}, &bounded.Head{Limit: 64 << 10}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, errOut
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case out.Cut():
		return "", fmt.Errorf("%s: an answer of more than %d MiB", l.Board.Name, maxAnswer>>20)
	case limited.Err() != nil:
		return "", fmt.Errorf("%s: %w: no answer within %v", l.Board.Name, ErrUnreachable, timeout)
	case errors.As(err, &ended) && ended.ExitCode() == sshFailed && !strings.Contains(errOut.String(), agentPrefix):
		return out.String(), fmt.Errorf("%s: %w: %s", l.Board.Name, ErrUnreachable, lastLine(errOut.String()))
	case err != nil:
		return out.String(), l.Complaint(errOut.String())
	}
	return out.String(), nil
}

// sshFailed is the exit status of ssh for an error of its own.
const sshFailed = 255

// agentPrefix begins the error of our agent.
const agentPrefix = "guest-init: "

// Complaint is the error of a program on the board, from its stderr.
func (l *Link) Complaint(said string) error {
	name := l.Board.Name
	text := lastLine(said)
	for line := range strings.Lines(said) {
		for _, prefix := range []string{wire.ErrorPrefix, agentPrefix} {
			if rest, ok := strings.CutPrefix(line, prefix); ok && !strings.HasPrefix(rest, "exit status") {
				text = strings.TrimSpace(rest)
			}
		}
	}
	if rest, ok := strings.CutPrefix(text, "busy: "); ok {
		return exit.BadInputf("%s: %s", name, rest)
	}
	if rest, ok := strings.CutPrefix(text, "stuck: "); ok {
		return fmt.Errorf("%s: %w: %s", name, ErrStuck, rest)
	}
	switch {
	case strings.Contains(text, "no space left"), strings.Contains(text, "No space left"):
		return exit.BadInputf("%s: no space left on the board: %s (dir= names another directory)", name, text)
	case strings.Contains(text, "read-only file system"):
		return exit.BadInputf("%s: a read-only file system: %s (dir= names another directory; root=board needs less)", name, text)
	}
	return fmt.Errorf("%s: %s", name, text)
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return "no message"
	}
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// probe finds out on the board what the agent needs: root, the architecture, and a
// directory in memory from which programs may be executed. It is all that runs
// before the agent does, and the same for every board.
const probe = `umask 077
id -u
uname -m
for d in /run /dev/shm /tmp /var/tmp; do
	t=$(mktemp -d "$d/proofhouse-XXXXXXXX" 2>/dev/null) || continue
	printf '#!/bin/sh\nexit 0\n' >"$t/x" 2>/dev/null && chmod 700 "$t/x" && "$t/x" 2>/dev/null && rm "$t/x" && echo "$t" && exit 0
	rm -rf "$t"
done
echo none`

var agentDirRE = regexp.MustCompile(`^(/run|/dev/shm|/tmp|/var/tmp)/proofhouse-[A-Za-z0-9]{6,10}$`)

// architectures are those that there can be an agent for, as uname -m and Go name
// them.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// Agent puts our agent on the board and has it ready. find returns the path of
// guest-init for an architecture, as Go names it.
func (l *Link) Agent(ctx context.Context, find func(arch string) (string, error)) (err error) {
	defer func() {
		if err != nil {
			l.RemoveAgent(context.WithoutCancel(ctx))
		}
	}()
	name := l.Board.Name
	out, err := l.run(ctx, commandTimeout, nil, "sh", "-c", probe)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if dir := lines[len(lines)-1]; agentDirRE.MatchString(dir) {
		l.agent = dir
	}
	if len(lines) < 3 {
		return exit.BadInputf("%s: its shell does not answer as expected: %.80q", name, out)
	}
	lines = lines[len(lines)-3:] // a login script may print more
	if lines[0] != "0" {
		return exit.BadInputf("%s: %s is not root there: want ssh://root@…", name, l.Board.SSH)
	}
	l.Machine = lines[1]
	arch, ok := architectures[l.Machine]
	if !ok {
		return exit.BadInputf("%s: wrong architecture %.20q: want x86_64 or aarch64", name, l.Machine)
	}
	if l.agent == "" {
		return exit.BadInputf("%s: no directory for the agent: /run, /dev/shm, /tmp and /var/tmp are full, read-only or mounted noexec", name)
	}
	file, err := find(arch)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	target := l.agent + "/agent"
	if _, err := l.run(ctx, commandTimeout, f, "sh", "-c", `cat >"$1" && chmod 700 "$1" || { rm -rf "${1%/*}"; exit 1; }`, "sh", target); err != nil {
		return fmt.Errorf("put the agent on the board: %w", err)
	}
	return nil
}

// Words are the words that start the agent on the board.
func (l *Link) Words(args ...string) []string {
	return append([]string{l.agent + "/agent", "board"}, args...)
}

// RemoveAgent removes the agent from the board, where no run did.
func (l *Link) RemoveAgent(ctx context.Context) {
	if l.agent != "" {
		_, _ = l.run(ctx, commandTimeout, nil, "rm", "-rf", "--", l.agent)
		l.agent = ""
	}
}

func (l *Link) json(ctx context.Context, to any, args ...string) error {
	out, err := l.run(ctx, commandTimeout, nil, l.Words(args...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), to); err != nil {
		return fmt.Errorf("%s: read the agent's answer: %w", l.Board.Name, err)
	}
	return nil
}

// Facts asks the agent what the board is.
func (l *Link) Facts(ctx context.Context) (*wire.BoardFacts, error) {
	f := new(wire.BoardFacts)
	if err := l.json(ctx, f, "facts", l.Board.Dir); err != nil {
		return nil, err
	}
	if !hexRE.MatchString(f.BuildID) || f.Machine != l.Machine {
		return nil, fmt.Errorf("%s: the agent's answer is not one of a kernel", l.Board.Name)
	}
	f.Boot = plain(f.Boot)
	for _, s := range []*string{&f.Release, &f.Version, &f.Cmdline, &f.Model, &f.AppArmor} {
		*s = plain(*s)
	}
	return f, nil
}

var hexRE = regexp.MustCompile(`^([0-9a-f]{2}){0,64}$`)

// plain keeps the printable part of a line, and not more than a command line has.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), 4096)]
}

// Pstore returns the records that crashed kernels left, by name.
func (l *Link) Pstore(ctx context.Context) (map[string]string, error) {
	records := map[string]string{}
	return records, l.json(ctx, &records, "pstore")
}

// RemovePstore removes records.
func (l *Link) RemovePstore(ctx context.Context, names []string) error {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "" || strings.ContainsAny(n, "/\x00") })
	if len(names) == 0 {
		return nil
	}
	_, err := l.run(ctx, commandTimeout, nil, l.Words(append([]string{"pstore"}, names...)...)...)
	return err
}

// Restart has the board reboot. It does not wait.
func (l *Link) Restart(ctx context.Context) {
	_, _ = l.run(ctx, 40*time.Second, nil, l.Words("reboot")...)
}

// Clean removes from the board what runs have left, and what is kept between runs.
func (l *Link) Clean(ctx context.Context) (left wire.Leftovers, err error) {
	return left, l.json(ctx, &left, "clean", l.Board.Dir)
}

// Put has the board keep a file under a name that says its content, unless it does
// already. free is what the board has left. It returns the name.
func (l *Link) Put(ctx context.Context, facts *wire.BoardFacts, kind, file, hash string, progress func(string)) (string, error) {
	if hash == "" {
		var err error
		if hash, err = sum(file); err != nil {
			return "", err
		}
	}
	name := kind + "-" + hash[:min(len(hash), 32)]
	if slices.Contains(facts.Cache.Files, name) {
		return name, nil
	}
	size, err := allocated(file)
	if err != nil {
		return "", err
	}
	if facts.Cache.ReadOnly {
		return "", exit.BadInputf("%s: %s is on a read-only file system: dir= names another directory", l.Board.Name, l.Board.Dir)
	}
	if facts.Cache.Error != "" {
		return "", exit.BadInputf("%s: %s: %s", l.Board.Name, l.Board.Dir, plain(facts.Cache.Error))
	}
	const spare = 16 << 20
	if facts.Cache.Free < uint64(size)+spare {
		return "", exit.BadInputf("%s: no space: %s has %d MiB free, and %d are needed (dir= names another directory; root=board needs less)",
			l.Board.Name, l.Board.Dir, facts.Cache.Free>>20, (size+spare)>>20)
	}
	if size > 20<<20 {
		progress(fmt.Sprintf("%s: copying %d MiB to %s, once", l.Board.Name, size>>20, path.Join(l.Board.Dir, name)))
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	r, w := io.Pipe()
	go func() {
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err == nil {
			_, err = io.Copy(z, f)
			err = errors.Join(err, z.Close())
		}
		_ = w.CloseWithError(err)
	}()
	defer func() { _ = r.Close() }()
	// A slow link carries 100 KiB a second.
	timeout := commandTimeout + time.Duration(size/(100<<10))*time.Second
	if _, err := l.run(ctx, timeout, r, l.Words("put", l.Board.Dir, name)...); err != nil {
		return "", fmt.Errorf("copy %s: %w", filepath.Base(file), err)
	}
	facts.Cache.Free -= min(facts.Cache.Free, uint64(size))
	facts.Cache.Files = append(facts.Cache.Files, name)
	return name, nil
}

func sum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}
