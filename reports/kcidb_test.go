// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

// kcidbRules are what schema 5.3 demands of the objects that we write: their
// properties, those that have to be there, and the pattern of each.
var kcidbRules = map[string]struct {
	required []string
	patterns map[string]string
}{
	"checkouts": {[]string{"id", "origin"}, map[string]string{"id": kcidbIDs, "origin": kcidbOrigins, "comment": anyLine}},
	"builds": {[]string{"checkout_id", "id", "origin"}, map[string]string{
		"id": kcidbIDs, "checkout_id": kcidbIDs, "origin": kcidbOrigins, "comment": anyLine, "architecture": `^[a-z0-9_]*$`, "misc": "",
	}},
	"tests": {[]string{"build_id", "id", "origin"}, map[string]string{
		"id": kcidbIDs, "build_id": kcidbIDs, "origin": kcidbOrigins, "environment": "", "misc": "",
		"path": `^([a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*)?$`, "comment": anyLine, "log_excerpt": anyLine,
		"status": `^(FAIL|ERROR|MISS|PASS|DONE|SKIP)$`, "start_time": `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`, "duration": "",
	}},
	"issues": {[]string{"id", "version", "origin"}, map[string]string{
		"id": kcidbIDs, "version": "", "origin": kcidbOrigins, "comment": anyLine, "report_url": `^https?://\S+$`,
	}},
	"incidents": {[]string{"id", "origin", "issue_id", "issue_version"}, map[string]string{
		"id": kcidbIDs, "origin": kcidbOrigins, "issue_id": kcidbIDs, "issue_version": "", "test_id": kcidbIDs, "present": "", "comment": anyLine,
	}},
}

const (
	kcidbIDs     = `^[a-z0-9_]+:.*$`
	kcidbOrigins = `^[a-z0-9_]+$`
	anyLine      = `^[^\x00]*$`
)

func TestKCIDB(t *testing.T) {
	for name, make := range samples {
		t.Run(name, func(t *testing.T) {
			run := make().run()
			var b bytes.Buffer
			if err := KCIDB(&b, run, "our_lab"); err != nil {
				t.Fatal(err)
			}
			if name == "fail" || name == "pass" {
				golden(t, "kcidb/"+name+".json", b.Bytes())
			}
			checkKCIDB(t, b.Bytes(), run)
			kcidbIO(t, b.Bytes())
		})
	}
	if err := KCIDB(&bytes.Buffer{}, samples["pass"]().run(), "Our Lab"); exit.Status(err) != exit.Usage {
		t.Errorf("a bad origin: %v", err)
	}
}

func checkKCIDB(t *testing.T, text []byte, run *Run) {
	t.Helper()
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(string(doc["version"])), ""); got != `{"major":5,"minor":3}` {
		t.Errorf("version %s", got)
	}
	delete(doc, "version")
	ids := map[string]bool{}
	var links []string
	statuses := map[string]int{}
	for kind, raw := range doc {
		rules, ok := kcidbRules[kind]
		if !ok {
			t.Errorf("the schema knows no %s", kind)
		}
		var list []map[string]any
		if err := json.Unmarshal(raw, &list); err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			for _, r := range rules.required {
				if o[r] == nil {
					t.Errorf("%s: no %s in %v", kind, r, o)
				}
			}
			for name, value := range o {
				pattern, ok := rules.patterns[name]
				text, isText := value.(string)
				if !ok || pattern != "" && !regexp.MustCompile(pattern).MatchString(text) || pattern == "" && isText {
					t.Errorf("%s: %s is %v", kind, name, value)
				}
				if name == "log_excerpt" && len([]rune(text)) > 16384 {
					t.Errorf("a log excerpt of %d characters", len(text))
				}
				if strings.HasSuffix(name, "_id") {
					links = append(links, text)
				}
			}
			id, _ := o["id"].(string)
			if ids[id] {
				t.Errorf("%s twice", id)
			}
			ids[id] = true
			if st, ok := o["status"].(string); ok {
				statuses[st]++
			}
		}
	}
	for _, l := range links {
		if !ids[l] {
			t.Errorf("%s leads nowhere", l)
		}
	}
	c := tally(run)
	if bad := c.counts[Fail] > 0; bad != (statuses["FAIL"] > c.counts[XFail]) {
		t.Errorf("%v, and the run has %v", statuses, c.counts)
	}
	if c.notRun > 0 && statuses["MISS"] == 0 {
		t.Errorf("%v, and %d did not run", statuses, c.notRun)
	}
}

// kcidbIO has KernelCI's own kcidb-io check the report, where Python has it.
func kcidbIO(t *testing.T, text []byte) {
	t.Helper()
	const check = "import sys, json, kcidb_io; kcidb_io.schema.V5_3.validate_exactly(json.load(sys.stdin))"
	if exec.Command("python3", "-c", "import kcidb_io").Run() != nil {
		t.Log("no kcidb_io here")
		return
	}
	cmd := exec.Command("python3", "-c", check)
	cmd.Stdin = bytes.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("kcidb_io: %v: %s", err, out)
	}
}
