package regression

import (
	"regexp"
	"strconv"
	"strings"

	"proofhouse/reports"
)

// Userspace is what of the guest a known problem can depend on.
type Userspace struct {
	Libapparmor string // version of the library, such as "5.0.2-5"
	Suite       string // version of the upstream suite, such as "4.1.8"
}

// known are failures that are not the kernel's, each with its cause. A row
// says what it was seen with; with anything else the failure stands.
var known = []struct {
	id     *regexp.Regexp
	when   func(Userspace) bool
	reason string
}{
	{
		regexp.MustCompile(`^regression/introspect/introspect self confined$`),
		func(u Userspace) bool { return atLeast(u.Libapparmor, 5, 0) && !atLeast(u.Suite, 5, 0) },
		"libapparmor since 5.0 asks for a task's own label through lsm_get_self_attr(2), which no file rule governs; suites before 5.0 expect a read of /proc to be denied",
	},
}

// Known turns FAILs of a known cause in the userspace into XFAIL, and PASSes
// where one was to be expected into XPASS. results is not changed.
func Known(results []reports.Result, u Userspace) []reports.Result {
	out := make([]reports.Result, len(results))
	copy(out, results)
	for i := range out {
		r := &out[i]
		for _, k := range known {
			if !k.id.MatchString(r.ID) || !k.when(u) {
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
