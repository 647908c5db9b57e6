// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"proofhouse/internal/printable"
)

// Record is an AppArmor record of the kernel, or of a program that enforces
// AppArmor policy, such as dbus-daemon.
type Record struct {
	Time      time.Time         `json:"time"`   // as the kernel's clock was then
	Serial    int64             `json:"serial"` // that of the audit event; the records of one system call share it
	Kind      string            `json:"kind"`   // DENIED, ALLOWED, AUDIT, STATUS, HINT, ERROR, KILLED
	Operation string            `json:"operation,omitempty"`
	Class     string            `json:"class,omitempty"`     // file, net, cap …; absent on 6.1
	Namespace Name              `json:"namespace,omitempty"` // whose policy the record is about; "" is the root's: the host part
	Profile   string            `json:"profile,omitempty"`
	Label     string            `json:"label,omitempty"` // where the record names the task's whole label instead of one profile
	Name      string            `json:"name,omitempty"`  // the object: a path, a profile
	Info      string            `json:"info,omitempty"`
	Error     int               `json:"error,omitempty"` // negative errno
	PID       int               `json:"pid,omitempty"`
	Command   string            `json:"comm,omitempty"`
	Fields    map[string]string `json:"fields"` // all fields, also the above; the second value of a field f is in "f#2"

	order  []string  // of the fields
	logged time.Time // when it was logged, by the present clock
	cut    bool      // it is not whole
}

// In reports whether the record is about the policy of the namespace or of one
// below it.
func (r Record) In(ns Name) bool {
	if r.Namespace != "" && r.Namespace.Within(ns) {
		return true
	}
	if r.Label != "" {
		if l, err := ParseLabel(r.Label); err == nil && l.In(ns) {
			return true
		}
	}
	// A load by the parser names its target relative to the root.
	target, ok := r.Fields["ns"]
	return ok && Name(strings.TrimPrefix(target, "root"+Separator)).Within(ns)
}

// Part is "host" for a record about the root namespace's policy and "namespace"
// for any other.
func (r Record) Part() string {
	if r.Namespace == "" {
		return "host"
	}
	return "namespace"
}

// encoded are the fields that the kernel writes in hexadecimal digits without
// quotes if they have a space, a quote or a character outside of ASCII
// (audit_log_untrustedstring), and in quotes otherwise.
var encoded = []string{
	"name", "comm", "profile", "namespace", "target", "peer", "label", "srcname", "ns", "dest", "trans",
	"peer_profile", "peer_label", "addr", "peer_addr", "execpath", "exe", "info", "fstype", "flags", "data", "attach",
}

// ParseRecord reads a line of the kernel log, of audit.log or of the journal,
// and reports whether it holds an AppArmor record.
//
//	audit: type=1400 audit(1795399212.474:2): apparmor="DENIED" operation="open" …
//	type=AVC msg=audit(1795399212.474:2): apparmor="DENIED" operation="open" …
//	type=USER_AVC msg=audit(1795399212.474:2): pid=401 … msg='apparmor="DENIED" operation="dbus_method_call" … label="…" …'
//
// namespace="root//ns" is the policy of ns. A record without a namespace is
// about the host's. Where the task has a stack and the record is not about one
// of its profiles, there is label= in their place.
func ParseRecord(line string) (Record, bool) {
	at := strings.Index(line, `apparmor="`)
	if at < 0 {
		return Record{}, false
	}
	text := line[at:]
	if strings.HasSuffix(line[:at], "'") {
		// What a program sent is in single quotes. Its sender's own fields are before it.
		if end := strings.LastIndexByte(text, '\''); end >= 0 {
			text = text[:end]
		}
	}
	// After a group separator, auditd appends what its numbers mean (log_format
	// ENRICHED): fields with upper-case names.
	var r Record
	r.read(strings.ReplaceAll(text, "\x1d", " "))
	if stamp := strings.LastIndex(line[:at], "audit("); stamp >= 0 {
		r.Time, r.Serial = readStamp(line[stamp+len("audit("):])
	}
	r.Kind = r.Fields["apparmor"]
	if r.Kind == "" {
		return Record{}, false
	}
	r.Operation, r.Class, r.Profile, r.Name = r.Fields["operation"], r.Fields["class"], r.Fields["profile"], r.Fields["name"]
	r.Info, r.Command, r.Label = r.Fields["info"], r.Fields["comm"], r.Fields["label"]
	r.Error, _ = strconv.Atoi(r.Fields["error"])
	r.PID, _ = strconv.Atoi(r.Fields["pid"])
	if ns, ok := r.Fields["namespace"]; ok && ns != "root" {
		r.Namespace = Name(strings.TrimPrefix(ns, "root"+Separator))
	}
	if r.Label != "" && r.Profile == "" {
		r.Namespace, r.Profile = speaker(r.Label)
	}
	r.logged = r.Time
	return r, true
}

// speaker is the part of a label that its record is shown under: the deepest
// namespace's, as the record does not say which part denied.
func speaker(label string) (Name, string) {
	l, err := ParseLabel(label)
	if err != nil || len(l.Parts) == 0 {
		return "", ""
	}
	deepest := l.Parts[0]
	for _, p := range l.Parts[1:] {
		if len(p.Namespace.Parts()) > len(deepest.Namespace.Parts()) {
			deepest = p
		}
	}
	return Name(strings.TrimPrefix(string(deepest.Namespace), "root"+Separator)), deepest.Profile
}

// maxStamp is the last second of the year 9999, the last that JSON's times have.
const maxStamp = 253402300799

// readStamp reads "1795399212.474:2)…".
func readStamp(s string) (time.Time, int64) {
	s, _, _ = strings.Cut(s, ")")
	stamp, serial, _ := strings.Cut(s, ":")
	sec, ms, _ := strings.Cut(stamp, ".")
	n, _ := strconv.ParseInt(serial, 10, 64)
	whole, err := strconv.ParseInt(sec, 10, 64)
	if err != nil || whole < 0 || whole > maxStamp {
		return time.Time{}, n
	}
	milli, _ := strconv.ParseInt(ms, 10, 64)
	return time.Unix(whole, milli%1000*int64(time.Millisecond)).UTC(), n
}

// read reads key=value pairs: in quotes, bare, or in hexadecimal digits. A
// field that comes again with another value is kept as "field#2": the kernel's
// own come before those that a program may have chosen.
func (r *Record) read(s string) {
	r.Fields = map[string]string{}
	for s = strings.TrimLeft(s, " "); s != ""; s = strings.TrimLeft(s, " ") {
		key, rest, ok := strings.Cut(s, "=")
		if i := strings.LastIndexByte(key, ' '); i >= 0 {
			key = key[i+1:]
		}
		if !ok || key == "" {
			return
		}
		value, after, whole := cutValue(key, rest)
		r.cut = r.cut || !whole
		r.add(key, value)
		s = after
	}
}

// maxSame is how many values of one field are kept.
const maxSame = 8

func (r *Record) add(key, value string) {
	name := key
	for n := 2; ; n++ {
		was, ok := r.Fields[name]
		if !ok {
			break
		}
		if was == value || n > maxSame {
			return
		}
		name = key + "#" + strconv.Itoa(n)
	}
	r.Fields[name] = value
	r.order = append(r.order, name)
}

func cutValue(key, s string) (value, rest string, whole bool) {
	if quoted, ok := strings.CutPrefix(s, `"`); ok {
		value, rest, whole = strings.Cut(quoted, `"`)
		// An abstract address has its "@" within the quotes, and the rest encoded
		// (security/apparmor/net.c audit_unix_addr).
		if name, ok := strings.CutPrefix(value, "@"); ok && strings.HasSuffix(key, "addr") {
			value = "@" + decode(name)
		}
		return value, rest, whole
	}
	value, rest, _ = strings.Cut(s, " ")
	value = strings.TrimRight(value, "\n")
	if slices.Contains(encoded, key) {
		value = decode(value)
	}
	return value, rest, true
}

// decode undoes the kernel's encoding. The kernel encodes only what has a
// character that it would not write as it is, so other digits are a name.
func decode(s string) string {
	b, err := hex.DecodeString(s)
	if err != nil || !slices.ContainsFunc(b, func(c byte) bool { return c == '"' || c < 0x21 || c > 0x7e }) {
		return s
	}
	return string(b)
}

// same is what two copies of a record have in common, of the kernel log and of
// auditd's, which adds fields.
func (r Record) same() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:%d", r.Time.UnixMilli(), r.Serial)
	for _, key := range slices.Sorted(maps.Keys(r.Fields)) {
		if key == strings.ToLower(key) {
			fmt.Fprintf(&b, " %s=%q", key, r.Fields[key])
		}
	}
	return b.String()
}

// inText are the fields that String writes in words.
var inText = []string{"apparmor", "operation", "namespace", "profile", "name", "pid", "comm"}

// String is the record in one line for people, with all its fields. What
// another program chose is escaped.
func (r Record) String() string {
	var b strings.Builder
	when := "(no time)"
	if !r.Time.IsZero() {
		when = r.Time.Local().Format("2006-01-02 15:04:05.000")
	}
	fmt.Fprintf(&b, "%s %-9s %-7s", when, r.Part(), printable.Text(r.Kind))
	who := Label{Parts: []Part{{r.Namespace, r.Profile}}}.String()
	if r.Label != "" {
		who = r.Label
	}
	for _, w := range []string{r.Operation, who} {
		if w != "" {
			fmt.Fprintf(&b, " %s", printable.Text(w))
		}
	}
	if r.Name != "" {
		fmt.Fprintf(&b, " %q", r.Name)
	}
	order := r.order
	if order == nil { // read from JSON
		order = slices.Sorted(maps.Keys(r.Fields))
	}
	for _, key := range order {
		if slices.Contains(inText, key) || key == "label" && r.Label != "" {
			continue
		}
		fmt.Fprintf(&b, " %s=%q", printable.Text(key), r.Fields[key])
	}
	if r.PID != 0 {
		fmt.Fprintf(&b, " by %d (%s)", r.PID, printable.Text(r.Command))
	}
	return b.String()
}
