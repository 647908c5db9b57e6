// SPDX-License-Identifier: Apache-2.0

package images

// What the tests in package images_test use.
var (
	NeedE2fsprogs = needE2fsprogs
	Debugfs       = debugfs
	Find          = find
)

// Room is room.
const Room = room
