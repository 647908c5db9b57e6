// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"cmp"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/bluekeyes/go-gitdiff/gitdiff"

	"proofhouse/internal/exit"
)

// MaxPatch is the most that is read of a patch, in bytes.
const MaxPatch = 16 << 20

// maxChanged is how many changed lines of AppArmor a patch may have.
const maxChanged = 20_000

// Patch is what a patch changes in AppArmor.
type Patch struct {
	Hunks []Hunk
	// Elsewhere is how many lines it adds outside of AppArmor: they are not
	// measured.
	Elsewhere int
}

// Hunk is one place that a patch changes.
type Hunk struct {
	File   string // its name after the patch; "" = the patch deletes it
	Before string // its name before the patch; "" = the patch adds it
	// Start and BeforeStart are the numbers of the first line after and before.
	Start, BeforeStart int
	Lines              []HunkLine

	section int // of the patch: one has the hunks of one file in their order
}

// HunkLine is a line of a hunk.
type HunkLine struct {
	Op   byte // ' ' = context, '+' = added, '-' = removed
	Text string
}

// ParsePatch reads a patch in unified format, such as one of git.
func ParsePatch(r io.Reader) (*Patch, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxPatch+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxPatch {
		return nil, exit.BadInputf("larger than %d MiB", MaxPatch>>20)
	}
	files, _, err := gitdiff.Parse(strings.NewReader(string(text)))
	if err != nil {
		return nil, exit.BadInputf("not a patch in unified format: %w", err)
	}
	if len(files) == 0 {
		return nil, exit.BadInputf("not a patch in unified format: it has no hunk")
	}
	p := &Patch{}
	changed := 0
	for section, f := range files {
		after, before := measured(f.NewName), measured(f.OldName)
		if after == "" && before == "" {
			for _, fragment := range f.TextFragments {
				p.Elsewhere += int(fragment.LinesAdded)
			}
			continue
		}
		if f.IsBinary {
			return nil, exit.BadInputf("%s is changed in binary form, which has no lines", cmp.Or(after, before))
		}
		for _, fragment := range f.TextFragments {
			h := Hunk{File: after, Before: before, Start: int(fragment.NewPosition), BeforeStart: int(fragment.OldPosition), section: section}
			for _, l := range fragment.Lines {
				op := byte(' ')
				switch l.Op {
				case gitdiff.OpAdd:
					op = '+'
				case gitdiff.OpDelete:
					op = '-'
				}
				if op != ' ' {
					changed++
				}
				h.Lines = append(h.Lines, HunkLine{op, strings.TrimSuffix(l.Line, "\n")})
			}
			p.Hunks = append(p.Hunks, h)
		}
	}
	if changed > maxChanged {
		return nil, exit.BadInputf("more than %d changed lines", maxChanged)
	}
	return p, nil
}

// measured returns the name of a file of a patch below the top of the tree, or ""
// if it is not AppArmor's. The first component is often the name of a tree, such
// as "linux.orig".
func measured(name string) string {
	name = path.Clean(name)
	for range 2 {
		if CheckName(name) == nil {
			return name
		}
		_, name, _ = strings.Cut(name, "/")
	}
	return ""
}

// image returns the hunk's lines after the patch (skip '-') or before it (skip
// '+').
func (h *Hunk) image(skip byte) (lines []string) {
	for _, l := range h.Lines {
		if l.Op != skip {
			lines = append(lines, l.Text)
		}
	}
	return lines
}

// leastContext is how many lines a hunk must have to be found at the nearest of several
// places: a single "return 0;" is in many functions.
const leastContext = 3

// locate returns the number of the line where want is in the lines, from the line
// from on: the place that is nearest to the line number near; 0 if it is nowhere.
func locate(lines, want []string, near, from int) int {
	if len(want) == 0 || len(want) > len(lines) {
		return 0
	}
	near = min(max(near, 1), len(lines))
	is := func(at int) bool {
		return at >= max(from, 1) && at+len(want)-1 <= len(lines) && slices.Equal(lines[at-1:at-1+len(want)], want)
	}
	if len(want) < leastContext && !is(near) {
		found := 0
		for at := range len(lines) + 1 {
			if is(at) && found > 0 {
				return 0
			} else if is(at) {
				found = at
			}
		}
		return found
	}
	for distance := range len(lines) {
		for _, at := range []int{near - distance, near + distance} {
			if is(at) {
				return at
			}
		}
	}
	return 0
}

// Changed is a line that a patch adds or changes.
type Changed struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// maxText is how much of a changed line is kept, in bytes.
const maxText = 200

// Applied returns the lines that the patch adds or changes, with their numbers in
// the source, and how many lines it only removes. A source without the patch is
// refused.
func (p *Patch) Applied(source Source) (changed []Changed, removed int, err error) {
	// Two hunks with the same lines are at two places: one of them alone may be
	// applied. The patches of a series may change the same lines.
	from, again := map[int]int{}, map[Changed]bool{}
	for i := range p.Hunks {
		h := &p.Hunks[i]
		if h.File == "" {
			if _, there := source[h.Before]; there {
				return nil, 0, exit.BadInputf("not applied to the tree: %s is not deleted", h.Before)
			}
			removed += len(h.image('+'))
			continue
		}
		lines := source.Lines(h.File)
		if lines == nil {
			return nil, 0, exit.BadInputf("not applied to the tree: it has no %s", h.File)
		}
		after := h.image('-')
		at := locate(lines, after, h.Start, from[h.section])
		if at == 0 && len(after) > 0 {
			return nil, 0, exit.BadInputf("not applied to the tree: %s does not have the lines of the hunk at line %d", h.File, h.Start)
		}
		added, gone := 0, 0
		for _, l := range h.Lines {
			switch l.Op {
			case '+':
				if one := (Changed{h.File, at, clip(l.Text)}); !again[one] {
					again[one] = true
					changed = append(changed, one)
				}
				added++
			case '-':
				gone++
				continue
			}
			at++
		}
		from[h.section] = max(from[h.section], at)
		removed += max(0, gone-added)
	}
	return changed, removed, nil
}

func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// Place is where a patch changes code that was measured, before or after it.
type Place struct {
	File     string
	Lines    []int  // with code; none: the change has no code of its own
	Function string // "" = none
	// First and Last are the lines of the function.
	First, Last int
}

// Places returns where the patch changes the source that a set counts. The source
// may have the patch or not. Without the patch, an added line is where its
// neighbours are. A hunk that is not found in the source is an error.
func (p *Patch) Places(source Source, set Set) (places []Place, err error) {
	for i := range p.Hunks {
		h := &p.Hunks[i]
		changed := byte('+')
		name, at := h.File, locate(source.Lines(h.File), h.image('-'), h.Start, 1)
		if at == 0 && h.Before != "" {
			changed = '-'
			name, at = h.Before, locate(source.Lines(h.Before), h.image('+'), h.BeforeStart, 1)
		}
		if at == 0 {
			return nil, exit.BadInputf("%s does not have the lines of the hunk at line %d, with or without the patch", h.name(), h.Start)
		}
		file := set.File(name)
		if file == nil {
			continue // no code: a Makefile, a header with declarations
		}
		places = append(places, h.places(source, file, at, changed)...)
	}
	return places, nil
}

func (h *Hunk) name() string {
	if h.File != "" {
		return h.File
	}
	return h.Before
}

// places returns those of one hunk that begins at the line at. Of its changed lines,
// those with the Op changed are in the source.
func (h *Hunk) places(source Source, file *File, at int, changed byte) (places []Place) {
	touched := map[int]bool{}
	for i := 0; i < len(h.Lines); {
		if h.Lines[i].Op == ' ' {
			i, at = i+1, at+1
			continue
		}
		// Lines that follow each other, of which some may replace others.
		alone := true
		for ; i < len(h.Lines) && h.Lines[i].Op != ' '; i++ {
			if h.Lines[i].Op == changed {
				touched[at], alone = true, false
				at++
			}
		}
		if alone { // between two lines
			touched[at-1], touched[at] = true, true
		}
	}
	byFunction := map[string]*Place{}
	var names []string
	for number := range touched {
		name, first, last := source.function(file.Name, number)
		place := byFunction[name]
		if place == nil {
			place = &Place{File: file.Name, Function: name, First: first, Last: last}
			byFunction[name] = place
			names = append(names, name)
		}
		if _, code := file.Count(number); !code {
			number = source.statement(file.Name, file, number)
		}
		if number > 0 && !slices.Contains(place.Lines, number) {
			place.Lines = append(place.Lines, number)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		slices.Sort(byFunction[name].Lines)
		places = append(places, *byFunction[name])
	}
	return places
}
