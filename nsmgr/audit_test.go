package nsmgr

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
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
		c.want.Fields = got.Fields
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
	for text, want := range map[string]bool{
		"5,339,5140900,-;" + line + "\n":                true,
		"5,339,5140900,-;" + line + "\n SUBSYSTEM=x\n":  true,
		"12,339,5140900,-;" + line + "\n":               false, // written by user space: facility 1
		"5,339,5140900,-;other\n apparmor=\"DENIED\"\n": false,
		line: false,
		"":   false,
	} {
		if _, ok := parseKmsg([]byte(text)); ok != want {
			t.Errorf("%q: %v, want %v", text, ok, want)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
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
		_ = r.String()
		_ = r.In("x")
		if _, err := json.Marshal(r); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	})
}
