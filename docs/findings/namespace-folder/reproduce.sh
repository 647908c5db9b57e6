#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A task that a namespace confines, with the host's folder of namespaces as its
# working folder, makes and removes namespaces there. Run as root; exit status 1
# shows the defect.
fs=/sys/kernel/security/apparmor/policy/namespaces
mkdir "$fs/repro-own" "$fs/repro-other"
printf 'abi <kernel>,\nprofile p flags=(attach_disconnected) {\n file,\n capability,\n signal,\n}\n' |
	apparmor_parser --replace --skip-cache --quiet --namespace repro-own
in_namespace() {
	(
		cd "$fs" || exit
		echo -n "changeprofile :repro-own:p" >/proc/self/attr/apparmor/current || exit
		exec "$@"
	)
}
printf 'label: '
in_namespace cat /proc/self/attr/apparmor/current
printf 'load into another namespace: '
if in_namespace sh -c 'echo x >repro-other/.load' 2>/dev/null; then echo done; else echo refused; fi
in_namespace mkdir repro-planted
in_namespace rmdir repro-other
bad=0
if [ -d "$fs/repro-planted" ]; then
	echo 'mkdir beside its own namespace: done, expected: refused'
	bad=1
fi
if [ ! -d "$fs/repro-other" ]; then
	echo 'rmdir of another namespace: done, expected: refused'
	bad=1
fi
rmdir "$fs"/repro-{own,other,planted} 2>/dev/null
uname -r
exit $bad
