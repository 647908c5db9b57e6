// SPDX-License-Identifier: Apache-2.0

// Package metrics counts denials and writes metrics of policy namespaces for
// monitoring. Reading records is package nsmgr's.
package metrics

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"proofhouse/internal/printable"
	"proofhouse/nsmgr"
)

// DenialKey is what denials are counted by.
type DenialKey struct {
	Namespace nsmgr.Name // "" for the host part
	Profile   string
	Class     string // "file", "net", …; on kernels without classes the operation
}

// DenialCount is how often, and when last, a profile denied something.
type DenialCount struct {
	DenialKey
	Count int
	Last  time.Time
	// Latest is the last record.
	Latest nsmgr.Record
}

// CountDenials counts the denials among records, those with the most first.
func CountDenials(records []nsmgr.Record) []DenialCount {
	at := map[DenialKey]int{}
	var all []DenialCount
	for _, r := range records {
		if r.Kind != "DENIED" && r.Kind != "KILLED" {
			continue
		}
		k := DenialKey{r.Namespace, r.Profile, cmp.Or(r.Class, r.Operation)}
		i, ok := at[k]
		if !ok {
			i = len(all)
			at[k] = i
			all = append(all, DenialCount{DenialKey: k})
		}
		all[i].Count++
		if !r.Time.Before(all[i].Last) {
			all[i].Last, all[i].Latest = r.Time, r
		}
	}
	slices.SortStableFunc(all, func(a, b DenialCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Profile, b.Profile), cmp.Compare(a.Class, b.Class))
	})
	return all
}

// Metrics are what a host's monitoring is told.
type Metrics struct {
	Namespaces []NamespaceMetrics
	Denials    []DenialCount
	Gaps       int // reasons why records may be missing
}

// NamespaceMetrics are those of one namespace.
type NamespaceMetrics struct {
	nsmgr.Listed
	Revision int
}

// Read reads the namespaces and the records of this host, back to a time. Its
// error may be about the records alone: then the metrics are complete but for
// these.
func Read(v *nsmgr.View, since time.Time) (Metrics, error) {
	var m Metrics
	list, err := v.List()
	if err != nil {
		return m, err
	}
	for _, l := range list {
		n, err := v.Revision(l.Name)
		if errors.Is(err, nsmgr.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			n = 0 // the kernel tells none before the first change
		}
		m.Namespaces = append(m.Namespaces, NamespaceMetrics{l, n})
	}
	log, err := nsmgr.ReadLog(since)
	m.Denials, m.Gaps = CountDenials(log.Records), len(log.Gaps)
	return m, err
}

// maxSeries bounds the denials that are written one by one: profiles of nested
// namespaces are named by their containers.
const maxSeries = 2000

// Write writes the metrics in the OpenMetrics text format, which node_exporter's
// textfile collector reads as well. Denials are a gauge: they are counted in
// logs that wrap around.
func (m Metrics) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	family := func(name, help string) {
		_, _ = fmt.Fprintf(b, "# HELP %s %s\n# TYPE %[1]s gauge\n", name, help)
	}
	family("nsmgr_namespaces", "AppArmor policy namespaces below the one of nsmgr.")
	_, _ = fmt.Fprintf(b, "nsmgr_namespaces %d\n", len(m.Namespaces))
	for _, f := range []struct {
		name, help string
		value      func(NamespaceMetrics) int
	}{
		{"nsmgr_namespace_profiles", "Profiles loaded into the namespace.", func(n NamespaceMetrics) int { return n.Profiles }},
		{"nsmgr_namespace_tasks", "Tasks with a part of their label in the namespace.", func(n NamespaceMetrics) int { return n.Tasks }},
		{"nsmgr_namespace_revision", "Revision of the namespace's policy.", func(n NamespaceMetrics) int { return n.Revision }},
	} {
		family(f.name, f.help)
		for _, n := range m.Namespaces {
			_, _ = fmt.Fprintf(b, "%s{namespace=%s} %d\n", f.name, labelValue(string(n.Name)), f.value(n))
		}
	}
	denials, more := m.Denials, 0
	if len(denials) > maxSeries {
		for _, d := range denials[maxSeries:] {
			more += d.Count
		}
		denials = denials[:maxSeries]
	}
	family("nsmgr_denials", "AppArmor denials in this host's logs, by the policy that denied; namespace \"\" is the host part.")
	for _, d := range denials {
		_, _ = fmt.Fprintf(b, "nsmgr_denials{%s} %d\n", d.labels(), d.Count)
	}
	if more > 0 {
		_, _ = fmt.Fprintf(b, "nsmgr_denials{namespace=\"(others)\",profile=\"(others)\",class=\"(others)\"} %d\n", more)
	}
	family("nsmgr_last_denial_timestamp_seconds", "When the last of these denials was.")
	for _, d := range denials {
		if !d.Last.IsZero() {
			_, _ = fmt.Fprintf(b, "nsmgr_last_denial_timestamp_seconds{%s} %.3f\n", d.labels(), float64(d.Last.UnixMilli())/1000)
		}
	}
	family("nsmgr_log_gaps", "Reasons why records may be missing from these logs (nsmgr audit prints them).")
	_, _ = fmt.Fprintf(b, "nsmgr_log_gaps %d\n# EOF\n", m.Gaps)
	return b.Flush()
}

func (k DenialKey) labels() string {
	return fmt.Sprintf("namespace=%s,profile=%s,class=%s", labelValue(string(k.Namespace)), labelValue(k.Profile), labelValue(k.Class))
}

// labelValue quotes a label's value as the format asks for. Different names stay
// different, also those that look like an escaped one: Prometheus rejects the whole
// file if two series have the same labels.
func labelValue(s string) string {
	s = printable.Text(strings.ReplaceAll(s, `\`, `\\`))
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
