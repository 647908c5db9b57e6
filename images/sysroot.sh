#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a command in a root's build directory: $1 is the directory, $2 the number of
# directories of the host that the command sees, at the paths that they have
# here, then come these, then the command with its arguments.
#
# It runs as PID 1 of a PID and mount namespace of its own: the mounts end
# with it, and so does all that it starts.
set -eu
root=$1
n=$2
shift 2
while [ "$n" -gt 0 ]; do
	mkdir -p "$root$1"
	mount --rbind "$1" "$root$1"
	shift
	n=$((n - 1))
done
for directory in /dev /proc; do
	mkdir -p "$root$directory"
	mount --rbind "$directory" "$root$directory"
done
exec chroot "$root" "$@"
