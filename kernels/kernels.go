// SPDX-License-Identifier: Apache-2.0

// Package kernels turns a spec, such as "debian:trixie" or the path of a
// bzImage, a .deb or a build tree, into a kernel build: an image that can be
// started, its modules, its config and its identity.
//
//	b, err := kernels.Resolve(ctx, "debian:trixie,append=apparmor.mode=complain", progress)
//	…
//	if err := b.Check(); err != nil { … }
//
// What is fetched or made on the way is kept in the cache. Nothing of a kernel is
// executed here: starting one is the task of package machines.
package kernels

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// Default is the spec that stands for "any healthy kernel": it needs neither
// KVM nor QEMU.
const Default = "uml:debian:forky"

// room is where the cache keeps kernels.
const room = "kernels"

// Kind tells how a build is started.
type Kind string

// The kinds.
const (
	UML     Kind = "uml"     // User Mode Linux: Image is an executable for this host
	BzImage Kind = "bzimage" // Image boots on an x86-64 PC
	Image   Kind = "image"   // Image boots on an arm64 machine: an uncompressed arch/arm64/boot/Image
	Local   Kind = "local"   // the kernel that runs on this host
)

// Build is one kernel build.
type Build struct {
	Spec string `json:"-"` // as it was given
	Kind Kind   `json:"kind"`
	// Image is the path of the executable or bzImage. For Local it may be "".
	Image string `json:"image,omitempty"`
	// Modules is the directory …/lib/modules/<release>, with modules.dep and the
	// like in it; "" if there are no modules.
	Modules string `json:"modules,omitempty"`
	// ModulesSHA256 is that of the modules' names and contents, as their maker
	// left them; "" for a Local build and one without modules.
	ModulesSHA256 string `json:"modulesSha256,omitempty"`
	// Append are further parameters for the kernel's command line.
	Append  []string `json:"-"`
	Release string   `json:"release"` // uname -r
	Version string   `json:"version"` // uname -v: "#1 SMP PREEMPT_DYNAMIC Debian 6.12.107-1 (2026-08-29)"
	// SHA256 is that of the image as its maker left it; "" for a Local build
	// whose image cannot be read. For OnBoard it is one of what the board says: the
	// GNU build ID, Release and Version.
	SHA256 string `json:"sha256"`
	Source string `json:"source"`           // where it came from, as text
	Config string `json:"config,omitempty"` // path of its .config, perhaps gzipped; "" if unknown
	// ConfigEdited says that Config is a build tree's and younger than the image,
	// which may have been made with another.
	ConfigEdited bool   `json:"configEdited,omitempty"`
	Arch         string `json:"arch"` // [X86_64] or [ARM64], read from the image
	// Board is how to reach the board; nil for other kinds than [OnBoard].
	Board *Board `json:"board,omitempty"`
	// Changelog is the path of the changelog that came with it, gzipped; "" if
	// none did.
	Changelog string `json:"changelog,omitempty"`

	// noAppArmor says that a decompressed image without a config has no trace
	// of AppArmor in it.
	noAppArmor bool

	configOnce sync.Once
	config     map[string]string // nil: unknown
	configOff  map[string]bool   // what it says is not set
}

// Resolve finds the build that spec names, fetching it if need be; progress,
// which may be nil, gets one line per slow step. A spec that names nothing
// usable is a user error ([exit.BadInput]). Resolve does not judge
// whether the build can be tested: see [Build.Check].
func Resolve(ctx context.Context, spec string, progress func(string)) (*Build, error) {
	b, err := resolve(ctx, spec, progress)
	if err != nil {
		if spec == "" {
			return nil, err // it says that no kernel is given
		}
		return nil, fmt.Errorf("kernel %s: %w", spec, err)
	}
	return b, nil
}

func resolve(ctx context.Context, text string, progress func(string)) (*Build, error) {
	if progress == nil {
		progress = func(string) {}
	}
	s, err := parseSpec(text)
	if err != nil {
		return nil, err
	}
	b, err := s.source.build(ctx, s.name, progress)
	if err != nil {
		return nil, err
	}
	if s.modules != "" {
		if err := b.takeModules(ctx, s.modules, progress); err != nil {
			return nil, err
		}
	}
	b.Spec, b.Append = text, s.append
	return b, b.expect(ctx, progress)
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._+~-]+`)

// ID is a name for the build that is the same on every host and can be that of
// a directory: <release>[-uml]-<8 hex of the SHA-256 of the image and its
// modules>, and 8 hex more where parameters are added to the command line.
func (b *Build) ID() string {
	id := notInNames.ReplaceAllString(b.Release, "_")
	if id == "" {
		id = "unknown"
	}
	if b.Kind == UML {
		id += "-uml"
	}
	sum := b.SHA256
	if sum == "" {
		sum = hash(b.Release, b.Version)
	}
	if b.ModulesSHA256 != "" {
		sum = hash(sum, b.ModulesSHA256)
	}
	id += "-" + sum[:8]
	if len(b.Append) > 0 {
		id += "-" + hash(b.Append...)[:8]
	}
	return id
}

// hash is the SHA-256 of the words, which hold no NUL, in hex.
func hash(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return hex.EncodeToString(sum[:])
}
