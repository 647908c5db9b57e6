package nsmgr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Policy is compiled policy, in the order in which it is written.
type Policy []Blob

// Blob is what the parser made of one file, or one load of the kernel's.
type Blob struct {
	Origin string // the file, as errors name it
	Data   []byte
}

// Unit is one profile of compiled policy, hats counting by themselves where
// the parser wrote them so.
type Unit struct {
	Name      string // of the profile
	Namespace string // that the policy itself names; usually ""
	Data      []byte // whole, with its header: the kernel takes it alone
	named     int    // bytes that the namespace takes in Data, behind the version
}

// bare is the unit without a namespace of its own, as it is loaded through the
// namespace's own file. A load by apparmor_parser -n names it, and would make
// another of that name below, if it were written there as it is.
func (u Unit) bare() []byte {
	if u.named == 0 {
		return u.Data
	}
	return append(bytes.Clone(u.Data[:versionLength]), u.Data[versionLength+u.named:]...)
}

// The parser's format (security/apparmor/policy_unpack.c): a tag of a byte,
// a length of two and a name with its final zero before what has a name; then
// the type. These are the words this package looks for.
var (
	tagVersion   = []byte("\x04\x08\x00version\x00\x02")
	tagNamespace = []byte("\x04\x0a\x00namespace\x00\x05")
	tagProfile   = []byte("\x04\x08\x00profile\x00\x07\x05")
)

// versionLength is that of the whole version field.
const versionLength = 16

// ErrNoPolicy is the error of what is not compiled policy.
var ErrNoPolicy = errors.New("not compiled AppArmor policy")

// compressed is how the parser's files begin from 5.0 on, for kernels that it
// believes to take them (features/policy/compressed_load, 7.3): a zstd frame
// behind eight bytes. It is a form for the parser's cache: the kernel refuses
// it with EINVAL where policy is written.
var compressed = []byte("\x01\x03\x00\x00\x00\x00\x00\x00\x28\xb5\x2f\xfd")

// ErrCompressed is the error of policy that only the parser can unpack.
var ErrCompressed = errors.New("compressed by apparmor_parser, which no kernel takes: compile it with --zstd-compress-level=0")

// IsCompiled says whether data begins as the parser's output does, and is no
// text.
func IsCompiled(data []byte) bool {
	return bytes.HasPrefix(data, tagVersion) || bytes.HasPrefix(data, compressed)
}

// Units tells the profiles of compiled policy apart without understanding
// them: each begins with the version field, an optional namespace, and the
// start of a profile.
func Units(data []byte) ([]Unit, error) {
	if bytes.HasPrefix(data, compressed) {
		return nil, ErrCompressed
	}
	if !IsCompiled(data) {
		return nil, ErrNoPolicy
	}
	var units []Unit
	start := 0
	for start < len(data) {
		u, err := readUnit(data[start:])
		if err != nil {
			return nil, fmt.Errorf("%w: at byte %d: %w", ErrNoPolicy, start, err)
		}
		end := len(data)
		for at := start + versionLength; ; {
			next := bytes.Index(data[at:], tagVersion)
			if next < 0 {
				break
			}
			at += next
			if _, err := readUnit(data[at:]); err == nil {
				end = at
				break
			}
			at += versionLength
			if at > len(data) {
				break
			}
		}
		u.Data = data[start:end]
		units = append(units, u)
		start = end
	}
	return units, nil
}

// readUnit reads the head of a unit.
func readUnit(b []byte) (u Unit, err error) {
	if !bytes.HasPrefix(b, tagVersion) || len(b) < versionLength {
		return u, errors.New("no version field")
	}
	b = b[versionLength:]
	if rest, ok := bytes.CutPrefix(b, tagNamespace); ok {
		before := len(b)
		if u.Namespace, b, err = readString(rest); err != nil {
			return u, fmt.Errorf("the namespace: %w", err)
		}
		u.named = before - len(b)
	}
	b, ok := bytes.CutPrefix(b, tagProfile)
	if !ok {
		return u, errors.New("no profile follows the version field")
	}
	if u.Name, _, err = readString(b); err != nil {
		return u, fmt.Errorf("the profile's name: %w", err)
	}
	return u, nil
}

func readString(b []byte) (s string, rest []byte, err error) {
	if len(b) < 2 {
		return "", nil, errors.New("it is cut off")
	}
	n := int(binary.LittleEndian.Uint16(b))
	b = b[2:]
	if n == 0 || n > len(b) || b[n-1] != 0 {
		return "", nil, errors.New("it is cut off or does not end in zero")
	}
	return string(b[:n-1]), b[n:], nil
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
