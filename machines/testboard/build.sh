#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the disk of the test board, disk.ext4, and busybox for its initramfs, in
# the working directory. $1 is the directory of the kernel's modules; the other
# arguments are mmdebstrap's, with the word ROOT where the target goes.
#
# It runs as PID 1 of a PID and mount namespace of its own.
set -eu
umask 022
modules=$1
shift
[ -z "$BOARD_TMPFS" ] || mount -t tmpfs -o "mode=0755,size=$BOARD_TMPFS" board work
root=$PWD/work/root
mkdir "$root"
n=$#
while [ "$n" -gt 0 ]; do
	word=$1
	shift
	[ "$word" != ROOT ] || word=$root
	set -- "$@" "$word"
	n=$((n - 1))
done
mmdebstrap "$@"

mkdir -p "$root/usr/lib/modules"
cp -r "$modules" "$root/usr/lib/modules/"
cp "$root/usr/bin/busybox" busybox
find "$root/dev" -mindepth 1 -delete
rm -f "$root"/etc/resolv.conf
echo board >"$root/etc/hostname"
echo 626f6172640000000000000000000001 >"$root/etc/machine-id"
: >"$root/etc/fstab"
mkdir -p "$root/root/.ssh"
chmod 700 "$root/root/.ssh"
cp board-network.service "$root/etc/systemd/system/"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sf ../board-network.service "$root/etc/systemd/system/multi-user.target.wants/board-network.service"
touch "$root/etc/.updated" "$root/var/.updated"
rm -f "$root/usr/lib/systemd/system-generators/systemd-ssh-generator" "$root/usr/lib/systemd/system-generators/systemd-getty-generator"
# What a board does in its first minute and its tests do not need.
for unit in systemd-logind.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer \
	e2scrub_reap.service systemd-pstore.service getty.target systemd-binfmt.service systemd-random-seed.service \
	systemd-remount-fs.service systemd-update-utmp.service systemd-user-sessions.service; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
mkfs.ext4 -q -F -d "$root" -m 0 -L board -E lazy_itable_init=0,root_owner=0:0 disk.ext4 4G
rm -rf work
