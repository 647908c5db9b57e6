package nsmgr

import (
	"fmt"
	"hash/fnv"
	"strings"
	"unicode"
	"unicode/utf8"

	"proofhouse/internal/exit"
)

const (
	// MaxName is the longest name of one namespace in bytes: NAME_MAX, as a
	// namespace is a folder in securityfs.
	MaxName = 255
	// MaxDepth is how deep namespaces nest: kernels up to 7.3 allow 33 levels,
	// those with the limit of 2026 32, and what works on one should on all.
	MaxDepth = 32
)

// Separator stands between a namespace and one below it, as in labels.
const Separator = "//"

// Name is a namespace as the view sees it: "outer//inner" is inner below
// outer; "" is the view's own namespace.
type Name string

// Parts are the names of the namespaces from the view's own downwards.
func (n Name) Parts() []string {
	if n == "" {
		return nil
	}
	return strings.Split(string(n), Separator)
}

// Parent is the namespace above; that of a top one is "".
func (n Name) Parent() Name {
	if i := strings.LastIndex(string(n), Separator); i >= 0 {
		return n[:i]
	}
	return ""
}

// Child is the namespace of that name below n.
func (n Name) Child(name string) Name {
	if n == "" {
		return Name(name)
	}
	return n + Separator + Name(name)
}

// Within says whether n is top or lies below it.
func (n Name) Within(top Name) bool {
	return top == "" || n == top || strings.HasPrefix(string(n), string(top)+Separator)
}

// Label is how the profile of the namespace is named in a label.
func (n Name) Label(profile string) string {
	if n == "" {
		return profile
	}
	return ":" + string(n) + ":" + profile
}

// forbidden are the characters that a new namespace may not have in its name,
// and why. The kernel takes most of them: what it makes then cannot be named,
// or means something else where it is.
var forbidden = []struct{ chars, why string }{
	{"/", "a slash is what folders and nested namespaces are told apart by (--parent makes a nested one)"},
	{":", "a colon ends the namespace's part of a label"},
	{"&", "an ampersand joins the parts of a stacked label"},
	{"\"'`\\", "quotes and backslashes cannot be written in policy and configuration as they are"},
	{"*?[]{}^$", "policy would read it as a pattern"},
	{"()", "parentheses are where a label's mode is"},
	{",;#", "policy and configuration files end a rule with it"},
}

// reserved are the names that mean something else in a label.
var reserved = map[string]string{
	"root":       "the kernel calls its first namespace so",
	"unconfined": "every namespace has a profile of that name",
}

// CheckName says why a namespace of that name should not be made. What it
// accepts can be listed, shown, used in a label and removed.
func CheckName(name string) error {
	if why := badName(name); why != "" {
		return exit.BadInputf("namespace name %q: %s", name, why)
	}
	return nil
}

func badName(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > MaxName:
		return fmt.Sprintf("it has %d bytes, and the kernel takes %d", len(name), MaxName)
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	case reserved[name] != "":
		return reserved[name]
	case strings.HasPrefix(name, "."):
		return "a leading dot is for the kernel's own files"
	case strings.HasPrefix(name, "-"):
		return "with a leading dash it would be taken for an option"
	case strings.HasPrefix(name, "="):
		return "a leading equals sign is the kernel's mark of an absolute label"
	}
	for _, r := range name {
		if unicode.IsSpace(r) {
			return "white space ends a name in LXC's configuration and in /proc"
		}
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return fmt.Sprintf("it has the control character %q", r)
		}
		for _, f := range forbidden {
			if strings.ContainsRune(f.chars, r) {
				return f.why
			}
		}
	}
	return ""
}

// ParseName reads what a user calls a namespace that is there already: also
// the forms of a label, ":outer//inner:" and ":outer:". It refuses what cannot
// be one and accepts more than [CheckName], as others make namespaces too.
func ParseName(s string) (Name, error) {
	bare := s
	if rest, ok := strings.CutPrefix(s, ":"); ok {
		bare = strings.TrimSuffix(strings.TrimSuffix(rest, Separator), ":")
	}
	parts := strings.Split(bare, Separator)
	if len(parts) > MaxDepth+1 {
		return "", exit.BadInputf("namespace %q: it is %d levels deep, and the kernel takes %d", s, len(parts), MaxDepth)
	}
	for _, p := range parts {
		why := ""
		switch {
		case p == "":
			why = "a name in it is empty"
		case p == "." || p == "..":
			why = "it is no name but a way through folders"
		case len(p) > MaxName:
			why = fmt.Sprintf("a name in it has %d bytes, and the kernel takes %d", len(p), MaxName)
		case strings.ContainsAny(p, "/\x00"):
			why = "a slash stands alone in it (nested namespaces are written outer//inner)"
		case strings.Contains(p, ":"):
			why = "a colon ends a namespace's name"
		}
		if why != "" {
			return "", exit.BadInputf("namespace %q: %s", s, why)
		}
	}
	return Name(bare), nil
}

// lxcMax is the longest name in bytes that LXC leaves as it is
// (src/lxc/lsm/apparmor.c, where a name and seven bytes must fit in 253).
const lxcMax = 246

// LXCName is the name that LXC gives the namespace of a container with a
// generated profile: lxcpath is the folder of its containers, usually
// /var/lib/lxc. LXC hashes a long name as it stands, before it turns slashes
// into dashes.
func LXCName(container, lxcpath string) string {
	full := "lxc-" + container + "_<" + lxcpath + ">"
	if len(full) <= lxcMax {
		return strings.ReplaceAll(full, "/", "-")
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(full))
	return fmt.Sprintf("%016x", h.Sum64())
}
