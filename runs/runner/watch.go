// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/reports"
	"proofhouse/runs"
	"proofhouse/runs/programs"
)

// List returns the specs that Run would run, in the order of their starts.
func List(ctx context.Context, o Options, w Watcher) ([]reports.Planned, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	plan, err := runs.Prepare(ctx, o.Config, w.Step)
	if err != nil {
		return nil, err
	}
	suite, err := programs.Suite(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "proofhouse-list-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	planFile, err := plan.Save(dir)
	if err != nil {
		return nil, err
	}
	listFile := filepath.Join(dir, "specs.json")
	args := []string{"-plan", planFile, "-run", dir, "-list", listFile}
	if o.LabelFilter != "" {
		args = append(args, "-ginkgo.label-filter="+o.LabelFilter)
	}
	if o.Focus != "" {
		args = append(args, "-ginkgo.focus="+o.Focus)
	}
	out, err := child.Command(ctx, suite, args...).CombinedOutput()
	if refused := runs.Refused(dir); refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, fmt.Errorf("list the specs: %w: %s", err, bytes.TrimSpace(out))
	}
	b, err := os.ReadFile(listFile)
	if err != nil {
		return nil, fmt.Errorf("list the specs: %w", err)
	}
	var specs []reports.Planned
	if err := json.Unmarshal(b, &specs); err != nil {
		return nil, fmt.Errorf("list the specs: %w", err)
	}
	return specs, nil
}

// listenForShell accepts processes that keep a machine, one at a time, on a
// socket in a directory that only this user can enter.
func listenForShell(ctx context.Context, use func(context.Context, net.Conn) error, w Watcher) (socket string, end func(), err error) {
	dir, err := os.MkdirTemp("", "proofhouse-shell-")
	if err != nil {
		return "", nil, err
	}
	socket = filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", nil, exit.BadInputf("--keep-failed: %w", err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if err := use(ctx, conn); err != nil {
				w.Lines("the shell ended: " + err.Error())
			}
			_ = conn.Close()
		}
	}()
	return socket, func() {
		_ = listener.Close()
		_ = os.RemoveAll(dir)
	}, nil
}

// showConsoles shows what is added to the console files, each line with the name
// of its file.
func showConsoles(ctx context.Context, dir string, w Watcher) {
	read := map[string]int64{}
	partial := map[string][]byte{}
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		files, _ := filepath.Glob(filepath.Join(dir, "*", "console-*.log"))
		for _, file := range files {
			text, n := grown(file, read[file])
			read[file] += n
			text = append(partial[file], text...)
			end := bytes.LastIndexByte(text, '\n') + 1
			partial[file] = bytes.Clone(text[end:])
			name := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
			var lines []string
			for line := range bytes.Lines(text[:end]) {
				lines = append(lines, name+": "+string(bytes.TrimRight(line, "\r\n")))
			}
			if len(lines) > 0 {
				w.Lines(lines...)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// grown reads what was added to a file after offset, at most 1 MiB.
func grown(file string, offset int64) (text []byte, n int64) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0
	}
	defer func() { _ = f.Close() }()
	text, _ = io.ReadAll(io.NewSectionReader(f, offset, 1<<20))
	return text, int64(len(text))
}
