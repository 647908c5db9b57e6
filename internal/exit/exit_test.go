// SPDX-License-Identifier: Apache-2.0

package exit

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		err    error
		status int
		line   string
	}{
		{nil, OK, ""},
		{broken, NoVerdict, "x: broken\n"},
		{BadInput(broken), Usage, "x: broken\n"},
		{fmt.Errorf("kernel: %w", BadInput(broken)), Usage, "x: kernel: broken\n"},
		{With(Failed, errors.New("")), Failed, ""},
		{With(42, broken), 42, "x: broken\n"},
		{errors.New("two\nlines"), NoVerdict, "x: two lines\n"},
		{errors.New("a \x1b[31m\xab z"), NoVerdict, `x: a \x1b[31m\xab z` + "\n"},
	} {
		var b strings.Builder
		if status := Report(&b, "x", c.err); status != c.status || b.String() != c.line {
			t.Errorf("%v: %d %q, want %d %q", c.err, status, b.String(), c.status, c.line)
		}
	}
	if BadInput(nil) != nil {
		t.Error("BadInput(nil) is an error")
	}
}
