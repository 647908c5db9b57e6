// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"proofhouse/internal/kmsg"
)

// samples are the AppArmor lines of real kernel logs, by file.
func samples(t testing.TB) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("testdata/audit-*.txt")
	if err != nil || len(files) < 4 {
		t.Fatalf("samples: %q, %v", files, err)
	}
	all := map[string][]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	return all
}

func TestParseRecordSamples(t *testing.T) {
	for file, lines := range samples(t) {
		serials := map[int64]bool{}
		for _, line := range lines {
			r, ok := ParseRecord(line)
			if !ok || r.Kind == "" || r.PID == 0 || r.Profile == "" || r.Command == "" || r.Time.Year() != 2026 || r.Serial == 0 {
				t.Errorf("%s: %+v of %q", file, r, line)
			}
			if serials[r.Serial] {
				t.Errorf("%s: serial %d twice", file, r.Serial)
			}
			serials[r.Serial] = true
			if (r.Namespace != "") != strings.Contains(line, "namespace=") {
				t.Errorf("%s: namespace %q of %q", file, r.Namespace, line)
			}
			if s := r.String(); !strings.Contains(s, r.Kind) || !strings.Contains(s, r.Profile) {
				t.Errorf("%s: prints as %q", file, s)
			}
		}
	}
}

func TestParseRecord(t *testing.T) {
	at := time.Date(2026, 11, 23, 2, 25, 18, 740e6, time.UTC)
	for _, c := range []struct {
		line string
		want Record
		in   Name // the record is of this namespace
	}{
		{ // 7.2 on UML: a path with a space, in hex
			`[    1.860000] audit: type=1400 audit(1795400718.740:6): apparmor="DENIED" operation="open" class="file" namespace="root//ct" profile="ct-secret" name=2F746D702F7320702F736563726574 pid=825 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`,
			Record{Time: at, Serial: 6, Kind: "DENIED", Operation: "open", Namespace: "ct", Profile: "ct-secret", Name: "/tmp/s p/secret", PID: 825, Command: "cat"}, "ct",
		},
		{ // the host's part
			`[    1.870000] audit: type=1400 audit(1795400718.740:7): apparmor="DENIED" operation="open" class="file" profile="h" name="/tmp/secret" pid=825 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`,
			Record{Time: at, Serial: 7, Kind: "DENIED", Operation: "open", Profile: "h", Name: "/tmp/secret", PID: 825, Command: "cat"}, "",
		},
		{ // as auditd writes it
			`type=AVC msg=audit(1795400718.740:7): apparmor="DENIED" operation="open" profile="h" name="/tmp/secret" pid=825 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0FSUID="root" OUID="root"`,
			Record{Time: at, Serial: 7, Kind: "DENIED", Operation: "open", Profile: "h", Name: "/tmp/secret", PID: 825, Command: "cat"}, "",
		},
		{ // policy that the kernel refused
			`audit: type=1400 audit(1795400718.740:8): apparmor="STATUS" operation="profile_replace" info="profile can not be replaced" error=-17 profile="unconfined" name="p" pid=924 comm="cat"`,
			Record{Time: at, Serial: 8, Kind: "STATUS", Operation: "profile_replace", Profile: "unconfined", Name: "p", Info: "profile can not be replaced", Error: -17, PID: 924, Command: "cat"}, "",
		},
		{ // a load by the parser for another namespace
			`audit: type=1400 audit(1795400718.740:9): apparmor="STATUS" operation="profile_load" profile="unconfined" ns="root//other" name="p" pid=1 comm="apparmor_parser"`,
			Record{Time: at, Serial: 9, Kind: "STATUS", Operation: "profile_load", Profile: "unconfined", Name: "p", PID: 1, Command: "apparmor_parser"}, "other",
		},
	} {
		got, ok := ParseRecord(c.line)
		if !ok {
			t.Errorf("no record in %q", c.line)
			continue
		}
		if c.in != "" && !got.In(c.in) || got.In("elsewhere") {
			t.Errorf("%q: in %q: %v, in another: %v", c.line, c.in, got.In(c.in), got.In("elsewhere"))
		}
		c.want.Fields, c.want.Class = got.Fields, got.Fields["class"]
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(c.want)
		if string(a) != string(b) {
			t.Errorf("%q\n got %s\nwant %s", c.line, a, b)
		}
	}
	// What auditd appends is apart from what the kernel wrote.
	r, _ := ParseRecord("type=AVC msg=audit(1.2:3): apparmor=\"DENIED\" profile=\"h\" ouid=0\x1dFSUID=\"root\" OUID=\"nobody\"")
	if r.Fields["ouid"] != "0" || r.Fields["OUID"] != "nobody" {
		t.Errorf("auditd's: %q", r.Fields)
	}
	for _, line := range []string{"", "x", `apparmor=`, `apparmor=""`, `audit(1.2:3): avc: denied { read }`, `AppArmor: AppArmor Filesystem Enabled`} {
		if r, ok := ParseRecord(line); ok {
			t.Errorf("%q is %+v", line, r)
		}
	}
}

// What a program can put into the log must not pass for the kernel's word.
func TestParseKmsg(t *testing.T) {
	line := `audit: type=1400 audit(1795400718.740:6): apparmor="DENIED" operation="open" profile="h" pid=1 comm="x"`
	bus := `audit: type=1107 audit(1795400718.740:6): pid=400 uid=101 msg='apparmor="DENIED" operation="dbus_signal" label="h" pid=1'`
	for text, want := range map[string]bool{
		"5,339,5140900,-;" + line + "\n":                                       true,
		"5,339,5140900,-;" + line + "\n SUBSYSTEM=x\n":                         true,
		"5,339,5140900,-,caller=T1;" + line + "\n":                             true,
		"5,339,5140900,-;" + bus + "\n":                                        true,
		"5,339,5140900,-;type=1400 audit(1.2:3): apparmor=\"DENIED\" pid=1\n":  true,  // 3.x
		"12,339,5140900,-;" + line + "\n":                                      false, // written by user space: facility 1
		"5,339,5140900,-;other\n apparmor=\"DENIED\"\n":                        false,
		"6,339,5140900,-;process 'x " + line + "' launched 'y'\n":              false, // the kernel quotes a program
		"5,339,5140900,-;audit: type=1326 audit(1.2:3): comm=apparmor=\"x\"\n": false,
		"5,339,5140900;" + line:                                                true,
		"5,339;" + line:                                                        false,
		"x,339,5140900,-;" + line:                                              false,
		line:                                                                   false,
		"":                                                                     false,
	} {
		m, ok := kmsg.Parse([]byte(text))
		if ok && m.Kernel {
			_, ok = parseKernels(kmsg.Unescape(m.Text))
		} else {
			ok = false
		}
		if ok != want {
			t.Errorf("%q: %v, want %v", text, ok, want)
		}
	}
	// The kernel writes a backslash as \x5c there.
	m, _ := kmsg.Parse([]byte(`5,9,12000000,-;audit: type=1400 audit(1.2:3): apparmor="DENIED" name="/a\x5cb\x5cx" pid=1`))
	if r, ok := parseKernels(kmsg.Unescape(m.Text)); !ok || r.Name != `/a\b\x` || m.Sequence != 9 || m.SinceBoot != 12*time.Second {
		t.Errorf("%+v of %+v", r, m)
	}
}

// Of auditd's log, only AppArmor's records count, not what others quote.
func TestParseAudit(t *testing.T) {
	for line, want := range map[string]bool{
		`type=AVC msg=audit(1.2:3): apparmor="DENIED" pid=1`:                                    true,
		`node=web1 type=AVC msg=audit(1.2:3): apparmor="DENIED" pid=1`:                          true,
		`type=1400 msg=audit(1.2:3): apparmor="DENIED" pid=1`:                                   true,
		`type=UNKNOWN[1400] msg=audit(1.2:3): apparmor="DENIED" pid=1`:                          true,
		`type=APPARMOR_DENIED msg=audit(1.2:3):  apparmor="DENIED" pid=1`:                       true,
		`type=USER_AVC msg=audit(1.2:3): pid=4 msg='apparmor="DENIED" operation="dbus_signal"'`: true,
		`type=USER_CMD msg=audit(1.2:3): pid=4 msg='cmd=apparmor="DENIED" pid=1'`:               false,
		`type=PROCTITLE msg=audit(1.2:3): proctitle=apparmor="DENIED"`:                          false,
		`type=AVC msg=audit(1.2:3): avc: denied { read } comm=apparmor="DENIED"`:                false,
		`apparmor="DENIED" pid=1`: false,
	} {
		if _, ok := parseAudit(line); ok != want {
			t.Errorf("%q: %v, want %v", line, ok, want)
		}
	}
}

// The text form leaves out nothing that the JSON form has, and nothing that
// another program chose reaches a terminal as it is.
func TestRecordText(t *testing.T) {
	b, err := os.ReadFile("testdata/audit-classes.log")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(b)) {
		r, ok := ParseRecord(line)
		if !ok {
			t.Fatalf("no record in %q", line)
		}
		text.WriteString(r.String() + "\n")
		for key, value := range r.Fields {
			if slices.Contains([]string{"apparmor", "namespace", "pid"}, key) {
				continue
			}
			if !strings.Contains(r.String(), value) {
				t.Errorf("%s=%q is not in %q", key, value, r)
			}
		}
	}
	for _, want := range []string{
		"2030-03-1", `fstype="proc"`, `flags="rw, nosuid, nodev, noexec"`, `srcname="/run/root/.old/"`, `peer_addr="/run/my ap/sock"`, `addr="@my sock"`,
		`requested="connect" denied="connect"`, `sock_type="raw"`, `execpath="/usr/bin/bwrap"`, `rlimit="nofile" value="1048576"`, `"/home/a b"`, `target="/home/c d"`, "by 218 (bad comm)",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
	r, _ := ParseRecord(`audit(1900000000.500:9): apparmor="DENIED" operation="open" profile=610A62 name="/srv/x" pid=5 comm=1B5D303B6F776E656407 peer=1B5B324A`)
	if s := r.String(); strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) || !strings.Contains(s, `\x1b]0;owned\a`) || !strings.Contains(s, `a\nb`) {
		t.Errorf("%q", s)
	}
	// Read from JSON, it is the same.
	b, err = json.Marshal(r)
	var again Record
	if err != nil || json.Unmarshal(b, &again) != nil || !strings.Contains(again.String(), `peer="\x1b[2J"`) {
		t.Errorf("%v, %q", err, again)
	}
}

// A record has label= where it is not about one profile of the task's stack.
func TestRecordLabel(t *testing.T) {
	load, ok := ParseRecord(`audit: type=1400 audit(1795400718.740:9): apparmor="STATUS" operation="profile_load" label="host-ct-nested//&:n1:container" name="inner" pid=1 comm="apparmor_parser"`)
	if !ok || !load.In("n1") || load.In("n2") || load.Part() != "namespace" || load.Profile != "container" || load.Namespace != "n1" || load.Name != "inner" {
		t.Errorf("a load: %+v", load)
	}
	bus, ok := ParseRecord(`type=USER_AVC msg=audit(1900000001.300:77): pid=401 uid=101 auid=4294967295 ses=4294967295 subj=unconfined msg='apparmor="DENIED" operation="dbus_method_call"  bus="system" path="/org/freedesktop/login1" interface="org.freedesktop.login1.Manager" member="PowerOff" mask="send" name="org.freedesktop.login1" pid=4711 label="host-ct//&:n1:container" peer_pid=400 peer_label="unconfined" exe="/usr/bin/dbus-daemon" sauid=101 hostname=? addr=? terminal=?'`)
	if !ok || !bus.In("n1") || bus.PID != 4711 || bus.Fields["member"] != "PowerOff" || bus.Fields["terminal"] != "?" || bus.Fields["peer_label"] != "unconfined" || bus.Serial != 77 {
		t.Errorf("of a bus: %+v", bus)
	}
	for _, want := range []string{"host-ct//&:n1:container", `bus="system"`, `path="/org/freedesktop/login1"`, `interface="org.freedesktop.login1.Manager"`, `member="PowerOff"`, `mask="send"`, `peer_label="unconfined"`} {
		if !strings.Contains(bus.String(), want) {
			t.Errorf("%q is not in %q", want, bus)
		}
	}
	broken, ok := ParseRecord(`audit(1795400718.740:9): apparmor="DENIED" operation="x" label="a//&//&:n1:" pid=1`)
	if !ok || broken.In("n1") || !strings.Contains(broken.String(), "a//&//&:n1:") {
		t.Errorf("a label that cannot be read: %+v", broken)
	}
	// A host's label alone is the host's.
	host, _ := ParseRecord(`audit(1795400718.740:9): apparmor="DENIED" operation="x" label="h" pid=1`)
	if host.Part() != "host" || host.Profile != "h" {
		t.Errorf("%+v", host)
	}
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		"2F6120": "/a ", "6D79": "6D79", "ABC": "ABC", "": "", "C3A4": "ä", "2F612": "2F612", "none": "none",
	} {
		if got := decode(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzParseKernels(f *testing.F) {
	f.Add([]byte(`5,339,5140900,-;audit: type=1400 audit(1795400718.740:6): apparmor="DENIED" name="/a\x5cb" pid=1`))
	f.Add([]byte("6,1,2,c;x\n KEY=v"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := kmsg.Parse(b)
		if !ok || !m.Kernel {
			return
		}
		if r, ok := parseKernels(kmsg.Unescape(m.Text)); ok && r.Kind == "" {
			t.Errorf("%q: %+v", b, r)
		}
	})
}

// FuzzScanRecords reads a log that may be damaged in any way.
func FuzzScanRecords(f *testing.F) {
	f.Add([]byte("type=AVC msg=audit(1.2:3): apparmor=\"DENIED\" pid=1\n\x00\x00type=AVC msg=audit(1.2:4): apparmor=\"DEN"), false)
	f.Add([]byte("\x1f\x8b\x08"), true)
	f.Fuzz(func(t *testing.T, b []byte, packed bool) {
		name := "audit.log.1"
		if packed {
			name += ".gz"
		}
		records, _, err := scanRecords(bytes.NewReader(b), name, parseAudit)
		if err != nil {
			t.Error(err)
		}
		for _, r := range records {
			if r.Kind == "" {
				t.Errorf("%+v", r)
			}
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add(`type=USER_AVC msg=audit(1900000001.300:77): pid=401 msg='apparmor="DENIED" bus="system" label="h//&:n1:c" addr="@6D7920" a=1 a=2 terminal=?'`)
	for _, lines := range samples(f) {
		for _, line := range lines {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, ok := ParseRecord(line)
		if ok != (r.Kind != "") {
			t.Errorf("%q: %v, %+v", line, ok, r)
		}
		if !ok {
			return
		}
		if slices.Contains(slices.Collect(maps.Keys(r.Fields)), "") {
			t.Errorf("%q: a field without a name: %q", line, r.Fields)
		}
		if s := r.String(); strings.ContainsFunc(s, unicode.IsControl) {
			t.Errorf("%q: %q", line, s)
		}
		_ = r.In("x")
		if _, err := json.Marshal(r); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	})
}
