package regression

import (
	"testing"

	"proofhouse/reports"
)

func TestKnown(t *testing.T) {
	const self = "regression/introspect/introspect self confined"
	for _, c := range []struct {
		id     string
		status reports.Status
		u      Userspace
		want   reports.Status
	}{
		{self, reports.Fail, Userspace{"5.0.2-5", "4.1.8"}, reports.XFail},
		{self, reports.Pass, Userspace{"5.0.2-5", "4.1.8"}, reports.XPass},
		{self, reports.Fail, Userspace{"4.1.8-3", "4.1.8"}, reports.Fail},
		{self, reports.Fail, Userspace{"5.0.2-5", "5.0.2"}, reports.Fail},
		{self, reports.Fail, Userspace{"", ""}, reports.Fail},
		{"regression/introspect/introspect other confined", reports.Fail, Userspace{"5.0.2-5", "4.1.8"}, reports.Fail},
		{self, reports.Error, Userspace{"5.0.2-5", "4.1.8"}, reports.Error},
	} {
		in := []reports.Result{{ID: c.id, Status: c.status}}
		if got := Known(in, c.u)[0].Status; got != c.want {
			t.Errorf("%s %s with %+v: %s, want %s", c.status, c.id, c.u, got, c.want)
		}
		if in[0].Status != c.status {
			t.Error("the results given were changed")
		}
	}
}
