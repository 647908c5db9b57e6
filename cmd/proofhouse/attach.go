// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"proofhouse/internal/printable"
	"proofhouse/runs"
	"proofhouse/runs/progress"
)

// attach gives this terminal to a shell on a machine that a run kept.
func attach(ctx context.Context, conn net.Conn, display *progress.Display) error {
	fd := int(os.Stdin.Fd())
	columns, rows, err := term.GetSize(fd)
	if err != nil {
		return err
	}
	kept, err := runs.Answer(conn, runs.Terminal{Term: os.Getenv("TERM"), Rows: rows, Columns: columns})
	if err != nil {
		return err
	}
	display.Pause()
	defer display.Resume()
	const shown = 5
	for i, r := range kept.Reasons {
		if i == shown {
			fmt.Fprintf(os.Stderr, "and %d more\n", len(kept.Reasons)-shown)
			break
		}
		fmt.Fprintln(os.Stderr, printable.Line(r))
	}
	fmt.Fprintf(os.Stderr, "A shell on machine %s, as %s left it. The run continues when you exit.\n", printable.Line(kept.Machine), printable.Line(kept.Spec))
	state, err := term.MakeRaw(fd)
	if err != nil {
		return err
	}
	defer func() { _ = term.Restore(fd, state) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-ctx.Done()
		_ = conn.Close()
	}()
	typed := make(chan struct{})
	go func() {
		defer close(typed)
		sendInput(ctx, fd, conn)
	}()
	_, err = io.Copy(os.Stdout, conn)
	cancel()
	<-typed // or the next key would be lost to it
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

// sendInput sends what is typed, and the terminal's size when it changes,
// until ctx is done.
func sendInput(ctx context.Context, fd int, conn net.Conn) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	buf := make([]byte, 4096)
	for ctx.Err() == nil {
		select {
		case <-changed:
			if columns, rows, err := term.GetSize(fd); err == nil {
				_ = runs.WriteWindow(conn, rows, columns)
			}
		default:
		}
		const wait = 100 // milliseconds
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, wait); n == 0 || errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return
		}
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		if err := runs.WriteInput(conn, buf[:n]); err != nil {
			return
		}
	}
}
