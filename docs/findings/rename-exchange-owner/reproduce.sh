#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A task under an owner rule exchanges its file for another user's. Run as root,
# with coreutils 9.5 or newer; exit status 1 shows the defect.
fs=/sys/kernel/security/apparmor dir=/srv/repro-exchange
mv --help | grep -q -- --exchange || { echo "mv has no --exchange: coreutils 9.5 or newer is needed"; exit 2; }
mkdir -p $dir && echo mine >$dir/a && echo theirs >$dir/b && chown 1000 $dir/b
printf "abi <kernel>,\nprofile repro-exchange flags=(attach_disconnected) {\n capability,\n signal,\n /{usr/,}{bin,lib,lib64,libexec,share}/** mrix,\n /etc/** r,\n /proc/** r,\n /dev/** rw,\n /sys/** r,\n $dir/ r,\n owner $dir/** rw,\n}\n" |
	apparmor_parser --replace --skip-cache --quiet
aa-exec -p repro-exchange -- mv -T $dir/b $dir/c 2>/dev/null
[ -e $dir/b ] && echo "plain rename of another user's file: denied"
aa-exec -p repro-exchange -- mv --exchange -T $dir/a $dir/b 2>/dev/null
got=denied status=0
[ "$(cat $dir/a)" = mine ] || got=done status=1
echo "exchange: $got, expected: denied"
rm -r $dir
printf repro-exchange >$fs/.remove
uname -r
exit $status
