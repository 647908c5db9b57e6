#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A task whose policy denies it ptrace (read) reads another's environment. Run
# as root; exit status 1 shows that it is read, though the denial is logged.
fs=/sys/kernel/security/apparmor/policy
printf 'abi <kernel>,\nprofile repro-read {\n file,\n capability,\n signal,\n audit deny ptrace read,\n}\n' | apparmor_parser --replace --skip-cache --quiet
SECRET=found sleep 60 &
target=$!
sleep 1
got=$(
	echo -n "changeprofile repro-read" >/proc/self/attr/apparmor/current
	tr '\0' '\n' </proc/$target/environ | grep SECRET
)
dmesg | grep 'operation="ptrace".*repro-read' | tail -1
kill $target
printf repro-read >$fs/.remove
echo "read: ${got:-nothing}"
uname -r
[ -z "$got" ]
