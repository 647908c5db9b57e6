// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/machines/board"
	"proofhouse/machines/crash"
	"proofhouse/machines/wire"
)

// boardState is what this process knows of a board, from one machine to the next.
type boardState struct {
	boot  string // boot ID of the last machine
	build string // build ID
	taint int64  // of the first machine
	known bool   // of taint
	kmsg  uint64 // the last sequence number of the kernel's log that was seen, in this boot
	// pstore are the records that were there before the run, somebody else's, with
	// their texts; "": not read.
	pstore map[string]string
	// dead is why the board did not come back.
	dead error
	// force: reboot before the next use.
	force bool
	said  bool // what a run writes on the board
	// restarting: the board was told to reboot, and may still answer for a while.
	restarting bool
}

var boardStates = struct {
	sync.Mutex
	byName map[string]*boardState
}{byName: map[string]*boardState{}}

func stateOf(b *kernels.Board) *boardState {
	boardStates.Lock()
	defer boardStates.Unlock()
	s := boardStates.byName[b.SSH+":"+strconv.Itoa(b.Port)]
	if s == nil {
		s = &boardState{}
		boardStates.byName[b.SSH+":"+strconv.Itoa(b.Port)] = s
	}
	return s
}

// Identify asks the board of a build which kernel it runs, and completes the build.
// find returns the path of guest-init for an architecture, as Go names it.
func Identify(ctx context.Context, b *kernels.Build, find func(arch string) (string, error)) (*wire.BoardFacts, error) {
	l, err := board.Connect(ctx, b.Board)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	defer l.RemoveAgent(context.WithoutCancel(ctx))
	if err := l.Agent(ctx, find); err != nil {
		return nil, err
	}
	f, err := l.Facts(ctx)
	if err != nil {
		return nil, err
	}
	return f, learn(b, f)
}

// learn checks what a run needs of a board, and completes the build.
func learn(b *kernels.Build, f *wire.BoardFacts) error {
	if f.AppArmor != "Y" {
		why := "its kernel was built without AppArmor"
		if f.AppArmor != "" {
			why = "AppArmor is built in but not enabled: add apparmor=1 security=apparmor to its kernel command line"
		}
		return exit.BadInputf("%s: no AppArmor on the board: %s", b.Board.Name, why)
	}
	if !f.Overlay {
		return exit.BadInputf("%s: no overlay file system on the board: its kernel needs CONFIG_OVERLAY_FS", b.Board.Name)
	}
	if !f.Loop && !b.Board.OwnRoot {
		return exit.BadInputf("%s: no loop devices on the board: its kernel needs CONFIG_BLK_DEV_LOOP, or give root=board", b.Board.Name)
	}
	if o := f.Owner; o != nil && o.Run != b.Board.Run {
		return exit.BadInputf("%s: the board is in use by %.80q since %s", b.Board.Name, o.Owner, o.Since.UTC().Format(time.RFC3339))
	}
	return b.Learn(kernels.Learned{Release: f.Release, Version: f.Version, Arch: f.Machine, BuildID: f.BuildID, Config: f.Config})
}

// boardMachine is a board that runs commands.
type boardMachine struct {
	*vm
	o      Options
	state  *boardState
	link   *board.Link
	facts  *wire.BoardFacts
	serial *Log // nil: no console
	left   chan wire.Leftovers
	// kmsg is closed when the kernel's log is read, kmsgEnd when it has ended.
	kmsg, kmsgEnd chan struct{}

	mu      sync.Mutex
	mark    int // of serial, when the last command began
	settled bool
	closing bool
}

// openBoard makes a machine of a board: it connects, puts our agent and the guest's
// root there, and has the agent serve the root.
func openBoard(ctx context.Context, o Options) (Machine, error) {
	begun := time.Now()
	s := stateOf(o.Kernel.Board)
	if s.dead != nil {
		return nil, s.dead
	}
	m, err := startBoard(ctx, o, s, begun)
	if errors.Is(err, board.ErrUnreachable) && ctx.Err() == nil {
		// It may still be booting, or needs its power cut.
		if _, recoverErr := awaitBoard(ctx, o, s, "", begun); recoverErr != nil {
			s.dead = recoverErr
			return nil, recoverErr
		}
		m, err = startBoard(ctx, o, s, begun)
	}
	if errors.Is(err, board.ErrStuck) && o.Kernel.Board.Reboot != "never" && ctx.Err() == nil {
		s.force = true
		m, err = startBoard(ctx, o, s, begun)
	}
	return m, err
}

// findAgent is the agent for an architecture: guest-init.
func (o Options) findAgent(arch string) (string, error) {
	if a := programArch(o.Init); a != arch {
		return "", exit.BadInputf("wrong architecture: the board is %s, and %s is for %s: make build ARCH=%s builds the programs for it", arch, o.Init, a, arch)
	}
	return o.Init, nil
}

// connectBoard connects and returns the facts of the board.
func connectBoard(ctx context.Context, o Options) (*board.Link, *wire.BoardFacts, error) {
	l, err := board.Connect(ctx, o.Kernel.Board)
	if err != nil {
		return nil, nil, err
	}
	var f *wire.BoardFacts
	if err = l.Agent(ctx, o.findAgent); err == nil {
		f, err = l.Facts(ctx)
	}
	if err != nil {
		l.RemoveAgent(context.WithoutCancel(ctx))
		l.Close()
		return nil, nil, err
	}
	return l, f, nil
}

func startBoard(ctx context.Context, o Options, s *boardState, begun time.Time) (_ Machine, err error) {
	b := o.Kernel.Board
	l, f, err := connectBoard(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := sameKernel(o.Kernel, s, f); err != nil {
		l.RemoveAgent(context.WithoutCancel(ctx))
		l.Close()
		return nil, err
	}
	if why := s.needsReboot(b, f); why != "" {
		o.Progress(fmt.Sprintf("%s: rebooting it: %s", b.Name, why))
		l.Restart(ctx)
		l.Close()
		s.restarting = true
		_, err := awaitBoard(ctx, o, s, f.Boot, time.Now())
		s.restarting = false
		if err != nil {
			s.dead = err
			return nil, err
		}
		if l, f, err = connectBoard(ctx, o); err != nil {
			return nil, err
		}
		if err := sameKernel(o.Kernel, s, f); err != nil {
			l.RemoveAgent(context.WithoutCancel(ctx))
			l.Close()
			return nil, err
		}
	}
	serving := false
	defer func() {
		if err != nil && !serving {
			l.RemoveAgent(context.WithoutCancel(ctx))
			l.Close()
		}
	}()
	if f.Boot != s.boot {
		s.boot, s.kmsg = f.Boot, 0
	}
	s.build = f.BuildID
	if s.pstore == nil {
		var texts map[string]string
		if len(f.Pstore) > 0 {
			texts, _ = l.Pstore(ctx) // what cannot be read is not taken for new later
		}
		s.pstore = oldRecords(f.Pstore, texts)
	}
	if !s.said {
		s.said = true
		o.Progress(plannedWrites(b, f))
	}
	serve, err := prepareBoard(ctx, l, f, o)
	if err != nil {
		return nil, err
	}
	serve.After = s.kmsg
	serving = true
	return serveBoard(ctx, o, s, l, f, serve, begun)
}

// panicTimeout is kernel.panic while a run uses a board, in seconds: the time from a
// panic to the reboot.
const panicTimeout = 10

// plannedWrites says what a run will mount and write on a board.
func plannedWrites(b *kernels.Board, f *wire.BoardFacts) string {
	root := "mount the guest's root from " + b.Dir + " read-only"
	if b.OwnRoot {
		root = "mount the board's root read-only"
	}
	return fmt.Sprintf("%s: will keep files in %s, %s under a tmpfs in a mount namespace, set kernel.panic=%d (was %d), and lock the board until the run ends",
		b.Name, b.Dir, root, panicTimeout, f.Panic)
}

// sameKernel refuses a board that runs another kernel than when it was identified.
func sameKernel(b *kernels.Build, s *boardState, f *wire.BoardFacts) error {
	if f.Release != b.Release || f.Version != b.Version || s.build != "" && f.BuildID != s.build {
		return exit.BadInputf("%s: the board runs another kernel now: %s, not %s", b.Board.Name, f.Release, b.Release)
	}
	again := &kernels.Build{Spec: b.Spec, Board: b.Board, Config: b.Config}
	if err := again.Learn(kernels.Learned{Release: f.Release, Version: f.Version, Arch: f.Machine, BuildID: f.BuildID}); err != nil {
		return err
	}
	if again.SHA256 != b.SHA256 {
		return exit.BadInputf("%s: the board runs another kernel now: build ID %s", b.Board.Name, f.BuildID)
	}
	return nil
}

// needsReboot is why the board must be rebooted before its next use, or "".
func (s *boardState) needsReboot(b *kernels.Board, f *wire.BoardFacts) string {
	taint := f.Taint & troubleMask
	first := !s.known
	if first {
		s.known, s.taint = true, taint
	}
	force := s.force
	s.force = false
	switch {
	case force:
		return "an earlier run left what cannot be removed"
	case b.Reboot == "never":
	case b.Reboot == "always" && (first || f.Boot == s.boot):
		return "reboot=always"
	case !first && taint&^s.taint != 0:
		return fmt.Sprintf("its kernel was tainted (%#x)", taint)
	}
	return ""
}

// prepareBoard has the board keep what the agent needs.
func prepareBoard(ctx context.Context, l *board.Link, f *wire.BoardFacts, o Options) (*wire.BoardServe, error) {
	b := o.Kernel.Board
	serve := &wire.BoardServe{Cache: b.Dir, Tools: map[string]string{}, Prepare: o.Prepare, Panic: panicTimeout}
	serve.Lock = wire.BoardLock{Owner: whoAmI(), Run: b.Run, Since: time.Now().UTC()}
	var err error
	if !b.OwnRoot {
		hash, err := RootHash(o.Root)
		if err != nil {
			return nil, err
		}
		if serve.Root, err = l.Put(ctx, f, "root", o.Root, hash, o.Progress); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Tools)) {
		if a := programArch(o.Tools[name]); a != "" && a != programArch(o.Init) {
			continue
		}
		if serve.Tools[name], err = l.Put(ctx, f, "tool", o.Tools[name], "", o.Progress); err != nil {
			return nil, err
		}
	}
	for _, tree := range o.Trees {
		name, err := l.Put(ctx, f, "tree", tree, "", o.Progress)
		if err != nil {
			return nil, err
		}
		serve.Trees = append(serve.Trees, name)
	}
	return serve, nil
}

// RootHash is by what a board knows a guest's root: the SHA-256, in hex, of the record
// that images wrote beside it, which has all versions and the time of the build; or
// of an image without one. Its name in the cache does not change with the archive.
func RootHash(image string) (string, error) {
	record := filepath.Join(filepath.Dir(image), "root.json")
	if _, err := os.Stat(record); err != nil {
		record = image
	}
	sum, err := cache.SHA256(record)
	if err != nil {
		return "", fmt.Errorf("read the guest's root: %w", err)
	}
	return sum, nil
}

// whoAmI is user@host.
func whoAmI() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		name += "@" + h
	}
	return name
}

// serveBoard starts the agent and connects to it. From here on, whatever ends it, the
// agent cleans up the board.
func serveBoard(ctx context.Context, o Options, s *boardState, l *board.Link, f *wire.BoardFacts, serve *wire.BoardServe, begun time.Time) (_ Machine, err error) {
	b := o.Kernel.Board
	console, audit, err := openLogs(o)
	if err != nil {
		return nil, err
	}
	seed, key, err := hostKey()
	if err != nil {
		return nil, err
	}
	serve.HostKey = seed
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	m := &boardMachine{
		vm: &vm{console: console, kill: kill, exited: make(chan struct{})},
		o:  o, state: s, link: l, facts: f, left: make(chan wire.Leftovers, 1),
		kmsg: make(chan struct{}), kmsgEnd: make(chan struct{}),
	}
	m.info = Info{
		Kind: "board", Version: f.Model, Cmdline: f.Cmdline,
		Board: map[string]string{"build-id": f.BuildID, "boot-id": f.Boot, "model": f.Model, "board": b.Name, "userspace": "debian"},
	}
	if b.OwnRoot {
		m.info.Board["userspace"] = "board"
	}
	m.cmd = l.Command(life, l.Words("serve")...)
	m.cmd.Stdin, m.cmd.Stdout = theirs, theirs
	errR, errW, err := os.Pipe()
	if err != nil {
		kill()
		return nil, err
	}
	m.cmd.Stderr = errW
	m.info.Boot.Prepare = time.Since(begun)
	begun = time.Now()
	if err := m.cmd.Start(); err != nil {
		kill()
		return nil, fmt.Errorf("start ssh: %w", err)
	}
	_, _ = theirs.Close(), errW.Close()
	said := make(chan string, 1)
	go func() {
		text, left := readAgent(errR)
		m.left <- left
		said <- text
	}()
	go func() {
		_ = m.cmd.Wait()
		_ = ours.Close()
		close(m.exited)
	}()
	defer func() {
		if err != nil {
			_ = ours.Close() // the agent ends, and cleans up
			select {
			case <-m.exited:
			case <-time.After(time.Minute):
			}
			kill()
			l.Close()
			console.close()
			audit.close()
		}
	}()
	stop := context.AfterFunc(ctx, kill)
	defer stop()
	if b.Console != "" {
		if err := m.openSerial(life); err != nil {
			return nil, err
		}
		m.info.Board["console"] = b.Console
	} else {
		o.Progress(b.Name + ": no console= is given: the text of a panic will be lost, unless the board keeps it in pstore")
		m.info.Board["console"] = "/dev/kmsg"
	}
	b0, err := json.Marshal(serve)
	if err != nil {
		return nil, err
	}
	if _, err := ours.Write(append(b0, '\n')); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", b.Name, board.ErrUnreachable, err)
	}
	timer := time.AfterFunc(o.BootTimeout, kill)
	conn, err := awaitBanner(ours)
	if err != nil {
		<-m.exited // the agent may close the channel and not end: the timer ends it
		last := ""
		select {
		case last = <-said:
		case <-time.After(minGrace):
		}
		if err = m.refused(last); !timer.Stop() {
			err = fmt.Errorf("the agent did not serve within %v: %w", o.BootTimeout, err)
		}
		return nil, err
	}
	timer.Stop()
	m.info.Boot.Start = time.Since(begun)
	begun = time.Now()
	timer = time.AfterFunc(o.BootTimeout, kill)
	var once sync.Once // whatever the agent opens
	m.client, err = dialBoard(conn, key, audit, func(ch ssh.Channel) { once.Do(func() { m.readKmsg(ch) }) })
	timer.Stop()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name, err)
	}
	go m.keepAlive(life)
	select {
	case <-m.kmsg:
	case <-m.exited:
	case <-time.After(m.grace()):
		return nil, fmt.Errorf("%s: the agent cannot read the kernel's log (/dev/kmsg): a warning would be missed", b.Name)
	}
	m.info.Boot.Channel = time.Since(begun)
	begun = time.Now()
	if err := m.measure(ctx, o.BootTimeout); err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name, err)
	}
	m.info.Boot.Measure = time.Since(begun)
	if m.serial != nil {
		mark := m.serial.Mark()
		if err := l.Prove(ctx, func() string { return m.serial.Since(mark) }); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// refused is why the agent ended before it served.
func (m *boardMachine) refused(said string) error {
	name := m.o.Kernel.Board.Name
	select {
	case <-m.link.Ended():
		return fmt.Errorf("%s: %w: the connection broke", name, board.ErrUnreachable)
	default:
	}
	return m.link.Complaint(said)
}

// readAgent reads the agent's stderr to its end: the last of what it said, and what
// it left on the board.
func readAgent(r *os.File) (said string, left wire.Leftovers) {
	defer func() { _ = r.Close() }()
	lines := bufio.NewReaderSize(io.LimitReader(r, 1<<20), 256<<10)
	for {
		line, err := lines.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, wire.CleanPrefix); ok {
			_ = json.Unmarshal([]byte(rest), &left)
		} else if len(said) < 64<<10 {
			said += line
		}
		if err != nil {
			_, _ = io.Copy(io.Discard, r)
			return said, left
		}
	}
}

// dialBoard is dial, for an agent that opens the kernel's log too.
func dialBoard(conn net.Conn, key ssh.PublicKey, audit *Log, kmsg func(ssh.Channel)) (*client, error) {
	return dialWith(conn, key, audit, map[string]func(ssh.Channel){wire.KmsgChannel: kmsg})
}

// readKmsg copies the kernel's log to the console's log.
func (m *boardMachine) readKmsg(ch ssh.Channel) {
	close(m.kmsg)
	defer close(m.kmsgEnd)
	lines := bufio.NewReaderSize(ch, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if number, text, ok := strings.Cut(string(line), " "); ok {
			if n, err := strconv.ParseUint(number, 10, 64); err == nil {
				m.mu.Lock()
				m.state.kmsg = max(m.state.kmsg, n)
				m.mu.Unlock()
				if n == 0 { // what is missing may have been a complaint
					text = LogCut + ": " + text
				}
				_, _ = io.WriteString(m.console, text)
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// keepAlive tells the agent that the host is there.
func (m *boardMachine) keepAlive(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.exited:
			return
		case <-time.After(wire.AgentTimeout / 6):
		}
		_, _, _ = m.conn.SendRequest(wire.AliveRequest, true, nil)
	}
}

func (m *boardMachine) openSerial(ctx context.Context) error {
	r, err := board.OpenConsole(ctx, m.o.Kernel.Board.Console)
	if err != nil {
		return fmt.Errorf("%s: %w", m.o.Kernel.Board.Name, err)
	}
	file := ""
	if m.o.ConsoleFile != "" {
		file = strings.TrimSuffix(m.o.ConsoleFile, ".log") + "-serial.log"
	}
	if m.serial, err = newLog(file); err != nil {
		_ = r.Close()
		return fmt.Errorf("record the console: %w", err)
	}
	go func() {
		_, _ = io.Copy(m.serial, r)
		_ = r.Close()
	}()
	go m.watchSerial(ctx)
	return nil
}

// panicked is what a kernel writes that will not answer any more.
const panicked = "Kernel panic - not syncing"

// panicTold reports whether a console has the whole story: a warning is not the panic
// that followed it.
func panicTold(console string) bool {
	_, complaint := crash.Find(console)
	return complaint && strings.Contains(console, panicked)
}

// watchSerial ends the connection when the console shows a panic: ssh would notice it
// half a minute later.
func (m *boardMachine) watchSerial(ctx context.Context) {
	for mark := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-m.exited:
			return
		case <-time.After(500 * time.Millisecond):
		}
		text := m.serial.Since(mark)
		if strings.Contains(text, panicked) {
			// What the kernel wrote before may still be on its way through ssh.
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
			m.kill()
			return
		}
		mark += max(0, len(text)-len(panicked))
	}
}

// Run runs a command. When the board is lost, Run returns when it is back, so that
// the console has what the kernel left behind.
func (m *boardMachine) Run(ctx context.Context, c Command) (Result, error) {
	if m.serial != nil {
		m.mu.Lock()
		m.mark = m.serial.Mark()
		m.mu.Unlock()
	}
	res, err := m.run(ctx, c)
	if errors.Is(err, ErrLost) {
		err = m.lost(ctx, err)
	}
	return res, err
}

// Sane is as for every machine.
func (m *boardMachine) Sane(ctx context.Context) error {
	taint, err := m.tainted(ctx)
	switch {
	case errors.Is(err, ErrLost):
		return m.lost(ctx, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrInsane, err)
	case taint&^m.taint != 0:
		return fmt.Errorf("%w: the kernel was tainted (%#x)", ErrInsane, taint)
	}
	select {
	case <-m.kmsgEnd:
		return fmt.Errorf("%w: the agent no longer reads the kernel's log", ErrInsane)
	default:
		return nil
	}
}

// lost waits until a lost board is back, and writes to the console what it finds:
// what the serial console showed, and what the kernel left in pstore.
func (m *boardMachine) lost(ctx context.Context, cause error) error {
	m.mu.Lock()
	again := m.settled
	m.settled = true
	mark := m.mark
	m.mu.Unlock()
	if again || ctx.Err() != nil {
		return cause
	}
	b := m.o.Kernel.Board
	m.o.Progress(fmt.Sprintf("%s: %v", b.Name, cause))
	if m.serial != nil {
		m.drainSerial(ctx, mark)
	}
	m.kill()
	m.link.Close()
	after, err := awaitBoard(ctx, m.o, m.state, m.facts.Boot, time.Now())
	if err != nil {
		if ctx.Err() == nil {
			m.state.dead = err
		}
		return fmt.Errorf("%w; %w", cause, err)
	}
	if !panicTold(m.console.Since(0)) {
		for _, name := range slices.Sorted(maps.Keys(after.pstore)) {
			_, _ = fmt.Fprintf(m.console, "\nproofhouse: pstore record %.80q\n%s\n", name, printableLines(after.pstore[name]))
		}
	}
	if after.rebooted {
		return fmt.Errorf("%w; the board was reset (%s)", cause, after.how)
	}
	return fmt.Errorf("%w; the board was not reset: only the connection was lost", cause)
}

func printableLines(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f {
			return r
		}
		return -1
	}, s)
}

// drainSerial waits until the serial console is silent, and copies what it showed
// since the mark to the console.
func (m *boardMachine) drainSerial(ctx context.Context, mark int) {
	last := -1
	for range 20 {
		now := m.serial.Mark()
		if now == last {
			break
		}
		last = now
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
	text := printableLines(strings.ReplaceAll(m.serial.Since(mark), "\r", ""))
	_, _ = fmt.Fprintf(m.console, "\nproofhouse: the serial console\n%s\n", text)
}

// Tidy removes the policy that a test left on the board.
func (m *boardMachine) Tidy(ctx context.Context) ([]string, error) {
	ok, reply, err := m.request(ctx, wire.TidyRequest, nil)
	if err != nil {
		return nil, err
	}
	var left wire.Leftovers
	if !ok || json.Unmarshal(reply, &left) != nil {
		return nil, errors.New("the agent did not tidy up")
	}
	if len(left.Stuck) > 0 {
		return left.Removed, fmt.Errorf("%w: cannot remove from the board: %s", ErrInsane, strings.Join(left.Stuck, ", "))
	}
	return left.Removed, nil
}

// cleanTimeout is how long the agent may take to clean up.
const cleanTimeout = 90 * time.Second

// Close ends the agent, which cleans up the board, and waits for it.
func (m *boardMachine) Close() error {
	m.mu.Lock()
	done := m.closing
	m.closing = true
	settled := m.settled
	m.mu.Unlock()
	if done {
		return nil
	}
	defer func() {
		m.console.close()
		m.audit.close()
		if m.serial != nil {
			m.serial.close()
		}
	}()
	if !settled {
		_ = m.conn.Close()
		select {
		case <-m.exited:
		case <-time.After(cleanTimeout):
			m.o.Progress(m.o.Kernel.Board.Name + ": the agent did not clean up in time: the next run will")
		}
	}
	m.kill()
	<-m.exited
	m.link.Close()
	if settled {
		return nil
	}
	left := <-m.left
	if len(left.Stuck) > 0 {
		m.o.Progress(fmt.Sprintf("%s: cannot remove from the board: %.500q", m.o.Kernel.Board.Name, left.Stuck))
	}
	return nil
}

// returned is how a board came back.
type returned struct {
	rebooted bool
	how      string
	pstore   map[string]string // new records
}

// oldRecords are the crash records that are there, with the texts that were read.
func oldRecords(names []string, texts map[string]string) map[string]string {
	old := map[string]string{}
	for _, n := range names {
		old[n] = texts[n]
	}
	return old
}

// newRecords are those that were not there before. A record in memory that outlives a
// reboot is numbered from 0 in each boot: a new one has the name of an old one.
func newRecords(old, now map[string]string) map[string]string {
	records := map[string]string{}
	for n, text := range now {
		if was, ok := old[n]; !ok || was != "" && was != text {
			records[n] = text
		}
	}
	return records
}

// powerCycles is how often the power command is tried in a row.
const powerCycles = 3

// awaitBoard waits until the board answers: after a reboot, for which its kernel has
// the time that the user gave, and then after each of the power cycles. boot is the
// boot ID that it had; "" if unknown.
func awaitBoard(ctx context.Context, o Options, s *boardState, boot string, since time.Time) (*returned, error) {
	b := o.Kernel.Board
	how := "it rebooted by itself"
	for cycle := 0; ; cycle++ {
		// A board that was only slow gets more time after the second cycle.
		wait := b.RebootWait * time.Duration(1+cycle/2)
		for end := time.Now().Add(wait); time.Now().Before(end); {
			if r, err := lookAtBoard(ctx, o, s, boot, how); r != nil || err != nil {
				return r, err
			}
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-time.After(2 * time.Second):
			}
		}
		waited := time.Since(since).Round(time.Second)
		if len(b.Power) == 0 {
			return nil, fmt.Errorf("%s: the board did not come back within %v, and there is no power= command", b.Name, waited)
		}
		if cycle == powerCycles {
			return nil, fmt.Errorf("%s: the board did not come back within %v, after %d power cycles", b.Name, waited, cycle)
		}
		o.Progress(fmt.Sprintf("%s: no answer for %v: power cycle %d of %d", b.Name, waited, cycle+1, powerCycles))
		if err := board.PowerCycle(ctx, b); err != nil {
			return nil, err
		}
		how = "it came back after a power cycle"
	}
}

// lookAtBoard tries to reach a board once. It returns nil, nil if that fails.
func lookAtBoard(ctx context.Context, o Options, s *boardState, boot, how string) (*returned, error) {
	l, f, err := connectBoard(ctx, o)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case exit.Status(err) == exit.Usage && !errors.Is(err, board.ErrUnreachable) && !strings.Contains(err.Error(), "login refused"):
		// While it boots, sshd may refuse logins.
		return nil, err
	case err != nil:
		return nil, nil //nolint:nilerr // not yet
	}
	defer l.Close()
	defer l.RemoveAgent(context.WithoutCancel(ctx))
	r := &returned{rebooted: boot != "" && f.Boot != boot, how: how, pstore: map[string]string{}}
	if !r.rebooted && s.restarting {
		return nil, nil // not yet
	}
	if err := sameKernel(o.Kernel, s, f); err != nil {
		return nil, err
	}
	if r.rebooted {
		records, err := l.Pstore(ctx)
		if err == nil && s.pstore != nil {
			r.pstore = newRecords(s.pstore, records)
			_ = l.RemovePstore(ctx, slices.Collect(maps.Keys(r.pstore)))
		}
	}
	return r, nil
}
