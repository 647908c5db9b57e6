#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Denies a profile two UNIX sockets by the paths that its task connects to. One
# was bound by that path, the other by the path of a bind mount. Run as root;
# exit status 1 shows the defect: the second is not denied.
set -e
dir=$(mktemp -d)
mkdir "$dir/a" "$dir/b"
mount --bind "$dir/a" "$dir/b"
trap 'kill $(jobs -p) 2>/dev/null; umount "$dir/b"; rm -r "$dir"' EXIT
apparmor_parser --replace --quiet <<EOF
abi <kernel>,
profile bound-elsewhere flags=(attach_disconnected) {
  file,
  unix,
  network,
  capability,
  signal,
  audit deny $dir/a/here rw,
  audit deny $dir/a/there rw,
}
EOF
listen='use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) && bind(S, pack_sockaddr_un($ARGV[0])) && listen(S, 8) or die "$!\n"; sleep 60'
connect='use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); print connect(S, pack_sockaddr_un($ARGV[0])) ? "connected\n" : "$!\n"'
perl -e "$listen" "$dir/a/here" &
perl -e "$listen" "$dir/b/there" &
for _ in $(seq 50); do [ -S "$dir/a/here" ] && [ -S "$dir/a/there" ] && break; sleep .1; done
confined() { sh -c 'echo changeprofile bound-elsewhere > /proc/self/attr/apparmor/current && exec "$@"' sh "$@"; }
here=$(confined perl -e "$connect" "$dir/a/here") there=$(confined perl -e "$connect" "$dir/a/there")
echo "a/here, bound as a/here: $here"
echo "a/there, bound as b/there: $there"
uname -r
if [ "$here" = connected ]; then
	echo "this kernel does not mediate sockets that are files"
elif [ "$there" = connected ]; then
	exit 1
fi
