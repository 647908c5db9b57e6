// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
	"proofhouse/machines/wire"
)

// agent is the third stage: it serves the channel until the host closes it.
func agent() error {
	cfg, err := readInit(stateFile)
	if err != nil {
		return err
	}
	dev, err := openChannel(cfg.Channel, cfg.Wait)
	if err != nil {
		console("open the command channel: %v", err)
		return err
	}
	return Serve(pipeConn{dev}, cfg.HostKey)
}

// pipeConn makes the channel a net.Conn, as x/crypto/ssh wants. It has no deadlines:
// the host has.
type pipeConn struct{ io.ReadWriteCloser }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "channel" }

func (pipeConn) LocalAddr() net.Addr              { return pipeAddr{} }
func (pipeConn) RemoteAddr() net.Addr             { return pipeAddr{} }
func (pipeConn) SetDeadline(time.Time) error      { return nil }
func (pipeConn) SetReadDeadline(time.Time) error  { return nil }
func (pipeConn) SetWriteDeadline(time.Time) error { return nil }

// Serve runs the SSH server on conn until the other end closes it. The client is not
// authenticated: whoever has the other end of the channel booted this machine. seed
// is the seed of the host key.
func Serve(conn net.Conn, seed []byte) error { return serve(conn, seed, nil) }

// serve is Serve; on a board there is more to do.
func serve(conn net.Conn, seed []byte, board *boardAgent) error {
	if len(seed) != ed25519.SeedSize {
		return fmt.Errorf("the seed of the host key has %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return err
	}
	cfg := &ssh.ServerConfig{NoClientAuth: true}
	cfg.KeyExchanges = []string{ssh.KeyExchangeCurve25519}
	cfg.AddHostKey(key)
	sc, channels, requests, err := ssh.NewServerConn(conn, cfg)
	if err != nil {
		return fmt.Errorf("SSH handshake: %w", err)
	}
	log := startAudit(sc)
	go answer(requests, log, board)
	if board != nil {
		go followKmsg(sc, board.after)
	}
	for nc := range channels {
		if nc.ChannelType() != "session" {
			_ = nc.Reject(ssh.UnknownChannelType, "only sessions here")
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			continue
		}
		go (&session{ch: ch}).serve(reqs)
	}
	return nil
}

func answer(requests <-chan *ssh.Request, log *auditLog, board *boardAgent) {
	for r := range requests {
		lastAlive.Add(1)
		switch {
		case board != nil && r.Type == wire.AliveRequest:
			_ = r.Reply(true, nil)
			continue
		case board != nil && r.Type == wire.TidyRequest:
			_ = r.Reply(true, board.tidy())
			continue
		}
		switch r.Type {
		case wire.TaintRequest:
			b, err := os.ReadFile("/proc/sys/kernel/tainted")
			_ = r.Reply(err == nil, b)
		case wire.AuditSync:
			_ = r.Reply(log.mark(string(r.Payload)) == nil, nil)
		default:
			_ = r.Reply(false, nil)
		}
	}
}

// session is one command.
type session struct {
	ch      ssh.Channel
	process wire.Process
	tty     *pty.Winsize
	term    string

	mu sync.Mutex
	// run is the command once it was started.
	run *command
	pt  *os.File
}

// The payloads of RFC 4254 section 6.
type (
	ptyMsg struct {
		Term                     string
		Columns, Rows, Width, Ht uint32
		Modes                    string
	}
	windowMsg     struct{ Columns, Rows, Width, Ht uint32 }
	envMsg        struct{ Name, Value string }
	execMsg       struct{ Command string }
	signalMsg     struct{ Name string }
	exitStatusMsg struct{ Status uint32 }
	exitSignalMsg struct {
		Name       string
		CoreDumped bool
		Message    string
		Language   string
	}
)

func (s *session) serve(reqs <-chan *ssh.Request) {
	// If the host closes a session, its command is killed.
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.run != nil && !s.process.Detach {
			s.run.kill()
		}
	}()
	for r := range reqs {
		err := s.request(r)
		_ = r.Reply(err == nil, nil)
		if err == nil && (r.Type == "exec" || r.Type == "shell") {
			go s.finish(s.run)
		}
	}
}

var errRefused = errors.New("refused")

func (s *session) request(r *ssh.Request) error {
	switch r.Type {
	case "env":
		var m envMsg
		if err := ssh.Unmarshal(r.Payload, &m); err != nil {
			return err
		}
		s.process.Env = append(s.process.Env, m.Name+"="+m.Value)
	case wire.ProcessRequest:
		return json.Unmarshal(r.Payload, &s.process)
	case "pty-req":
		var m ptyMsg
		if err := ssh.Unmarshal(r.Payload, &m); err != nil {
			return err
		}
		s.term = m.Term
		s.tty = &pty.Winsize{Rows: uint16(m.Rows), Cols: uint16(m.Columns)}
	case "window-change":
		var m windowMsg
		if err := ssh.Unmarshal(r.Payload, &m); err != nil {
			return err
		}
		if s.pt == nil {
			return errRefused
		}
		return pty.Setsize(s.pt, &pty.Winsize{Rows: uint16(m.Rows), Cols: uint16(m.Columns)})
	case "signal":
		var m signalMsg
		if err := ssh.Unmarshal(r.Payload, &m); err != nil {
			return err
		}
		return s.signal(m.Name)
	case "shell":
		return s.start([]string{"/bin/bash", "-l"})
	case "exec":
		var m execMsg
		if err := ssh.Unmarshal(r.Payload, &m); err != nil {
			return err
		}
		words, err := wire.Split(m.Command)
		if err != nil || len(words) == 0 {
			_, _ = fmt.Fprintf(s.ch.Stderr(), "read the command line: %v\n", err)
			return errRefused
		}
		return s.start(words)
	default:
		return errRefused
	}
	return nil
}

// signal sends the signal of that name to the command's own process; KILL kills
// everything that the command started.
func (s *session) signal(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return errRefused
	}
	if name == "KILL" {
		s.run.kill()
		return nil
	}
	sig := unix.SignalNum("SIG" + name)
	if sig == 0 {
		return errRefused
	}
	return s.run.cmd.Process.Signal(sig)
}

func (s *session) start(words []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		return errRefused
	}
	run, err := newCommand(words, s.process)
	if err == nil {
		if s.tty != nil {
			run.cmd.Env = append(run.cmd.Env, "TERM="+s.term)
			s.pt, err = run.startPTY(s.tty, s.ch)
		} else {
			err = run.start(s.ch, s.ch.Stderr(), s.ch)
		}
	}
	if err != nil {
		// As a shell: the reason on stderr and status 126 or 127.
		_, _ = fmt.Fprintf(s.ch.Stderr(), "%s: %v\n", words[0], err)
		s.run = failed(err)
		return nil
	}
	s.run = run
	return nil
}

// finish waits for the command and sends the host how it ended.
func (s *session) finish(run *command) {
	status, usage := run.wait()
	if s.pt != nil {
		_ = s.pt.Close()
	}
	if b, err := json.Marshal(usage); err == nil {
		_, _ = s.ch.SendRequest(wire.UsageRequest, false, b)
	}
	if status.Signaled() {
		name := strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
		if name == "" {
			name = fmt.Sprintf("%d", int(status.Signal()))
		}
		_, _ = s.ch.SendRequest("exit-signal", false, ssh.Marshal(exitSignalMsg{Name: name, CoreDumped: status.CoreDump()}))
	} else {
		_, _ = s.ch.SendRequest("exit-status", false, ssh.Marshal(exitStatusMsg{uint32(status.ExitStatus())}))
	}
	_ = s.ch.Close()
}
