// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"proofhouse/machines"
	"proofhouse/machines/crash"
	"proofhouse/reports"
)

// unread returns what stands on the console since the last call. A line that
// is not complete yet is returned again by the next call: a complaint must not
// be missed because its line was cut in two.
func (m *bench) unread() string {
	mark := m.Console().Mark()
	text := m.Console().Since(m.read)
	partial := len(text) - 1 - strings.LastIndexByte(text, '\n')
	m.read = max(m.read, mark-partial)
	return text
}

// aftermath examines what a test did to the kernel. It returns why the machine
// cannot be used any more, or "". Whoever gets a reason must not report a PASS:
// the machine did not answer after the test, its taint could not be read, or
// the kernel complained.
func (l *Bench) aftermath(ctx context.Context, m *bench, runErr error, spec *reports.Spec) (why string) {
	if ctx.Err() != nil {
		return "interrupted: " + context.Cause(ctx).Error()
	}
	sane := m.Sane(ctx)
	console := m.unread()
	if c, ok := crash.Find(console); ok {
		spec.Crash, spec.Console = c.Title, c.Text
		return c.Title
	}
	if strings.Contains(console, machines.LogCut) {
		// What was cut may have been a complaint.
		spec.Console = lastLines(console, 40)
		return "the kernel's console printed too much: a part of it was cut"
	}
	for _, err := range []error{runErr, sane} {
		switch {
		case errors.Is(err, machines.ErrInsane):
			// Tainted, and nothing on the console.
			spec.Crash = err.Error()
			return spec.Crash
		case err != nil:
			spec.Console = lastLines(console, 40)
			return err.Error()
		}
	}
	return ""
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// kernelLog is the ID of the spec that has the complaints of a kernel that no
// test was running for.
var kernelLog = reports.NewID(reports.KernelLogs, "log").String()

// unclaimed reports what the kernel complained of while no test was running:
// while it booted, or between the last test and the end of the machine. Such a
// complaint is in no test's results, and must be in the verdict. Like a
// complaint in a "limits" row it is a FAIL under its title, so that an
// expectation can excuse exactly this one.
func (l *Bench) unclaimed(m *bench, when string) {
	spec := reports.Spec{ID: kernelLog, Kernel: m.build.ID(), Machine: m.record.ID, Start: time.Now().UTC()}
	var texts []string
	console := m.unread()
	for _, c := range crash.All(console) {
		spec.Results = append(spec.Results, complaint(kernelLog, c.Title, when))
		texts = append(texts, c.Text)
	}
	if strings.Contains(console, machines.LogCut) {
		// What was cut may have been a complaint.
		spec.Results = append(spec.Results, reports.Result{
			ID: kernelLog + "/(cut)", Status: reports.Error,
			Reason: "the kernel's console printed too much " + when + ": a part of it was cut",
		})
	}
	if taint := m.Info().Taint; taint != 0 && !m.taintReported && len(spec.Results) == 0 {
		spec.Results = append(spec.Results, complaint(kernelLog, "tainted", fmt.Sprintf("before the first test: /proc/sys/kernel/tainted has %#x, and its console does not say why", taint)))
	}
	m.taintReported = true
	if len(spec.Results) == 0 {
		return
	}
	spec.Console = strings.Join(texts, "\n\n")
	l.journal.SpecStarted(spec)
	spec.Results = l.Plan.Expectations.Judge(&l.state(m.build).kernel, unique(spec.Results), time.Now())
	spec.End = time.Now().UTC()
	l.journal.SpecEnded(spec)
}

// hostDependent are titles of complaints that a busy host can cause: the
// kernel's clock ran while its processor did not.
var hostDependent = regexp.MustCompile(`^(RCU stall|soft lockup|hard lockup|out of memory|BUG: workqueue lockup|task \S+ (hung|cannot die))`)

// complaint is the result for one complaint of the kernel.
func complaint(spec, title, when string) reports.Result {
	status := reports.Fail
	if hostDependent.MatchString(title) {
		status = reports.Error
	}
	return reports.Result{
		ID: spec + "/" + sourceLine.ReplaceAllString(title, "$1"), Status: status,
		Expected: "no warning", Got: title, Reason: fmt.Sprintf("the kernel warned or crashed %s: %s", when, title),
	}
}

// unique drops results whose ID came before: the same warning at another line
// of the same file.
func unique(results []reports.Result) []reports.Result {
	known := map[string]bool{}
	return slices.DeleteFunc(results, func(r reports.Result) bool {
		// Of the same title by way of other functions, it is another complaint.
		key := r.ID + " " + strings.Join(function.FindAllString(r.Output, -1), " ")
		again := known[key]
		known[key] = true
		return again
	})
}

// function matches the name of a function in a stack trace: "aa_free_profile+0x".
var function = regexp.MustCompile(`[A-Za-z0-9_.]+\+0x`)

// sourceLine matches what differs from release to release in the title of a
// crash: the line, with the column where there is one, before other text.
var sourceLine = regexp.MustCompile(`(?::\d+)+( |$)`)

// complaints returns the titles of all complaints on the console and puts
// their texts into the spec: the first may be known, and the next one not. For
// a kernel that was tainted without a word it returns what the spec says.
func complaints(spec *reports.Spec, console string) []crash.Crash {
	crashes := crash.All(console)
	if len(crashes) == 0 {
		return []crash.Crash{{Title: spec.Crash, Text: spec.Console}}
	}
	var texts []string
	for _, c := range crashes {
		texts = append(texts, c.Text)
	}
	spec.Console = strings.Join(texts, "\n\n")
	return crashes
}

// lockups are titles of complaints after which tasks do not continue.
var lockups = regexp.MustCompile(`^(soft lockup|hard lockup|task .+ (hung|cannot die))`)

// stops reports whether the complaints explain why a probe did not reach all
// cells. A warning does not: the kernel continues after it, so whatever else
// ended the probe must be reported. What a program prints is no explanation.
func stops(crashes []crash.Crash) bool {
	return slices.ContainsFunc(crashes, func(c crash.Crash) bool {
		return crash.Died(c.Text) || strings.HasSuffix(c.Title, "(then a panic)") || lockups.MatchString(c.Title)
	})
}

// crashResults turns the complaints of the kernel in a "limits" row into FAILs:
// such a row asks that the kernel survives. Cells that the probe did not reach
// because of the crash (cut) are not reported. Each result has the title of its
// crash in its ID, so that a known crash hides no other.
func crashResults(id string, crashes []crash.Crash, cut bool, results []reports.Result) []reports.Result {
	if cut {
		results = slices.DeleteFunc(results, func(r reports.Result) bool { return r.Status == reports.Error })
	}
	var found []reports.Result
	for _, c := range crashes {
		found = append(found, reports.Result{
			ID: id + "/(kernel-log) " + sourceLine.ReplaceAllString(c.Title, "$1"), Status: reports.Fail,
			Expected: "no warning", Got: c.Title, Reason: "the kernel warned or crashed: " + c.Title,
			Output: c.Text, // which functions it is about
		})
	}
	return append(results, unique(found)...)
}
