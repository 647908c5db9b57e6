// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"bufio"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"proofhouse/machines/wire"

	"golang.org/x/crypto/ssh"
)

// client runs commands over the SSH protocol: the same for a VM's own channel
// and for a board.
type client struct {
	conn  ssh.Conn
	audit *Log
	// slowness scales the waits for a machine that may hang.
	slowness float64
	// paced sends a command's input a piece at a time, each when the machine
	// has taken the one before.
	paced bool
	syncs struct {
		sync.Mutex
		n int
	}
}

// hostKey makes the key by which the client recognises the machine that it booted:
// the seed is in the initramfs.
func hostKey() (seed []byte, key ssh.PublicKey, err error) {
	seed = make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, nil, err
	}
	key, err = ssh.NewPublicKey(ed25519.NewKeyFromSeed(seed).Public())
	return seed, key, err
}

// bufferedConn reads first what awaitBanner has buffered.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// Write fails on a machine that no longer reads. Whatever waits for the transport
// then gets an error.
func (c bufferedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = c.Close() // part of a packet is sent: the rest of the stream is useless
	}
	return n, err
}

// writeTimeout is the timeout of a write. The kernel takes the bytes, whatever its
// tasks do; a minute is long, under TCG too.
var writeTimeout = time.Minute

// awaitBanner waits for the server's first byte. Nothing may be written
// before: a terminal that is not raw yet would echo it.
func awaitBanner(conn net.Conn) (net.Conn, error) {
	r := bufio.NewReader(conn)
	for {
		b, err := r.Peek(1)
		if err != nil {
			return nil, err
		}
		// A serial port may deliver stray bytes before the banner.
		if b[0] == 'S' {
			return bufferedConn{conn, r}, nil
		}
		if _, err := r.Discard(1); err != nil {
			return nil, err
		}
	}
}

// dial does the handshake on conn.
func dial(conn net.Conn, key ssh.PublicKey, audit *Log) (*client, error) {
	return dialWith(conn, key, audit, nil)
}

// dialWith is dial, for a machine that opens more channels, by their types.
func dialWith(conn net.Conn, key ssh.PublicKey, audit *Log, more map[string]func(ssh.Channel)) (*client, error) {
	cfg := &ssh.ClientConfig{User: "root", HostKeyCallback: ssh.FixedHostKey(key)}
	cfg.KeyExchanges = []string{ssh.KeyExchangeCurve25519}
	// Channels that the guest opens are taken by mux, which x/crypto/ssh's
	// Client would refuse.
	sc, channels, requests, err := ssh.NewClientConn(conn, "", cfg)
	if err != nil {
		return nil, fmt.Errorf("SSH handshake: %w", err)
	}
	go ssh.DiscardRequests(requests)
	c := &client{conn: sc, audit: audit, slowness: 1}
	go c.accept(channels, more)
	return c, nil
}

func (c *client) accept(channels <-chan ssh.NewChannel, more map[string]func(ssh.Channel)) {
	for nc := range channels {
		read := more[nc.ChannelType()]
		if nc.ChannelType() == wire.AuditChannel {
			read = func(ch ssh.Channel) { _, _ = io.Copy(c.audit, ch) }
		}
		if read == nil {
			_ = nc.Reject(ssh.UnknownChannelType, "")
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			continue
		}
		go ssh.DiscardRequests(reqs)
		go read(ch)
	}
}

// lost is err as the error of a lost machine.
func lost(err error) error { return fmt.Errorf("%w: %w", ErrLost, err) }

// grace is the timeout of an answer, after which a machine is lost. However fast it
// is, other work may keep the host's processors busy for seconds; one that crashed
// ends by itself, so this rarely delays anything.
func (c *client) grace() time.Duration {
	return max(minGrace, time.Duration(float64(3*time.Second)*c.slowness/4))
}

// within runs call, which the connection alone can end, and waits for it no longer
// than limit. late, which may be nil, gets the answer that comes after that.
func within[T any](ctx context.Context, limit time.Duration, what string, call func() (T, error), late func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer)
	given := make(chan struct{})
	go func() {
		v, err := call()
		select {
		case answers <- answer{v, err}:
		case <-given:
			if err == nil && late != nil {
				late(v)
			}
		}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var none T
	var err error
	select {
	case a := <-answers:
		return a.value, a.err
	case <-timer.C:
		err = lost(fmt.Errorf("%s: timed out after %v", what, limit))
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	close(given)
	return none, err
}

// minGrace is the shortest grace.
var minGrace = 20 * time.Second

// request is a global request that must be answered within the grace.
func (c *client) request(ctx context.Context, name string, payload []byte) (ok bool, reply []byte, err error) {
	type answer struct {
		ok    bool
		reply []byte
	}
	a, err := within(ctx, c.grace(), "request "+name, func() (answer, error) {
		ok, reply, err := c.conn.SendRequest(name, true, payload)
		if err != nil {
			err = lost(err)
		}
		return answer{ok, reply}, err
	}, nil)
	return a.ok, a.reply, err
}

// syncAudit waits until the audit log has every record logged before the call.
func (c *client) syncAudit(ctx context.Context) error {
	c.syncs.Lock()
	defer c.syncs.Unlock()
	c.syncs.n++
	text := "sync-" + strconv.Itoa(c.syncs.n) + "."
	mark := c.audit.Mark()
	ok, _, err := c.request(ctx, wire.AuditSync, []byte(text))
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("the kernel has no audit")
	}
	ctx, cancel := context.WithTimeout(ctx, c.grace())
	defer cancel()
	if err := c.audit.await(ctx, mark, text); err != nil {
		return fmt.Errorf("wait for the audit records: %w", err)
	}
	return nil
}

// run is Machine.Run.
func (c *client) run(ctx context.Context, cmd Command) (Result, error) {
	if len(cmd.Args) == 0 {
		return Result{}, errors.New("no command")
	}
	ch, reqs, err := c.open(ctx)
	if err != nil {
		return Result{}, err
	}
	s := &remote{ch: ch, ended: make(chan struct{})}
	// On its own: the transport may be what hangs.
	defer func() { go func() { _ = ch.Close() }() }()
	_, err = within(ctx, c.startLimit(cmd), "start "+cmd.Args[0], func() (struct{}, error) { return struct{}{}, s.start(cmd) }, nil)
	if err != nil {
		go ssh.DiscardRequests(reqs)
		return Result{}, err
	}
	s.copy(cmd, c.input(ch))
	go s.collect(reqs)
	if cmd.TTY != nil {
		go s.resize(cmd.TTY.Resize)
	}
	var deadline <-chan time.Time
	if cmd.Deadline > 0 {
		t := time.NewTimer(cmd.Deadline)
		defer t.Stop()
		deadline = t.C
	}
	// A command without a deadline may run for ever, a machine that hangs may
	// not.
	silent := make(chan error, 1)
	if cmd.Deadline == 0 {
		watch, stop := context.WithCancel(ctx)
		defer stop()
		go func() { silent <- c.watch(watch) }()
	}
	select {
	case <-s.ended:
		return s.result()
	case err := <-silent:
		if errors.Is(err, ErrLost) {
			select {
			case <-s.ended: // it ended with the connection
				return s.result()
			default:
				return Result{}, err
			}
		}
	case <-deadline:
		s.expired.Store(true)
	case <-ctx.Done():
	}
	// A machine that cannot kill a command is lost.
	if err := s.end(c.grace()); err != nil {
		return Result{Deadline: s.expired.Load()}, err
	}
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	return s.result()
}

// open opens a channel for a command.
func (c *client) open(ctx context.Context) (ssh.Channel, <-chan *ssh.Request, error) {
	type session struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
	}
	s, err := within(ctx, c.grace(), "open a channel", func() (session, error) {
		ch, reqs, err := c.conn.OpenChannel("session", nil)
		if err != nil {
			err = lost(err)
		}
		return session{ch, reqs}, err
	}, func(s session) {
		go ssh.DiscardRequests(s.reqs)
		_ = s.ch.Close()
	})
	return s.ch, s.reqs, err
}

// startLimit is how long the machine may take to start a command: longer than to
// answer, as a machine without free memory starts a process late.
func (c *client) startLimit(cmd Command) time.Duration {
	return max(2*c.grace(), min(cmd.Deadline, 2*time.Minute))
}

// watchInterval is the time between two signs of life of a machine that runs a
// command without a deadline.
var watchInterval = 30 * time.Second

// watch returns when the machine does not answer any more, or ctx ends. A machine
// that is merely busy may miss one sign of life.
func (c *client) watch(ctx context.Context) error {
	for missed := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchInterval):
		}
		_, _, err := c.request(ctx, wire.TaintRequest, nil)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the command has ended: nobody waits for a sign of life
		case err == nil:
			missed = 0
		default:
			if missed++; missed > 1 {
				return err
			}
		}
	}
}

// remote is one command on the other side.
type remote struct {
	ch     ssh.Channel
	ended  chan struct{} // closed when all output and the exit status have arrived
	output sync.WaitGroup
	res    Result
	known  bool // the exit status or signal has arrived

	expired atomic.Bool // it was killed at its deadline

	unkept struct { // the first error of the writers that take the output
		sync.Mutex
		err error
	}
}

func (s *remote) start(cmd Command) error {
	process, err := json.Marshal(wire.Process{
		Dir: cmd.Dir, Env: cmd.Env, Detach: cmd.Detach,
		Merge: cmd.Stdout != nil && cmd.Stdout == cmd.Stderr,
	})
	if err != nil {
		return err
	}
	if err := s.send(wire.ProcessRequest, process); err != nil {
		return err
	}
	if t := cmd.TTY; t != nil {
		err := s.send("pty-req", ssh.Marshal(struct {
			Term                     string
			Columns, Rows, Width, Ht uint32
			Modes                    string
		}{t.Term, uint32(t.Columns), uint32(t.Rows), 0, 0, "\x00"}))
		if err != nil {
			return err
		}
	}
	return s.send("exec", ssh.Marshal(struct{ Command string }{wire.Quote(cmd.Args)}))
}

func (s *remote) send(name string, payload []byte) error {
	ok, err := s.ch.SendRequest(name, true, payload)
	if err != nil {
		return lost(err)
	}
	if !ok {
		return fmt.Errorf("the machine refused the request %q", name)
	}
	return nil
}

// collect reads how the command ended.
func (s *remote) collect(reqs <-chan *ssh.Request) {
	for r := range reqs {
		switch r.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(r.Payload, &m) == nil {
				s.res.Status, s.known = int(m.Status), true
			}
		case "exit-signal":
			var m struct {
				Name       string
				CoreDumped bool
				Message    string
				Language   string
			}
			if ssh.Unmarshal(r.Payload, &m) == nil {
				s.res.Signal, s.known = m.Name, true
			}
		case wire.UsageRequest:
			_ = json.Unmarshal(r.Payload, &s.res.Usage)
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	s.output.Wait()
	close(s.ended)
}

// copy carries the command's input and output. Two writers that are the same
// get whole writes, one at a time.
func (s *remote) copy(cmd Command, in io.Writer) {
	var mu sync.Mutex
	out := func(w io.Writer, r io.Reader) {
		if w == nil {
			w = io.Discard
		}
		if _, err := io.Copy(lockedWriter{&mu, writeError{w}}, r); errors.As(err, new(writeFailed)) {
			s.unkept.Lock()
			s.unkept.err = cmp.Or(s.unkept.err, err)
			s.unkept.Unlock()
			// Unread output would block the command for ever.
			_, _ = io.Copy(io.Discard, r)
		}
	}
	s.output.Go(func() { out(cmd.Stdout, s.ch) })
	s.output.Go(func() { out(cmd.Stderr, s.ch.Stderr()) })
	go func() {
		if cmd.Stdin != nil {
			_, _ = io.Copy(in, cmd.Stdin)
		}
		_ = s.ch.CloseWrite()
	}()
}

// input is where a command's input is written to.
func (c *client) input(ch ssh.Channel) io.Writer {
	if !c.paced {
		return ch
	}
	return pacedWriter{c, ch}
}

// pacedWriter never has more on its way than a terminal's buffer holds (4 KiB,
// N_TTY_BUF_SIZE). A serial line of User Mode Linux that is throttled, because
// the buffer is full, has been seen never to listen again.
type pacedWriter struct {
	c  *client
	ch ssh.Channel
}

const pace = 2 << 10

func (w pacedWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		m, err := w.ch.Write(p[:min(pace, len(p))])
		n += m
		if err != nil {
			return n, err
		}
		p = p[m:]
		// Any request will do: the answer comes after all that went before.
		if _, _, err := w.c.conn.SendRequest("pace", true, nil); err != nil {
			return n, err
		}
	}
	return n, nil
}

// writeError distinguishes errors of the writer from those of the connection.
type writeError struct{ io.Writer }

type writeFailed struct{ error }

func (e writeFailed) Unwrap() error { return e.error }

func (w writeError) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		err = writeFailed{err}
	}
	return n, err
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (s *remote) resize(sizes <-chan [2]int) {
	for {
		select {
		case <-s.ended:
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			_, _ = s.ch.SendRequest("window-change", false, ssh.Marshal(struct{ Columns, Rows, Width, Ht uint32 }{uint32(size[1]), uint32(size[0]), 0, 0}))
		}
	}
}

// end kills the command with its process tree and waits for it.
func (s *remote) end(grace time.Duration) error {
	// On its own: the transport may be what hangs.
	go func() {
		_, _ = s.ch.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"KILL"}))
	}()
	select {
	case <-s.ended:
		return nil
	case <-time.After(grace):
		return lost(fmt.Errorf("a killed command was still running after %v", grace))
	}
}

func (s *remote) result() (Result, error) {
	s.res.Deadline = s.expired.Load()
	if !s.known {
		return s.res, lost(errors.New("the connection closed before the command ended"))
	}
	s.unkept.Lock()
	defer s.unkept.Unlock()
	if err := s.unkept.err; err != nil {
		return s.res, fmt.Errorf("write the command's output: %w", err)
	}
	return s.res, nil
}
