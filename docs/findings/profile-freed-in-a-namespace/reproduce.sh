#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes namespaces, loads a profile into each and removes them again, as fast as
# it can. Run as root; exit status 1 shows the defect: the kernel warns of a
# reference count.
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
echo 'profile freed { file, }' > "$dir/text"
# Parsers from 5.0 on compress what they write for kernels from 7.3 on, and no
# kernel takes it so.
compile="apparmor_parser --skip-kernel-load --skip-cache --stdout --quiet"
$compile --zstd-compress-level=0 "$dir/text" > "$dir/policy" 2> /dev/null || $compile "$dir/text" > "$dir/policy"
perl - "$dir/policy" "${1:-2000}" <<'EOF'
use strict;
my ($file, $rounds) = @ARGV;
open(my $f, '<:raw', $file) or die "$file: $!\n";
read($f, my $policy, -s $f);
sub tainted { open(my $t, '<', '/proc/sys/kernel/tainted') or die; return <$t> + 0 }
my ($ns, $before) = ('/sys/kernel/security/apparmor/policy/namespaces/freed', tainted());
for my $round (1 .. $rounds) {
	mkdir $ns or die "make the namespace: $!\n";
	open(my $load, '>:raw', "$ns/.load") or die "$!\n";
	defined syswrite($load, $policy) or die "load: $!\n";
	close $load;
	rmdir $ns or die "remove the namespace: $!\n";
	next if $round % 10;
	if ((my $now = tainted()) != $before) {
		print "tainted was $before and is $now after $round namespaces\n";
		exit 1;
	}
}
print "$rounds namespaces, and no warning\n";
EOF
status=$?
[ $status = 0 ] || dmesg | grep -m1 -A20 refcount_t
uname -r
exit $status
