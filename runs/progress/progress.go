// SPDX-License-Identifier: Apache-2.0

// Package progress shows the progress of a run: the steps of its preparation,
// then the events in the journals of its directory. On a terminal it redraws a
// few lines in place; in a pipe, on a dumb terminal and in CI it prints a few
// plain lines instead. It makes no reports: they are in package reports.
//
//	d := progress.New(os.Stderr)
//	defer d.Close()
//	d.Step("guest root trixie: installing packages")
//	…
//	d.Follow(ctx, "out/run") // until ctx is done
package progress

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
	"proofhouse/internal/printable"
	"proofhouse/reports"
)

const (
	redrawEvery = 200 * time.Millisecond // on a terminal
	quietFor    = 20 * time.Second       // at least, between two plain lines without an event
	longStep    = 3 * time.Second        // a longer step leaves a line on a terminal
)

// Display shows progress on one writer. Its methods may be called from several
// goroutines. Errors of the writer are ignored: a run does not need a display.
type Display struct {
	w    io.Writer
	file *os.File // w, if it is a terminal on which lines can be redrawn
	now  func() time.Time

	mu    sync.Mutex
	style reports.Style
	drawn int       // lines that are redrawn in place
	last  time.Time // of the last plain line
	step  step
	state *state // while a run is followed

	paused bool
	held   []string // lines that wait for the end of the pause

	stop   chan struct{}
	ticker sync.WaitGroup
	once   sync.Once
}

type step struct {
	text  string
	since time.Time
}

// New shows progress on w, usually standard error.
func New(w io.Writer) *Display {
	d := &Display{w: w, now: time.Now, stop: make(chan struct{})}
	if f, ok := w.(*os.File); ok {
		d.style = reports.StyleOf(f)
		if d.style.Width > 0 && os.Getenv("TERM") != "dumb" && os.Getenv("CI") == "" {
			d.file = f
		}
	}
	d.ticker.Go(d.tick)
	return d
}

// tick updates the elapsed time.
func (d *Display) tick() {
	t := time.NewTicker(redrawEvery)
	defer t.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-t.C:
			d.mu.Lock()
			d.show()
			d.mu.Unlock()
		}
	}
}

// Step shows the current step of the preparation. An empty text ends the last
// step.
func (d *Display) Step(text string) {
	text = printable.Line(text)
	d.mu.Lock()
	defer d.mu.Unlock()
	if text == d.step.text {
		return
	}
	old, now := d.step, d.now()
	if text != "" && sameStep(old.text, text) {
		d.step.text = text // only its figures changed: the same step
		d.show()
		return
	}
	d.step = step{text, now}
	took := now.Sub(old.since)
	switch {
	case d.file != nil && old.text != "" && took >= longStep:
		d.show("  " + old.text + " (" + clock(took) + ")")
	case d.file == nil && text != "":
		d.show(text)
	default:
		d.show()
	}
}

// sameStep reports whether two texts differ only in their figures.
func sameStep(a, b string) bool {
	letters := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || r == '.' {
				return -1
			}
			return r
		}, s)
	}
	return a != "" && letters(a) == letters(b)
}

// Follow shows the run in dir until ctx is done. dir need not exist yet.
func (d *Display) Follow(ctx context.Context, dir string) {
	d.Step("")
	tail := reports.NewTail(dir)
	d.mu.Lock()
	d.state = newState()
	d.last = d.now()
	d.mu.Unlock()
	t := time.NewTicker(redrawEvery)
	defer t.Stop()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true // after reading once more
		case <-t.C:
		}
		// A directory that cannot be read now may be readable later. If it stays
		// so, the reports say it.
		events, _ := tail.Next()
		d.take(events)
	}
	d.mu.Lock()
	d.state = nil
	d.show()
	d.mu.Unlock()
}

// take applies events and shows the result.
func (d *Display) take(events []reports.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var stay []string
	for _, e := range events {
		for _, n := range d.state.apply(e) {
			// On a terminal, the count is updated instead.
			if n.status != "" || d.file == nil {
				stay = append(stay, n.line(d.style))
			}
		}
	}
	if len(stay) > 0 {
		d.show(stay...)
	}
}

// Lines prints lines that stay on the screen.
func (d *Display) Lines(lines ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range lines {
		lines[i] = printable.Line(lines[i])
	}
	d.show(lines...)
}

// Pause clears the display and stops it, so that something else can use the
// terminal, until Resume.
func (d *Display) Pause() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file != nil && d.drawn > 0 {
		_, _ = io.WriteString(d.w, frame(d.drawn, nil, nil))
		d.drawn = 0
	}
	d.paused = true
}

// Resume continues the display and prints the lines of the pause.
func (d *Display) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	held := d.held
	d.paused, d.held = false, nil
	d.show(held...)
}

// show updates the display and prints lines that stay. The caller holds the
// mutex.
func (d *Display) show(stay ...string) {
	if d.paused {
		d.held = append(d.held, stay...)
		return
	}
	if d.file == nil {
		d.plain(stay)
		return
	}
	if w, _, err := term.GetSize(int(d.file.Fd())); err == nil && w > 0 {
		d.style.Width = w
	}
	lines := d.lines()
	if len(lines)+len(stay)+d.drawn == 0 {
		return
	}
	_, _ = io.WriteString(d.w, frame(d.drawn, stay, lines))
	d.drawn = len(lines)
}

// lines returns the lines to be redrawn in place.
func (d *Display) lines() []string {
	switch {
	case d.state != nil && d.state.total() == 0:
		return []string{"  starting"}
	case d.state != nil:
		return statusLines(d.state, d.now(), d.style)
	case d.step.text != "":
		took := " " + clock(d.now().Sub(d.step.since))
		return []string{fit("  "+d.step.text, d.style.Width-1-len(took)) + took}
	}
	return nil
}

// plain prints lines, and the state of the run if there was no line for a while.
func (d *Display) plain(lines []string) {
	now := d.now()
	if len(lines) == 0 && now.Sub(d.last) >= quietFor {
		switch {
		case d.state != nil && d.state.total() > 0:
			lines = []string{printable.Line(statusLine(d.state, now))}
		case d.state == nil && d.step.text != "":
			lines = []string{d.step.text + " (" + clock(now.Sub(d.step.since)) + ")"}
		}
	}
	if len(lines) > 0 {
		d.last = now
		_, _ = io.WriteString(d.w, strings.Join(lines, "\n")+"\n")
	}
}

// Close clears the lines that are redrawn in place. Further calls do nothing.
func (d *Display) Close() {
	d.once.Do(func() {
		close(d.stop)
		d.ticker.Wait()
		d.Step("")
	})
}
