#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Several processes make and remove the same policy namespace. Run as root on a
# kernel that may be lost: the defect is a BUG in the kernel's log, and tasks
# that hang.
fs=/sys/kernel/security/apparmor/policy/namespaces
before=$(cat /proc/sys/kernel/tainted)
end=$((SECONDS + ${1:-60}))
for _ in 1 2 3 4; do
	while [ $SECONDS -lt $end ]; do
		mkdir $fs/repro-race
		rmdir $fs/repro-race
	done 2>/dev/null &
done
while [ $SECONDS -lt $((end + 5)) ] && [ "$(cat /proc/sys/kernel/tainted)" = "$before" ]; do sleep 1; done
after=$(cat /proc/sys/kernel/tainted)
echo "tainted was $before and is $after"
dmesg | grep -m1 -A2 'kernel BUG\|WARNING'
uname -r
kill $(jobs -p) 2>/dev/null
[ "$before" = "$after" ]
