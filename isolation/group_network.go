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
}
