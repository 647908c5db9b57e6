// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// A machine that has stopped reading is found out, and its connection ends.
func TestWriteStalls(t *testing.T) {
	defer func(d time.Duration) { writeTimeout = d }(writeTimeout)
	writeTimeout = 50 * time.Millisecond
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Close() }()
	c := bufferedConn{ours, bufio.NewReader(ours)}
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(make([]byte, 8<<20))
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the write hangs")
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}

// hangingMachine is the client of a machine whose agent does what serve does: it
// hangs somewhere.
func hangingMachine(t *testing.T, serve func(*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request)) *client {
	t.Helper()
	seed, key, err := hostKey()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	server, err := net.FileConn(theirs)
	_ = theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = server.Close(), ours.Close() })
	go func() {
		signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed))
		if err != nil {
			return
		}
		cfg := &ssh.ServerConfig{NoClientAuth: true}
		cfg.AddHostKey(signer)
		conn, channels, requests, err := ssh.NewServerConn(server, cfg)
		if err == nil {
			serve(conn, channels, requests)
		}
	}()
	audit, err := newLog("")
	if err != nil {
		t.Fatal(err)
	}
	c, err := dial(ours, key, audit)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Wherever an agent hangs, each call to its machine returns, and says that the
// machine is lost.
func TestNoCallHangs(t *testing.T) {
	defer func(g, w time.Duration) { minGrace, watchInterval = g, w }(minGrace, watchInterval)
	minGrace, watchInterval = 100*time.Millisecond, 100*time.Millisecond
	nowhere := func(*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request) {}
	answers := func(requests <-chan *ssh.Request) {
		for r := range requests {
			_ = r.Reply(true, nil)
		}
	}
	accepts := func(channels <-chan ssh.NewChannel, with func(<-chan *ssh.Request)) {
		for nc := range channels {
			if _, reqs, err := nc.Accept(); err == nil && with != nil {
				go with(reqs)
			}
		}
	}
	for _, c := range []struct {
		name     string
		deadline time.Duration
		serve    func(*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request)
	}{
		{"a channel is not opened", 0, nowhere},
		{"a channel is not opened in time", 50 * time.Millisecond, nowhere},
		{"a command is not started", 50 * time.Millisecond, func(_ *ssh.ServerConn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
			go answers(requests)
			accepts(channels, nil)
		}},
		{"a command does not end at its deadline", 50 * time.Millisecond, func(_ *ssh.ServerConn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
			go answers(requests)
			accepts(channels, answers)
		}},
		{"a command without a deadline runs on a machine that is silent", 0, func(_ *ssh.ServerConn, channels <-chan ssh.NewChannel, _ <-chan *ssh.Request) {
			accepts(channels, answers)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			machine := hangingMachine(t, c.serve)
			done := make(chan error, 1)
			go func() {
				_, err := machine.run(context.Background(), Command{Args: []string{"true"}, Deadline: c.deadline})
				done <- err
			}()
			select {
			case err := <-done:
				if !errors.Is(err, ErrLost) {
					t.Errorf("got %v, want ErrLost", err)
				}
			case <-time.After(time.Minute):
				t.Fatal("Run hangs")
			}
		})
	}
	t.Run("the context ends", func(t *testing.T) {
		minGrace = time.Hour
		machine := hangingMachine(t, nowhere)
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(why)
		if _, err := machine.run(ctx, Command{Args: []string{"true"}}); !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
	})
}
