// SPDX-License-Identifier: Apache-2.0

package version

import (
	"runtime/debug"
	"testing"
)

func TestCommit(t *testing.T) {
	for want, settings := range map[string][]debug.BuildSetting{
		"":              nil,
		"abc":           {{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}},
		"abc, modified": {{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "abc"}},
	} {
		if got := commit(settings); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
