// SPDX-License-Identifier: Apache-2.0

// Package crash finds the kernel's complaints in console text: panics, oopses,
// warnings, sanitizer and lockdep reports. It reads text only.
//
// A new kind of complaint is one row in patterns.go and one sample: a line in
// testdata/lines.tsv, or a console in testdata/NAME.txt whose first line is
// "title: TITLE".
package crash

import (
	"regexp"
	"strings"
)

// Crash is a complaint of the kernel: a panic, an oops, a warning.
type Crash struct {
	Title string // one line: "WARNING in aa_put_label"
	Text  string // the report, as it stands on the console
}

// stamp matches what printk writes before the text: level, time, task or processor.
var stamp = regexp.MustCompile(`^(?:<\d+>)?(?:\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])? ?)?`)

// cutHere begins a warning or an oops (kernel/panic.c).
const cutHere = "------------[ cut here ]------------"

// reportLines is the maximum length of a report, in lines.
const reportLines = 120

// Find returns the first complaint in the console text. A panic that follows is
// its consequence, and only mentioned in the title.
func Find(console string) (Crash, bool) {
	all := All(console)
	if len(all) == 0 {
		return Crash{}, false
	}
	return all[0], true
}

// died matches the oops counter that die() prints when it kills the current task
// (arch/x86/kernel/dumpstack.c, arch/arm64/kernel/traps.c), and a panic.
var died = regexp.MustCompile(`\[#\d+\]|Kernel panic - not syncing`)

// Died reports whether the console shows a fatal oops or a panic. A task that an
// oops killed never releases its locks.
func Died(console string) bool { return died.MatchString(console) }

// All returns every complaint in the console text, each title once. Complaints
// after a fatal oops or a panic are its consequences, and left out.
func All(console string) []Crash {
	var found []Crash
	known := map[string]bool{}
	lines := strings.Split(strings.ReplaceAll(console, "\r", ""), "\n")
	for i := 0; i < len(lines); i++ {
		title, ok := complaint(lines[i])
		if !ok {
			continue
		}
		c := Crash{Title: kernelTitle(title, lines[i+1:])}
		var end int
		c.Text, end = report(lines, i)
		if !known[c.Title] {
			known[c.Title] = true
			found = append(found, c)
		}
		if Died(c.Text) {
			break
		}
		i = end - 1
	}
	return found
}

// maxLine is how many bytes of a line are looked at, from its end. A record of the
// kernel's log has up to 1024 (PRINTK_MESSAGE_MAX is 2048 with its prefix).
const maxLine = 4096

// complaint returns the title of the complaint that begins with this line.
func complaint(line string) (string, bool) {
	// A complaint may follow what a program wrote without a newline; what it
	// wrote has no bound.
	if len(line) > maxLine {
		line = line[len(line)-maxLine:]
	}
	text := stamp.ReplaceAllString(line, "")
	for _, p := range patterns {
		if m := p.re.FindStringSubmatchIndex(text); m != nil {
			return string(p.re.ExpandString(nil, p.title, text, m)), true
		}
	}
	return "", false
}

// kernelTitle mentions a panic that followed the complaint.
func kernelTitle(title string, rest []string) string {
	if strings.HasPrefix(title, "panic: ") {
		return strings.TrimSpace(title)
	}
	for _, line := range rest {
		if strings.Contains(line, "Kernel panic - not syncing") {
			return title + " (then a panic)"
		}
	}
	return strings.TrimSpace(title)
}

// starts matches titles of complaints that are the first line of a report, and
// never a line of another one. An oops counter or a panic can be either.
var starts = regexp.MustCompile(`^(?:KASAN: |KMSAN: |KFENCE: |KCSAN: |UBSAN: |lockdep: |WARNING in |kernel BUG |NULL pointer dereference|bad page fault|paging request|general protection fault)`)

// startsReport reports whether another report begins with this line. Not all
// reports have an end marker, and what is known must not hide what follows it.
func startsReport(line string) bool {
	title, ok := complaint(line)
	return ok && starts.MatchString(title)
}

// report returns the complaint's text: from its "cut here" line to its end marker,
// or to the start of the next complaint. end is the index of the line after it.
func report(lines []string, i int) (text string, end int) {
	second := i + 1 // it may be the start of a report that the title announces
	if i > 0 && strings.Contains(lines[i-1], cutHere) {
		i--
	}
	end = i + 1
	for end < len(lines) && end-i < reportLines {
		line := lines[end]
		if end > i+1 && strings.Contains(line, cutHere) || end > second && startsReport(line) {
			break // another's
		}
		end++
		if strings.Contains(line, "---[ end ") {
			break
		}
	}
	return strings.TrimRight(strings.Join(lines[i:end], "\n"), "\n"), end
}
