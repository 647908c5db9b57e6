package regression

import (
	"regexp"
	"strconv"
	"strings"

	"proofhouse/reports"
)

// Environment is what a known problem can depend on.
type Environment struct {
	Libapparmor string            // version of the library, such as "5.0.2-5"
	Parser      string            // of apparmor_parser
	Suite       string            // of the upstream suite, such as "4.1.8"
	Features    map[string]string // tree of the kernel's AppArmor features folder
}

// known are failures that are not the kernel's, each with its cause. A row
// says what it was seen with; with anything else the failure stands.
var known = []struct {
	id     *regexp.Regexp
	when   func(Environment) bool
	reason string
}{
	{
		regexp.MustCompile(`^regression/introspect/introspect self confined$`),
		func(e Environment) bool { return atLeast(e.Libapparmor, 5, 0) && !atLeast(e.Suite, 5, 0) },
		"libapparmor since 5.0 asks for a task's own label through lsm_get_self_attr(2), which no file rule governs; suites before 5.0 expect a read of /proc to be denied",
	},
	{
		// Seen with 5.0.2 on 7.3: raw_data is the policy that
		// --zstd-compress-level=0 makes.
		regexp.MustCompile(`^regression/e2e/E2E load profile and read from kernel$`),
		func(e Environment) bool {
			return e.Features["policy/compressed_load"] != "" && atLeast(e.Parser, 5, 0) && !atLeast(e.Suite, 5, 0)
		},
		"parsers since 5.0 compress the policy that they cache for a kernel with policy/compressed_load, and the kernel's raw_data is not compressed; suites before 5.0 compare the two byte by byte",
	},
}

// Known turns FAILs of a known cause in the userspace into XFAIL, and PASSes
// where one was to be expected into XPASS. results is not changed.
func Known(results []reports.Result, e Environment) []reports.Result {
	out := make([]reports.Result, len(results))
	copy(out, results)
	for i := range out {
		r := &out[i]
		for _, k := range known {
			if !k.id.MatchString(r.ID) || !k.when(e) {
				continue
			}
			switch r.Status {
			case reports.Fail:
				r.Status, r.Reason = reports.XFail, k.reason
			case reports.Pass:
				r.Status, r.Reason = reports.XPass, "was expected to fail: "+k.reason
			}
		}
	}
	return out
}

// atLeast compares the first two numbers of a version. A version that is no
// version is less than any.
func atLeast(version string, major, minor int) bool {
	parts := strings.FieldsFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 || !strings.HasPrefix(version, parts[0]) {
		return false
	}
	a, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	b, err := strconv.Atoi(parts[1])
	return err == nil && (a > major || a == major && b >= minor)
}
