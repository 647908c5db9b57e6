#!/usr/bin/perl
# Asks the kernel, as a D-Bus daemon does (libapparmor, aa_query_label), whether
# a label may send. The host's profile denies dbus, the namespace's allows it.
# Run as root; exit status 1 shows that the stack of both is allowed.
use strict;
use warnings;

my $fs = "/sys/kernel/security/apparmor";
my $ns = "repro-dbus";
mkdir "$fs/policy/namespaces/$ns" or die "make the namespace: $!";
load("abi <kernel>,\nprofile p {\n file,\n signal,\n deny dbus,\n}\n");
load("abi <kernel>,\nprofile p {\n file,\n signal,\n dbus,\n}\n", "--namespace", $ns);

sub load {
	my ($text, @more) = @_;
	open my $parser, "|-", "apparmor_parser", "--replace", "--skip-cache", "--quiet", @more or die;
	print $parser $text;
	close $parser or die "the parser failed";
}

sub may {
	my ($command, $label) = @_;
	my $query = join "\0", $command, $label, chr(32) . "session", "x.y", "unconfined", "/x", "x.y", "Ping";
	open my $f, "+<", "$fs/.access" or die "open .access: $!";
	syswrite($f, $query) // return "no answer: $!";
	sysread $f, my $answer, 1024;
	my ($allow) = $answer =~ /allow 0x([0-9a-f]+)/;
	return hex($allow) & 2 ? "allowed" : "denied";
}

# The kernel knows a stack once a task has it.
my $task = fork // die "fork: $!";
if (!$task) {
	open my $f, ">", "/proc/self/attr/apparmor/current" or die;
	syswrite($f, "changeprofile p//&:$ns:p") // die "change_profile: $!";
	sleep 60;
	exit;
}
sleep 1;

my $bad = 0;
for (["label", "p", "denied"], ["label", ":$ns:p", "allowed"], ["label", "p//&:$ns:p", "denied"], ["profile", "p//&:$ns:p", "denied"]) {
	my ($command, $label, $want) = @$_;
	my $got = may($command, $label);
	printf "%-8s %-22s expected %-8s got %s\n", $command, $label, $want, $got;
	$bad = 1 if $got ne $want;
}
kill "KILL", $task;
waitpid $task, 0;
rmdir "$fs/policy/namespaces/$ns";
if (open my $f, ">", "$fs/policy/.remove") { print $f "p" }
system "uname", "-r";
exit $bad;
