#!/bin/sh
# mmdebstrap's customize hook: $1 is the root, with /dev and /proc in place.
# Builds the upstream tests' helpers in there, against the libapparmor that
# they will run with, and writes down what the root is made of.
set -eu
cd "$PROOFHOUSE_BUILD"
tar --extract --file=tests.tar --directory="$1" --no-overwrite-dir --keep-directory-symlink
echo "proofhouse: building the tests' helpers"
xargs --null --arg-file=make.args chroot "$1"
chroot "$1" passwd --delete root
chroot "$1" dpkg-query --show --showformat='${db:Status-Abbrev}\t${Package}\t${Version}\n' >packages
sed -n 's/^Date: //p' "$1"/var/lib/apt/lists/*Release >release
