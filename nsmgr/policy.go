// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Policy is compiled policy, in the order in which it is written.
type Policy []Blob

// Blob is what the parser compiled from one file, or one load that the kernel
// keeps.
type Blob struct {
	Origin string // the file, as errors call it
	Data   []byte
}

// Unit is one profile of compiled policy. Hats are units of their own where
// apparmor_parser wrote them so.
type Unit struct {
	Name      string   // of the profile
	Namespace string   // that the policy itself names; usually ""
	Data      []byte   // the part of the input that holds the unit
	version   []byte   // the version field that applies to it, which Data may lack
	profile   []byte   // the profile itself, without version and namespace
	inner     []string // names of profiles within it
}

// bare is the unit without a namespace of its own, as it is loaded alone
// through the namespace's own file. A load by apparmor_parser -n names the
// namespace. Written as it is, it would create one of that name below.
func (u Unit) bare() []byte { return slices.Concat(u.version, u.profile) }

// skipSpaces returns the name without what the kernel's skip_spaces skips, byte
// by byte: isspace of Latin-1.
func skipSpaces(name string) string {
	for name != "" && strings.IndexByte(" \t\n\v\f\r\xa0", name[0]) >= 0 {
		name = name[1:]
	}
	return name
}

// foreign is the namespace that the kernel would load the unit into instead of
// the one it is written to, or "". It is named by a field, or by the profile's
// name: the kernel skips white space before the colon (security/apparmor/lib.c
// aa_splitn_fqname, with isspace of Latin-1).
func (u Unit) foreign() string {
	if u.Namespace != "" {
		return u.Namespace
	}
	rest, ok := strings.CutPrefix(skipSpaces(u.Name), ":")
	if !ok {
		return ""
	}
	ns, _, _ := strings.Cut(rest, ":")
	if ns == "" {
		return ":"
	}
	return ns
}

// The types of the parser's format (security/apparmor/policy_unpack.c enum
// aa_code). Any of them may be preceded by a name: a tag, a length of two bytes
// and the name with its final zero. All numbers are little-endian.
const (
	codeU8 = iota
	codeU16
	codeU32
	codeU64
	codeName   // length of 2 bytes, text with a final zero
	codeString // the same
	codeBlob   // length of 4 bytes, bytes
	codeStruct // no length: fields follow, up to codeStructEnd
	codeStructEnd
	codeList // no length: entries follow, up to codeListEnd
	codeListEnd
	codeArray // length of 2 bytes: entries follow, up to codeArrayEnd
	codeArrayEnd
)

// tagVersion is how compiled policy begins.
var tagVersion = []byte("\x04\x08\x00version\x00\x02")

// maxNested is how deep structures of compiled policy may nest: the parser writes
// three levels, and one for each profile within another.
const maxNested = 1024

// ErrNoPolicy is the error of what is not compiled policy.
var ErrNoPolicy = errors.New("not compiled AppArmor policy")

// compressed is how the parser's files begin from 5.0 on, for kernels that
// announce features/policy/compressed_load (7.3): a zstd frame after eight
// bytes. The form is for the parser's cache: the kernel refuses it with EINVAL
// where policy is written.
var compressed = []byte("\x01\x03\x00\x00\x00\x00\x00\x00\x28\xb5\x2f\xfd")

// ErrCompressed is the error of policy that only the parser can unpack.
var ErrCompressed = errors.New("compressed by apparmor_parser, which no kernel accepts: compile it with --zstd-compress-level=0")

// IsCompiled reports whether data begins like the parser's output, and is not
// text.
func IsCompiled(data []byte) bool {
	return bytes.HasPrefix(data, tagVersion) || bytes.HasPrefix(data, compressed)
}

// Units returns the profiles of compiled policy. It reads the structure as the
// kernel does (policy_unpack.c aa_unpack): each profile may be preceded by a
// version, which only the first must have, and by a namespace. Data with
// anything else between profiles is [ErrNoPolicy], so that no profile is
// overlooked.
func Units(data []byte) ([]Unit, error) {
	if bytes.HasPrefix(data, compressed) {
		return nil, ErrCompressed
	}
	if !IsCompiled(data) {
		return nil, ErrNoPolicy
	}
	var units []Unit
	var version []byte
	r := policyReader{rest: data}
	for len(r.rest) > 0 {
		start := r.rest
		u, err := r.unit(&version)
		if err != nil {
			return nil, fmt.Errorf("%w: profile %d, near byte %d: %w", ErrNoPolicy, len(units)+1, len(data)-len(r.rest), err)
		}
		u.Data = start[:len(start)-len(r.rest)]
		units = append(units, u)
	}
	return units, nil
}

// policyReader reads compiled policy, item by item.
type policyReader struct{ rest []byte }

// policyItem is one item: its name, its type, its value and all its bytes.
type policyItem struct {
	name  string
	code  byte
	value []byte // of strings without the final zero; of structures nothing
	raw   []byte
}

var errCut = errors.New("it is truncated")

// next reads one item. Of a structure it reads the beginning.
func (r *policyReader) next() (item policyItem, err error) {
	start := r.rest
	code, err := r.take(1)
	if err != nil {
		return item, err
	}
	if code[0] == codeName {
		name, err := r.text()
		if err == nil {
			item.name, err = plainName(name)
		}
		if err != nil {
			return item, fmt.Errorf("a field's name: %w", err)
		}
		if code, err = r.take(1); err != nil {
			return item, err
		}
	}
	item.code = code[0]
	switch item.code {
	case codeU8, codeU16, codeU32, codeU64:
		item.value, err = r.take(1 << item.code)
	case codeString:
		item.value, err = r.text()
	case codeBlob:
		var n []byte
		if n, err = r.take(4); err == nil {
			item.value, err = r.take(int(binary.LittleEndian.Uint32(n)))
		}
	case codeArray:
		_, err = r.take(2)
	case codeStruct, codeStructEnd, codeList, codeListEnd, codeArrayEnd:
	default:
		err = fmt.Errorf("unknown type %d", item.code)
	}
	if err != nil && item.name != "" {
		err = fmt.Errorf("field %q: %w", item.name, err)
	}
	item.raw = start[:len(start)-len(r.rest)]
	return item, err
}

func (r *policyReader) take(n int) ([]byte, error) {
	if n > len(r.rest) {
		return nil, errCut
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b, nil
}

// text reads a length of two bytes and text with a final zero.
func (r *policyReader) text() ([]byte, error) {
	n, err := r.take(2)
	if err != nil {
		return nil, err
	}
	b, err := r.take(int(binary.LittleEndian.Uint16(n)))
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || b[len(b)-1] != 0 {
		return nil, errors.New("its text does not end in a zero byte")
	}
	return b[:len(b)-1], nil
}

// plainName is a name's text, which the kernel reads up to the first zero.
// Other strings may have zeros within: those of the exec table do.
func plainName(text []byte) (string, error) {
	if len(text) == 0 || bytes.IndexByte(text, 0) >= 0 {
		return "", errors.New("it is empty or has a zero byte")
	}
	return string(text), nil
}

// unit reads a profile with what precedes it.
func (r *policyReader) unit(version *[]byte) (u Unit, err error) {
	item, err := r.next()
	if err == nil && item.code == codeU32 && item.name == "version" {
		*version = item.raw
		item, err = r.next()
	}
	if err == nil && item.code == codeString && item.name == "namespace" {
		if u.Namespace, err = plainName(item.value); err != nil {
			return u, fmt.Errorf("its namespace's name: %w", err)
		}
		item, err = r.next()
	}
	if err != nil {
		return u, err
	}
	if item.code != codeStruct || item.name != "profile" {
		return u, fmt.Errorf("unexpected field %q of type %d where a profile should begin", item.name, item.code)
	}
	u.version = *version
	start := item.raw
	name, err := r.next()
	if err == nil && name.code != codeString {
		err = fmt.Errorf("it has type %d", name.code)
	}
	if err == nil {
		u.Name, err = plainName(name.value)
	}
	if err != nil {
		return u, fmt.Errorf("its name: %w", err)
	}
	length := len(start) + len(name.raw)
	inner := false // the next item is the name of a profile within this one
	for ends := []byte{codeStructEnd}; len(ends) > 0; {
		if item, err = r.next(); err != nil {
			return u, fmt.Errorf("profile %q: %w", u.Name, err)
		}
		length += len(item.raw)
		if inner && item.code == codeString {
			name, err := plainName(item.value)
			if err != nil {
				return u, fmt.Errorf("profile %q: the name of one within it: %w", u.Name, err)
			}
			u.inner = append(u.inner, name)
		}
		inner = item.code == codeStruct && item.name == "profile"
		switch item.code {
		case codeStruct, codeList, codeArray:
			if ends = append(ends, item.code+1); len(ends) > maxNested {
				return u, fmt.Errorf("profile %q: structures nest deeper than %d levels", u.Name, maxNested)
			}
		case codeStructEnd, codeListEnd, codeArrayEnd:
			if item.code != ends[len(ends)-1] {
				return u, fmt.Errorf("profile %q: type %d where %d should end a structure", u.Name, item.code, ends[len(ends)-1])
			}
			ends = ends[:len(ends)-1]
		}
	}
	u.profile = start[:length:length]
	return u, nil
}

// units are all of the policy's, and where each came from.
func (p Policy) units() ([]Unit, map[string]string, error) {
	var all []Unit
	origin := map[string]string{}
	for _, b := range p {
		units, err := Units(b.Data)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", b.Origin, err)
		}
		for _, u := range units {
			if other, twice := origin[u.Name]; twice {
				return nil, nil, fmt.Errorf("profile %q is in %s and in %s", u.Name, other, b.Origin)
			}
			origin[u.Name] = b.Origin
		}
		all = append(all, units...)
	}
	return all, origin, nil
}

// Names are the profiles of the policy, in its order.
func (p Policy) Names() ([]string, error) {
	units, _, err := p.units()
	names := make([]string, len(units))
	for i, u := range units {
		names[i] = u.Name
	}
	return names, err
}

// top is the profile that a hat belongs to, or the profile itself.
func top(profile string) string {
	name, _, _ := strings.Cut(profile, Separator)
	if name == "" { // a name that begins with two slashes has no profile above
		return profile
	}
	return name
}
