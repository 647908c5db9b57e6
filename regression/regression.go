// SPDX-License-Identifier: Apache-2.0

// Package regression knows the upstream AppArmor suite
// tests/regression/apparmor: where its source comes from, which scripts it
// has, what they need, and what the lines mean that they print. It builds and
// runs nothing.
//
//	src, err := regression.Fetch(ctx, "debian:trixie", progress)
//	scripts, err := src.Scripts()
//	…                                    // build in a guest, run one there
//	results := regression.Parse("open", output, regression.Exit{Status: status})
//
// A script is to be run by bash in TestDir with VERBOSE=1 in its environment,
// standard output and standard error in one stream, in the order in which
// they were written: the parser reads a subtest's lines in their context.
package regression

import "proofhouse/reports"

// GuestDir is where a guest root has the source tree, TestDir where in it the
// scripts are.
const (
	GuestDir = "/usr/lib/proofhouse/apparmor"
	TestDir  = GuestDir + "/" + testPath
)

// Where the scripts are in the upstream tree, and what their Makefile includes.
const (
	testPath   = "tests/regression/apparmor"
	commonPath = "common"
)

// ScriptID is the ID of the result about a script as a whole:
// "regression/open/(script)".
func ScriptID(script string) string { return SpecID(script).Whole().String() }

// SpecID is the ID of a script: "regression/open".
func SpecID(script string) reports.ID { return reports.NewID(reports.Regression, script) }
