// SPDX-License-Identifier: Apache-2.0

package isolation

const netWhy = "net.c, aa_sk_perm, aa_af_perm: every profile of the label decides by itself"

func netRow(name, family, kind, proto string) Row {
	rule := "audit deny network " + family + " " + kind + ","
	if family == "netlink" {
		rule = "audit deny network netlink,"
	}
	needs := []string{"network_v8/af_mask " + family} // names families that are not built in, too
	if option := map[string]string{"inet6": "CONFIG_IPV6", "packet": "CONFIG_PACKET"}[family]; option != "" {
		needs = append(needs, option)
	}
	return Row{
		Group: "network", Name: name, About: "a socket of family " + family + ", type " + kind, Why: netWhy,
		Needs: needs, Deny: rule,
		Do:      []string{"s = socket " + family + " " + kind + " " + proto},
		Records: []Record{{Operation: "create", Fields: map[string]string{"family": family, "sock_type": kind}}},
	}
}

// overUnix are the steps by which the confined task connects to a socket of
// the listener's.
func overUnix(address string) (prepare, do []string) {
	return []string{"clear " + clean(address), "listener: s = socket unix stream", "listener: bind s " + address, "listener: listen s", "c = socket unix stream"},
		[]string{"connect c " + address, "send c"}
}

func clean(address string) string {
	if address[0] == '/' {
		return address
	}
	return "/iso/none"
}

const unixWhy = "af_unix.c, aa_unix_peer_perm, on kernels that have network_v9/af_unix; without it there is no rule that could deny"

func unixRow(name, about, deny, address string, peer Task, records ...Record) Row {
	prepare, do := overUnix(address)
	return Row{
		Group: "network", Name: name, About: about, Why: unixWhy, Needs: []string{"network_v9/af_unix"},
		Deny: deny, Peers: []Task{peer}, Prepare: prepare, Do: do, Records: records,
	}
}

// inetRow is a row about one permission of a datagram socket of family inet that
// was created before the task was confined. It is on the host: the container's
// loopback device is down.
func inetRow(permission, do string, prepare ...string) Row {
	operation := map[string]string{"send": "sendmsg", "receive": "recvmsg", "getattr": "getsockname", "getopt": "getsockopt", "setopt": "setsockopt", "shutdown": "socket_shutdown"}[permission]
	if operation == "" {
		operation = permission
	}
	return Row{
		Group: "network", Name: "inet-" + permission, About: "the permission " + permission + " of a datagram socket of family inet", Why: netWhy + "; lsm.c, the hooks of sockets; af_inet.c, aa_inet_sock_perm",
		Needs: []string{"network_v8/af_mask inet"}, Where: []string{OnHost}, Deny: "audit deny network (" + permission + ") inet dgram,", Peers: []Task{{Name: "peer", Where: OnHost}},
		Prepare: append([]string{"@: run ip link set lo up", "s = socket inet dgram"}, prepare...), Do: []string{do},
		Records: []Record{{Operation: operation, Fields: map[string]string{"family": "inet", "sock_type": "dgram"}}},
	}
}

// unixUse is a row about one permission of a UNIX socket that was created before
// the task was confined.
func unixUse(permission, do string, prepare ...string) Row {
	operation := map[string]string{"getattr": "getsockname", "getopt": "getsockopt", "setopt": "setsockopt"}[permission]
	if operation == "" {
		operation = permission
	}
	return Row{
		Group: "network", Name: "unix-" + permission, About: "the permission " + permission + " of a UNIX socket", Why: unixWhy + "; lsm.c, the hooks of sockets; af_unix.c, aa_unix_sock_perm, aa_unix_opt_perm",
		Needs: []string{"network_v9/af_unix"}, Deny: "audit deny unix (" + permission + ") type=stream,",
		Prepare: append([]string{"s = socket unix stream"}, prepare...), Do: []string{do},
		Records: []Record{{Operation: operation, Fields: map[string]string{"family": "unix", "sock_type": "stream"}}},
	}
}

// passing are the steps by which the sender is connected to the task, to pass it a
// descriptor.
var passing = []string{
	"s = socket unix stream", "bind s @iso-passing", "listen s", "sender: c = socket unix stream", "sender: connect c @iso-passing", "a = accept s",
}

const unixFileWhy = "a socket in the file system is mediated as a file, by the path that it was bound by, in the mount namespace of who bound it: af_unix.c, unix_fs_perm, of the peer's u->path. See docs/findings/socket-bound-elsewhere. For kernels that do not mediate UNIX sockets see unix-unmediated"

var networkRows = []Row{
	netRow("inet-stream", "inet", "stream", ""),
	netRow("inet-dgram", "inet", "dgram", ""),
	netRow("inet6-stream", "inet6", "stream", ""),
	netRow("raw", "inet", "raw", "1"),
	netRow("netlink", "netlink", "raw", "0"),
	netRow("packet", "packet", "raw", "0"),
	{
		Group: "network", Name: "inet-inherited", About: "use a socket that was created unconfined", Why: netWhy + "; an inherited socket is checked with the label of the task that uses it: net.c, aa_sk_perm",
		Needs: []string{"network_v8/af_mask inet"}, Deny: "audit deny network inet stream,",
		Prepare: []string{"s = socket inet stream"}, Do: []string{"listen s"},
		Records: []Record{{Operation: "listen", Fields: map[string]string{"family": "inet"}}},
	},
	{
		Group: "network", Name: "unix-create", About: "a UNIX socket", Why: unixWhy, Needs: []string{"network_v9/af_unix"},
		Deny: "audit deny unix (create) type=stream,", Do: []string{"s = socket unix stream"},
		Records: []Record{{Operation: "create", Fields: map[string]string{"family": "unix"}}},
	},
	{
		Group: "network", Name: "unix-socketpair", About: "a pair of UNIX sockets", Why: unixWhy, Needs: []string{"network_v9/af_unix"},
		Deny: "audit deny unix (create) type=dgram,", Do: []string{"pair p dgram"},
		Records: []Record{{Operation: "create", Fields: map[string]string{"family": "unix"}}},
	},
	unixRow("unix-abstract", "connect to an abstract UNIX socket of an unconfined task", "audit deny unix (connect, send) type=stream peer=(addr=@iso-abs),", "@iso-abs",
		Task{Name: "listener"}, Record{Operation: "connect", Fields: map[string]string{"family": "unix"}}),
	{
		Group: "network", Name: "unix-path", About: "connect to a UNIX socket that is a file", Why: "a socket in the file system is mediated as a file, on every kernel: af_unix.c, unix_fs_perm; before, no rule could deny it",
		Deny: "audit deny /iso/sock rw,", Peers: []Task{{Name: "listener"}}, Needs: []string{"network_v9/af_unix"},
		Prepare: []string{"clear /iso/sock", "listener: s = socket unix stream", "listener: bind s /iso/sock", "listener: listen s", "c = socket unix stream"},
		Do:      []string{"connect c /iso/sock", "send c"},
		Records: []Record{{Operation: "connect", Name: "/iso/sock"}},
	},
	{
		Group: "network", Name: "unix-within-container", About: "connect to a socket of another task in the container, which is a file", Why: unixFileWhy,
		Needs: []string{"network_v9/af_unix"}, Where: []string{InContainer},
		Deny: "audit deny /iso/sock rw,", Peers: []Task{{Name: "listener", Where: InContainer, Label: InitLabel}},
		Prepare: []string{"clear /iso/sock", "c = socket unix stream"},
		Do:      []string{"listener: s = socket unix stream", "listener: bind s /iso/sock", "listener: listen s", "connect c /iso/sock", "send c"},
		Records: []Record{{Operation: "connect", Name: "/iso/sock"}},
	},
	{
		Group: "network", Name: "unix-host-to-container", About: "connect from the host to a socket of the container, which is a file, through the container's root", Why: unixFileWhy,
		Needs: []string{"network_v9/af_unix"}, Where: []string{OnHost},
		Deny: "audit deny /iso/sock rw,", Peers: []Task{{Name: "listener", Where: InContainer, Label: InitLabel}},
		Prepare: []string{"listener: clear /iso/sock", "c = socket unix stream"},
		Do:      []string{"listener: s = socket unix stream", "listener: bind s /iso/sock", "listener: listen s", "connect c " + containerRoot + "/iso/sock", "send c"},
		Records: []Record{{Operation: "connect", Name: "/iso/sock"}},
	},
	{
		Group: "network", Name: "unix-container-to-host", About: "connect from the container to a socket of an unconfined task of the host, which is a file in the container's root", Why: unixFileWhy,
		Needs: []string{"network_v9/af_unix"}, Where: []string{InContainer},
		Deny: "audit deny " + containerRoot + "/iso/sock rw,", Peers: []Task{{Name: "listener", Where: OnHost}},
		Prepare: []string{"clear /iso/sock", "listener: s = socket unix stream", "listener: bind s " + containerRoot + "/iso/sock", "listener: listen s", "c = socket unix stream"},
		Do:      []string{"connect c /iso/sock", "send c"},
		Records: []Record{{Operation: "connect", Name: containerRoot + "/iso/sock"}},
	},
	{
		Group: "network", Name: "unix-path-of-the-caller", About: "connect to a socket that is a file of another mount namespace, and that policy denies by the path that is connected to", Why: unixFileWhy,
		Needs: []string{"network_v9/af_unix"},
		Policy: []Policy{
			{Text: "profile calling flags=(attach_disconnected) {\n  …\n  audit deny " + containerRoot + "/iso/sock rw,\n}\n"},
			{Namespace: Namespace, Text: "profile calling flags=(attach_disconnected) {\n  …\n  audit deny /iso/sock rw,\n}\n"},
		},
		Cases: []Case{
			{
				Name: "host-to-container", Tasks: []Task{{Name: "t", Where: OnHost, Label: "calling"}, {Name: "listener", Where: InContainer, Label: InitLabel}},
				Prepare:  []string{"listener: clear /iso/sock", "listener: s = socket unix stream", "listener: bind s /iso/sock", "listener: listen s"},
				Do:       []string{"c = socket unix stream", "connect c " + containerRoot + "/iso/sock"},
				Recorded: "the rule is held against the path that the socket was bound by: docs/findings/socket-bound-elsewhere",
			},
			{
				Name: "container-to-host", Tasks: []Task{{Name: "t", Where: InContainer, Label: "host-allow//&:iso:calling"}, {Name: "listener", Where: OnHost}},
				Prepare:  []string{"clear /iso/sock", "listener: s = socket unix stream", "listener: bind s " + containerRoot + "/iso/sock", "listener: listen s"},
				Do:       []string{"c = socket unix stream", "connect c /iso/sock"},
				Recorded: "the rule is held against the path that the socket was bound by: docs/findings/socket-bound-elsewhere",
			},
		},
	},
	{
		Group: "network", Name: "unix-unmediated", About: "UNIX sockets on a kernel that does not mediate them",
		Why: "RECORDED where network_v9/af_unix is missing",
		Cases: []Case{
			{
				Name: "container-to-host", Tasks: []Task{{Name: "t", Where: InContainer, Label: "host-allow//&:iso:no-unix"}, {Name: "host", Where: OnHost}},
				Do: []string{"s = socket unix stream"}, Recorded: "where a kernel does not mediate UNIX sockets no rule on them can be loaded",
			},
			{
				Name: "socket", Tasks: []Task{{Name: "t", Where: OnHost, Label: "no-unix"}},
				Do: []string{"s = socket unix stream"}, Recorded: "where a kernel does not mediate UNIX sockets no rule on them can be loaded",
			},
		},
		Policy: []Policy{{Text: "profile no-unix flags=(attach_disconnected) {\n  file,\n  signal,\n  capability,\n}\n"}, {Namespace: Namespace, Text: "profile no-unix flags=(attach_disconnected) {\n  file,\n  signal,\n  capability,\n}\n"}},
	},
	inetRow("bind", "bind s 47120"),
	inetRow("connect", "connect s 47121"),
	inetRow("send", "sendto s 47122", "peer: p = socket inet dgram", "peer: bind p 47122"),
	inetRow("receive", "recv s", "bind s 47123", "peer: p = socket inet dgram", "peer: sendto p 47123"),
	inetRow("getattr", "getsockname s"),
	inetRow("getopt", "getsockopt s"),
	inetRow("setopt", "setsockopt s"),
	inetRow("shutdown", "shutdown s", "connect s 47124"),
	unixUse("bind", "bind s @iso-use"),
	unixUse("listen", "listen s", "bind s @iso-use"),
	unixUse("getattr", "getsockname s"),
	unixUse("getopt", "getsockopt s"),
	unixUse("setopt", "setsockopt s"),
	{
		Group: "network", Name: "unix-dgram", About: "connect a datagram socket to one of an unconfined task, to send there", Why: unixWhy + "; lsm.c, apparmor_unix_may_send", Needs: []string{"network_v9/af_unix"},
		Deny: "audit deny unix (send) type=dgram peer=(addr=@iso-dgram),", Peers: []Task{{Name: "peer"}},
		Prepare: []string{"peer: s = socket unix dgram", "peer: bind s @iso-dgram", "c = socket unix dgram"}, Do: []string{"connect c @iso-dgram"},
		Records: []Record{{Operation: "sendmsg", Fields: map[string]string{"family": "unix", "sock_type": "dgram"}}},
	},
	{
		Group: "network", Name: "netlink-passed", About: "receive a netlink socket that a confined task created", Why: "the receiver's label is checked again: lsm.c, apparmor_file_receive; file.c, __file_sock_perm. The message arrives without the descriptor",
		Needs: []string{"network_v8/af_mask netlink"}, Deny: "audit deny network netlink,", Peers: []Task{{Name: "sender", Label: InitLabel}},
		Prepare: passing, Do: []string{"sender: f = socket netlink raw 0", "sender: sendfd c f", "f = recvfd a"},
		Records: []Record{{Operation: "file_receive", Fields: map[string]string{"family": "netlink"}}},
	},
	{
		Group: "network", Name: "unix-passed", About: "receive a connected UNIX socket that a confined task created", Why: "the receiver's label is checked again, for the peer that it would send to: af_unix.c, aa_unix_file_perm. The message arrives without the descriptor",
		Needs: []string{"network_v9/af_unix"}, Deny: "audit deny unix (send) type=dgram,", Peers: []Task{{Name: "sender", Label: InitLabel}},
		Prepare: passing, Do: []string{"sender: pair p dgram", "sender: sendfd c p0", "f = recvfd a"},
		Records: []Record{{Operation: "file_receive", Fields: map[string]string{"family": "unix"}}},
	},
	{
		Group: "network", Name: "unix-old-policy", About: "connect to a UNIX socket that is a file, by policy of an ABI without UNIX sockets", Why: "file.c, __aa_path_perm, PATH_SOCK_COND: such policy did not mediate them, and must not begin to by a newer kernel", Needs: []string{"network_v9/af_unix"},
		Policy: []Policy{{Text: "abi <abi/3.0>,\nprofile old flags=(attach_disconnected) {\n  file,\n  capability,\n  network,\n  signal,\n  deny /iso/sock rw,\n}\n"}},
		Cases: []Case{{
			Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "old"}, {Name: "listener", Where: OnHost}},
			Prepare: []string{"clear /iso/sock", "listener: s = socket unix stream", "listener: bind s /iso/sock", "listener: listen s", "c = socket unix stream"},
			Do:      []string{"connect c /iso/sock"}, Labels: map[string]string{"t": "old (enforce)"},
		}},
	},
	{
		Group: "network", Name: "unix-no-rule", About: "use a UNIX socket of a type that no rule names", Why: unixWhy + "; the record says which part of the rules did not match: net.c, aa_match_to_prot; af_unix.c, profile_opt_perm", Needs: []string{"network_v9/af_unix"},
		Policy: both("profile dgram-only flags=(attach_disconnected) {\n  file,\n  capability,\n  signal,\n  unix type=dgram,\n}\n"),
		Cases: bothSides("dgram-only", Case{
			Prepare: []string{"s = socket unix stream", "d = socket unix dgram"}, Do: []string{"getsockopt d", "getsockopt s => EACCES", "setsockopt s => EACCES"},
			Records: []Record{
				{Operation: "getsockopt", Fields: map[string]string{"info": "failed type match", "sock_type": "stream"}}, {Operation: "setsockopt", Fields: map[string]string{"info": "failed type match", "sock_type": "stream"}},
			},
		}),
	},
	{
		Group: "network", Name: "unix-refused", About: "the label of the other end of a UNIX socket, after a task was refused that socket", Why: "af_unix.c, aa_unix_file_perm, update_peer_ctx: only who may use the socket becomes a part of the peer's label", Needs: []string{"network_v9/af_unix"},
		Policy: []Policy{{Text: "profile sendless flags=(attach_disconnected) {\n  …\n  audit deny unix (send) type=dgram,\n}\n"}},
		Cases: []Case{{
			Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "sendless"}, {Name: "sender", Where: OnHost, Label: hostAllow}}, Prepare: passing,
			Do:      []string{"sender: pair p dgram", `sender: peersec p1 => "host-allow (enforce)"`, "sender: sendfd c p0", "recvfd a => EACCES", `sender: peersec p1 => "host-allow (enforce)"`},
			Labels:  map[string]string{"t": "sendless (enforce)"},
			Records: []Record{{Operation: "file_receive", Profile: "sendless", Fields: map[string]string{"family": "unix"}}},
		}},
	},
}
