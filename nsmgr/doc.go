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
//
// # Errors
//
// Each kind of error is distinguished by errors.Is, and those that have more to say
// by errors.As:
//
//	[ErrUnavailable]  the kernel has no usable AppArmor interface ([Open])
//	[ErrNotAdmin]     this process may not change policy
//	[ErrInvalid]      a name or label is invalid
//	[ErrExist]        the namespace already exists
//	[ErrNotExist]     no such namespace or profile
//	[ErrInUse]        live tasks stand against the change; [InUseError] has them
//	[ErrHasChildren]  namespaces are below the one to be removed
//	[ErrTasksHidden]  not all tasks can be seen; [HiddenTasksError] has the reason
//	[ErrTransition]   the policy of this process forbids the label
//	[ErrFeature]      the kernel lacks a feature; [FeatureError] names it
//	[ErrNotKept]      the kernel does not keep loaded policy
//	[ErrNoPolicy]     the data is not compiled policy
//	[ErrCompressed]   the compiled policy is compressed
//	[ErrArchive]      the file is not an intact archive of policy
//	[LoadError]       the kernel refused policy; the namespace is unchanged
//	[HeldError]       something that the kernel does not show refers to a namespace
//
// Where an operation was interrupted, [View.Mend] completes or undoes it. An error of
// the context is wrapped.
package nsmgr

import (
	"errors"

	"proofhouse/internal/exit"
)

// The kinds of error that have no better place.
var (
	// ErrUnavailable is the error of a kernel whose AppArmor cannot be used: it has
	// none, it is disabled, or securityfs is not mounted.
	ErrUnavailable = errors.New("no usable AppArmor interface")
	// ErrNotAdmin is the error of a process that may not change policy.
	ErrNotAdmin = errors.New("not policy admin")
	// ErrInvalid is the error of an invalid name or label.
	ErrInvalid = errors.New("invalid name or label")
)

// kindError is an error of one of those kinds, whose text does not have it.
type kindError struct{ err, kind error }

func (e *kindError) Error() string        { return e.err.Error() }
func (e *kindError) Unwrap() error        { return e.err }
func (e *kindError) Is(target error) bool { return target == e.kind }

// refuse marks an error as a verdict of the kernel's or of ours on what was
// asked: exit status 1, while what cannot be meant is bad input, 2.
func refuse(err error) error { return exit.With(exit.Failed, err) }
