// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/child"
)

// A process whose files are each within the limit on size, but not together.
func TestWatchUsage(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"many bytes": {`for i in 1 2 3 4 5 6 7 8; do head -c 2M /dev/zero >$i; done`, "wrote "},
		"no name":    {`exec 5>x; rm x; head -c 16M /dev/zero >&5`, "wrote "},
		"hard links": {`head -c 7M /dev/zero >a; ln a b; ln a c`, ""},
		"a hole":     {`truncate -s 1G a`, ""},
		"a child":    {`(exec 5>x; rm x; head -c 16M /dev/zero >&5; echo ready; sleep 600) & wait`, "wrote "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cmd := child.Command(ctx, "/bin/sh", "-c", c.script+"; echo ready; sleep 600")
			cmd.Dir = dir
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 6)); err != nil {
				t.Fatal(err)
			}
			got := excess(cmd.Process.Pid, []string{dir}, 8<<20)
			if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
				t.Errorf("%q, want %q…", got, c.want)
			}
			cancel()
			_ = child.Wait(cmd)
		})
	}
	t.Run("cannot be counted", func(t *testing.T) {
		dir := t.TempDir()
		t.Chdir(dir) // and back
		long := strings.Repeat("d", 250)
		for range 20 {
			if err := os.Mkdir(long, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chdir(long); err != nil {
				t.Fatal(err)
			}
		}
		if got := excess(os.Getpid(), []string{dir}, 1<<40); !strings.Contains(got, "cannot be counted") {
			t.Error(got)
		}
	})
	t.Run("watched", func(t *testing.T) {
		dir := t.TempDir()
		reason, exited := make(chan string, 1), make(chan struct{})
		defer close(exited)
		go watchUsage(os.Getpid(), []string{dir}, 1<<20, exited, time.Millisecond, func(s string) { reason <- s })
		// Others may free space at the same time: write until it is noticed.
		text := make([]byte, 1<<20)
		for i := range 1000 {
			if err := os.WriteFile(filepath.Join(dir, strings.Repeat("f", i%200+1)), text, 0o600); err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-reason:
				if !strings.HasPrefix(got, "wrote ") {
					t.Error(got)
				}
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
		t.Error("200 MiB are within a limit of 1 MiB")
	})
}
