// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"fmt"
	"slices"
	"strings"
)

// labelKind is the kind of a task's label: a column of the matrix.
type labelKind struct {
	name string
	host bool // it has a part of the host
	ns   bool // it has a part of the namespace
	free bool // that part is the namespace's unconfined
}

// labels are the columns of the matrix.
var labels = []labelKind{
	{name: "unconfined"},
	{name: "host", host: true},
	{name: "namespace", ns: true},
	{name: "stacked", host: true, ns: true},
	{name: "stacked-unconfined", host: true, ns: true, free: true},
}

// policies are the sides that deny.
var policies = []struct {
	name     string
	host, ns bool
}{
	{"allow", false, false},
	{"deny-host", true, false},
	{"deny-namespace", false, true},
	{"deny-both", true, true},
}

// square is one cell of the matrix.
type square struct {
	key      string
	where    string
	label    labelKind
	host, ns string // the profiles in the label, "" for none
	// byHost and byNS report whether the label's part of that side denies. What
	// is allowed is the intersection of both.
	byHost, byNS bool
}

// transition is the label that the task asks for.
func (s square) transition() string { return joinLabel(s.host, s.ns) }

func joinLabel(host, ns string) string {
	switch {
	case ns == "":
		return host
	case host == "":
		return ":" + Namespace + ":" + ns
	}
	return host + "//&:" + Namespace + ":" + ns
}

// seen is the label as the host sees it.
func seen(host, ns string) string {
	l := joinLabel(host, ns)
	if l == "" {
		return "unconfined"
	}
	if host == "" && ns == "unconfined" {
		return l
	}
	// The kernel ignores unconfined when it names the mode (label.c,
	// label_modename).
	return l + " (enforce)"
}

// squares are the cells of a row without cases.
func (r Row) squares() []square {
	where := r.Where
	if where == nil {
		where = []string{OnHost, InContainer}
	}
	allowHost, allowNS := r.allowing()
	var list []square
	for _, w := range where {
		for _, l := range labels {
			for _, p := range policies {
				s := square{key: fmt.Sprintf("%s/%s/%s", w, l.name, p.name), where: w, label: l}
				if l.host {
					s.host, s.byHost = allowHost, p.host && !slices.Contains(r.Blind, "host")
					if p.host {
						s.host = hostDeny
					}
				}
				switch {
				case l.free:
					s.ns = "unconfined"
				case l.ns:
					s.ns, s.byNS = allowNS, p.ns && !slices.Contains(r.Blind, "namespace")
					if p.ns {
						s.ns = ctDeny
					}
				}
				if l.host && l.ns {
					s.byHost = s.byHost && !slices.Contains(r.BlindStack, "host")
					s.byNS = s.byNS && !slices.Contains(r.BlindStack, "namespace")
				}
				list = append(list, s)
			}
		}
	}
	return list
}

// Plan returns what the probe has to do for the row.
func (r Row) Plan(k Kernel) Plan {
	p := Plan{Namespaces: append([]string{Namespace}, r.Namespaces...), Policy: base(k), Timeout: 3 * max(1, k.Slowness)}
	if r.Cases != nil {
		for _, pol := range r.Policy {
			pol.Text = expand(k, pol.Text)
			p.Policy = append(p.Policy, pol)
		}
		for _, c := range r.Cases {
			if Lacks(k, c.Needs) == "" {
				p.Cells = append(p.Cells, c.cell())
			}
		}
	} else {
		p.Policy = append(p.Policy,
			Policy{Text: r.text(k, hostDeny, false)},
			Policy{Namespace: Namespace, Text: r.text(k, ctDeny, false)})
		if host, ns := r.allowing(); host != hostAllow {
			p.Policy = append(p.Policy,
				Policy{Text: r.text(k, host, true)},
				Policy{Namespace: Namespace, Text: r.text(k, ns, true)})
		}
		for _, pol := range r.Extra {
			pol.Text = expand(k, pol.Text)
			p.Policy = append(p.Policy, pol)
		}
		for _, s := range r.squares() {
			c := Cell{
				Key: s.key, Tasks: r.tasks(s),
				Prepare: slices.Clone(r.Prepare), Do: slices.Clone(r.Do), Stop: true, Clean: slices.Clone(r.Clean),
			}
			p.Cells = append(p.Cells, c)
		}
	}
	for _, c := range p.Cells {
		for _, t := range c.Tasks {
			if t.Where == OnHost {
				continue
			}
			if p.Container = Container; r.Unprivileged {
				p.Container, p.Unprivileged = Unprivileged, true
			}
		}
	}
	return p
}

// allowing are the names of the profiles that allow. A row with rules of its own
// has its own profiles, as the usual ones are those of the container's init.
func (r Row) allowing() (host, ns string) {
	if r.More != "" || r.Bare != "" {
		return "host-row", "ct-row"
	}
	return hostAllow, ctAllow
}

// tasks are those of a square: the confined one, and its peers, which are in the
// same place unless the row says otherwise.
func (r Row) tasks(s square) []Task {
	list := []Task{{Name: "t", Where: s.where, Label: s.transition()}}
	for _, p := range r.Peers {
		if p.Where == "" {
			p.Where = s.where
		}
		list = append(list, p)
	}
	return list
}

// text is the text of the row's profile that allows, or of the one that denies.
func (r Row) text(k Kernel, name string, allows bool) string {
	more := strings.ReplaceAll(r.More, "…", wide(k))
	if r.Bare != "" {
		if allows {
			more += "\n  " + r.Allow
		} else {
			more += "\n  " + r.Missing
		}
		return profileOf(name, "", r.Bare+"\n  "+more)
	}
	if !allows {
		more += "\n  " + r.Deny
	}
	return profile(k, name, "", more)
}

// expand replaces "…" in a policy's text by the rules that allow everything.
func expand(k Kernel, text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.ReplaceAll(l, "…", wide(k))
	}
	text = strings.Join(lines, "\n")
	if !strings.HasPrefix(text, "abi ") {
		text = "abi <kernel>,\n" + text
	}
	return text
}

func (c Case) cell() Cell {
	var do []string
	for _, step := range c.Do {
		what, _ := splitStep(step)
		do = append(do, what)
	}
	return Cell{Key: c.Name, Tasks: slices.Clone(c.Tasks), Prepare: slices.Clone(c.Prepare), Do: do, Clean: slices.Clone(c.Clean)}
}

// splitStep splits a step into itself and its expectation: "ok" by default.
func splitStep(step string) (what, want string) {
	what, want, ok := strings.Cut(step, " => ")
	if !ok {
		want = "ok"
	}
	return strings.TrimSpace(what), strings.TrimSpace(want)
}
