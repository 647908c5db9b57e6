// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/nsmgr"
)

// RuleSet are the rules that would allow what one profile denied.
type RuleSet struct {
	Namespace nsmgr.Name `json:"namespace"` // "" for the host part
	Profile   string     `json:"profile"`
	File      string     `json:"file,omitempty"` // where the profile is defined; "" if not found
	Line      int        `json:"line,omitempty"` // of the profile's head in it
	// Candidates are files that all define a profile of that name, where it is
	// unknown which of them the namespace was loaded from.
	Candidates []string `json:"candidates,omitempty"`

	Rules []Rule `json:"rules"`
	Left  []Left `json:"left,omitempty"`
}

// Rule is one rule, and how many records it comes from.
type Rule struct {
	Text    string `json:"rule"`
	Records int    `json:"records"`
}

// Left is a denial that no rule of the profile's would allow, or for which none
// can be written.
type Left struct {
	Record string `json:"record"`
	Reason string `json:"reason"`
}

// Part is "host" or "namespace", as in records.
func (s RuleSet) Part() string {
	if s.Namespace == "" {
		return "host"
	}
	return "namespace"
}

// RulesFor returns the rules that would allow what was denied, or would have
// been in enforce mode, for each profile, in the order of the records. A rule
// allows no more than the records: the path as it is, the permissions that were
// denied, for the owner alone if the owner was denied.
//
// A record does not show whether no rule allows the access or a deny rule forbids
// it. A deny rule overrides the rules that are returned.
func RulesFor(records []nsmgr.Record) []RuleSet {
	var sets []*ruleMaker
	maker := func(p nsmgr.Part) *ruleMaker {
		i := slices.IndexFunc(sets, func(m *ruleMaker) bool { return m.set.Namespace == p.Namespace && m.set.Profile == p.Profile })
		if i < 0 {
			i = len(sets)
			sets = append(sets, &ruleMaker{set: RuleSet{Namespace: p.Namespace, Profile: p.Profile}, rules: map[string]*draft{}})
		}
		return sets[i]
	}
	for _, r := range records {
		if r.Kind != "DENIED" && r.Kind != "ALLOWED" {
			continue
		}
		for _, p := range speakers(r) {
			if p.Profile != nsmgr.Unconfined {
				maker(p).add(r)
			}
		}
	}
	all := make([]RuleSet, 0, len(sets))
	for _, m := range sets {
		all = append(all, m.finish())
	}
	return all
}

// speakers are the profiles that may have denied: the one that the record
// names, or, where it names the task's whole label, all of that.
func speakers(r nsmgr.Record) []nsmgr.Part {
	if r.Label == "" {
		return []nsmgr.Part{{Namespace: r.Namespace, Profile: r.Profile}}
	}
	l, err := nsmgr.ParseLabel(r.Label)
	if err != nil {
		return nil
	}
	for i := range l.Parts {
		l.Parts[i].Namespace = belowRoot(l.Parts[i].Namespace)
	}
	return l.Parts
}

func belowRoot(ns nsmgr.Name) nsmgr.Name {
	if ns == "root" {
		return ""
	}
	return nsmgr.Name(strings.TrimPrefix(string(ns), "root"+nsmgr.Separator))
}

// draft is a rule before its sets are written: what merges into one rule has the
// same frame.
type draft struct {
	frame   string   // with %s for the set
	set     []string // permissions, or signals
	file    bool     // the set is of letters
	records int
}

type ruleMaker struct {
	set   RuleSet
	rules map[string]*draft
	order []string
}

func (m *ruleMaker) put(frame string, set ...string) {
	d := m.rules[frame]
	if d == nil {
		d = &draft{frame: frame}
		m.rules[frame], m.order = d, append(m.order, frame)
	}
	d.records++
	for _, s := range set {
		if !slices.Contains(d.set, s) {
			d.set = append(d.set, s)
		}
	}
}

func (m *ruleMaker) leave(r nsmgr.Record, why string) {
	l := Left{r.String(), why}
	if !slices.ContainsFunc(m.set.Left, func(o Left) bool { return o == l }) {
		m.set.Left = append(m.set.Left, l)
	}
}

func (m *ruleMaker) finish() RuleSet {
	s := m.set
	s.Rules = []Rule{}
	for _, key := range m.order {
		d := m.rules[key]
		text := d.frame
		if strings.Contains(text, setMark) {
			sep := ", "
			if d.file {
				sep = ""
			}
			slices.Sort(d.set)
			text = strings.Replace(text, setMark, strings.Join(d.set, sep), 1)
		}
		s.Rules = append(s.Rules, Rule{text, d.records})
	}
	slices.SortStableFunc(s.Rules, func(a, b Rule) int { return cmp.Compare(a.Text, b.Text) })
	return s
}

// setMark is where a draft's set goes. No text that is quoted has it.
const setMark = "\x00"

// add makes the rule for a record.
func (m *ruleMaker) add(r nsmgr.Record) {
	f := r.Fields
	switch {
	case strings.Contains(r.Info, "disconnected path"):
		m.leave(r, "its path is outside of the task's mount namespace: the profile needs flags=(attach_disconnected), which is about all such paths")
	case strings.Contains(r.Info, "no new privs"):
		m.leave(r, "the task has set no_new_privs: it may only keep its confinement or add to it")
	case slices.Contains([]string{"exec", "change_profile", "change_onexec"}, r.Operation) && strings.Contains(r.Info, "not found"):
		m.leave(r, "a rule allows it already, but the profile that the task would change to is not loaded")
	case strings.HasPrefix(r.Operation, "profile_"):
		m.leave(r, "it is about loading policy")
	case strings.HasPrefix(r.Operation, "dbus_"):
		m.dbus(r)
	case r.Operation == "capable":
		if name := f["capname"]; wordRE.MatchString(name) {
			m.put("capability " + name + ",")
		} else {
			m.leave(r, "the capability has no name")
		}
	case r.Operation == "ptrace", r.Operation == "signal":
		m.peer(r)
	case r.Class == "mount" || r.Operation == "mount" || r.Operation == "umount" || r.Operation == "pivotroot":
		m.mount(r)
	case r.Operation == "userns_create":
		m.put("userns create,")
	case strings.HasPrefix(r.Operation, "uring_"), r.Class == "io_uring":
		m.put("io_uring ("+setMark+"),", words(f["denied"])...)
	case r.Class == "posix_mqueue":
		m.put("mqueue ("+setMark+") type=posix "+quote(r.Name)+",", words(f["denied"])...)
	case r.Operation == "setrlimit":
		if value, ok := limit(f["rlimit"], f["value"]); ok {
			m.put("set rlimit " + f["rlimit"] + " <= " + value + ",")
		} else {
			m.leave(r, "the limit has no name or value")
		}
	case r.Operation == "change_profile", r.Operation == "change_onexec":
		m.put("change_profile -> " + quote(cmp.Or(f["target"], r.Name)) + ",")
	case f["family"] != "":
		m.network(r)
	case f["denied_mask"] != "":
		m.file(r)
	default:
		m.leave(r, "nsmgr has no rule for operation "+r.Operation)
	}
}

var (
	wordRE   = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	signalRE = regexp.MustCompile(`^[a-z0-9]+(?:\+[0-9]+)?$`)
)

// limit is a resource limit as rules have it: the kernel's number for "no limit" and
// that for a nice value (getrlimit(2)) mean something else there.
func limit(name, value string) (string, bool) {
	n, err := strconv.ParseUint(value, 10, 64)
	switch {
	case err != nil || !wordRE.MatchString(name):
		return "", false
	case n == math.MaxUint64:
		return "infinity", true
	case name == "nice":
		return strconv.FormatInt(20-int64(min(n, 1<<32)), 10), n >= 1 && n <= 40
	}
	return strconv.FormatUint(n, 10), true
}

// words are the plain words of a mask such as "send receive"; other text is
// left out.
func words(mask string) []string {
	return slices.DeleteFunc(strings.FieldsFunc(mask, func(r rune) bool { return r == ' ' || r == ',' }), func(w string) bool { return !wordRE.MatchString(w) })
}

// file makes a file rule. The kernel's letters are those of rules, but for
// creation and removal, which are writing (security/apparmor/file.c).
func (m *ruleMaker) file(r nsmgr.Record) {
	if !strings.HasPrefix(r.Name, "/") {
		m.leave(r, "it has no absolute path")
		return
	}
	if r.Fields["fsuid"] == "" || r.Fields["ouid"] == "" {
		m.leave(r, "it does not have the owner of the file: the record is truncated")
		return
	}
	owner := ""
	if fsuid := r.Fields["fsuid"]; fsuid != "" && fsuid == r.Fields["ouid"] {
		owner = "owner "
	}
	if r.Fields["denied_mask"] == "l" && r.Fields["target"] != "" {
		m.put(owner + "link " + quote(r.Name) + " -> " + quote(r.Fields["target"]) + ",")
		return
	}
	var set []string
	for _, c := range r.Fields["denied_mask"] {
		switch c {
		case 'c', 'd', 'w':
			set = append(set, "w")
		case 'r', 'a', 'k', 'm', 'l':
			set = append(set, string(c))
		case 'x':
			set = append(set, "ix") // it keeps the profile: any other transition gives more
		default:
			m.leave(r, fmt.Sprintf("permission %q is unknown", c))
			return
		}
	}
	frame := owner + quote(r.Name) + " " + setMark + ","
	m.put(frame, set...)
	d := m.rules[frame]
	d.file = true
	if slices.Contains(d.set, "w") { // includes appending, and conflicts with it
		d.set = slices.DeleteFunc(d.set, func(p string) bool { return p == "a" })
	}
}

// peer makes a rule about another task. Of its label, what is in the profile's
// own namespace is compared (security/apparmor/label.c label_components_match).
func (m *ruleMaker) peer(r nsmgr.Record) {
	l, err := nsmgr.ParseLabel(r.Fields["peer"])
	if err != nil {
		m.leave(r, "the peer's label cannot be read")
		return
	}
	var peers []string
	for _, own := range []bool{true, false} {
		for _, p := range l.Parts {
			if p.Profile != "" && p.Profile != nsmgr.Hidden && (own && belowRoot(p.Namespace) == m.set.Namespace || !own && len(peers) == 0 && p.Namespace == "") {
				peers = append(peers, p.Profile)
			}
		}
		if len(peers) > 0 {
			break
		}
	}
	access := words(r.Fields["denied_mask"])
	if len(peers) == 0 || len(access) == 0 {
		m.leave(r, "the peer has no profile in this namespace")
		return
	}
	for _, peer := range peers {
		if r.Operation == "ptrace" {
			m.put("ptrace ("+setMark+") peer="+quote(peer)+",", access...)
			continue
		}
		signal := r.Fields["signal"]
		if !signalRE.MatchString(signal) || signal == "unknown" {
			m.leave(r, "the signal has no name")
			return
		}
		m.put("signal ("+strings.Join(access, ", ")+") set=("+setMark+") peer="+quote(peer)+",", signal)
	}
}

func (m *ruleMaker) mount(r nsmgr.Record) {
	f := r.Fields
	switch r.Operation {
	case "umount":
		m.put("umount " + quote(r.Name) + ",")
		return
	case "pivotroot":
		m.put("pivot_root oldroot=" + quote(f["srcname"]) + " " + quote(r.Name) + ",")
		return
	case "mount":
	default:
		m.leave(r, "nsmgr has no rule for operation "+r.Operation)
		return
	}
	var b strings.Builder
	b.WriteString("mount ")
	if options := words(f["flags"]); len(options) > 0 {
		fmt.Fprintf(&b, "options=(%s) ", strings.Join(options, ", "))
	}
	if f["fstype"] != "" {
		fmt.Fprintf(&b, "fstype=%s ", quote(f["fstype"]))
	}
	if f["srcname"] != "" {
		b.WriteString(quote(f["srcname"]) + " ")
	}
	m.put(b.String() + "-> " + quote(r.Name) + ",")
}

func (m *ruleMaker) network(r nsmgr.Record) {
	f := r.Fields
	family, kind := f["family"], f["sock_type"]
	if !wordRE.MatchString(family) || !wordRE.MatchString(kind) {
		m.leave(r, "the socket's family or type has no name")
		return
	}
	denied := words(cmp.Or(f["denied"], f["denied_mask"]))
	addr, peerAddr := f["addr"], f["peer_addr"]
	if family != "unix" || addr == "" && peerAddr == "" || len(denied) == 0 {
		m.put("network " + family + " " + kind + ",")
		return
	}
	// A socket with a path is a file.
	if strings.HasPrefix(peerAddr, "/") {
		frame := quote(peerAddr) + " " + setMark + ","
		m.put(frame, "r", "w")
		m.rules[frame].file = true
		return
	}
	if strings.HasPrefix(addr, "/") && peerAddr == "" {
		m.leave(r, "the socket has a path, which no socket rule can name")
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "unix (%s) type=%s", setMark, kind)
	if addr != "" && !strings.HasPrefix(addr, "/") {
		b.WriteString(" addr=" + quote(addr))
	}
	var peer []string
	if f["peer"] != "" {
		peer = append(peer, "label="+quote(f["peer"]))
	}
	if peerAddr != "" {
		peer = append(peer, "addr="+quote(peerAddr))
	}
	if len(peer) > 0 {
		b.WriteString(" peer=(" + strings.Join(peer, ", ") + ")")
	}
	m.put(b.String()+",", denied...)
}

func (m *ruleMaker) dbus(r nsmgr.Record) {
	f := r.Fields
	mask := words(f["mask"])
	if len(mask) == 0 {
		m.leave(r, "the bus names no permission")
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "dbus (%s)", strings.Join(mask, ", "))
	keys := []string{"bus", "path", "interface", "member"}
	if mask[0] == "bind" {
		keys = []string{"bus", "name"}
	}
	for _, key := range keys {
		if f[key] != "" {
			fmt.Fprintf(&b, " %s=%s", key, quote(f[key]))
		}
	}
	if f["peer_label"] != "" && mask[0] != "bind" {
		fmt.Fprintf(&b, " peer=(label=%s)", quote(f["peer_label"]))
	}
	m.put(b.String() + ",")
}

// quote writes a text so that a rule matches it and nothing else: in quotes,
// without patterns and variables (apparmor.d(5)).
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for len(s) > 0 {
		_, size := utf8.DecodeRuneInString(s)
		char := s[:size]
		s = s[size:]
		switch {
		case size == 1 && strings.ContainsAny(char, `*?[]{}^\"`):
			b.WriteString(`\` + char)
		case printable.Text(char) != char:
			// A hidden character is escaped here, byte by byte, in a form that the
			// parser reads: what is escaped for the terminal alone would be another path.
			for i := range size {
				fmt.Fprintf(&b, `\%03o`, char[i])
			}
		default:
			b.WriteString(char)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// CheckRules has the parser read each set of rules, in a profile of its own.
// What it rejects is moved to Left.
func (c *Compiler) CheckRules(ctx context.Context, sets []RuleSet) error {
	for i := range sets {
		s := &sets[i]
		if len(s.Rules) == 0 {
			continue
		}
		if _, err := c.checkRules(ctx, s.Rules...); err == nil {
			continue
		}
		var good []Rule
		for _, r := range s.Rules {
			said, err := c.checkRules(ctx, r)
			if ctx.Err() != nil {
				return fmt.Errorf("check rules: %w", context.Cause(ctx))
			}
			if err != nil {
				s.Left = append(s.Left, Left{r.Text, "apparmor_parser rejects the rule: " + explain("rule", said, err).Error()})
				continue
			}
			good = append(good, r)
		}
		s.Rules = append([]Rule{}, good...)
		if len(good) == 0 {
			continue
		}
		if said, err := c.checkRules(ctx, good...); err != nil {
			return exit.BadInputf("check the rules for profile %q: %w", s.Profile, explain("rules", said, err))
		}
	}
	return nil
}

func (c *Compiler) checkRules(ctx context.Context, rules ...Rule) (said string, err error) {
	var text bytes.Buffer
	if c.features != nil && c.features.Has("domain/stack", "") {
		text.WriteString("abi <kernel>,\n")
	}
	text.WriteString("profile check {\n")
	for _, r := range rules {
		text.WriteString("  " + r.Text + "\n")
	}
	text.WriteString("}\n")
	_, said, err = c.run(ctx, text.Bytes(), "--skip-kernel-load", "--skip-cache", "--stdout", "--quiet")
	return said, err
}

// Locate finds the file and the line where each set's profile is defined, among
// the files of these directories, and those below for namespaces' policy. A hat
// is looked for by the profile that it is in.
func Locate(sets []RuleSet, dirs []string) {
	for i := range sets {
		s := &sets[i]
		profile, _, _ := strings.Cut(s.Profile, nsmgr.Separator)
		head := regexp.MustCompile(`^\s*(?:profile\s+)?"?` + regexp.QuoteMeta(profile) + `"?(?:\s+[^#{]*)?\{`)
		var found []place
		for _, dir := range dirs {
			for _, p := range find(dir, head) {
				if !slices.ContainsFunc(found, func(o place) bool { return o.file == p.file }) {
					found = append(found, p)
				}
			}
		}
		if s.Namespace != "" && len(found) > 1 {
			// Profiles of several namespaces often have the same name.
			own := slices.DeleteFunc(slices.Clone(found), func(p place) bool { return !p.named(s.Namespace) })
			if len(own) != 1 {
				for _, p := range found {
					s.Candidates = append(s.Candidates, p.file)
				}
				continue
			}
			found = own
		}
		if len(found) > 0 {
			s.File, s.Line = found[0].file, found[0].line
		}
	}
}

// place is where a profile begins.
type place struct {
	file string
	line int
}

// named reports whether the file, without its extension, has the namespace's name.
func (p place) named(ns nsmgr.Name) bool {
	base := filepath.Base(p.file)
	parts := ns.Parts()
	return strings.TrimSuffix(base, filepath.Ext(base)) == parts[len(parts)-1] || base == parts[len(parts)-1]
}

// find returns the files of a directory that define the profile, or the file itself.
func find(dir string, head *regexp.Regexp) (found []place) {
	list := []string{dir}
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		if list, err = filepath.Glob(filepath.Join(dir, "*")); err != nil {
			return nil
		}
	}
	for _, path := range list {
		if ignored(filepath.Base(path)) {
			continue
		}
		st, err := os.Stat(path)
		if err != nil || !st.Mode().IsRegular() || st.Size() > 1<<20 {
			continue
		}
		text, _, err := readFile(path, unix.O_NONBLOCK)
		if err != nil || nsmgr.IsCompiled(text) {
			continue
		}
		n := 0
		for line := range bytes.Lines(text) {
			n++
			if head.Match(bytes.TrimRight(line, "\n")) {
				found = append(found, place{path, n})
				break
			}
		}
	}
	return found
}
