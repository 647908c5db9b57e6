// SPDX-License-Identifier: Apache-2.0

package board

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
)

// consoleTimeout is how long it may take to open a console.
const consoleTimeout = 10 * time.Second

// OpenConsole opens a board's serial console for reading, and closes it when ctx
// ends. spec is a kernels.Board.Console.
func OpenConsole(ctx context.Context, spec string) (io.ReadCloser, error) {
	kind, rest, _ := strings.Cut(spec, ":")
	var r io.ReadCloser
	var err error
	switch {
	case strings.HasPrefix(spec, "/"):
		r, err = openTerminal(spec)
	case kind == "tcp":
		d := net.Dialer{Timeout: consoleTimeout}
		r, err = d.DialContext(ctx, "tcp", rest)
	case kind == "unix":
		d := net.Dialer{Timeout: consoleTimeout}
		r, err = d.DialContext(ctx, "unix", rest)
	case kind == "exec":
		r, err = execConsole(ctx, strings.Fields(rest))
	default:
		err = errors.New("unknown kind")
	}
	if err != nil {
		return nil, exit.BadInputf("console=%s: open it: %w", spec, err)
	}
	context.AfterFunc(ctx, func() { _ = r.Close() })
	return r, nil
}

// openTerminal opens a serial port of this host, 8N1; 115200 baud is the default.
func openTerminal(spec string) (io.ReadCloser, error) {
	path, speed := spec, 115200
	if p, baud, ok := strings.Cut(spec, "@"); ok {
		n, err := strconv.Atoi(baud)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("@%s is not a baud rate", baud)
		}
		path, speed = p, n
	}
	// Not blocking: a port waits for its carrier else.
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (io.ReadCloser, error) {
		_ = unix.Close(fd)
		return nil, err
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return fail(fmt.Errorf("not a terminal: %w", err))
	}
	// Two readers would each get a part.
	if err := unix.IoctlSetInt(fd, unix.TIOCEXCL, 0); err != nil {
		return fail(err)
	}
	t.Iflag, t.Oflag, t.Lflag = unix.IGNBRK, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.BOTHER
	t.Ispeed, t.Ospeed = uint32(speed), uint32(speed)
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS2, t); err != nil {
		return fail(fmt.Errorf("set %d baud: %w", speed, err))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// execConsole reads what a program of the user prints. Its input stays open and
// empty.
func execConsole(ctx context.Context, words []string) (io.ReadCloser, error) {
	if len(words) == 0 {
		return nil, errors.New("no command")
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := child.Command(ctx, words[0], words[1:]...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		_, err = cmd.StdinPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return &program{out, func() { cancel(); _ = cmd.Wait() }}, nil
}

type program struct {
	io.ReadCloser
	end func()
}

func (p *program) Close() error {
	p.end()
	return nil
}

// proofTimeout is how long the console may take to show a line of the kernel's log.
const proofTimeout = 15 * time.Second

// Prove has the board's kernel log a random text, and waits for it on the console,
// which has shown what shown returns: another board's console would hide a panic.
func (l *Link) Prove(ctx context.Context, shown func() string) error {
	nonce := "proofhouse console " + rand.Text()
	// The level is below any that a quiet console shows.
	const script = `printf '<1>%s\n' "$1" >/dev/kmsg`
	if _, err := l.run(ctx, commandTimeout, nil, "sh", "-c", script, "sh", nonce); err != nil {
		return fmt.Errorf("write to the kernel's log: %w", err)
	}
	timer := time.NewTimer(proofTimeout)
	defer timer.Stop()
	for {
		text := shown()
		if strings.Contains(text, nonce) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			what := "nothing"
			if text != "" {
				what = "other text"
			}
			return exit.BadInputf("%s: console=%s is not this board's console: the kernel logged a line, and the console showed %s within %v (if it is, the kernel needs console= on its command line)", l.Board.Name, l.Board.Console, what, proofTimeout)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
