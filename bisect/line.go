// SPDX-License-Identifier: Apache-2.0

package bisect

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
)

// Line returns the builds to search, the earliest first, and the indexes of the
// good and the bad one: the packages in the directory from, the specs in the file
// list (one per line, text after a # is a comment), or, without both, Debian's
// kernels between good and bad. say gets a line for each slow step. What the user
// gave wrong is bad input ([exit.BadInput]).
func Line(ctx context.Context, from, list, good, bad string, say func(string)) (line []kernels.Candidate, at [2]int, err error) {
	switch {
	case from != "" && list != "":
		return nil, at, exit.BadInputf("bisect: give --from or --builds, not both")
	case from != "":
		line, err = kernels.Debs(ctx, from)
	case list != "":
		line, err = readBuilds(list)
	default:
		return kernels.Between(ctx, good, bad, say)
	}
	if err != nil {
		return nil, at, err
	}
	for i, text := range []string{good, bad} {
		is := func(c kernels.Candidate) bool { return isCalled(c, text) }
		if at[i] = slices.IndexFunc(line, is); at[i] < 0 {
			return nil, at, exit.BadInputf("bisect: build %s is not among the %d builds: give a path, a file name, a release or a version of one", text, len(line))
		}
		if slices.ContainsFunc(line[at[i]+1:], is) {
			return nil, at, exit.BadInputf("bisect: %s matches several builds: give a path or a version", text)
		}
	}
	return line, at, nil
}

// isCalled reports whether the text names the build.
func isCalled(c kernels.Candidate, text string) bool {
	if slices.Contains([]string{c.Spec, c.Release, c.Version, filepath.Base(c.Spec)}, text) {
		return true
	}
	a, errA := os.Stat(c.Spec)
	b, errB := os.Stat(text)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// readBuilds reads specs, one per line; text after a # is a comment.
func readBuilds(file string) ([]kernels.Candidate, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, exit.BadInputf("read the builds of --builds: %w", err)
	}
	defer func() { _ = f.Close() }()
	var line []kernels.Candidate
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text != "" {
			line = append(line, kernels.Candidate{Spec: text})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, exit.BadInputf("read the builds of --builds in %s: %w", file, err)
	}
	if len(line) < 2 {
		return nil, exit.BadInputf("read the builds of --builds: %s has %d, and a search needs two: write a spec on each line", file, len(line))
	}
	return line, nil
}
