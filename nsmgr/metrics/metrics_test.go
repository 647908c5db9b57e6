// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"proofhouse/nsmgr"
)

func TestMetrics(t *testing.T) {
	var records []nsmgr.Record
	add := func(times int, format string, a ...any) {
		for range times {
			r, ok := nsmgr.ParseRecord(fmt.Sprintf("audit(1795400718.740:6): "+format, a...))
			if !ok {
				t.Fatal(format)
			}
			records = append(records, r)
		}
	}
	add(3, `apparmor="DENIED" operation="open" class="file" namespace="root//web" profile="p" name="/x" pid=1`)
	add(2, `apparmor="DENIED" operation="capable" profile="h" pid=1`)
	add(1, `apparmor="ALLOWED" operation="open" class="file" profile="h" pid=1`)
	add(1, `apparmor="DENIED" operation="open" class="file" namespace="root//web//in" profile=%X pid=1`, "a\"b\\\n\x1b")
	m := Metrics{[]NamespaceMetrics{{nsmgr.Listed{Name: "web", Profiles: 1, Tasks: 5}, 7}}, CountDenials(records), 2}
	var b strings.Builder
	if err := m.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# TYPE nsmgr_namespaces gauge\nnsmgr_namespaces 1\n",
		"nsmgr_namespace_tasks{namespace=\"web\"} 5\n",
		"nsmgr_namespace_revision{namespace=\"web\"} 7\n",
		"nsmgr_denials{namespace=\"web\",profile=\"p\",class=\"file\"} 3\n",
		"nsmgr_denials{namespace=\"\",profile=\"h\",class=\"capable\"} 2\n",
		"nsmgr_denials{namespace=\"web//in\",profile=\"a\\\"b\\\\\\\\\\\\n\\\\x1b\",class=\"file\"} 1\n",
		"nsmgr_last_denial_timestamp_seconds{namespace=\"web\",profile=\"p\",class=\"file\"} 1795400718.740\n",
		"nsmgr_log_gaps 2\n# EOF\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	// As node_exporter's textfile collector reads them.
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(b.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	denials := map[string]float64{}
	for _, one := range families["nsmgr_denials"].GetMetric() {
		for _, l := range one.GetLabel() {
			if l.GetName() == "profile" {
				denials[l.GetValue()] = one.GetGauge().GetValue()
			}
		}
	}
	if want := map[string]float64{"p": 3, "h": 2, "a\"b\\\\\\n\\x1b": 1}; !maps.Equal(denials, want) {
		t.Errorf("read %q, want %q", fmt.Sprint(denials), fmt.Sprint(want))
	}
	// Names that containers choose do not grow the metrics without bounds.
	records = nil
	for i := range maxSeries + 10 {
		add(1, `apparmor="DENIED" operation="open" class="file" profile="p%d" pid=1`, i)
	}
	b.Reset()
	if err := (Metrics{Denials: CountDenials(records)}).Write(&b); err != nil || strings.Count(b.String(), "nsmgr_denials{") != maxSeries+1 || !strings.Contains(b.String(), "class=\"(others)\"} 10\n") {
		t.Errorf("%v: %d series", err, strings.Count(b.String(), "nsmgr_denials{"))
	}
}

// A profile's name may look like the escaped name of another one.
func TestMetricsAreUnique(t *testing.T) {
	var m Metrics
	for _, name := range []string{"a\nb", `a\nb`, `a\\nb`, "a\\\nb", `a"b`, `a\"b`, "a\xffb", `a\xffb`, "a\u202eb", `a\u202eb`} {
		m.Namespaces = append(m.Namespaces, NamespaceMetrics{nsmgr.Listed{Name: nsmgr.Name(name)}, 1})
		m.Denials = append(m.Denials, DenialCount{DenialKey: DenialKey{Profile: name, Class: "file"}, Count: 1})
	}
	var b strings.Builder
	if err := m.Write(&b); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(b.String()) {
		series := line[:strings.LastIndexByte(line, ' ')]
		if strings.Contains(series, "{") && seen[series] {
			t.Errorf("%s is there twice", series)
		}
		seen[series] = true
	}
	if len(seen) < 4*len(m.Namespaces) {
		t.Errorf("%d series", len(seen))
	}
}
