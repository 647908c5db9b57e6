package nsmgr

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Record is one of the kernel's AppArmor records.
type Record struct {
	Time      time.Time         `json:"time"`
	Serial    int64             `json:"serial"`
	Kind      string            `json:"kind"`                // DENIED, ALLOWED, AUDIT, STATUS, HINT, ERROR, KILLED
	Operation string            `json:"operation,omitempty"` // open, signal, profile_load …
	Namespace Name              `json:"namespace,omitempty"` // whose policy spoke; "" is the root's: the host part
	Profile   string            `json:"profile,omitempty"`
	Name      string            `json:"name,omitempty"` // what it was about: a path, a profile
	Info      string            `json:"info,omitempty"`
	Error     int               `json:"error,omitempty"` // negative errno
	PID       int               `json:"pid,omitempty"`
	Command   string            `json:"comm,omitempty"`
	Fields    map[string]string `json:"fields"` // all, also the above
}

// In says whether the policy of the namespace, or of one below, made the
// record, or it is about its policy.
func (r Record) In(ns Name) bool {
	if r.Namespace != "" && r.Namespace.Within(ns) {
		return true
	}
	// A load by the parser names its target relative to the root.
	target, ok := r.Fields["ns"]
	return ok && Name(strings.TrimPrefix(target, "root"+Separator)).Within(ns)
}

// Part is "host" for a record of the root namespace's policy and "namespace"
// for another.
func (r Record) Part() string {
	if r.Namespace == "" {
		return "host"
	}
	return "namespace"
}

// encoded are the fields that the kernel writes in hex, without quotes, where
// they hold a space, a quote or what is no plain character
// (audit_log_untrustedstring), and in quotes otherwise.
var encoded = []string{"name", "comm", "profile", "namespace", "target", "peer", "label", "srcname", "ns", "dest", "trans", "peer_profile", "peer_label"}

// ParseRecord reads a line of the kernel log, of audit.log or of the journal;
// false says that it holds no AppArmor record.
//
//	audit: type=1400 audit(1795399212.474:2): apparmor="DENIED" operation="open" …
//	type=AVC msg=audit(1795399212.474:2): apparmor="DENIED" operation="open" …
//
// namespace="root//ns" is the policy of ns; a record without one is the
// host's.
func ParseRecord(line string) (Record, bool) {
	at := strings.Index(line, `apparmor="`)
	if at < 0 {
		return Record{}, false
	}
	// Behind a group separator, auditd appends what its numbers mean (log_format
	// ENRICHED): fields of other names.
	r := Record{Fields: fields(strings.ReplaceAll(line[at:], "\x1d", " "))}
	if stamp := strings.LastIndex(line[:at], "audit("); stamp >= 0 {
		r.Time, r.Serial = readStamp(line[stamp+len("audit("):])
	}
	r.Kind = r.Fields["apparmor"]
	if r.Kind == "" {
		return Record{}, false
	}
	r.Operation, r.Profile, r.Name = r.Fields["operation"], r.Fields["profile"], r.Fields["name"]
	r.Info, r.Command = r.Fields["info"], r.Fields["comm"]
	r.Error, _ = strconv.Atoi(r.Fields["error"])
	r.PID, _ = strconv.Atoi(r.Fields["pid"])
	if ns, ok := r.Fields["namespace"]; ok && ns != "root" {
		r.Namespace = Name(strings.TrimPrefix(ns, "root"+Separator))
	}
	return r, true
}

// maxStamp is the last second of the year 9999, the last that JSON's times have.
const maxStamp = 253402300799

// readStamp reads "1795399212.474:2)…".
func readStamp(s string) (time.Time, int64) {
	s, _, _ = strings.Cut(s, ")")
	stamp, serial, _ := strings.Cut(s, ":")
	sec, ms, _ := strings.Cut(stamp, ".")
	whole, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Time{}, 0
	}
	milli, _ := strconv.ParseInt(ms, 10, 64)
	n, _ := strconv.ParseInt(serial, 10, 64)
	if whole < 0 || whole > maxStamp {
		return time.Time{}, n
	}
	return time.Unix(whole, milli%1000*int64(time.Millisecond)).UTC(), n
}

// fields reads key=value pairs: in quotes, bare, or in hex. A field that comes
// twice keeps its first value: the kernel's own come before those that a
// program could have a say in.
func fields(s string) map[string]string {
	m := map[string]string{}
	for s = strings.TrimLeft(s, " "); s != ""; s = strings.TrimLeft(s, " ") {
		key, rest, ok := strings.Cut(s, "=")
		if i := strings.LastIndexByte(key, ' '); i >= 0 {
			key = key[i+1:]
		}
		if !ok || key == "" {
			return m
		}
		value, after := cutValue(key, rest)
		if _, twice := m[key]; !twice {
			m[key] = value
		}
		s = after
	}
	return m
}

func cutValue(key, s string) (value, rest string) {
	if quoted, ok := strings.CutPrefix(s, `"`); ok {
		value, rest, _ = strings.Cut(quoted, `"`)
		return value, rest
	}
	value, rest, _ = strings.Cut(s, " ")
	value = strings.TrimRight(value, "\n")
	if slices.Contains(encoded, key) && len(value)%2 == 0 && value != "" {
		if b, err := hex.DecodeString(value); err == nil {
			value = string(b)
		}
	}
	return value, rest
}

// String says the record in one line for people.
func (r Record) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-9s %-7s", r.Time.Local().Format("15:04:05.000"), r.Part(), r.Kind)
	for _, w := range []string{r.Operation, Label{Parts: []Part{{r.Namespace, r.Profile}}}.String()} {
		if w != "" {
			fmt.Fprintf(&b, " %s", w)
		}
	}
	if r.Name != "" {
		fmt.Fprintf(&b, " %q", r.Name)
	}
	for _, key := range []string{"requested_mask", "denied_mask", "signal", "peer", "capname", "target", "class", "family", "info", "error"} {
		if v := r.Fields[key]; v != "" {
			fmt.Fprintf(&b, " %s=%q", key, v)
		}
	}
	if r.PID != 0 {
		fmt.Fprintf(&b, " by %d (%s)", r.PID, r.Command)
	}
	return b.String()
}
