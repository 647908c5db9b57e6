// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proofhouse/kernels"
	"proofhouse/machines/board"
	"proofhouse/machines/guest"
	"proofhouse/machines/wire"
)

func TestNeedsReboot(t *testing.T) {
	const warned = 1 << 9
	for _, c := range []struct {
		name, reboot string
		state        boardState
		facts        wire.BoardFacts
		want         string
	}{
		{"the first machine, tainted by somebody else", "taint", boardState{}, wire.BoardFacts{Taint: warned}, ""},
		{"still clean", "taint", boardState{known: true, boot: "a"}, wire.BoardFacts{Boot: "a"}, ""},
		{"an out-of-tree module", "taint", boardState{known: true, boot: "a"}, wire.BoardFacts{Boot: "a", Taint: 1 << 12}, ""},
		{"a warning", "taint", boardState{known: true, boot: "a"}, wire.BoardFacts{Boot: "a", Taint: warned}, "tainted"},
		{"a warning that was there", "taint", boardState{known: true, taint: warned}, wire.BoardFacts{Taint: warned}, ""},
		{"never", "never", boardState{known: true}, wire.BoardFacts{Taint: warned}, ""},
		{"always, first", "always", boardState{}, wire.BoardFacts{Boot: "a"}, "always"},
		{"always, again", "always", boardState{known: true, boot: "a"}, wire.BoardFacts{Boot: "a"}, "always"},
		{"always, and it has just rebooted", "always", boardState{known: true, boot: "a"}, wire.BoardFacts{Boot: "b"}, ""},
		{"what cannot be removed", "taint", boardState{known: true, force: true}, wire.BoardFacts{}, "cannot be removed"},
	} {
		got := c.state.needsReboot(&kernels.Board{Reboot: c.reboot}, &c.facts)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if c.state.force {
			t.Errorf("%s: it would reboot for ever", c.name)
		}
	}
}

// A board that runs another kernel than when the run began has no verdict on the first.
func TestSameKernel(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	one, two := strings.Repeat("ab", 20), strings.Repeat("cd", 20)
	facts := wire.BoardFacts{Release: "6.12", Version: "#1", Machine: "x86_64", BuildID: one, AppArmor: "Y", Overlay: true, Loop: true}
	b := &kernels.Build{Spec: "board:x", Kind: kernels.OnBoard, Board: &kernels.Board{Name: "board:x"}}
	if err := learn(b, &facts); err != nil {
		t.Fatal(err)
	}
	if err := sameKernel(b, &boardState{}, &facts); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*wire.BoardFacts){
		func(f *wire.BoardFacts) { f.BuildID = two },
		func(f *wire.BoardFacts) { f.BuildID = "" },
		func(f *wire.BoardFacts) { f.Release = "6.13" },
		func(f *wire.BoardFacts) { f.Version = "#2" },
	} {
		f := facts
		change(&f)
		if err := sameKernel(b, &boardState{}, &f); err == nil || !strings.Contains(err.Error(), "another kernel") {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// What an agent says on its stderr is bounded, and only its own lines count.
func TestReadAgent(t *testing.T) {
	read := func(text string) (string, wire.Leftovers) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = w.WriteString(text)
			_ = w.Close()
		}()
		return readAgent(r)
	}
	said, left := read("warning\nproofhouse-clean: {\"removed\":[\"profile x\"]}\nlast")
	if said != "warning\nlast" || len(left.Removed) != 1 {
		t.Errorf("%q, %+v", said, left)
	}
	if said, _ := read(strings.Repeat("x", 8<<20)); len(said) > 2<<20 {
		t.Errorf("%d bytes are kept", len(said))
	}
	if _, left := read("proofhouse-clean: {\n"); len(left.Removed) > 0 {
		t.Errorf("%+v", left)
	}
}

// A root that was built again has another name on the board, though its name in the
// cache is the same.
func TestRootHash(t *testing.T) {
	dir := t.TempDir()
	image, record := filepath.Join(dir, "root.ext4"), filepath.Join(dir, "root.json")
	seen := map[string]bool{}
	for _, w := range []struct{ file, text string }{{image, "one"}, {image, "two"}, {record, "{1}"}, {record, "{2}"}} {
		if err := os.WriteFile(w.file, []byte(w.text), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := RootHash(image)
		if err != nil || seen[h] {
			t.Errorf("after %s: %s, %v", w.text, h, err)
		}
		seen[h] = true
	}
}

// The kernel's log has a channel of its own, and its end is known: a board whose log
// is not read must not pass.
func TestBoardKernelLog(t *testing.T) {
	f, err := os.Open("/dev/kmsg")
	if err != nil {
		t.Skip(err)
	}
	_ = f.Close()
	seed, key, err := hostKey()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	server, err := net.FileConn(theirs)
	if err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	go func() {
		_ = guest.ServeBoard(server, seed, 0)
		_ = server.Close()
	}()
	m := &boardMachine{vm: &vm{console: new(Log)}, state: &boardState{}, kmsg: make(chan struct{}), kmsgEnd: make(chan struct{})}
	conn, err := awaitBanner(ours)
	if err != nil {
		t.Fatal(err)
	}
	if m.client, err = dialBoard(conn, key, new(Log), m.readKmsg); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.kmsg:
	case <-time.After(time.Minute):
		t.Fatal("the agent did not send the kernel's log")
	}
	if err := m.Sane(t.Context()); err != nil {
		t.Error(err)
	}
	ok, _, err := m.request(t.Context(), wire.AliveRequest, nil)
	if err != nil || !ok {
		t.Errorf("alive: %v, %v", ok, err)
	}
	_ = m.conn.Close()
	select {
	case <-m.kmsgEnd:
	case <-time.After(time.Minute):
		t.Error("the log's end was not noticed")
	}
}

// fakeBoard puts a program named ssh on the PATH, whose commands on the board are the
// script, and connects to it.
func fakeBoard(t *testing.T, script string) *board.Link {
	t.Helper()
	dir := t.TempDir()
	ssh := "#!/bin/sh\nsocket= master= last=\nfor w; do\n[ \"$last\" != -S ] || socket=$w\n[ \"$w\" != -M ] || master=1\nlast=$w\ndone\n" +
		"if [ \"$master\" ]; then : >\"$socket\"; exec sleep 600; fi\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(ssh), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	l, err := board.Connect(t.Context(), &kernels.Board{Name: "board:x", SSH: "root@board", Dir: "/c"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// An agent that closes the channel and does not end has no more time than to boot.
func TestAgentThatClosesTheChannel(t *testing.T) {
	l := fakeBoard(t, "read -r line\nexec sleep 600 </dev/null >/dev/null")
	o := Options{Kernel: &kernels.Build{Spec: "board:x", Board: l.Board}, BootTimeout: time.Second, Progress: func(string) {}}
	done := make(chan error, 1)
	go func() {
		_, err := serveBoard(t.Context(), o, &boardState{}, l, &wire.BoardFacts{}, &wire.BoardServe{}, time.Now())
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "did not serve within 1s") {
			t.Error(err)
		}
	case <-time.After(3 * time.Minute):
		t.Fatal("it waits for ever")
	}
}

// A record that was lost may have been a complaint.
func TestReadKmsg(t *testing.T) {
	m := &boardMachine{vm: &vm{console: new(Log)}, state: &boardState{}, kmsg: make(chan struct{}), kmsgEnd: make(chan struct{})}
	m.readKmsg(kmsgChannel{strings.NewReader("7 one\nnonsense\n0 records were lost\n9 two words\n")})
	want := "one\n" + LogCut + ": records were lost\ntwo words\n"
	if got := m.console.Since(0); got != want || m.state.kmsg != 9 {
		t.Errorf("%q, want %q; sequence %d", got, want, m.state.kmsg)
	}
}

type kmsgChannel struct{ io.Reader }

func (kmsgChannel) Write(p []byte) (int, error)                    { return len(p), nil }
func (kmsgChannel) Close() error                                   { return nil }
func (kmsgChannel) CloseWrite() error                              { return nil }
func (kmsgChannel) Stderr() io.ReadWriter                          { return nil }
func (kmsgChannel) SendRequest(string, bool, []byte) (bool, error) { return false, nil }

// The record of a crash during the run is told from those that were there, also where
// it has taken the place of one of them.
func TestNewRecords(t *testing.T) {
	old := oldRecords([]string{"dmesg-ramoops-0", "dmesg-ramoops-1", "unread"}, map[string]string{"dmesg-ramoops-0": "Panic#1 of May", "dmesg-ramoops-1": "Panic#2 of May"})
	now := map[string]string{"dmesg-ramoops-0": "Panic#1 of June", "dmesg-ramoops-1": "Panic#2 of May", "unread": "x", "dmesg-ramoops-2": "y"}
	want := map[string]string{"dmesg-ramoops-0": "Panic#1 of June", "dmesg-ramoops-2": "y"}
	if got := newRecords(old, now); !maps.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Of a kernel that warned and then died, the panic may be only in pstore.
func TestPanicTold(t *testing.T) {
	const warning = "------------[ cut here ]------------\nWARNING: CPU: 0 PID: 2 at security/apparmor/label.c:78 aa_put_label+0x30/0x50\n"
	for console, want := range map[string]bool{
		"": false, "all is well\n": false, warning: false, warning + panicked + ": panic_on_warn set ...\n": true,
	} {
		if got := panicTold(console); got != want {
			t.Errorf("%q: %v", console, got)
		}
	}
}
