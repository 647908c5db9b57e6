// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/kernels"
)

// here opens this machine: the client and the guest's server, with the real
// protocol between them.
func here(t *testing.T) Machine {
	t.Helper()
	m, err := Open(context.Background(), Options{Kernel: &kernels.Build{Spec: "local", Kind: kernels.Local}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestRunStatus(t *testing.T) {
	m := here(t)
	for _, c := range []struct {
		args []string
		want Result
	}{
		{sh("exit 0"), Result{}},
		{sh("exit 3"), Result{Status: 3}},
		{sh("exit 255"), Result{Status: 255}},
		{sh("kill -SEGV $$"), Result{Signal: "SEGV"}},
		{sh("kill -KILL $$"), Result{Signal: "KILL"}},
		{[]string{"/nonexistent/program"}, Result{Status: 127}},
		{[]string{"/etc/passwd"}, Result{Status: 126}},
	} {
		got, err := m.Run(context.Background(), Command{Args: c.args})
		if err != nil {
			t.Fatalf("%q: %v", c.args, err)
		}
		got.Usage = Result{}.Usage
		if got != c.want {
			t.Errorf("%q: %+v, want %+v", c.args, got, c.want)
		}
	}
}

func TestRunStreams(t *testing.T) {
	m := here(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // more than any window or pipe
	var out, errOut bytes.Buffer
	res, err := m.Run(context.Background(), Command{
		Args: sh(`cat; echo "$A $PWD" >&2`), Dir: "/tmp", Env: []string{"A=it's"},
		Stdin: bytes.NewReader(big), Stdout: &out, Stderr: &errOut,
	})
	if err != nil || res.Status != 0 {
		t.Fatal(res, err)
	}
	if !bytes.Equal(out.Bytes(), big) {
		t.Errorf("%d bytes went in, %d came out, or others", len(big), out.Len())
	}
	if errOut.String() != "it's /tmp\n" {
		t.Errorf("stderr %q", errOut.String())
	}
}

// A parser of a script's output needs stdout and stderr in the order they were
// written.
func TestRunMerges(t *testing.T) {
	m := here(t)
	var both bytes.Buffer
	_, err := m.Run(context.Background(), Command{
		Args:   sh(`for i in 1 2 3 4 5; do echo "o$i"; echo "e$i" >&2; done`),
		Stdout: &both, Stderr: &both,
	})
	if want := "o1\ne1\no2\ne2\no3\ne3\no4\ne4\no5\ne5\n"; err != nil || both.String() != want {
		t.Errorf("got %q, %v", both.String(), err)
	}
}

// full is a disk with room for some bytes.
type full struct{ room int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	n := min(f.room, len(p))
	f.room -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

// Output that was not kept is not the command's output: half of it would look
// like the whole. Nor may it hold the command up.
func TestRunCannotKeepOutput(t *testing.T) {
	m := here(t)
	for _, c := range []struct {
		args    []string
		out     *full
		refused bool
	}{
		{sh("echo a; sleep 0.1; echo b; exit 3"), &full{3}, true},
		{sh("head -c 8000000 /dev/zero; exit 3"), &full{100}, true},
		{sh("echo a; exit 3"), &full{2}, false},
	} {
		res, err := m.Run(context.Background(), Command{Args: c.args, Stdout: c.out, Stderr: c.out, Deadline: time.Minute})
		if errors.Is(err, errFull) != c.refused || errors.Is(err, ErrLost) || res.Status != 3 || res.Deadline {
			t.Errorf("%q: %+v, %v", c.args, res, err)
		}
	}
}

// soon is long for what is over at once, on a machine that is busy with other
// things, and short next to the commands here, which sleep for ten minutes.
const soon = time.Minute

func TestDeadlineEndsTheTree(t *testing.T) {
	m := here(t)
	begun := time.Now()
	res, err := m.Run(context.Background(), Command{
		Args: sh("sleep 600 & sleep 600 & sleep 600"), Deadline: 300 * time.Millisecond,
	})
	if err != nil || !res.Deadline {
		t.Fatal(res, err)
	}
	if took := time.Since(begun); took > soon {
		t.Errorf("ended after %v", took)
	}
}

// What a command leaves behind holds its output open; that must not hold up
// the command, nor live on.
func TestLeftoversEnd(t *testing.T) {
	m := here(t)
	pidFile := t.TempDir() + "/pid"
	begun := time.Now()
	res, err := m.Run(context.Background(), Command{Args: []string{"/bin/sh", "-c", `sleep 600 & echo $! >"$0"`, pidFile}})
	if err != nil || res.Status != 0 || time.Since(begun) > soon {
		t.Fatal(res, err, time.Since(begun))
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	stat := "/proc/" + strings.TrimSpace(string(b)) + "/stat"
	for end := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
		s, err := os.ReadFile(stat)
		if err != nil || strings.Contains(string(s), ") Z ") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it lives on: %s", s)
		}
	}
}

// Of a command that leaves something behind with its output open, all that it
// wrote itself comes through.
func TestDetachedOutput(t *testing.T) {
	m := here(t)
	for range 5 {
		pidFile := t.TempDir() + "/pid"
		var out bytes.Buffer
		res, err := m.Run(context.Background(), Command{
			Args:   []string{"/bin/sh", "-c", `sleep 600 & echo $! >"$0"; head -c 200000 /dev/zero; echo end`, pidFile},
			Stdout: &out, Stderr: &out, Detach: true, Deadline: soon,
		})
		if b, err := os.ReadFile(pidFile); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if err != nil || res.Status != 0 || res.Deadline || out.Len() != 200004 || !strings.HasSuffix(out.String(), "end\n") {
			t.Errorf("%d bytes came through: %v, %v", out.Len(), res, err)
		}
	}
}

func TestCancelEndsTheCommand(t *testing.T) {
	m := here(t)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(200*time.Millisecond, func() { cancel(why) })
	begun := time.Now()
	_, err := m.Run(ctx, Command{Args: sh("sleep 600")})
	if !errors.Is(err, why) || time.Since(begun) > soon {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
}

func TestTTY(t *testing.T) {
	m := here(t)
	var out bytes.Buffer
	res, err := m.Run(context.Background(), Command{
		Args: sh(`stty size; test -t 0 && test -t 1 && test -t 2; echo "tty $? $TERM"`), Stdout: &out,
		TTY: &TTY{Term: "vt100", Rows: 33, Columns: 77},
	})
	if want := "33 77\r\ntty 0 vt100\r\n"; err != nil || res.Status != 0 || out.String() != want {
		t.Errorf("%+v %v %q, want %q", res, err, out.String(), want)
	}
}

func TestClosedMachineIsLost(t *testing.T) {
	m := here(t)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(context.Background(), Command{Args: sh("exit 0")}); !errors.Is(err, ErrLost) {
		t.Errorf("got %v, want ErrLost", err)
	}
	if err := m.Sane(context.Background()); !errors.Is(err, ErrLost) {
		t.Errorf("got %v, want ErrLost", err)
	}
}
