// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/internal/features"
)

// Features is what the kernel's AppArmor says that it can do: the files of
// its features directory, by path ("domain/stack"), with what is in them.
type Features map[string]string

// ErrFeature is the error of a feature that a kernel lacks.
var ErrFeature = errors.New("the kernel's AppArmor lacks")

// FeatureError names a missing feature.
type FeatureError struct {
	Feature string // as in the features directory: "domain/stack"
	For     string // what cannot be done without
	Since   string // the first kernel release that has it
}

func (e *FeatureError) Error() string {
	return fmt.Sprintf("%v %s (from %s on), needed for %s", ErrFeature, e.Feature, e.Since, e.For)
}

// Is makes every FeatureError an ErrFeature.
func (e *FeatureError) Is(target error) bool { return target == ErrFeature }

// Features reads the features directory.
func (v *View) Features() (Features, error) {
	root := filepath.Join(v.dir, "features")
	f := Features{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := readSmall(path)
		if err != nil {
			return err
		}
		f[strings.TrimPrefix(path, root+"/")] = strings.TrimSpace(string(b))
		return nil
	})
	if errors.Is(err, fs.ErrPermission) {
		return nil, exit.BadInputf("read AppArmor's features: %w: the policy that confines this process denies it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read AppArmor's features: %w", err)
	}
	return f, nil
}

// FeatureSet is what a compiler of policy asks of the features.
type FeatureSet interface {
	Digest() string
	Has(file, word string) bool
}

// StableFeatures are the features as this boot's first call found them: they are
// a hundred files, and no user of a kernel has seen them change while it runs.
func (v *View) StableFeatures() (FeatureSet, error) {
	const name = "features"
	if text, ok := v.recall(name); ok {
		if s, ok := parseStable(text); ok {
			return s, nil
		}
	}
	f, err := v.Features()
	if err != nil {
		return nil, err
	}
	v.remember(name, stableText(f))
	return f, nil
}

// stable are features that were remembered: their digest, and the text of the
// rest, which is rarely required. To split, sort and hash them takes 230,000
// instructions, a third of what nsmgr executes before its command begins.
type stable struct {
	digest, words string
}

func (s stable) Digest() string { return s.digest }

func (s stable) Has(file, word string) bool {
	words := strings.Split(s.words, "\x00")
	for i := 0; i+1 < len(words); i += 2 {
		if words[i] == file {
			return Features{file: words[i+1]}.Has(file, word)
		}
	}
	return false
}

func parseStable(text string) (stable, bool) {
	digest, words, ok := strings.Cut(text, "\x00")
	whole := strings.Count(words, "\x00")%2 == 1 // of pairs
	return stable{digest, words}, ok && whole && len(digest) == 2*sha256.Size
}

func stableText(f Features) string {
	words := []string{f.Digest()}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		words = append(words, name, f[name])
	}
	return strings.Join(words, "\x00")
}

// Digest returns a hash of all features: kernels with the same digest accept the
// same compiled policy.
func (f Features) Digest() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(f)) {
		// Hash.Write never fails.
		_, _ = io.WriteString(h, name+"\x00"+f[name]+"\x00")
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Has reports whether a file of the features directory exists and contains the
// word; "" is any content but "no".
func (f Features) Has(file, word string) bool { return features.Has(f, file, word) }

// Need is a feature of a kernel that this package or its user requires.
type Need struct {
	File  string // of the features directory
	Word  string // in it; "" = anything but "no"
	For   string
	Since string // first kernel release
	// Must is true for what stacked containers require. Without the others, only
	// their policy can express less.
	Must bool
}

// Needs are the features that stacked containers require, or can use.
var Needs = []Need{
	{"namespaces/profile", "", "policy namespaces", "4.11", true},
	{"domain/stack", "", "a container confined by host policy and its own", "4.11", true},
	{"policy/set_load", "", "loading several profiles as one", "3.12", true},
	{"mount/mask", "mount", "LXC, which refuses a kernel without mount rules", "4.14", true},
	{"signal/mask", "", "keeping host and container from signalling each other", "4.14", true},
	{"ptrace/mask", "trace", "keeping host and container from tracing each other", "4.14", true},
	{"policy/versions/v7", "", "policy of the ABI that stacking needs", "4.11", true},
	{"domain/post_nnp_subset", "", "a change of profile under no_new_privs", "4.17", false},
	{"domain/attach_conditions/xattr", "", "attachment by extended attributes", "4.17", false},
	{"network_v8/af_mask", "", "network rules", "4.17", false},
	{"namespaces/mask", "userns_create", "rules on user namespaces", "6.7", false},
	{"io_uring/mask", "", "rules on io_uring", "6.7", false},
	{"network_v9/af_unix", "", "rules on UNIX sockets", "6.17", false},
}

// Missing returns the needs that the kernel does not meet.
func (f Features) Missing() []Need {
	return slices.DeleteFunc(slices.Clone(Needs), func(n Need) bool { return f.Has(n.File, n.Word) })
}

// CheckStacking returns a [FeatureError] for a kernel that cannot stack.
func (f Features) CheckStacking() error {
	for _, n := range f.Missing() {
		if n.Must {
			return &FeatureError{strings.TrimSpace(n.File + " " + n.Word), n.For, n.Since}
		}
	}
	return nil
}
