#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the guest's root and its image in $PROOFHOUSE_BUILD, which is the
# working directory; the arguments are mmdebstrap's: its options, the suite,
# the word ROOT where the target goes, and the archive.
#
# It runs as PID 1 of a PID and mount namespace of its own, so that whatever
# ends it ends all below it, and no mount is ever seen by the host.
set -eu
umask 022
root=$PWD/work/root

# An ordinary user's files below would belong to subordinate uids, which that
# user could not remove if we were killed: they live in memory instead.
if [ -n "$PROOFHOUSE_TMPFS" ]; then
	mount -t tmpfs -o "mode=0755,size=$PROOFHOUSE_TMPFS" proofhouse work
fi
mkdir work/root work/tmp
chmod 1777 work/tmp
export TMPDIR="$PWD/work/tmp"

# The target's path may hold anything, so it is put in place here, word by word.
n=$#
while [ "$n" -gt 0 ]; do
	word=$1
	shift
	[ "$word" != ROOT ] || word=$root
	set -- "$@" "$word"
	n=$((n - 1))
done
mmdebstrap "$@"

# After mmdebstrap has cleaned up, because that empties some of these files.
rm -f "$root/etc/resolv.conf" "$root/etc/machine-id"
# Only root could have made device nodes; a guest has devtmpfs in any case.
find "$root/dev" -mindepth 1 -delete
tar --extract --file=settings.tar --directory="$root" --no-overwrite-dir --keep-directory-symlink

echo "proofhouse: writing the image"
used=$(du --summarize --block-size=1K "$root" | cut -f1)
mkfs.ext4 -q -F -d "$root" -m 0 -U "$PROOFHOUSE_UUID" -E "hash_seed=$PROOFHOUSE_UUID,lazy_itable_init=0,nodiscard,root_owner=0:0" \
	-L proofhouse root.ext4 "$((used + used / 8 + PROOFHOUSE_FREE_KIB))k"
chmod 0444 root.ext4
rm -rf work/root work/tmp
