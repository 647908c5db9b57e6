// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
)

// The objects of KCIDB's I/O schema 5.3 (github.com/kernelci/kcidb-io) that a
// run is made of.
type (
	kcidbDocument struct {
		Version   kcidbVersion    `json:"version"`
		Checkouts []kcidbCheckout `json:"checkouts,omitempty"`
		Builds    []kcidbBuild    `json:"builds,omitempty"`
		Tests     []kcidbTest     `json:"tests,omitempty"`
		Issues    []kcidbIssue    `json:"issues,omitempty"`
		Incidents []kcidbIncident `json:"incidents,omitempty"`
	}
	kcidbVersion struct {
		Major int `json:"major"`
		Minor int `json:"minor"`
	}
	kcidbCheckout struct {
		ID      string `json:"id"`
		Origin  string `json:"origin"`
		Comment string `json:"comment,omitempty"`
	}
	kcidbBuild struct {
		ID           string            `json:"id"`
		CheckoutID   string            `json:"checkout_id"`
		Origin       string            `json:"origin"`
		Comment      string            `json:"comment,omitempty"`
		Architecture string            `json:"architecture,omitempty"`
		Misc         map[string]string `json:"misc,omitempty"`
	}
	kcidbTest struct {
		ID          string            `json:"id"`
		BuildID     string            `json:"build_id"`
		Origin      string            `json:"origin"`
		Environment *kcidbEnvironment `json:"environment,omitempty"`
		Path        string            `json:"path"`
		Comment     string            `json:"comment,omitempty"`
		LogExcerpt  string            `json:"log_excerpt,omitempty"`
		Status      string            `json:"status"`
		StartTime   string            `json:"start_time,omitempty"`
		Duration    float64           `json:"duration,omitempty"` // seconds
		Misc        map[string]string `json:"misc,omitempty"`
	}
	kcidbEnvironment struct {
		Comment string            `json:"comment,omitempty"`
		Misc    map[string]string `json:"misc,omitempty"`
	}
	kcidbIssue struct {
		ID        string `json:"id"`
		Version   int    `json:"version"`
		Origin    string `json:"origin"`
		ReportURL string `json:"report_url,omitempty"`
		Comment   string `json:"comment,omitempty"`
	}
	kcidbIncident struct {
		ID           string `json:"id"`
		Origin       string `json:"origin"`
		IssueID      string `json:"issue_id"`
		IssueVersion int    `json:"issue_version"`
		TestID       string `json:"test_id"`
		Present      bool   `json:"present"`
		Comment      string `json:"comment,omitempty"`
	}
)

// kcidbStatus is the nearest word that KCIDB has. A known problem is a FAIL
// there, with an incident that links it to its issue.
var kcidbStatus = map[Status]string{
	Pass: "PASS", XPass: "PASS", Fail: "FAIL", XFail: "FAIL", Error: "ERROR", Skip: "SKIP", Recorded: "DONE",
}

// KCIDBOrigin is the default name of the CI system.
const KCIDBOrigin = "proofhouse"

var kcidbOrigin = regexp.MustCompile(`^[a-z0-9_]+$`)

// KCIDB writes the run as a report in the shape of KCIDB's I/O schema 5.3, as
// KernelCI takes it: one build for each kernel, one test for each spec and each
// subtest. origin is the name of the CI system that reports.
func KCIDB(w io.Writer, run *Run, origin string) error {
	if !kcidbOrigin.MatchString(origin) {
		return exit.BadInputf("origin %q: KCIDB takes small letters, digits and _", origin)
	}
	doc := kcidbDocument{Version: kcidbVersion{5, 3}}
	known := map[string]bool{}
	for i := range run.Kernels {
		doc.kernel(origin, run, &run.Kernels[i], known)
	}
	if status, line := Verdict(run); status == exit.NoVerdict && len(doc.Builds) > 0 {
		when := run.Started.UTC().Format(time.RFC3339Nano)
		doc.Tests = append(doc.Tests, kcidbTest{
			ID: kcidbID(origin, when, wholeRun), BuildID: doc.Builds[0].ID, Origin: origin, Path: kcidbRoot,
			Comment: kcidbText(line), Status: kcidbStatus[Error], LogExcerpt: kcidbLog(strings.Join(run.Notes(), "\n")),
		})
	}
	return printable.EncodeJSON(w, doc, " ")
}

// kcidbArch is the architecture as KCIDB's submitters name it: as the kernel does,
// but for x86.
func kcidbArch(k *Kernel) string {
	if a := k.Arch(); a != "aarch64" {
		return a
	}
	return "arm64"
}

func (d *kcidbDocument) kernel(origin string, run *Run, k *Kernel, known map[string]bool) {
	build := kcidbID(origin, k.ID, k.SHA256)
	d.Checkouts = append(d.Checkouts, kcidbCheckout{
		ID: kcidbID(origin, "source of", k.ID, k.SHA256), Origin: origin,
		Comment: kcidbText("the source of " + k.name() + ", of which only the build is known"),
	})
	d.Builds = append(d.Builds, kcidbBuild{
		ID: build, CheckoutID: d.Checkouts[len(d.Checkouts)-1].ID, Origin: origin,
		Comment: kcidbText(strings.TrimSpace(k.Release + " " + k.Version)), Architecture: kcidbArch(k),
		Misc: kcidbMisc("kernel", k.ID, "spec", k.Spec, "sha256", k.SHA256, "source", k.Source),
	})
	env := &kcidbEnvironment{Comment: kcidbText(k.MachineKind()), Misc: kcidbMisc("append", k.Append)}
	for name, value := range k.Properties {
		if value != "" {
			env.Misc[kcidbText(name)] = kcidbText(value)
		}
	}
	when := run.Started.UTC().Format(time.RFC3339Nano)
	for _, o := range k.Outcomes() {
		whole := kcidbTest{
			ID: kcidbID(origin, when, k.ID, o.ID), BuildID: build, Origin: origin, Environment: env,
			Path: kcidbPath(o.ID), Comment: kcidbText(o.ID), Status: "MISS", Duration: o.Seconds(),
		}
		if len(o.Attempts) > 0 {
			st := o.verdict()
			if st == XFail { // its subtests have the incidents that excuse them
				st = Pass
			}
			whole.Status = kcidbStatus[st]
			whole.StartTime = o.Attempts[0].Start.UTC().Format(time.RFC3339Nano)
		}
		if st := o.Status(); bad(st) {
			whole.LogExcerpt = kcidbLog(strings.Join(ktapRecords(o), "\n"))
		}
		d.Tests = append(d.Tests, whole)
		for _, s := range o.Subtests {
			t := whole
			t.ID = kcidbID(origin, when, k.ID, s.ID, "subtest")
			t.Path = kcidbPath(o.ID + "/" + shortID(o.ID, s.ID))
			t.Comment, t.Status, t.Duration = kcidbText(s.ID), kcidbStatus[s.Status], 0
			t.LogExcerpt = kcidbLog(s.Output)
			t.Misc = kcidbMisc("status", string(s.Status), "expected", s.Expected, "got", s.Got, "reason", s.Reason, "lacks", s.Lacks, "attempts", s.attempts())
			d.Tests = append(d.Tests, t)
			if s.Status == XFail {
				d.incident(origin, &t, s, known)
			}
		}
	}
}

// incident says that a test met a known problem.
func (d *kcidbDocument) incident(origin string, t *kcidbTest, s Subtest, known map[string]bool) {
	issue := kcidbIssue{ID: kcidbID(origin, "known", s.Reason), Version: 1, Origin: origin, Comment: kcidbText(s.Reason)}
	if s.Known != nil && kcidbURL.MatchString(s.Known.Reference) {
		issue.ReportURL = s.Known.Reference
	}
	if !known[issue.ID] {
		known[issue.ID] = true
		d.Issues = append(d.Issues, issue)
	}
	d.Incidents = append(d.Incidents, kcidbIncident{
		ID: kcidbID(origin, t.ID, issue.ID), Origin: origin, IssueID: issue.ID, IssueVersion: issue.Version,
		TestID: t.ID, Present: true,
	})
}

var kcidbURL = regexp.MustCompile(`^https?://[^\s"<>]+$`)

// bad are those that fail a run.
func bad(s Status) bool { return s == Fail || s == Error }

// kcidbID is the same for the same parts, and for no others.
func kcidbID(origin string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return origin + ":" + hex.EncodeToString(h.Sum(nil)[:16])
}

// kcidbRoot is the path that all tests are below.
const kcidbRoot = "apparmor"

var kcidbNoPath = regexp.MustCompile(`[^a-zA-Z0-9_-]+`)

// kcidbPath is an ID as KCIDB names tests: words with dots between them, below
// "apparmor". It is not always one of a kind; the test's comment is.
func kcidbPath(id string) string {
	path := []string{kcidbRoot}
	for _, p := range strings.SplitN(id, "/", 3) {
		p = strings.Trim(kcidbNoPath.ReplaceAllString(p, "_"), "_")
		if p == "" {
			p = "_"
		}
		path = append(path, p)
	}
	return strings.Join(path, ".")
}

// kcidbText is a text without the one character that KCIDB refuses.
func kcidbText(s string) string { return strings.ReplaceAll(s, "\x00", "") }

// kcidbLog is the end of a log, as much as KCIDB takes.
func kcidbLog(s string) string {
	const most = 16384 // characters
	r := []rune(kcidbText(strings.ToValidUTF8(s, "\ufffd")))
	return string(r[max(0, len(r)-most):])
}

// kcidbMisc is a name and a value after the other, without those that are
// empty.
func kcidbMisc(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			m[pairs[i]] = kcidbText(pairs[i+1])
		}
	}
	return m
}
