// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"proofhouse/machines"
	"proofhouse/regression"
	"proofhouse/reports"
)

// equalScripts are those of the short form: programs and scripts, hats,
// children, stacks, extended attributes, namespaces.
var equalScripts = []string{"open", "changehat_misc", "exec", "stackprofile", "xattrs_profile", "exec_namespace"}

// instrument has the harness call what comes out of apparmor_parser by its
// hash, and makes all names and orders the same in every run.
const instrument = `set -eu
mkdir -p /run/equal
cat >/run/equal/parser <<'END'
#!/bin/bash
last=${!#}
case " $* " in
*" -R "*) ;;
*) if [ -f "$last" ]; then /sbin/apparmor_parser -q -K -Q -S "$last" | sha256sum >>/run/equal/compiled; fi ;;
esac
exec /sbin/apparmor_parser "$@"
END
cat >/usr/local/bin/mktemp <<'END'
#!/bin/bash
case "$*" in
"-d /tmp/sdtest.equal-XXXXXX") mkdir /tmp/sdtest.equal-000000 && echo /tmp/sdtest.equal-000000 ;;
*" test_namespaces_XXXXXX") echo /sys/kernel/security/apparmor/policy/namespaces/test_namespaces_000000 ;;
*) exec /usr/bin/mktemp "$@" ;;
esac
END
chmod 755 /run/equal/parser /usr/local/bin/mktemp
cat >>uservars.inc <<'END'
subdomain=/run/equal/parser
tmpdir=/tmp/sdtest.equal
export PERL_HASH_SEED=0 PERL_PERTURB_KEYS=0
END
`

// outcome is what a script did on a guest.
type outcome struct {
	results  []string // ID and status of each subtest
	compiled string   // a hash of each profile that the parser compiled
	starts   int      // processes
}

// outcomes runs the scripts on a guest of their own.
func outcomes(t *testing.T, kernel string, plain bool, scripts []string) map[string]outcome {
	t.Helper()
	l := onKernelWith(t, Config{Kernels: []string{kernel}, PlainGuest: plain})
	b := l.Plan.Builds[0]
	shell := func(command string) string {
		t.Helper()
		m, err := l.Machine(context.Background(), b)
		if err != nil {
			t.Fatal(err)
		}
		var out, errs strings.Builder
		res, err := m.Run(context.Background(), machines.Command{
			Args: []string{"bash", "-c", command}, Dir: regression.TestDir, Stdout: &out, Stderr: &errs,
		})
		if err != nil || res.Status != 0 {
			t.Fatalf("%s: %+v, %v: %s", command, res, err, errs.String())
		}
		return strings.TrimSpace(out.String())
	}
	started := func() int {
		t.Helper()
		n, err := strconv.Atoi(shell("sed -n 's/^processes //p' /proc/stat"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	got := map[string]outcome{}
	for _, name := range scripts {
		if shell("test -e /run/equal/parser && echo yes || echo no") == "no" { // another machine
			shell(instrument)
		}
		shell("rm -f /run/equal/compiled")
		before := started()
		spec := l.run(t, regression.Script{Name: name})
		var o outcome
		o.starts = started() - before
		for _, r := range spec.Results {
			o.results = append(o.results, fmt.Sprintf("%s %s", r.Status, r.ID))
			if r.Status == reports.Error {
				t.Logf("%s: %s", r.ID, r.Reason)
			}
		}
		o.compiled = shell("cat /run/equal/compiled 2>/dev/null || true")
		got[name] = o
	}
	served := shell("test -e /run/proofhouse/mkprofile.sock && echo yes || echo no")
	if want := map[bool]string{true: "no", false: "yes"}[plain]; served != want {
		t.Errorf("plain %v: a server for mkprofile.pl: %s", plain, served)
	}
	return got
}

// What makes a guest faster changes no result and no byte of a compiled
// profile. PROOFHOUSE_EQUAL names the scripts, or is "all".
func TestE2EPlainGuestIsEqual(t *testing.T) {
	for i, kernel := range e2eKernels {
		t.Run(kernel, func(t *testing.T) {
			scripts := equalScripts
			if i > 0 { // under emulation each takes three times as long
				scripts = scripts[:2]
			}
			plainGuestIsEqual(t, kernel, scripts)
		})
	}
}

func plainGuestIsEqual(t *testing.T, kernel string, scripts []string) {
	t.Helper()
	switch v := os.Getenv("PROOFHOUSE_EQUAL"); v {
	case "":
	case "all":
		scripts = nil
		plan := onKernel(t, kernel).Plan
		for _, s := range plan.Scripts {
			if s.NotRun == "" {
				scripts = append(scripts, s.Name)
			}
		}
	default:
		scripts = SplitNames(v)
	}
	fast, plain := outcomes(t, kernel, false, scripts), outcomes(t, kernel, true, scripts)
	profiles, subtests, starts, plainStarts := 0, 0, 0, 0
	for _, name := range scripts {
		f, p := fast[name], plain[name]
		if !slices.Equal(f.results, p.results) {
			t.Errorf("%s: the fast guest has\n%s\nthe plain one\n%s", name, strings.Join(f.results, "\n"), strings.Join(p.results, "\n"))
		}
		if f.compiled != p.compiled {
			t.Errorf("%s: other profiles: the fast guest has\n%s\nthe plain one\n%s", name, f.compiled, p.compiled)
		}
		t.Logf("%s: %d subtests, %d profiles, %d processes of %d", name, len(p.results), strings.Count(p.compiled, "\n")+1, f.starts, p.starts)
		profiles += strings.Count(p.compiled, "-")
		subtests += len(p.results)
		if f.starts > 0 && p.starts > 0 { // else the machine was replaced behind the script
			starts, plainStarts = starts+f.starts, plainStarts+p.starts
		}
	}
	t.Logf("%d scripts, %d subtests, %d profiles; %d processes of %d", len(scripts), subtests, profiles, starts, plainStarts)
	if profiles < len(scripts)/2 || starts >= plainStarts {
		t.Errorf("this test sees nothing: %d profiles, %d processes of %d", profiles, starts, plainStarts)
	}
}
