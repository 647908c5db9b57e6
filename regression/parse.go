// SPDX-License-Identifier: Apache-2.0

package regression

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"proofhouse/internal/printable"
	"proofhouse/reports"
)

// Exit is how a script ended, as the machine that ran it saw it. At most one
// of Signal, Deadline and Crash is what ended it; any of them makes Status
// meaningless.
type Exit struct {
	Status   int    // exit status, 0 to 255
	Signal   string // name of the signal that killed it, without SIG: "KILL"
	Deadline bool   // it was ended because its time was over
	Crash    string // title of the kernel's crash meanwhile
}

// ended says what ended the script, or nothing where it ended by itself.
func (e Exit) ended() string {
	switch {
	case e.Crash != "":
		return "the kernel crashed: " + oneLine(e.Crash)
	case e.Deadline:
		return "not finished at its deadline"
	case e.Signal != "":
		return "killed by SIG" + strings.TrimPrefix(e.Signal, "SIG")
	}
	return ""
}

// Parse reads what a script printed, raw and whole, and says what came of
// every subtest, in the order in which they ran. script is its name without
// ".sh".
//
// A result at [ScriptID] stands for the script: PASS when it passed without a
// word, SKIP when it skipped itself, ERROR when its output cannot be trusted,
// because something ended it early, because it says so, because none of its
// words is a verdict, or because the failures it printed are not the failures
// it counted (its exit status is their number modulo 256). What was printed before still counts then. So a
// script that failed never passes, whatever it printed.
func Parse(script string, output []byte, exit Exit) []reports.Result {
	p := &parser{
		script: script,
		seen:   map[string]bool{ScriptID(script): true},
		again:  map[string]int{},
		byDesc: map[string]int{},
	}
	lines, cut := split(output)
	for i := 0; i < len(lines); {
		n := joined(lines[i:])
		p.line(strings.Join(lines[i:i+n], "\n"))
		i += n
	}
	if strings.TrimSpace(cut) != "" {
		p.cut(cut)
		p.trouble("the output ends in the middle of a line: %q", tail(cut, 80))
	}
	p.finish(output, exit)
	return p.results
}

// split cuts output into lines. cut is what stands behind the last newline:
// nothing, unless the script ended in the middle of a line.
func split(output []byte) (lines []string, cut string) {
	for len(output) > 0 {
		i := bytes.IndexByte(output, '\n')
		if i < 0 {
			return lines, string(output)
		}
		lines = append(lines, strings.TrimSuffix(string(output[:i]), "\r"))
		output = output[i+1:]
	}
	return lines, ""
}

var (
	verdictStart = regexp.MustCompile(`^(?:ok(?: \([^)]*\))?: |x(?:pass|fail|signal\d*): |PASS: |SKIP: |Error: |XFAIL: |Alert: |FAIL: |Fatal Error )`)
	// inLine finds a verdict behind text that some program left without a
	// newline.
	inLine = regexp.MustCompile(`ok \((?:pass|fail|signal\d*)\): |x(?:pass|fail|signal\d*): |Error: |FAIL: |Alert: |Fatal Error \(`)
	// i18n tests a file name with every character in it: file_?_post. Where the
	// character is a newline, the rest of the description is the next line.
	restOfName = regexp.MustCompile(`^_post"`)
)

// joined returns how many of the lines are one: 1, or 2 where the description
// of a subtest has a newline in it.
func joined(lines []string) int {
	if len(lines) > 1 && verdictStart.MatchString(lines[0]) && odd(lines[0], `"`) && restOfName.MatchString(lines[1]) {
		return 2
	}
	return 1
}

func odd(s, quote string) bool { return strings.Count(s, quote)%2 == 1 }

type parser struct {
	script  string
	results []reports.Result
	seen    map[string]bool // IDs given away
	again   map[string]int  // ID without number -> how often it came again
	byDesc  map[string]int  // description -> its latest result
	context []string        // lines since the last verdict

	counted   int // failures that the script counted in its exit status
	uncounted int // failures that it printed and may have counted or not

	alerted  string // description of the known problem that an Alert says is gone
	attrs    int    // 1 + index of the result that lines on attributes belong to
	lacks    string // what a line just before a skip says is missing
	subtests int    // results that are not skips
	troubles []string
	unknown  []string // lines that no rule knows and that may be failures
}

// cut reads a last line without a newline. Of a verdict or a skip, the end may
// be missing; of a failure, what is there is enough.
func (p *parser) cut(line string) {
	p.context = append(p.context, line)
	if !verdictStart.MatchString(line) {
		p.matches(failures, line)
	}
}

func (p *parser) matches(rules []rule, line string) bool {
	for _, r := range rules {
		if m := r.re.FindStringSubmatch(line); m != nil {
			r.do(p, m)
			return true
		}
	}
	return false
}

func (p *parser) line(line string) {
	p.context = append(p.context, line)
	if p.matches(rules, line) {
		p.joinedVerdict(line)
		return
	}
	if len(p.unknown) == maxTroubles {
		return
	}
	switch at := inLine.FindStringIndex(line); {
	case at != nil && at[0] > 0:
		p.unknown = append(p.unknown, fmt.Sprintf("a verdict in the middle of a line: %q", cutText(line, 200)))
	case suspicious.MatchString(line):
		p.unknown = append(p.unknown, fmt.Sprintf("unknown line, perhaps a failure: %q", cutText(line, 200)))
	}
}

// quiet matches the start of a line that reports no failure.
var quiet = regexp.MustCompile(`^(?:ok(?: \([^)]*\))?: |x(?:pass|fail|signal\d*): |PASS: |SKIP: )`)

// joinedVerdict finds a verdict behind one that is no failure, in one line: some
// program did not end its line. The second one would be lost otherwise, and the
// exit status does not count each failure.
func (p *parser) joinedVerdict(line string) {
	start := quiet.FindString(line)
	if start == "" {
		if !strings.Contains(strings.ToLower(line), "skipping") || failureStart.MatchString(line) {
			return
		}
	}
	if inLine.MatchString(line[len(start):]) {
		p.trouble("a verdict in the middle of a line: %q", cutText(line, 200))
	}
}

// failureStart matches the start of a line that reports a failure, and a reason
// that may be any text.
var failureStart = regexp.MustCompile(`^(?:XFAIL: |Error: |Alert: |FAIL: |Fatal Error )`)

// cutText is the start of s, at most n bytes.
func cutText(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "\ufffd") }

// maxOutput is how much of a script's text a result keeps, in bytes.
const maxOutput = 16 << 10

// add appends a result about the subtest desc and returns its index. It gets
// the lines since the last verdict as its output unless it passed.
func (p *parser) add(desc string, r reports.Result) int {
	r.ID = p.id(desc)
	r.Reason = stable(r.Reason)
	if r.Status != reports.Pass {
		r.Output = tail(strings.Join(p.context, "\n")+"\n", maxOutput)
	}
	p.context = nil
	if r.Status != reports.Skip {
		p.subtests++
	}
	p.results = append(p.results, r)
	p.byDesc[desc] = len(p.results) - 1
	return len(p.results) - 1
}

// fail adds a failure; counted reports whether the script adds it to its exit
// status for sure.
func (p *parser) fail(desc string, counted bool, r reports.Result) int {
	p.count(counted)
	r.Status = reports.Fail
	return p.add(desc, r)
}

func (p *parser) count(counted bool) {
	if counted {
		p.counted++
	} else {
		p.uncounted++
	}
}

// failAfterPass turns the subtest's PASS into a failure: some scripts look at
// a second thing after the suite's own code has printed its ok.
func (p *parser) failAfterPass(desc string, r reports.Result) {
	i, ok := p.byDesc[desc]
	if !ok || p.results[i].Status != reports.Pass {
		p.fail(desc, true, r)
		return
	}
	p.count(true)
	r.ID, r.Status, r.Reason = p.results[i].ID, reports.Fail, stable(r.Reason)
	r.Output = tail(strings.Join(p.context, "\n")+"\n", maxOutput)
	p.context = nil
	p.results[i] = r
}

func (p *parser) skip(lacks, line string) {
	if p.lacks != "" {
		lacks, p.lacks = p.lacks, ""
	}
	p.add("(skipped: "+lacks+")", reports.Result{
		Status: reports.Skip,
		Lacks:  lacks,
		Reason: strings.Join(strings.Fields(line), " "),
	})
}

// maxTroubles is how many troubles are kept: a script can print millions of
// lines, and three of them are shown.
const maxTroubles = 16

func (p *parser) trouble(format string, args ...any) {
	if len(p.troubles) == maxTroubles {
		return
	}
	t := oneLine(fmt.Sprintf(format, args...))
	for _, have := range p.troubles {
		if have == t {
			return
		}
	}
	p.troubles = append(p.troubles, t)
}

// finish adds the result about the script as a whole, where there is
// something to say.
func (p *parser) finish(output []byte, exit Exit) {
	switch how := exit.ended(); {
	case how != "":
		// First: it is the reason for whatever else is wrong.
		p.troubles = append([]string{how}, p.troubles...)
	case !p.explains(exit.Status) && (exit.Status != fatalStatus || len(p.troubles) == 0):
		p.trouble("it counted %s (exit status %d), but printed %s", printable.Count(exit.Status, "failure"), exit.Status, printable.Count(p.counted+p.uncounted, "failure"))
	case len(p.results) == 0 && len(p.troubles) == 0 && len(bytes.TrimSpace(output)) > 0:
		// Silence is how some scripts pass. Words that no rule knows may as
		// well say that it did nothing.
		p.trouble("it printed no verdict: %q", tail(strings.TrimSpace(string(output)), 80))
	}
	for _, u := range p.unknown { // last: what is known says more
		p.trouble("%s", u)
	}
	whole := reports.Result{ID: ScriptID(p.script)}
	switch {
	case len(p.troubles) > 0:
		whole.Status = reports.Error
		whole.Reason = stable(strings.Join(p.troubles[:min(3, len(p.troubles))], "; "))
		whole.Output = tail(string(output), maxOutput)
	case p.subtests == 0 && len(p.results) == 1:
		p.results[0].ID = whole.ID // it skipped all it has
		return
	case len(p.results) == 0:
		whole.Status = reports.Pass
		whole.Output = tail(string(output), maxOutput)
	default:
		return
	}
	p.results = append(p.results, whole)
}

// fatalStatus is the exit status after a Fatal Error, whatever failed before.
const fatalStatus = 127

// explains reports whether the failures that were printed lead to this exit
// status.
func (p *parser) explains(status int) bool {
	for n := p.counted; n <= p.counted+p.uncounted; n++ {
		if n%256 == status {
			return true
		}
	}
	return false
}

// id makes the subtest's ID, a new one each time.
func (p *parser) id(desc string) string {
	desc = stable(desc)
	if desc == "" {
		desc = "(no description)"
	}
	base := idOf(p.script, desc)
	id := base
	for p.seen[id] {
		p.again[base]++
		id = fmt.Sprintf("%s #%d", base, p.again[base]+1)
	}
	p.seen[id] = true
	return id
}

// descOf is the result's own part of its ID.
func (p *parser) descOf(result int) string {
	return strings.TrimPrefix(p.results[result].ID, idOf(p.script, ""))
}

func idOf(script, desc string) string {
	return reports.NewID(reports.Regression, script, desc).String()
}

// unstable is what differs from run to run or from guest to guest.
var unstable = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`sdtest\.\d+-\d+-[A-Za-z0-9]{6}`), "sdtest"},          // prologue.inc's $tmpdir
	{regexp.MustCompile(`/[^\s'"]*/tests/regression/apparmor/`), ""},          // where the suite is
	{regexp.MustCompile(`test_namespaces_[A-Za-z0-9]{6}`), "test_namespaces"}, // namespaces.sh
	{regexp.MustCompile(`/tmp/dbus-[A-Za-z0-9]{6,}`), "/tmp/dbus"},            // dbus.inc
	{regexp.MustCompile(`/dev/loop\d+`), "/dev/loop"},                         // whichever was free
	{regexp.MustCompile(`(\.(?:sh|inc): line \d+:) +\d+ `), "$1 "},            // pid in bash's job reports
	{regexp.MustCompile(`\bpid([ =])\d+`), "pid${1}N"},                        //
}

// stable makes text of a script one line of printable UTF-8 that is the same
// in every run.
func stable(s string) string {
	for _, u := range unstable {
		s = u.re.ReplaceAllString(s, u.by)
	}
	return strings.TrimSpace(octal(s))
}

// octal writes control characters and bytes that are not UTF-8 in octal, as AppArmor's
// parser does: the descriptions of the script i18n have every byte. IDs contain the
// result, so it never changes.
func octal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if (r == utf8.RuneError && n == 1) || r < ' ' || (r >= 0x7f && r < 0xa0) {
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// tail is the end of s, at most n bytes, on a line's border where it is cut.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	if i := strings.IndexByte(s, '\n'); i >= 0 && i+1 < len(s) {
		s = s[i+1:]
	}
	return strings.ToValidUTF8(s, "\ufffd")
}
