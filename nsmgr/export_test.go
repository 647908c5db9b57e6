// SPDX-License-Identifier: Apache-2.0

package nsmgr

// MarkRemoving writes the record that a removal writes before it begins.
func MarkRemoving(v *View, ns Name) error {
	n, _ := v.read(ns)
	n.Name, n.State, n.Inode = ns, stateRemoving, v.inode(ns)
	return v.write(n)
}

// Unchanged is View.unchanged.
func Unchanged(v *View, ns Name, below []Name) error { return v.unchanged(ns, below) }
