#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mmdebstrap's customize hook: $1 is the root, with /dev and /proc in place.
# Builds the upstream tests' helpers in there, against the libapparmor that
# they will run with, and writes down what the root is made of.
set -eu
cd "$PROOFHOUSE_BUILD"
tar --extract --file=tests.tar --directory="$1" --no-overwrite-dir --keep-directory-symlink
echo "proofhouse: building the tests' helpers"
# The suite's Makefile is somebody else's: it runs without any capability, so
# that it cannot leave the root, and without a network.
xargs --null --arg-file=make.args unshare --net chroot "$1" \
	setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs
chroot "$1" passwd --delete root
chroot "$1" dpkg-query --show --showformat='${db:Status-Abbrev}\t${Package}\t${Version}\n' >packages
sed -n 's/^Date: //p' "$1"/var/lib/apt/lists/*Release >release

# What builds programs for this root: a compiler, liblxc with its headers, and
# what those need. lxc-dev itself wants all of lxc, so it is taken by itself.
# Two of them have other names from suite to suite. The packages' lists of files
# name some paths through the links at the top.
{
	echo lxc-dev
	chroot "$1" apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks \
		--no-replaces --no-enhances gcc libc6-dev pkgconf libcap-dev libdbus-1-dev libseccomp-dev \
		$(chroot "$1" dpkg-query --show --showformat='${Package} ' 'liblxc1*' 'libselinux*-dev') |
		sed -n '/^[a-z0-9]/{s/:.*//;p}'
} | sort -u >sysroot.packages
while read -r package; do
	chroot "$1" dpkg-query --listfiles "$package" 2>/dev/null || true # a virtual package has none
done <sysroot.packages | sed -n 's|^/\(.\)|./\1|p' | sort -u >sysroot.files
mkdir sysroot
for top in bin lib lib64 sbin; do
	ln -s "usr/$top" "sysroot/$top"
	mkdir -p "sysroot/usr/$top"
done
tar --create --directory="$1" --no-recursion --ignore-failed-read --files-from=sysroot.files --warning=no-failed-read \
	--exclude='./usr/share/*' --exclude='lib*san.*' --exclude=lto1 |
	tar --extract --directory=sysroot --keep-directory-symlink --no-same-owner
