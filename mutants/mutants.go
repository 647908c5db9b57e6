// SPDX-License-Identifier: Apache-2.0

// Package mutants plants faults in the AppArmor of a kernel source tree, each
// switched on by the kernel parameter apparmor.mutant=N, and measures which of
// them the suite catches. The suite is worth what it can see: a fault that no
// test notices is a hole in the tests.
//
// The table of faults (table.tsv), the rewriting of the C source and the
// campaign live here. The kernel's source does not: it is read from a tree
// that the user names, and no line of it is kept. How a kernel is run lives in
// runs and runs/runner.
package mutants

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"proofhouse/internal/exit"
)

// Mutant is one planted fault.
type Mutant struct {
	// Number switches the fault on: apparmor.mutant=Number. It is at least 1 and
	// never given to another fault. A fault in several places is several lines of
	// the table, one behind the other, with the same number.
	Number int
	// File is relative to security/apparmor, such as "ipc.c".
	File     string
	Function string
	Operator Operator
	// Nth is which of the operator's sites in the function is meant; the first
	// is 1.
	Nth int
	// Old and New are the expressions of Swap.
	Old, New string
	// Chosen is "rule" or "hand".
	Chosen string
	// Note says what breaks, or, after "equivalent: ", why the fault cannot
	// change behaviour.
	Note string
}

// Operator is how a fault changes the source.
type Operator string

// The operators.
const (
	// Negate inverts the condition of an if.
	Negate Operator = "negate"
	// Never makes the condition of an if false; it is still evaluated.
	Never Operator = "never"
	// Always makes the condition of an if true.
	Always Operator = "always"
	// Left ignores the last operand of the && or || of a condition.
	Left Operator = "left"
	// Right ignores the first operand of the && or || of a condition.
	Right Operator = "right"
	// Drop skips a statement that is one call.
	Drop Operator = "drop"
	// Succeed returns 0 in place of an error number.
	Succeed Operator = "succeed"
	// Zero replaces a constant of permissions, flags or modes by 0.
	Zero Operator = "zero"
	// Swap replaces an expression by another: it takes a fix back.
	Swap Operator = "swap"
)

// Equivalent returns why the fault cannot change what the kernel does, or "".
func (m Mutant) Equivalent() string {
	why, ok := strings.CutPrefix(m.Note, "equivalent: ")
	if !ok {
		return ""
	}
	return why
}

// Site is a place in the source where an operator applies.
type Site struct {
	File     string
	Function string
	Operator Operator
	Nth      int
	Line     int
	Text     string // of the source, on one line
	span     span
}

//go:embed table.tsv
var table string

// Table returns the shipped faults, by number.
func Table() ([]Mutant, error) { return parseTable(table) }

func parseTable(text string) ([]Mutant, error) {
	var all []Mutant
	seen := map[int]bool{}
	places := map[string]int{}
	in := bufio.NewScanner(strings.NewReader(text))
	for n := 1; in.Scan(); n++ {
		line := in.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		swap := len(f) == 8 && f[3] == string(Swap)
		if len(f) != 7 && !swap {
			return nil, fmt.Errorf("line %d: %d fields, want 7: number, file, function, operator, nth, chosen, note, and for swap an 8th: OLD => NEW", n, len(f))
		}
		number, err1 := strconv.Atoi(f[0])
		nth, err2 := strconv.Atoi(f[4])
		m := Mutant{Number: number, File: f[1], Function: f[2], Operator: Operator(f[3]), Nth: nth, Chosen: f[5], Note: f[6]}
		place := strings.Join(f[1:5], " ")
		if swap {
			m.Old, m.New, _ = strings.Cut(f[7], " => ")
			place += " " + m.Old
		}
		switch {
		case err1 != nil || err2 != nil || number < 1 || nth < 1:
			return nil, fmt.Errorf("line %d: number %q and nth %q must be at least 1", n, f[0], f[4])
		case (m.Operator == Swap) != (m.Old != "" && m.New != ""):
			return nil, fmt.Errorf("line %d: swap needs an 8th field, OLD => NEW", n)
		case seen[number] && all[len(all)-1].Number != number:
			return nil, fmt.Errorf("line %d: number %d given twice", n, number)
		case places[place] != 0:
			return nil, fmt.Errorf("line %d: the same fault as number %d", n, places[place])
		case m.Chosen != "rule" && m.Chosen != "hand":
			return nil, fmt.Errorf("line %d: chosen by %q, want rule or hand", n, m.Chosen)
		}
		seen[number], places[place] = true, number
		all = append(all, m)
	}
	slices.SortStableFunc(all, func(a, b Mutant) int { return a.Number - b.Number })
	return all, in.Err()
}

// apparmorDir is AppArmor's directory in a kernel source tree.
const apparmorDir = "security/apparmor"

// mutantHeader declares the switch. The Makefile includes it in every file of
// AppArmor.
const mutantHeader = `/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __AA_MUTANT_H
#define __AA_MUTANT_H
#ifndef __ASSEMBLY__
#include <linux/compiler.h>
#include <linux/types.h>
extern int aa_mutant_number;
/* Declared for every file: unused where no fault was planted. */
static inline bool aa_mutant(int number)
{
	return unlikely(READ_ONCE(aa_mutant_number) == number);
}
#endif
#endif
`

// mutantSource defines the switch: the kernel parameter apparmor.mutant.
const mutantSource = `// SPDX-License-Identifier: GPL-2.0-only
#include <linux/moduleparam.h>
int aa_mutant_number;
module_param_named(mutant, aa_mutant_number, int, 0444);
`

// Sites returns all places of the tree where an operator applies.
func Sites(tree string) ([]Site, error) {
	root, err := openTree(tree)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	names, err := filepath.Glob(filepath.Join(tree, apparmorDir, "*.c"))
	if err != nil {
		return nil, err
	}
	var all []Site
	for _, name := range names {
		file := filepath.Base(name)
		if strings.HasSuffix(file, "_test.c") {
			continue
		}
		src, err := root.ReadFile(file)
		if err != nil {
			return nil, err
		}
		all = append(all, sitesOf(file, string(src))...)
	}
	return all, nil
}

// Plant rewrites security/apparmor of the tree so that it has the faults. A
// fault whose place is not in the tree is an error, and then nothing is
// written: the numbers of a table must mean the same on every kernel.
func Plant(tree string, faults []Mutant) error {
	root, err := openTree(tree)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	if _, err := root.Stat("mutant.c"); err == nil {
		return exit.BadInputf("plant faults in %s: it already has faults; unpack a fresh tree", tree)
	}
	byFile := map[string][]Mutant{}
	for _, m := range faults {
		if m.File != filepath.Base(m.File) {
			return exit.BadInputf("plant fault %d: file %q is not in %s", m.Number, m.File, apparmorDir)
		}
		byFile[m.File] = append(byFile[m.File], m)
	}
	written := map[string]string{}
	var missing []error
	for file, faults := range byFile {
		src, err := root.ReadFile(file)
		if err != nil {
			return exit.BadInputf("plant faults: %w", err)
		}
		text, err := plant(file, string(src), faults)
		missing = append(missing, err)
		written[file] = text
	}
	if err := errors.Join(missing...); err != nil {
		return exit.BadInputf("plant faults in %s: %w", tree, err)
	}
	makefile, err := root.ReadFile("Makefile")
	if err != nil {
		return exit.BadInputf("plant faults: %w", err)
	}
	written["mutant.h"], written["mutant.c"] = mutantHeader, mutantSource
	written["Makefile"] = string(makefile) + "\napparmor-y += mutant.o\n" +
		"ccflags-y += -include $(srctree)/" + apparmorDir + "/mutant.h\n"
	for name, text := range written {
		if err := root.WriteFile(name, []byte(text), 0o644); err != nil {
			return fmt.Errorf("plant faults: %w", err)
		}
	}
	return nil
}

// openTree opens the directory of AppArmor in a kernel source tree.
func openTree(tree string) (*os.Root, error) {
	root, err := os.OpenRoot(filepath.Join(tree, apparmorDir))
	if err != nil {
		return nil, exit.BadInputf("open the kernel source tree %s: %w", tree, err)
	}
	return root, nil
}
