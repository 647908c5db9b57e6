package regression

import (
	"testing"

	"proofhouse/reports"
)

func TestKnown(t *testing.T) {
	const e2e = "regression/e2e/E2E load profile and read from kernel"
	withSuite := func(v string) Environment { return Environment{Libapparmor: "5.0.2-5", Parser: "5.0.2-5", Suite: v} }
	compressing := withSuite("4.1.8")
	compressing.Features = map[string]string{"policy/compressed_load": "yes"}
	const self = "regression/introspect/introspect self confined"
	for _, c := range []struct {
		id     string
		status reports.Status
		e      Environment
		want   reports.Status
	}{
		{self, reports.Fail, withSuite("4.1.8"), reports.XFail},
		{self, reports.Pass, withSuite("4.1.8"), reports.XPass},
		{self, reports.Fail, Environment{Libapparmor: "4.1.8-3", Suite: "4.1.8"}, reports.Fail},
		{self, reports.Fail, withSuite("5.0.2"), reports.Fail},
		{self, reports.Fail, Environment{}, reports.Fail},
		{"regression/introspect/introspect other confined", reports.Fail, withSuite("4.1.8"), reports.Fail},
		{e2e, reports.Fail, compressing, reports.XFail},
		{e2e, reports.Fail, withSuite("4.1.8"), reports.Fail},
		{self, reports.Error, withSuite("4.1.8"), reports.Error},
	} {
		in := []reports.Result{{ID: c.id, Status: c.status}}
		if got := Known(in, c.e)[0].Status; got != c.want {
			t.Errorf("%s %s with %+v: %s, want %s", c.status, c.id, c.e, got, c.want)
		}
		if in[0].Status != c.status {
			t.Error("the results given were changed")
		}
	}
}
