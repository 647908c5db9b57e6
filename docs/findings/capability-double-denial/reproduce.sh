#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A stacked task is denied a capability by both parts: each should log it. Run
# as root; exit status 1 shows the defect.
fs=/sys/kernel/security/apparmor/policy ns=repro-cap file=/tmp/repro-cap
text='abi <kernel>,\nprofile repro-cap flags=(attach_disconnected) {\n file,\n signal,\n audit deny capability chown,\n}\n'
mkdir $fs/namespaces/$ns
printf "$text" | apparmor_parser --replace --skip-cache --quiet
printf "$text" | apparmor_parser --replace --skip-cache --quiet --namespace $ns
touch $file
dmesg --clear
sleep 6 # of the kernel's limit of ten records in five seconds
(
	echo -n "changeprofile repro-cap//&:$ns:repro-cap" >/proc/self/attr/apparmor/current
	chown 1234 $file
)
dmesg | grep 'operation="capable"'
records=$(dmesg | grep -c 'apparmor="DENIED".*operation="capable".*capname="chown"')
echo "$records records of 2"
rm $file
rmdir $fs/namespaces/$ns
printf repro-cap >$fs/.remove
uname -r
[ "$records" = 2 ]
