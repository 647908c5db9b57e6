// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"proofhouse/internal/kmsg"
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
	stop := followKernelLog(console)
	m := &vm{client: c, console: console, exited: make(chan struct{})}
	m.kill = func() {
		_ = c.conn.Close()
		stop()
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

// followKernelLog copies what the kernel logs from now on to the console's log,
// until the function that it returns is called. It copies nothing if the kernel
// log cannot be read.
func followKernelLog(console *Log) (stop func()) {
	log, err := kmsg.Open(kmsg.Path, true)
	if err != nil {
		return func() {}
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer log.Close()
		log.Follow(ctx, func(m kmsg.Message) { _, _ = io.WriteString(console, m.Text+"\n") })
	}()
	return stop
}
