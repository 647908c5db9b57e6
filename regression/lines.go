// SPDX-License-Identifier: Apache-2.0

package regression

import (
	"regexp"
	"slices"
	"strings"

	"proofhouse/reports"
)

// rule says what a line means. m is the match and its groups.
type rule struct {
	re *regexp.Regexp
	do func(p *parser, m []string)
}

// rules are all lines that mean something; the first that matches counts. The
// formats are prologue.inc's of 3.0 to 6.0 unless another script is named.
var (
	rules    = slices.Concat(failures, skipRules(), noise)
	failures = slices.Concat(verdicts, environment)
)

// suspicious finds words of failure in a line that no rule knows: whether the
// script counted it is unknown, so the script does not pass.
var suspicious = regexp.MustCompile(`(?i)\b(?:error|fail(?:s|ed|ure|ures|ing)?|fatal|cannot|can't|could ?n[o']t|couldn't|unable|not found|no such|denied|refused|not permitted|not supported|unsupported|not available|unavailable|invalid|illegal|unexpected\w*|missing|abort\w*|segfault|segmentation|core dumped|killed|panic|bug|oops|assert\w*|time ?out|timed out|unknown|unrecognized|bad|wrong|incorrect\w*|mismatch\w*|differ(?:s|ed)?|corrupt\w*|traceback|exception|(?:does|did|do|was|is|were|has)(?: not|n't))\b`)

// re compiles a pattern that must match the whole line. A line can hold a
// newline, within a description.
func re(s string) *regexp.Regexp { return regexp.MustCompile(`(?s)^` + s + `$`) }

// Reasons for a failure that say more about what happened than pass or fail.
var (
	killed     = regexp.MustCompile(`^killed by signal (\d+)$`)
	wrongErrno = regexp.MustCompile(`^expect errno (\d+) != (\d+)$`) // 0: it worked
)

var verdicts = []rule{
	// "ok: D" up to 4.1.0, "ok (fail): D" with what was expected since.
	// e2e and namespaces print "ok: D" still.
	{re(`ok(?: \((pass|fail|signal\d*)\))?: ?(.*)`), func(p *parser, m []string) {
		p.add(m[2], reports.Result{Status: reports.Pass, Expected: m[1], Got: m[1]})
	}},
	// A known problem. The line is the same whether it is still there or
	// gone; only an Alert before it tells.
	{re(`x(pass|fail|signal\d*): ?(.*)`), knownProblem},
	{re(`Alert: .*? (?:pass|fail)ed\. Test '(.*)' was marked as expected \S+ but known problem \(x\S+\)`), func(p *parser, m []string) {
		p.alerted = "=" + m[1]
	}},
	{re(`Error: .*? (pass|fail)ed\. Test '(.*)' was expected to '([^']*)'( \(known problem\))?(?:\. Reason for failure (.*))?`), func(p *parser, m []string) {
		r := reports.Result{Expected: m[3] + m[4], Got: m[1]}
		r.Reason = strings.TrimSuffix(strings.TrimPrefix(m[5], "'"), "'")
		if r.Reason == "" {
			r.Reason = "it " + m[1] + "ed, but was expected to " + m[3]
		} else if how := killed.FindStringSubmatch(r.Reason); how != nil {
			r.Got = "signal" + how[1]
		} else if how := wrongErrno.FindStringSubmatch(r.Reason); how != nil {
			r.Expected, r.Got = "errno "+how[1], "errno "+how[2]
		}
		p.fail(m[2], true, r)
	}},
	{re(`Error: .*? failed\. Test '(.*)' was expected to terminate with signal (\d+)( \(known problem\))?\. Instead it terminated with signal (\d+)`), func(p *parser, m []string) {
		p.fail(m[1], true, reports.Result{
			Expected: "signal" + m[2] + m[3], Got: "signal" + m[4],
			Reason: "it was killed by signal " + m[4] + ", but was expected to be by signal " + m[2],
		})
	}},
	// exec_qual, after the subtest's ok.
	{re(`Error: .*? failed\. Test '(.*)' actual confinement '(.*)' differed from expected confinement '(.*)'`), func(p *parser, m []string) {
		p.failAfterPass(m[1], reports.Result{Expected: stable(m[3]), Got: stable(m[2]), Reason: "its confinement was " + m[2]})
	}},
	// dbus.inc's compare_logs.
	{re(`Error: .*? failed\. Test '(.*)' produced unexpected log contents\. ?(.*)`), func(p *parser, m []string) {
		p.failAfterPass(m[1], reports.Result{Expected: "the log as it should be", Got: "another log", Reason: m[2]})
	}},
	// namespaces.
	{re(`Error: .*? failed\. Test '(.*)' (did not .*)`), func(p *parser, m []string) {
		p.fail(m[1], true, reports.Result{Expected: "pass", Got: "fail", Reason: "it " + m[2]})
	}},
	// e2e.
	{re(`Error: e2e, (.*) failed\. (.*)`), func(p *parser, m []string) {
		p.fail(m[1], true, reports.Result{Expected: "pass", Got: "fail", Reason: m[2]})
	}},
	// aa_policy_cache.
	{re(`Error: Policy "(.*)" was not loaded`), func(p *parser, m []string) {
		p.fail("policy "+m[1]+" is loaded", true, reports.Result{Expected: "loaded", Got: "not loaded", Reason: "the policy was not loaded"})
	}},
	// coredump. With XFAIL before it, it is a known problem and not counted;
	// when a known problem is gone, it says nothing.
	{re(`(XFAIL: )?Error: corefile expected but not present - (.*)`), func(p *parser, m []string) {
		p.coreFile(m[2], m[1] != "", reports.Result{Expected: "core file", Got: "no core file", Reason: "no core file where there should be one"})
	}},
	{re(`(XFAIL: )?Error: corefile present when not expected -- (.*)`), func(p *parser, m []string) {
		p.coreFile(m[2], m[1] != "", reports.Result{Expected: "no core file", Got: "core file", Reason: "a core file where there should be none"})
	}},
	// compression, whose exit status is 0 whatever failed. The sizes differ from
	// run to run.
	{re(`(PASS|FAIL|SKIP): (\(.*?\)) (?:compression )?level (\d+)(.*)`), func(p *parser, m []string) {
		p.compressed(m[1], m[2]+" level "+m[3], strings.TrimSpace(strings.TrimPrefix(m[4], " -")))
	}},
	{re(`(FAIL): (\(.*?\)) failed\. Compression level (\d+) (failed to load .*)`), func(p *parser, m []string) {
		p.compressed(m[1], m[2]+" level "+m[3], m[4])
	}},
	// setattr's checkfile: three lines about one thing, none of them counted
	// in the exit status. They are named after the subtest before them, for
	// what stands in the parentheses comes several times.
	{re(`Error: \((.*)\)`), func(p *parser, m []string) {
		desc := "attributes (" + m[1] + ")"
		if n := len(p.results); n > 0 {
			desc = p.descOf(n-1) + ": " + desc
		}
		i := p.fail(desc, false, reports.Result{Reason: "the file's attributes are not as they should be"})
		p.attrs = i + 1
	}},
	{re(`Error: ls -l .* output does not look correct`), func(p *parser, _ []string) { p.attributes("", "") }},
	{re(`Error: saw: (.*?) +expected: (.*)`), func(p *parser, m []string) { p.attributes(m[1], m[2]) }},
	// longpath's own checks, not counted; the names are random.
	{re(`FAIL: \S* \(\d*\) was not (created|linked)`), func(p *parser, m []string) {
		p.fail("file was not "+m[1], false, reports.Result{Expected: m[1], Got: "not " + m[1], Reason: "the file was not " + m[1]})
	}},
	{re(`(mkdir|file creat|file link) \((\d+)\) incorrectly generated (?:dir|file) at length (\d+)`), func(p *parser, m []string) {
		p.fail(m[1]+" ("+m[2]+") beyond the longest path", false, reports.Result{Expected: "fail", Got: "pass", Reason: "done at length " + m[3]})
	}},
}

// environment are the lines that say that a script could not do its work.
var environment = []rule{
	{re(`Fatal Error \((.*?)\): (.*)`), func(p *parser, m []string) {
		p.trouble("fatal error (%s): %s", m[1], m[2])
	}},
	// genprofile and others then exit with 1, and epilogue.inc's trap makes
	// the number of failures of it: the script ends early, with 0.
	{re(`Genprofile failed to load profile "(.*)"`), func(p *parser, m []string) {
		p.trouble("it ended where the profile %s was loaded but not listed", m[1])
	}},
	{re(`\s*(kernel supports v9 unix should not be here|kernel does not support unix rules, broken requires should not be here|unable to find file to link)\s*`), func(p *parser, m []string) {
		p.trouble("it ended itself: %s", m[1])
	}},
	// bash's report of a child that a signal ended, as some subtests want.
	{re(`\S+: line \d+: +\d+ (?:Killed|Terminated|Aborted|Segmentation fault|Bus error|User defined signal \d|Hangup|Alarm clock|Trace/breakpoint trap|Illegal instruction|Bad system call|Done|Broken pipe) .*`), ignore},
	// Whatever else bash says. Some of it ends bash at once, and epilogue.inc's
	// trap makes the number of failures so far of its exit status.
	{re(`(\S+: line \d+: .*)`), shellError},
	// dbus.inc, before it skips.
	{re(`Error: DBus Broker tests require systemd`), lacking("guest: systemd")},
	{re(`Error: dbus-broker-launch not available`), lacking("guest: dbus-broker")},
	{re(`Error: Failed to start DBus broker launcher`), lacking("guest: a dbus-broker that starts")},
	{re(`Error: dbus-daemon not available`), lacking("guest: dbus-daemon")},
	{re(`Failed to start DBus daemon|DBus daemon unexpectedly stopped`), lacking("guest: a dbus-daemon that starts")},
	// ip(8), from net_inet's clean-up.
	{re(`Error: ipv[46]: .*`), ignore},
	{re(`PASS: (.*)`), func(p *parser, m []string) { p.add(m[1], reports.Result{Status: reports.Pass, Got: "pass"}) }},
	// Whatever a newer script or another tool may call an error, it is not
	// known whether it counts it.
	{re(`(?:Error|FAIL): (.*)`), func(p *parser, m []string) {
		p.fail(m[1], false, reports.Result{Reason: m[1]})
	}},
}

func ignore(*parser, []string) {}

func shellError(p *parser, m []string) { p.trouble("shell error: %s", m[1]) }

func lacking(what string) func(*parser, []string) {
	return func(p *parser, _ []string) { p.lacks = what }
}

func knownProblem(p *parser, m []string) {
	r := reports.Result{Status: reports.XFail, Expected: m[1], Got: opposite(m[1]), Reason: "marked as a known problem upstream"}
	if p.alerted == "="+m[2] {
		r.Status, r.Got = reports.XPass, m[1]
		r.Reason += ", but it is gone"
	}
	p.alerted = ""
	p.add(m[2], r)
}

func opposite(mode string) string {
	switch mode {
	case "pass":
		return "fail"
	case "fail":
		return "pass"
	}
	return "not " + mode
}

// coreFile adds what coredump says about the core file of the subtest before,
// under that one's name: it says nothing where all is well, so that a number
// of its own would not be the same in every run.
func (p *parser) coreFile(desc string, known bool, r reports.Result) {
	if i, ok := p.byDesc[desc]; ok {
		desc = p.descOf(i)
	}
	desc += " (core file)"
	if !known {
		p.fail(desc, true, r)
		return
	}
	r.Status = reports.XFail
	p.add(desc, r)
}

// attributes adds what setattr says in its second and third line to the
// result that its first line made.
func (p *parser) attributes(saw, expected string) {
	if p.attrs == 0 {
		i := p.fail("attributes", false, reports.Result{Reason: "the file's attributes are not as they should be"})
		p.attrs = i + 1
	}
	r := &p.results[p.attrs-1]
	if saw != "" {
		r.Expected, r.Got = stable(expected), stable(saw)
		p.attrs = 0
	}
	if len(p.context) > 0 {
		r.Output = tail(r.Output+strings.Join(p.context, "\n")+"\n", maxOutput)
		p.context = nil
	}
}

// lackUnixRules is what a script lacks that asks net_supports.inc's
// supports_unix_rules, which is true where kernel and parser speak the same
// version of them. [WhoLacks] tells which of the two it is.
const lackUnixRules = "kernel or parser: unix rules"

// skips are the lines by which a script skips itself, or a part of it, and
// what it lacks then. Those that hold for a whole script are followed by an
// exit with status 0.
var skips = []struct {
	line, lacks string
	any         bool // $1 are several, any of which would do
}{
	// prologue.inc
	{`Required feature '(.*?)' not available\.+ Skipping tests \.\.\.`, "kernel: $1", false},
	{`Required feature\(s\): +(.*?) not available\. Skipping tests \.\.\.`, "kernel: $1", true},
	{`Kernel feature masks not supported\.+ Skipping tests \.\.\.`, "kernel: features", false},
	{`Required supports_unix_rules not available\. Skipping tests \.\.\.`, lackUnixRules, false},
	{`Required (supports_\S+) not available\. Skipping tests \.\.\.`, "kernel or parser: $1", false},
	{`Namespaces in apparmorfs policy interface not supported\. Skipping tests \.\.\.`, "kernel: policy/namespaces", false},
	{`Kernel query interface not supported\. Skipping tests \.\.\.`, "kernel: .access", false},
	{`Compiler does not support rule '(.*)'\.+ Skipping tests \.\.\.`, "parser: $1", false},
	// at_secure, changeprofile, exec_stack, nnp
	{`Warning: kernel doesn't support stacking\. Skipping tests\.\.\.`, "kernel: domain/stack", false},
	{`WARNING: kernel does not support stacking, skipping tests \.\.\.`, "kernel: domain/stack", false},
	{`kernel does not support profile stacking - skipping stacking nnp tests \.\.\.`, "kernel: domain/stack", false},
	{`Warning: parser doesn't support change_profile \(un\)safe rules\. Skipping tests\.\.\.`, "parser: change_profile safe", false},
	// mount
	{`not supported by parser - skipping mount options?=\((.*)\),`, "parser: mount options=($1)", false},
	{`not supported by kernel - skipping mount options?=\((.*)\),`, "kernel: mount options=($1)", false},
	{`not supported by parser - skipping allow all,`, "parser: all", false},
	{`mount rules not supported, using capability check \.\.\.`, "kernel or parser: mount rules", false},
	{`WARNING: move_mount binary was not built, skipping (.*?) \.\.\.`, "guest: move_mount helper ($1)", false},
	// pivot_root
	{`kernel does not support pivot_root domain transitions - skipping tests \.\.\.`, "kernel: namespaces/pivot_root", false},
	{`parser does not support pivot root domain transitions - skipping tests \.\.\.`, "parser: pivot_root ->", false},
	// query_label
	{`required feature dbus missing, skipping dbus queries \.\.\.`, "kernel: dbus", false},
	{`WARNING: kernel does not support file queries, skipping tests \.\.\.`, "kernel: file queries", false},
	// syscall_sysctl: the header went with glibc 2.32, the system call with Linux 5.5
	{`WARNING: syscall sysctl not (?:implemented|supported by kernel headers), skipping tests \.\.\.`, "kernel: sysctl(2), gone with 5.5", false},
	{`WARNING: proc sysctl path not found, /proc not mounted\? Skipping tests \.\.\.`, "guest: /proc/sys", false},
	// deleted, unix_socket_pathname
	{`Required feature 'unix rules' support not available\. Skipping subset of tests that require af_unix \.\.\.`, lackUnixRules, false},
	{`no unix mediation support\. skipping tests`, lackUnixRules, false},
	// userns, net_iface, net_iface_veth
	{`(/proc/sys/\S+) not available\. Skipping tests \.\.\.`, "kernel: $1", false},
	{`(/proc/sys/\S+) disabled\. Skipping tests \.\.\.`, "kernel: $1, which is 0", false},
	// net_inet_tcp_fastopen
	{`TCP Fast Open sysctl \((/proc/sys/\S+)\) not available\. Skipping tests \.\.\.`, "kernel: $1", false},
	{`Could not enable the TCP Fast Open client bit\. Skipping tests \.\.\.`, "kernel: TCP Fast Open, which cannot be enabled", false},
	// compression
	{`SKIP: Compression not supported by parser\. Skipping\.\.\.`, "parser: compressed policy", false},
	{`SKIP: strace not found\. Skipping\.\.\.`, "guest: strace", false},
	// longpath
	{`XFAIL: This version of AppArmor does not support changing buffer size\.`, "kernel: a writable path_max", false},
	// nfs
	{`NFS server not available\. Skipping tests \.\.\.`, "guest: nfs server", false},
	// dbus_*
	{`Starting DBus Daemon failed\. Skipping tests\.\.\.`, "guest: dbus-daemon", false},
	{`Starting DBus Broker failed\. Skipping tests\.\.\.`, "guest: dbus-broker", false},
	{`DBus Broker does not support (.*)\. Skipping tests\.\.\.`, "upstream: $1 in dbus-broker", false},
	// what a newer script may say
	{`SKIP: (.*)`, "unknown: $1", false},
	{`(.*skipping .*)`, "unknown: $1", false},
	{`(.*Skipping (?:tests|subset).*)`, "unknown: $1", false},
}

// noise are the lines that have a suspicious word in them and mean nothing.
var noise = []rule{
	// changehat_misc, coredump
	{re(`\*\*\* A '(?:Killed|Segmentation Fault)' message from bash is expected for the following test`), ignore},
	// overlayfs_fuse: fuse-overlayfs
	{re(`unknown argument ignored: lazytime`), ignore},
	// socketpair; the first part is without a newline
	{re(`\s*parser does not support v9, encoding v7/8 *(?:\.\.\. using v\d+ af_unix kernel(?: semantics)?)?`), ignore},
	// nfs, before it skips
	{re(`.*System has not been booted with systemd as init system \(PID 1\)\. Can't operate\..*`), ignore},
}

// compressed adds what compression found about a level of compression.
func (p *parser) compressed(verdict, desc, what string) {
	switch verdict {
	case "PASS":
		p.add(desc, reports.Result{Status: reports.Pass, Got: "pass"})
	case "SKIP":
		p.add(desc, reports.Result{Status: reports.Skip, Lacks: "upstream: a policy that this level makes smaller", Reason: what})
	default:
		p.fail(desc, false, reports.Result{Expected: "pass", Got: "fail", Reason: what})
	}
}

func skipRules() []rule {
	var rr []rule
	for _, s := range skips {
		rr = append(rr, rule{re(`\s*` + s.line + `\s*`), func(p *parser, m []string) {
			lacks := s.lacks
			if len(m) > 1 {
				what := m[1]
				if s.any {
					what = strings.Join(strings.Fields(what), " or ")
				}
				lacks = strings.ReplaceAll(lacks, "$1", what)
			}
			p.skip(stable(oneLine(lacks)), m[0])
		}})
	}
	return rr
}
