// SPDX-License-Identifier: Apache-2.0

package compare

import "proofhouse/reports"

// Class is what a change from one status to another means.
type Class string

// The classes.
const (
	Same       Class = ""
	Regression Class = "regression"
	Fix        Class = "fix"
	Flaky      Class = "flaky"
	Known      Class = "known"     // a known problem came or went
	Behaviour  Class = "behaviour" // RECORDED, and not as it was
	SkipChange Class = "skip"      // measured on one side only, for a feature
	Added      Class = "added"
	Vanished   Class = "vanished"
	Other      Class = "other" // as bad as before, in another way
)

var order = map[Class]int{Regression: 1, Fix: 2, Flaky: 3, Known: 4, Behaviour: 5, SkipChange: 6, Other: 7, Added: 8, Vanished: 9, Same: 10}

const absent reports.Status = ""

// classes is what each transition means: from BASE's status to NEW's. What is
// not in it did not change. A loss, which is a good result that is absent or
// skipped, may yet turn out to be the work of a feature or another suite.
var classes = map[reports.Status]map[reports.Status]Class{
	reports.Pass: {
		reports.Fail: Regression, reports.Error: Regression, absent: Regression,
		reports.Skip: SkipChange, reports.XFail: Known, reports.Recorded: Behaviour,
	},
	reports.XPass: {
		reports.Fail: Regression, reports.Error: Regression, absent: Regression,
		reports.Skip: SkipChange, reports.XFail: Known, reports.Recorded: Behaviour,
	},
	reports.Recorded: {
		reports.Fail: Regression, reports.Error: Regression, absent: Regression,
		reports.Skip: SkipChange, reports.XFail: Known, reports.Pass: Behaviour, reports.XPass: Behaviour,
	},
	reports.Skip: {
		reports.Fail: Regression, reports.Error: Regression, absent: SkipChange,
		reports.Pass: SkipChange, reports.XPass: SkipChange, reports.Recorded: SkipChange, reports.XFail: Known,
	},
	// A failure that was expected and counts again is one: its date is past,
	// or it fails where the cause is not.
	reports.XFail: {
		reports.Fail: Regression, reports.Error: Regression, absent: Vanished,
		reports.Pass: Fix, reports.XPass: Fix, reports.Recorded: Behaviour, reports.Skip: SkipChange,
	},
	// BASE said nothing of the policy: a FAIL is news.
	reports.Error: {
		reports.Fail: Regression, absent: Vanished,
		reports.Pass: Fix, reports.XPass: Fix, reports.Recorded: Fix, reports.XFail: Known, reports.Skip: Other,
	},
	reports.Fail: {
		reports.Pass: Fix, reports.XPass: Fix, reports.Recorded: Behaviour, reports.XFail: Known,
		reports.Error: Other, reports.Skip: SkipChange, absent: Vanished,
	},
	absent: {
		reports.Fail: Regression, reports.Error: Regression, reports.XFail: Known, reports.Skip: SkipChange,
		reports.Pass: Added, reports.XPass: Added, reports.Recorded: Added,
	},
}

// good are the results whose loss is one.
func good(s reports.Status) bool {
	return s == reports.Pass || s == reports.XPass || s == reports.Recorded
}

// bad are those that fail a run.
func bad(s reports.Status) bool { return s == reports.Fail || s == reports.Error }
