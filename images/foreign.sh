#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a command in which programs of another architecture run: $1 registers
# their emulator, then come the command and its arguments.
#
# It runs as PID 1 of a PID and mount namespace in a user namespace of its own.
# A binfmt_misc mounted there is that user namespace's own since Linux 6.7. An
# older kernel refuses the mount. The registration must never be the host's: that
# of the first user namespace, or a register with entries.
set -eu
register=/proc/sys/fs/binfmt_misc
read -r _ _ ids </proc/self/uid_map
if [ "$ids" = 4294967295 ]; then
	echo "proofhouse: no private binfmt_misc: not in a user namespace" >&2
	exit 1
fi
if ! mount -t binfmt_misc binfmt_misc "$register" 2>/dev/null || [ ! -w "$register/register" ]; then
	echo "proofhouse: no private binfmt_misc" >&2
	exit 1
fi
for entry in "$register"/*; do
	case $entry in
	*/register | */status) ;;
	*)
		echo "proofhouse: no private binfmt_misc: it has $entry" >&2
		exit 1
		;;
	esac
done
printf '%s' "$1" >"$register/register"
shift
exec "$@"
