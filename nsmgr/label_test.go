// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"reflect"
	"testing"
)

func TestParseLabel(t *testing.T) {
	for _, c := range []struct {
		text, print string // print "" = text
		want        Label
	}{
		{"unconfined\n", "unconfined", Label{Parts: []Part{{"", "unconfined"}}}},
		{"p (enforce)\n", "p (enforce)", Label{Parts: []Part{{"", "p"}}, Mode: "enforce"}},
		{"/usr/bin/a b (complain)", "", Label{Parts: []Part{{"", "/usr/bin/a b"}}, Mode: "complain"}},
		{"odd (name)", "", Label{Parts: []Part{{"", "odd (name)"}}}},
		{"p//hat (kill)", "", Label{Parts: []Part{{"", "p//hat"}}, Mode: "kill"}},
		{"p//null-/bin/cat (complain)", "", Label{Parts: []Part{{"", "p//null-/bin/cat"}}, Mode: "complain"}},
		{":ns:p (enforce)", "", Label{Parts: []Part{{"ns", "p"}}, Mode: "enforce"}},
		{":ct:unconfined", "", Label{Parts: []Part{{"ct", "unconfined"}}}},
		{":ns://p", ":ns:p", Label{Parts: []Part{{"ns", "p"}}}},
		{":ns:", "", Label{Parts: []Part{{"ns", ""}}}},
		{":ns", ":ns:", Label{Parts: []Part{{"ns", ""}}}},
		{":outer//inner:p//hat", "", Label{Parts: []Part{{"outer//inner", "p//hat"}}}},
		{":ns:/bin/cat (enforce)", "", Label{Parts: []Part{{"ns", "/bin/cat"}}, Mode: "enforce"}},
		{"h//&:ct:q (mixed)", "", Label{Parts: []Part{{"", "h"}, {"ct", "q"}}, Mode: "mixed"}},
		{"a//&b", "", Label{Parts: []Part{{"", "a"}, {"", "b"}}}},
		{"A//&:ns:", "", Label{Parts: []Part{{"", "A"}, {"ns", ""}}}},
		{"unconfined//&:ct:container (enforce)", "", Label{Parts: []Part{{"", "unconfined"}, {"ct", "container"}}, Mode: "enforce"}},
		// A namespace holds until the next.
		{"h//&:ct:a//&b//&:ct//in:c", "", Label{Parts: []Part{{"", "h"}, {"ct", "a"}, {"ct", "b"}, {"ct//in", "c"}}}},
		{"lxc-c1_</var/lib/lxc>//&:lxc-c1_<-var-lib-lxc>:unconfined", "", Label{Parts: []Part{{"", "lxc-c1_</var/lib/lxc>"}, {"lxc-c1_<-var-lib-lxc>", "unconfined"}}}},
		{"=h//&:ct:p", "", Label{Parts: []Part{{"", "h"}, {"ct", "p"}}, Absolute: true}},
		{"&:ct:p", "", Label{Parts: []Part{{"ct", "p"}}, Onto: true}},
		{"---", "", Label{Parts: []Part{{"", Hidden}}}},
		{":ct:p//&---//&q", "", Label{Parts: []Part{{"ct", "p"}, {"", Hidden}, {"ct", "q"}}}},
	} {
		got, err := ParseLabel(c.text)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("ParseLabel(%q) = %+v, %v, want %+v", c.text, got, err, c.want)
			continue
		}
		if c.print == "" {
			c.print = c.text
		}
		if s := got.String(); s != c.print {
			t.Errorf("%q prints as %q, want %q", c.text, s, c.print)
		}
	}
	for _, text := range []string{"", "\n", " (enforce)", "a//&", "//&a", "a//&//&b", "::p", ":a////b:p", "://a:p", ":a//:p", ":ns:////p"} {
		if l, err := ParseLabel(text); err == nil {
			t.Errorf("ParseLabel(%q) = %+v, want an error", text, l)
		}
	}
}

func TestLabelIn(t *testing.T) {
	for _, c := range []struct {
		label          string
		ns             Name
		in, flat, held bool
	}{
		{"h//&:ct:p (enforce)", "ct", true, false, true},
		{":ct:p (enforce)", "ct", true, true, false},
		{":ct//in:p (enforce)", "ct", true, true, false},
		{":ct//in:p (enforce)", "ct//in", true, true, false},
		{":ct:a//&:ct//in:p", "ct//in", true, false, true},
		{"unconfined//&:ct:p (enforce)", "ct", true, false, false},
		{":ct2:p (enforce)", "ct", false, false, true},
		{"h (enforce)", "ct", false, false, true},
		{"unconfined", "ct", false, false, false},
		{":ct:unconfined", "ct", true, true, false},
	} {
		l, err := ParseLabel(c.label)
		if err != nil {
			t.Fatal(err)
		}
		if l.In(c.ns) != c.in || l.Flat(c.ns) != c.flat || l.Held(c.ns) != c.held {
			t.Errorf("%q in %q: in %v, flat %v, held %v; want %v, %v, %v", c.label, c.ns, l.In(c.ns), l.Flat(c.ns), l.Held(c.ns), c.in, c.flat, c.held)
		}
	}
}

func FuzzParseLabel(f *testing.F) {
	for _, s := range []string{"unconfined", "h//&:ct:q (mixed)", ":a//b:c//d//&e", "=:x://y", "&:n:p", "---//&a", ":n:///p//&", "a (b) (enforce)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLabel(text)
		if err != nil {
			return
		}
		again, err := ParseLabel(l.String())
		if err != nil || !reflect.DeepEqual(again, l) {
			t.Errorf("%q is %+v, prints as %q, and is then %+v, %v", text, l, l.String(), again, err)
		}
	})
}
