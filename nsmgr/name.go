// SPDX-License-Identifier: Apache-2.0

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
	// namespace is a directory in securityfs.
	MaxName = 255
	// MaxDepth is how deep namespaces may nest. Kernels up to 7.3 allow 33 levels,
	// those with the limit of 2026 allow 32.
	MaxDepth = 32
)

// Separator separates a namespace from one below it, as in labels.
const Separator = "//"

// Name is a namespace as the view sees it: "outer//inner" is inner below
// outer; "" is the view's own namespace.
type Name string

// Parts returns the names of the namespaces on the way from the view's own down.
func (n Name) Parts() []string {
	if n == "" {
		return nil
	}
	return strings.Split(string(n), Separator)
}

// Parent returns the namespace above n; "" for a top-level one.
func (n Name) Parent() Name {
	if i := strings.LastIndex(string(n), Separator); i >= 0 {
		return n[:i]
	}
	return ""
}

// Child returns the namespace of that name below n.
func (n Name) Child(name string) Name {
	if n == "" {
		return Name(name)
	}
	return n + Separator + Name(name)
}

// Within reports whether n is top or below it.
func (n Name) Within(top Name) bool {
	return top == "" || n == top || strings.HasPrefix(string(n), string(top)+Separator)
}

// Label returns the name of the namespace's profile in a label.
func (n Name) Label(profile string) string {
	if n == "" {
		return profile
	}
	return ":" + string(n) + ":" + profile
}

// forbidden are the characters that the name of a new namespace must not contain,
// and why. The kernel accepts most of them, but the namespace then cannot be named,
// or its name has another meaning in a label or a file.
var forbidden = []struct{ chars, why string }{
	{"/", "a slash separates path components and nested namespaces"},
	{":", "a colon ends the namespace in a label"},
	{"&", "an ampersand separates the parts of a stacked label"},
	{"\"'`\\", "quotes and backslashes must be escaped in policy and configuration files"},
	{"*?[]{}^$", "it is a pattern in policy"},
	{"()", "parentheses enclose the mode of a label"},
	{",;#", "it ends a rule or starts a comment in policy and configuration files"},
}

// reserved are the names that have another meaning in a label.
var reserved = map[string]string{
	"root":       "it is the name of the kernel's first namespace",
	"unconfined": "every namespace has a profile of that name",
}

// CheckName returns an error for a name that a new namespace should not have. A
// namespace with a name that it accepts can be listed, shown, used in a label and
// removed.
func CheckName(name string) error {
	if why := badName(name); why != "" {
		return invalid("namespace name %q: %s", name, why)
	}
	return nil
}

// invalid is a user error of the kind [ErrInvalid].
func invalid(format string, a ...any) error {
	return &kindError{exit.BadInputf(format, a...), ErrInvalid}
}

func badName(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > MaxName:
		return fmt.Sprintf("it has %d bytes: the limit is %d", len(name), MaxName)
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	case reserved[name] != "":
		return reserved[name]
	case strings.HasPrefix(name, "."):
		return "names with a leading dot are reserved for files of the kernel"
	case strings.HasPrefix(name, "-"):
		return "with a leading dash it would be treated as an option"
	case strings.HasPrefix(name, "="):
		return "a leading equals sign marks an absolute label"
	}
	for _, r := range name {
		if unicode.IsSpace(r) {
			return "white space ends a name in LXC's configuration and in /proc"
		}
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return fmt.Sprintf("it contains the control character %q", r)
		}
		for _, f := range forbidden {
			if strings.ContainsRune(f.chars, r) {
				return f.why
			}
		}
	}
	return ""
}

// ParseName parses the name of an existing namespace as a user writes it, also in
// the forms of a label, ":outer//inner:" and ":outer:". It accepts more than
// [CheckName], because other programs create namespaces too.
func ParseName(s string) (Name, error) {
	bare := s
	if rest, ok := strings.CutPrefix(s, ":"); ok {
		bare = strings.TrimSuffix(strings.TrimSuffix(rest, Separator), ":")
	}
	parts := strings.Split(bare, Separator)
	if len(parts) > MaxDepth+1 {
		return "", invalid("namespace %q: it is %d levels deep: the limit is %d", s, len(parts), MaxDepth)
	}
	for _, p := range parts {
		why := ""
		switch {
		case p == "":
			why = "it contains an empty name"
		case p == "." || p == "..":
			why = "\".\" and \"..\" are path components, not names"
		case len(p) > MaxName:
			why = fmt.Sprintf("it contains a name of %d bytes: the limit is %d", len(p), MaxName)
		case strings.ContainsAny(p, "/\x00"):
			why = "it contains a single slash (a nested namespace is written outer//inner)"
		case strings.Contains(p, ":"):
			why = "it contains a colon, which ends the name of a namespace"
		}
		if why != "" {
			return "", invalid("namespace %q: %s", s, why)
		}
	}
	return Name(bare), nil
}

// lxcMax is the longest name in bytes that LXC does not hash
// (src/lxc/lsm/apparmor.c, where a name and seven bytes must fit in 253).
const lxcMax = 246

// LXCName returns the name that LXC gives the namespace of a container with a
// generated profile. lxcpath is the directory of its containers, usually
// /var/lib/lxc. LXC hashes a long name before it replaces slashes by dashes.
func LXCName(container, lxcpath string) string {
	full := "lxc-" + container + "_<" + lxcpath + ">"
	if len(full) <= lxcMax {
		return strings.ReplaceAll(full, "/", "-")
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(full))
	return fmt.Sprintf("%016x", h.Sum64())
}
