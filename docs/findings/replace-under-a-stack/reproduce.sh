#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A stacked task, and two replacements of its namespace's profile: the second
# must be in force like the first. Run as root; exit status 1 shows the defect.
fs=/sys/kernel/security/apparmor/policy ns=repro-replace file=/tmp/repro-replace
load() { # namespace ("" is the host's), rule
	printf 'abi <kernel>,\nprofile p flags=(attach_disconnected) {\n file,\n capability,\n signal,\n %s\n}\n' "$2" |
		apparmor_parser --replace --skip-cache --quiet ${1:+--namespace "$1"}
}
check() { # what is expected of the task's next open, and when
	echo go >&7
	read -r got <&8
	printf '%-45s expected %-8s got %s\n' "$2" "$1" "$got"
	[ "$1" = "$got" ] || bad=1
}
try() { # label
	echo "label $1"
	load "" ""
	load $ns "deny $file r,"
	mkfifo $file.to $file.from
	( # builtins only: it is one task that opens the file
		echo -n "changeprofile $1" >/proc/self/attr/apparmor/current || exit
		while read -r _; do
			if { : <$file; } 2>/dev/null; then echo allowed; else echo denied; fi
		done
	) <$file.to >$file.from &
	exec 7>$file.to 8<$file.from
	check denied "the namespace's profile denies:"
	load $ns ""
	check allowed "replaced by one that allows:"
	load $ns "deny $file r,"
	check denied "replaced again by the one that denies:"
	load $ns ""
	check allowed "replaced again by the one that allows:"
	exec 7>&- 8<&-
	rm $file.to $file.from
	wait
}
bad=0
echo text >$file
mkdir $fs/namespaces/$ns
try :$ns:p
try "p//&:$ns:p"
rmdir $fs/namespaces/$ns
printf p >${fs}/.remove
rm $file
uname -r
exit $bad
