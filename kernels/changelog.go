// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"proofhouse/internal/apt"
)

// Change is one version of a Debian changelog.
type Change struct {
	Version string   `json:"version"`
	Lines   []string `json:"lines"` // what changed: "- apparmor: fix …", without the indentation
}

// maxChangelog is more than any kernel's has bytes (5 MB in 2026).
const maxChangelog = 64 << 20

// Changes are the versions in the build's changelog that came after the
// package version old, the newest first. A build that came without a changelog
// has none.
func (b *Build) Changes(ctx context.Context, old string) ([]Change, error) {
	if b.Changelog == "" {
		return nil, nil
	}
	f, err := os.Open(b.Changelog)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("read the changelog %s: %w", b.Changelog, err)
	}
	// A backport is what it was made from, rebuilt.
	old, _, _ = strings.Cut(old, "~bpo")
	return changesAfter(io.LimitReader(z, maxChangelog), func(v string) (bool, error) { return apt.Less(ctx, old, v) })
}

// headRE is the first line of an entry of deb-changelog(5).
var headRE = regexp.MustCompile(`^linux\S* \(([^)]+)\) `)

// olderEnough is how many entries in a row must be old before the rest is:
// those of experimental stand between the others.
const olderEnough = 5

func changesAfter(r io.Reader, newer func(version string) (bool, error)) ([]Change, error) {
	var changes []Change
	var current *Change
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for old := 0; lines.Scan() && old < olderEnough; {
		line := lines.Text()
		if m := headRE.FindStringSubmatch(line); m != nil {
			is, err := newer(m[1])
			if err != nil {
				return nil, err
			}
			if current = nil; is {
				changes = append(changes, Change{Version: m[1]})
				current, old = &changes[len(changes)-1], 0
			} else {
				old++
			}
			continue
		}
		text := strings.TrimSpace(line)
		if current == nil || text == "" || strings.HasPrefix(line, " -- ") {
			continue
		}
		last := len(current.Lines) - 1
		if last >= 0 && !strings.HasPrefix(text, "- ") && !strings.HasPrefix(text, "* ") && !strings.HasPrefix(text, "[") {
			current.Lines[last] += " " + text // a continuation line
			continue
		}
		current.Lines = append(current.Lines, text)
	}
	return changes, lines.Err()
}
