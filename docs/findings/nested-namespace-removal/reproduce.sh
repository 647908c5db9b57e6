#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes namespaces in each other as deep as the kernel lets, and removes the
# outermost. Run as root on a kernel that may be lost; exit status 1 shows the
# defect: a warning in the kernel's log.
fs=/sys/kernel/security/apparmor/policy
most=${1:-40}
for depth in $(seq "$most"); do
	path=$fs made=0
	for _ in $(seq "$depth"); do
		mkdir "$path/namespaces/deep" 2>/dev/null || break
		path=$path/namespaces/deep made=$((made + 1))
	done
	before=$(cat /proc/sys/kernel/tainted)
	rmdir $fs/namespaces/deep
	after=$(cat /proc/sys/kernel/tainted)
	if [ "$before" != "$after" ]; then
		echo "asked for $depth levels, got $made; removing them: tainted was $before and is $after"
		dmesg | grep -m1 -A3 WARNING
		uname -r
		exit 1
	fi
	[ $made = "$depth" ] || break
done
echo "$made levels at most, and no warning"
uname -r
