// SPDX-License-Identifier: Apache-2.0

// Package nsmgr manages AppArmor policy namespaces through the files that the
// kernel shows in securityfs. It is pure Go, prints nothing, and knows nothing
// of containers but the name that LXC gives their namespaces.
//
// A program opens the view of its own namespace and works with those below it:
//
//	view, err := nsmgr.Open()
//	if err != nil { … }
//	err = view.Create(ctx, "container-ns", nsmgr.Making{Policy: policy})
//	tasks, err := view.Tasks("container-ns")
//	err = view.Delete(ctx, "container-ns", nsmgr.Deletion{})
//
// All that a [View] does is relative to the namespace that this process is in:
// within a container with a namespace of its own, that is all there is.
//
// The traps that the kernel's interface holds, and where they are dealt with:
// removing a namespace unconfines the tasks in it ([View.Delete]); policy is
// loaded all or nothing only in one write ([View.Load]); a stack names a
// namespace once for all the profiles in it ([ParseLabel]).
package nsmgr

import "proofhouse/internal/exit"

// refuse marks an error as a verdict of the kernel's or of ours on what was
// asked: exit status 1, while what cannot be meant is bad input, 2.
func refuse(err error) error { return exit.With(exit.Failed, err) }
