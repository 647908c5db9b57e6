// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A child talks to a real bus, where there is one.
func TestBusCall(t *testing.T) {
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("there is no dbus-daemon")
	}
	dir := t.TempDir()
	sock, conf := filepath.Join(dir, "bus"), filepath.Join(dir, "conf")
	for file, policy := range map[string]string{
		conf:             `<allow send_destination="*"/>`,
		conf + "-denies": `<allow send_destination="*"/><deny send_interface="org.freedesktop.DBus" send_member="GetId"/>`,
	} {
		text := `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=` + sock + `</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow receive_sender="*"/><allow user="*"/>` + policy + `</policy></busconfig>`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), daemon, "--nofork", "--nopidfile", "--config-file="+file)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		x := forked(t)
		for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			c, err := net.Dial("unix", sock)
			if err == nil { // the socket is there before anyone listens
				_ = c.Close()
				break
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
		want := map[bool]string{true: "EACCES"}[file != conf]
		if _, e, what := x.step("buscall " + sock); errnoName(e) != want {
			t.Errorf("%s: %s %q, want %q", policy, errnoName(e), what, want)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.Remove(sock)
	}
}

func FuzzBusAnswer(f *testing.F) {
	f.Add(busMessage(1, "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", "org.freedesktop.DBus"))
	f.Add([]byte("B\x03\x00\x01\xff\xff\xff\xff\x00\x00\x00\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for range 10 {
			kind, _, rest := busAnswer(b)
			if kind != 0 && len(rest) >= len(b) {
				t.Fatal("a message that takes nothing")
			}
			b = rest
		}
	})
}
