// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseBoard(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	boards := filepath.Join(dir, "proofhouse", "boards")
	if err := os.MkdirAll(boards, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(boards, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("rpi4.yaml", "ssh: root@10.0.0.7\nconsole: /dev/ttyUSB0@115200\npower: [/bin/sh, -c, exit 0]\nreboot_wait: 90s\ncrash: yes\n")
	write("typo.yaml", "ssh: root@10.0.0.7\nconsol: /dev/ttyUSB0\n")
	write("config", "")
	write("lab.yaml", "ssh: lab7\nssh_config: config\nroot: board\n")

	for _, c := range []struct {
		spec string
		want Board
	}{
		{"ssh://root@10.0.0.7", Board{SSH: "root@10.0.0.7"}},
		{"ssh://root@board:2222,root=board,reboot=never", Board{SSH: "root@board", Port: 2222, OwnRoot: true, Reboot: "never"}},
		{"ssh://root@[fe80::1]:22", Board{SSH: "root@fe80::1", Port: 22}},
		{"ssh://board,console=exec:picocom -q -b 115200,1 /dev/x,power=/bin/true off on", Board{
			SSH: "board", Console: "exec:picocom -q -b 115200,1 /dev/x", Power: []string{"/bin/true", "off", "on"},
		}},
		{"board:rpi4", Board{SSH: "root@10.0.0.7", Console: "/dev/ttyUSB0@115200", Power: []string{"/bin/sh", "-c", "exit 0"}, RebootWait: 90 * time.Second, Crash: true}},
		{"board:rpi4,crash=no,dir=/data/p", Board{SSH: "root@10.0.0.7", Console: "/dev/ttyUSB0@115200", Power: []string{"/bin/sh", "-c", "exit 0"}, RebootWait: 90 * time.Second, Dir: "/data/p"}},
		{"board:lab", Board{SSH: "lab7", SSHConfig: filepath.Join(boards, "config"), OwnRoot: true}},
	} {
		got, err := ParseBoard(c.spec)
		if err != nil {
			t.Errorf("%s: %v", c.spec, err)
			continue
		}
		if got.Run == "" {
			t.Errorf("%s: no token of the run", c.spec)
		}
		c.want.Name, _, _ = strings.Cut(c.spec, ",")
		c.want.Run = got.Run
		if c.want.Dir == "" {
			c.want.Dir = defaultBoardDir
		}
		if c.want.Reboot == "" {
			c.want.Reboot = "taint"
		}
		if c.want.RebootWait == 0 {
			c.want.RebootWait = defaultRebootWait
		}
		if !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", c.spec, *got, c.want)
		}
	}

	for _, c := range []struct{ spec, says string }{
		{"board:none", "no such board"},
		{"board:../rpi4", "invalid name"},
		{"board:", "invalid name"},
		{"board:typo", "consol"},
		{"ssh://", "invalid address"},
		{"ssh://-oProxyCommand=x", "invalid address"},
		{"ssh://root@-x", "invalid address"},
		{"ssh://root:secret@board", "a password"},
		{"ssh://root@board/path", "invalid address"},
		{"ssh://root@board:0", "invalid port"},
		{"ssh://root@board,rot=board", "unknown option"},
		{"ssh://root@board,root=", "empty value"},
		{"ssh://root@board,root=board,root=board", "given twice"},
		{"ssh://root@board,root=debain", "root=debain"},
		{"ssh://root@board,console=ttyUSB0", "console=ttyUSB0"},
		{"ssh://root@board,console=tcp:x", "console=tcp:x"},
		{"ssh://root@board,power=/no/such/program", "no such program"},
		{"ssh://root@board,reboot=maybe", "reboot=maybe"},
		{"ssh://root@board,reboot_wait=soon", "reboot_wait=soon"},
		{"ssh://root@board,crash=perhaps", "crash=perhaps"},
		{"ssh://root@board,dir=../x", "dir=../x"},
		{"ssh://root@board,dir=/x;reboot", "dir=/x;reboot"},
		{"ssh://root@board,dir=/a/../etc", "dir="},
		{"ssh://root@board,ssh_config=/no/such", "ssh_config="},
	} {
		b, err := ParseBoard(c.spec)
		switch {
		case err == nil:
			t.Errorf("%s: %+v", c.spec, b)
		case !strings.Contains(err.Error(), c.says):
			t.Errorf("%s: %v, want %q", c.spec, err, c.says)
		case strings.Contains(err.Error(), "secret"):
			t.Errorf("%s: the password is in the message", c.spec)
		}
	}
}

// A board that runs another kernel than kernel= names is refused, and one that says
// another build ID is another build.
func TestLearn(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	id := strings.Repeat("ab", 20)
	b := &Build{Spec: "board:x", Kind: OnBoard, Board: &Board{Kernel: "Image", BuildIDs: []string{strings.Repeat("cd", 20), id}}}
	facts := Learned{Release: "6.12.1", Version: "#1 SMP", Arch: ARM64, BuildID: id}
	if err := b.Learn(facts); err != nil {
		t.Fatal(err)
	}
	first := b.ID()
	if !strings.HasPrefix(first, "6.12.1-") {
		t.Error(first)
	}
	facts.BuildID = strings.Repeat("ef", 20)
	if err := b.Learn(facts); err == nil || !strings.Contains(err.Error(), "another kernel") {
		t.Errorf("a board with another kernel: %v", err)
	}
	facts.BuildID = ""
	if err := b.Learn(facts); err == nil {
		t.Error("a board whose kernel has no build ID")
	}
	b.Board.BuildIDs = nil
	facts.BuildID = strings.Repeat("ef", 20)
	if err := b.Learn(facts); err != nil || b.ID() == first {
		t.Errorf("%v: %s for both builds", err, first)
	}
}

func TestImageBuildIDs(t *testing.T) {
	one, two := strings.Repeat("\x01", 20), strings.Repeat("\x02", 20)
	image := "xx" + string(gnuNote) + one + "yy" + string(gnuNote) + two + string(gnuNote) + "short"
	file := filepath.Join(t.TempDir(), "Image")
	if err := os.WriteFile(file, []byte(image), 0o600); err != nil {
		t.Fatal(err)
	}
	ids, err := imageBuildIDs(t.Context(), &Build{Image: file})
	if err != nil || !reflect.DeepEqual(ids, []string{hex.EncodeToString([]byte(one)), hex.EncodeToString([]byte(two))}) {
		t.Errorf("%v, %v", ids, err)
	}
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ids, err := imageBuildIDs(t.Context(), &Build{Image: file}); err == nil {
		t.Errorf("%v", ids)
	}
}
