// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"proofhouse/containers"
	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// auditFlags are what audit was asked for.
type auditFlags struct {
	since           string
	file            string
	follow          bool
	asJSON, asLines bool
	rules           bool
	policy          []string
}

func auditCommand() *cobra.Command {
	var a auditFlags
	c := &cobra.Command{
		Use: "audit [NAME]", Short: "Print AppArmor audit records, decoded",
		Long: `Prints the AppArmor records that the kernel log and the audit daemon's log
still have, rotated logs included. Each says whose policy it is about: the
host's or the namespace's. A denial by both parts of a stack is two records.
With NAME, only records of that namespace and of those below it are printed.

Notes on the standard error name what may be missing: a kernel log that wrapped
around, records that the kernel suppressed, a damaged file.

--file reads the log of another host, in any form: auditd's log, dmesg, syslog,
journalctl (also with -o json). --since takes a duration, a date or a time.

--rules prints the rules that would allow what was denied, instead of the
records: for each profile of the host part and of the namespace part, with the
file and the line of the profile, if it is in a directory of --policy. A rule
allows what was denied and no more; apparmor_parser has accepted each. Judge
them: a denial may be an attack. With NAME, the host part has the denials of the
namespace's tasks.

Exit status 2: a log could not be read. What the others have is printed.`,
		Example: `  nsmgr audit container-ns --since 10m
  nsmgr audit --since "2026-11-28 07:00" --json
  nsmgr audit container-ns --follow
  nsmgr audit --file audit.log
  nsmgr audit container-ns --rules`,
		Args: args(0, 1, "give at most one namespace"), ValidArgsFunction: completeNames,
		RunE: func(c *cobra.Command, got []string) error {
			var ns nsmgr.Name
			if len(got) == 1 {
				var err error
				if ns, err = nsmgr.ParseName(got[0]); err != nil {
					return err
				}
			}
			return a.run(c, ns)
		},
	}
	f := c.Flags()
	f.StringVar(&a.since, "since", "", "only records logged since then: a `TIME` such as 10m, 2d, 2026-11-28, \"2026-11-28 07:00\"")
	f.StringVar(&a.file, "file", "", "read the log in `FILE`, of any host; - is the standard input")
	f.BoolVarP(&a.follow, "follow", "f", false, "print further records as they are logged")
	f.BoolVar(&a.asJSON, "json", false, "as JSON: a list; with --follow one object a line")
	f.BoolVar(&a.asLines, "json-lines", false, "as JSON, one object a line")
	f.BoolVar(&a.rules, "rules", false, "print the rules that would allow what was denied")
	f.StringArrayVar(&a.policy, "policy", []string{"/etc/apparmor.d", "/etc/apparmor.d/local", "/etc/apparmor.d/containers", "/etc/apparmor.d/lxc", "/etc/nsmgr", "/etc/nsmgr/profiles"}, "look for profiles in `DIR`; can be repeated")
	return c
}

func (a auditFlags) run(c *cobra.Command, ns nsmgr.Name) error {
	since, err := parseSince(a.since, time.Now())
	if err != nil {
		return err
	}
	switch {
	case a.follow && a.file != "":
		return exit.BadInputf("audit: --follow reads this host's logs, and --file another's: use tail -F FILE | nsmgr audit --file -")
	case a.follow && a.rules:
		return exit.BadInputf("audit: give --rules or --follow, not both: rules are made from records that exist")
	case a.follow && a.asJSON:
		a.asJSON, a.asLines = false, true
	}
	p := &recordPrinter{c: c, ns: ns, flags: a}
	if a.file != "" {
		return p.file(a.file, since)
	}
	v, err := nsmgr.Open()
	if err != nil {
		return err
	}
	log, err := nsmgr.ReadLog(since)
	if a.rules && ns != "" {
		concerning, lookErr := v.Concerning(ns, log.Records)
		if lookErr != nil {
			return lookErr
		}
		log.Records, p.ns = concerning, ""
	}
	for _, r := range log.Records {
		if err := p.print(r); err != nil {
			return err
		}
	}
	for _, g := range log.Gaps {
		p.note(g)
	}
	if err := errors.Join(err, p.end()); err != nil || !a.follow {
		return err
	}
	return nsmgr.Follow(c.Context(), func(r *nsmgr.Record, g *nsmgr.Gap) error {
		if g != nil {
			p.note(*g)
			return nil
		}
		return p.print(*r)
	})
}

// recordPrinter prints the records of a namespace in the form that was asked
// for.
type recordPrinter struct {
	c     *cobra.Command
	ns    nsmgr.Name
	flags auditFlags
	list  []nsmgr.Record // for --json and --rules
}

func (p *recordPrinter) print(r nsmgr.Record) error {
	switch {
	case p.ns != "" && !r.In(p.ns):
		return nil
	case p.flags.asJSON, p.flags.rules:
		p.list = append(p.list, r)
		return nil
	case p.flags.asLines:
		return printLine(p.c, r)
	}
	_, err := fmt.Fprintln(p.c.OutOrStdout(), r)
	return err
}

func (p *recordPrinter) note(g nsmgr.Gap) {
	_, _ = fmt.Fprintf(p.c.ErrOrStderr(), "nsmgr: note: records may be missing: %s\n", printable.Text(g.String()))
}

// end prints what --json and --rules have.
func (p *recordPrinter) end() error {
	if p.flags.rules {
		return p.rules()
	}
	if !p.flags.asJSON {
		return nil
	}
	return printJSON(p.c, append([]nsmgr.Record{}, p.list...))
}

// rules prints the rules that would allow what was denied.
func (p *recordPrinter) rules() error {
	// A log of another host is read where there may be no AppArmor: the parser
	// then goes by the features that it has built in.
	comp, err := profiles.NewCompiler(nsmgr.Features{})
	if v, openErr := nsmgr.Open(); openErr == nil {
		comp, err = containers.Compiler(v)
	}
	if err != nil {
		return err
	}
	sets := profiles.RulesFor(p.list)
	if err := comp.CheckRules(p.c.Context(), sets); err != nil {
		return err
	}
	profiles.Locate(sets, p.flags.policy)
	if p.flags.asJSON {
		return printJSON(p.c, sets)
	}
	if p.flags.asLines {
		for _, s := range sets {
			if err := printLine(p.c, s); err != nil {
				return err
			}
		}
		return nil
	}
	if len(sets) == 0 {
		say(p.c, "# nothing was denied")
	}
	for i, s := range sets {
		if i > 0 {
			say(p.c, "")
		}
		printRules(p.c, s)
	}
	return nil
}

func printRules(c *cobra.Command, s profiles.RuleSet) {
	where := "host part"
	if s.Namespace != "" {
		where = "namespace part, namespace " + string(s.Namespace)
	}
	say(c, "# %s, profile %q", printable.Text(where), s.Profile)
	_, child, isChild := strings.Cut(s.Profile, nsmgr.Separator)
	switch {
	case s.File != "" && isChild:
		say(c, "# add to %s, to the child profile or hat %q within the profile that begins in line %d, not to that profile itself", printable.Text(s.File), child, s.Line)
	case s.File != "":
		say(c, "# add to %s, in the profile that begins in line %d", printable.Text(s.File), s.Line)
	case len(s.Candidates) > 0:
		say(c, "# add to the profile, in the file that the namespace was loaded from; these files have a profile of that name: %s", printable.Text(strings.Join(s.Candidates, ", ")))
	case s.Namespace != "":
		say(c, "# add to the profile, in the file that the namespace was loaded from (no directory of --policy has it), then: nsmgr load %s FILE", printable.Text(string(s.Namespace)))
	default:
		say(c, "# add to the profile, in the file that it was loaded from (no directory of --policy has it)")
	}
	for _, r := range s.Rules {
		say(c, "  %s  # %s", r.Text, printable.Count(r.Records, "record"))
	}
	for _, l := range s.Left {
		say(c, "# no rule: %s: %s", printable.Text(l.Reason), printable.Text(l.Record))
	}
}

// file prints the records of a log of any host.
func (p *recordPrinter) file(path string, since time.Time) error {
	in := p.c.InOrStdin()
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return exit.BadInputf("read audit records: %w", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	gaps, err := nsmgr.ReadRecords(in, path, func(r nsmgr.Record) error {
		if !r.Time.IsZero() && r.Time.Before(since) {
			return nil
		}
		return p.print(r)
	})
	for _, g := range gaps {
		p.note(g)
	}
	return errors.Join(exit.BadInput(err), p.end())
}

// sinceForms are how --since writes a time, in the local time zone unless it
// names another.
var sinceForms = []string{
	time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly,
}

// parseSince reads a duration before now, or a time. "" is the beginning.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := parseAge(s); err == nil {
		return now.Add(-d), nil
	}
	for _, form := range append(slices.Clone(sinceForms), time.TimeOnly, "15:04") {
		t, err := time.ParseInLocation(form, s, time.Local)
		if err != nil {
			continue
		}
		if t.Year() == 0 { // a time of today
			year, month, day := now.Date()
			t = time.Date(year, month, day, t.Hour(), t.Minute(), t.Second(), 0, time.Local)
		}
		return t, nil
	}
	return time.Time{}, exit.BadInputf("--since %q: want a duration such as 10m or 2d, a date such as 2026-11-28, or a time such as \"2026-11-28 07:00\" or 07:00", s)
}

// parseAge is time.ParseDuration that also takes days, and no negative ones.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = errors.New("it is negative")
	}
	return d, err
}

func watchCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "watch NAME", Short: "Print changes and audit records of a namespace as they happen",
		Long: `Prints each change of the namespace's policy and each audit record of it, until
it is removed or the command is interrupted. Where there is no log to read, as in
a container, only the changes are printed. With --json one object a line.`,
		Example: "  nsmgr watch container-ns",
		Args:    args(1, 1, "give one namespace"), ValidArgsFunction: completeNames,
		RunE: func(c *cobra.Command, got []string) error {
			v, ns, err := onNamespace(got[0])
			if err != nil {
				return err
			}
			return v.Watch(c.Context(), ns, func(e nsmgr.Event) error {
				switch {
				case asJSON:
					return printLine(c, e)
				case e.Gap != nil:
					_, _ = fmt.Fprintf(c.ErrOrStderr(), "nsmgr: note: records may be missing: %s\n", printable.Text(e.Gap.String()))
				case e.Record != nil:
					say(c, "%s", *e.Record)
				case e.Removed:
					say(c, "%s was removed", printable.Text(string(ns)))
				default:
					say(c, "%s %s is at revision %d", time.Now().Format("2006-01-02 15:04:05.000"), printable.Text(string(ns)), e.Revision)
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON, one object a line")
	return c
}
