#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# LXC takes a container whose making was killed for one that is still being
# made, for ever. Run as root, with LXC; exit status 1 shows the defect.
set -u
name=half-made-$$
dir=$(lxc-config lxc.lxcpath)/$name
template=$(mktemp)
pid=$(mktemp)
printf '#!/bin/sh\necho $$ >%s\nexec sleep 300\n' "$pid" >"$template"
chmod 755 "$template"

lxc-create -n "$name" -t "$template" &
creator=$!
while [ ! -s "$pid" ]; do sleep 0.1; done
kill -9 "$creator" "$(cat "$pid")" # nobody has the file "partial" open any more
wait "$creator" 2>/dev/null
sleep 1

lxc-start --version
lxc-start -n "$name" -l ERROR -o /dev/stdout
status=0
if [ -e "$dir/partial" ]; then
	echo "DEFECT: nobody makes it, and LXC neither starts it nor removes it"
	status=1
else
	echo "as it should be: what was half made is removed"
fi
rm -rf "$dir" "$template" "$pid"
exit $status
