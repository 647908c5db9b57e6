// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
	"proofhouse/machines/wire"
)

func note(kind byte, name, desc string) string {
	pad := func(s string) string { return s + strings.Repeat("\x00", (4-len(s)%4)%4) }
	head := []byte{byte(len(name)), 0, 0, 0, byte(len(desc)), 0, 0, 0, kind, 0, 0, 0}
	return string(head) + pad(name) + pad(desc)
}

func TestBuildID(t *testing.T) {
	id := strings.Repeat("\xab", 20)
	for _, c := range []struct{ notes, want string }{
		{note(3, "GNU\x00", id), hex.EncodeToString([]byte(id))},
		{note(6, "Xen\x00", "12345") + note(1, "GNU\x00", "1234") + note(3, "GNU\x00", id), hex.EncodeToString([]byte(id))},
		{note(3, "Linux\x00", id), ""},
		{note(3, "GNU\x00", id)[:20], ""},
		{"", ""},
		{strings.Repeat("\xff", 64), ""},
	} {
		if got := buildID([]byte(c.notes)); got != c.want {
			t.Errorf("%q: %q, want %q", c.notes, got, c.want)
		}
	}
}

func FuzzBuildID(f *testing.F) {
	f.Add([]byte(note(3, "GNU\x00", "12345678901234567890")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id := buildID(b); len(id) > 2*len(b) {
			t.Errorf("%q of %d bytes", id, len(b))
		}
	})
}

func gzipped(t *testing.T, content []byte) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// A file arrives whole, or not at all.
func TestPut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "cache")
	content := bytes.Join([][]byte{bytes.Repeat([]byte("x"), 70000), make([]byte, 300000), []byte("end"), make([]byte, 1000)}, nil)
	if err := put(dir, "root-0123456789abcdef", gzipped(t, content)); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "root-0123456789abcdef"))
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(content), err)
	}
	whole := gzipped(t, content).Bytes()
	if err := put(dir, "tool-1", bytes.NewReader(whole[:len(whole)/2])); err == nil {
		t.Error("half a file was kept")
	}
	for _, name := range []string{"../x", "", ".hidden", "a/b"} {
		if err := put(dir, name, gzipped(t, nil)); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
	if all := names(dir); len(all) != 1 {
		t.Errorf("left: %q", all)
	}
}

// What follows the line belongs to the channel.
func TestReadServe(t *testing.T) {
	r := strings.NewReader("{\"cache\":\"/c\"}\nSSH")
	cfg, err := readServe(r)
	if err != nil || cfg.Cache != "/c" || r.Len() != 3 {
		t.Errorf("%+v, %v, %d bytes left", cfg, err, r.Len())
	}
	if _, err := readServe(strings.NewReader("{")); err == nil {
		t.Error("a line without an end")
	}
}

// All files of a cache are removed, and no other.
func TestCleanCache(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		write(fmt.Sprintf("tool-%016x", i))
	}
	write("somebody")
	var left wire.Leftovers
	cleanCache(dir, &left)
	if all := names(dir); !slices.Equal(all, []string{"somebody"}) || len(left.Removed) != 100 {
		t.Errorf("%d removed, left: %q", len(left.Removed), all)
	}
}

// The newest crash record is told of, however many there are.
func TestReadPstore(t *testing.T) {
	dir := t.TempDir()
	for i := range 100 {
		file := filepath.Join(dir, fmt.Sprintf("dmesg-efi-%03d", i))
		if err := os.WriteFile(file, bytes.Repeat([]byte("x"), maxText-1), 0o600); err != nil {
			t.Fatal(err)
		}
		if at := time.Unix(int64(1000+i), 0); os.Chtimes(file, at, at) != nil {
			t.Fatal("no time")
		}
	}
	records := readPstore(dir)
	size := 0
	for _, text := range records {
		size += len(text)
	}
	if records["dmesg-efi-099"] == "" || size > maxPstore {
		t.Errorf("%d records of %d bytes, without the newest", len(records), size)
	}
}

type kmsgConn struct {
	ssh.Conn
	ch *kmsgChannel
}

func (c kmsgConn) OpenChannel(string, []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	return c.ch, nil, nil
}

type kmsgChannel struct {
	ssh.Channel
	bytes.Buffer
	closed bool
}

func (c *kmsgChannel) Read(b []byte) (int, error)  { return c.Buffer.Read(b) }
func (c *kmsgChannel) Write(b []byte) (int, error) { return c.Buffer.Write(b) }
func (c *kmsgChannel) Close() error                { c.closed = true; return nil }

// Where the kernel's log cannot be read any more the host is told: what a test makes
// the kernel write then would not be seen.
func TestFollowKmsgEnds(t *testing.T) {
	old := kmsgFile
	defer func() { kmsgFile = old }()
	kmsgFile = filepath.Join(t.TempDir(), "kmsg")
	if err := os.WriteFile(kmsgFile, []byte("6,7,1,-;one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ch := &kmsgChannel{}
	followKmsg(kmsgConn{ch: ch}, 1)
	if got := ch.String(); got != "7 one\n" || !ch.closed {
		t.Errorf("sent %q, closed: %v", got, ch.closed)
	}
}

// Of two who clean a board at once, the second is refused, and the first is not ended.
func TestTwoCleans(t *testing.T) {
	old := lockFile
	defer func() { lockFile = old }()
	lockFile = filepath.Join(t.TempDir(), "lock")
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGTERM)
	defer signal.Stop(ended)
	first, err := takeLock(cleanLock())
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() {
		f, err := takeLock(cleanLock())
		if err == nil {
			unlock(f)
		}
		second <- err
	}()
	select {
	case <-ended:
		t.Error("the first was ended")
		unlock(first)
		<-second //nolint:errcheck // the test has failed
	case err := <-second:
		if err == nil || !strings.Contains(err.Error(), "busy: ") {
			t.Error(err)
		}
		unlock(first)
	}
}
