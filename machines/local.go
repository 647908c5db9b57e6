// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"proofhouse/machines/guest"
)

// openLocal uses the host itself. Commands take the same way as on a virtual
// machine, through a server in this process.
func openLocal(ctx context.Context, o Options) (Machine, error) {
	begun := time.Now()
	console, audit, err := openLogs(o)
	if err != nil {
		return nil, err
	}
	c, err := serveHere(audit)
	if err != nil {
		console.close()
		audit.close()
		return nil, err
	}
	kmsg := followKmsg(console)
	m := &vm{client: c, console: console, exited: make(chan struct{})}
	m.kill = func() {
		_ = c.conn.Close()
		if kmsg != nil {
			_ = kmsg.Close()
		}
	}
	go func() {
		_ = c.conn.Wait()
		console.close()
		audit.close()
		close(m.exited)
	}()
	m.info = Info{Kind: "local", Version: o.Kernel.Release, Boot: Boot{Channel: time.Since(begun)}}
	if b, err := os.ReadFile("/proc/cmdline"); err == nil {
		m.info.Cmdline = strings.TrimSpace(string(b))
	}
	begun = time.Now()
	if err := m.measure(ctx, o.BootTimeout); err != nil {
		_ = m.Close()
		return nil, err
	}
	m.info.Boot.Measure = time.Since(begun)
	return m, nil
}

// serveHere connects a client with a server in this process.
func serveHere(audit *Log) (*client, error) {
	seed, key, err := hostKey()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	server, err := net.FileConn(theirs)
	_ = theirs.Close()
	if err != nil {
		return nil, err
	}
	go func() {
		_ = guest.Serve(server, seed)
		_ = server.Close()
	}()
	conn, err := awaitBanner(ours)
	if err != nil {
		return nil, err
	}
	return dial(conn, key, audit)
}

// followKmsg copies what the kernel logs from now on to the console's log. It
// returns nil if the kernel's log cannot be read.
func followKmsg(console *Log) *os.File {
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		_ = f.Close()
		return nil
	}
	go func() {
		buf := make([]byte, 8<<10) // a record; the kernel's limit is 8 KiB
		for {
			n, err := f.Read(buf)
			if errors.Is(err, syscall.EPIPE) {
				continue // records were overwritten before they were read
			}
			if err != nil {
				return
			}
			// priority,sequence,time,flags;text
			_, text, _ := strings.Cut(string(buf[:n]), ";")
			line, _, _ := strings.Cut(text, "\n")
			_, _ = io.WriteString(console, line+"\n")
		}
	}()
	return f
}
