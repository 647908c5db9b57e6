package isolation

// capRow is a row about one capability.
func capRow(capability, do string, prepare ...string) Row {
	return Row{
		Group: "capability", Name: capability, About: "an operation that takes CAP_" + capability,
		Why:  "each profile of the label decides by itself: capability.c, aa_capable. A kernel does not log the same denial again at once, of the same profile or of the same task, so another task has it denied in between; where it goes by the task, the second part's denial is lost: see capability/double-denial",
		Deny: "audit deny capability " + capability + ",", Errno: "EPERM", Second: Maybe,
		Peers:   []Task{{Name: "flush", Label: "flush"}},
		Extra:   []Policy{{Text: "profile flush flags=(attach_disconnected) {\n  …\n  audit deny capability " + capability + ",\n}\n"}},
		Prepare: prepare, Do: []string{"flush: try " + do, do},
		Records: []Record{{Operation: "capable", Fields: map[string]string{"capname": capability}}},
	}
}

var capabilityRows = []Row{
	capRow("chown", "chown /iso/f", "put /iso/f"),
	capRow("setuid", "seteuid 1234"),
	capRow("setgid", "setgid 1234"),
	withErrno("EACCES", capRow("sys_nice", "nice")), // sys.c, set_one_prio
	capRow("sys_chroot", "chroot /iso"),
	capRow("sys_admin", "sethostname"),
	capRow("mknod", "mknod /iso/dev", "clear /iso/dev"),
	{
		Group: "capability", Name: "double-denial", About: "what is logged where both sides deny a capability",
		Why: "capability.c, audit_caps: where a kernel remembers what it has logged by credentials (ad->subj_cred) in place of profile, the second profile's denial counts as logged. See docs/findings/capability-double-denial",
		Policy: []Policy{
			{Text: "profile nochown flags=(attach_disconnected) {\n  …\n  audit deny capability chown,\n}\n"},
			{Namespace: Namespace, Text: "profile nochown flags=(attach_disconnected) {\n  …\n  audit deny capability chown,\n}\n"},
		},
		Cases: []Case{{
			Name: "stacked", Tasks: []Task{{Name: "t", Where: InContainer, Label: "nochown//&:iso:nochown"}}, Prepare: []string{"put /iso/f"},
			Do: []string{"chown /iso/f => EPERM"}, Recorded: "one record or two",
		}},
	},
}

func withErrno(errno string, r Row) Row {
	r.Errno = errno
	return r
}

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
		Group: "network", Name: "inet-inherited", About: "use a socket that was made unconfined", Why: netWhy + "; an inherited socket is looked at with the label of the one who uses it: net.c, aa_sk_perm",
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
		Do:      []string{"listener: s = socket unix stream", "listener: bind s /iso/sock", "listener: listen s", "connect c " + lifeRoot + "/iso/sock", "send c"},
		Records: []Record{{Operation: "connect", Name: "/iso/sock"}},
	},
	{
		Group: "network", Name: "unix-container-to-host", About: "connect from the container to a socket of an unconfined task of the host, which is a file in the container's root", Why: unixFileWhy,
		Needs: []string{"network_v9/af_unix"}, Where: []string{InContainer},
		Deny: "audit deny " + lifeRoot + "/iso/sock rw,", Peers: []Task{{Name: "listener", Where: OnHost}},
		Prepare: []string{"clear /iso/sock", "listener: s = socket unix stream", "listener: bind s " + lifeRoot + "/iso/sock", "listener: listen s", "c = socket unix stream"},
		Do:      []string{"connect c /iso/sock", "send c"},
		Records: []Record{{Operation: "connect", Name: lifeRoot + "/iso/sock"}},
	},
	{
		Group: "network", Name: "unix-path-of-the-caller", About: "connect to a socket that is a file of another mount namespace, and that policy denies by the path that is connected to", Why: unixFileWhy,
		Needs: []string{"network_v9/af_unix"},
		Policy: []Policy{
			{Text: "profile calling flags=(attach_disconnected) {\n  …\n  audit deny " + lifeRoot + "/iso/sock rw,\n}\n"},
			{Namespace: Namespace, Text: "profile calling flags=(attach_disconnected) {\n  …\n  audit deny /iso/sock rw,\n}\n"},
		},
		Cases: []Case{
			{
				Name: "host-to-container", Tasks: []Task{{Name: "t", Where: OnHost, Label: "calling"}, {Name: "listener", Where: InContainer, Label: InitLabel}},
				Prepare:  []string{"listener: clear /iso/sock", "listener: s = socket unix stream", "listener: bind s /iso/sock", "listener: listen s"},
				Do:       []string{"c = socket unix stream", "connect c " + lifeRoot + "/iso/sock"},
				Recorded: "the rule is held against the path that the socket was bound by: docs/findings/socket-bound-elsewhere",
			},
			{
				Name: "container-to-host", Tasks: []Task{{Name: "t", Where: InContainer, Label: "host-allow//&:iso:calling"}, {Name: "listener", Where: OnHost}},
				Prepare:  []string{"clear /iso/sock", "listener: s = socket unix stream", "listener: bind s " + lifeRoot + "/iso/sock", "listener: listen s"},
				Do:       []string{"c = socket unix stream", "connect c /iso/sock"},
				Recorded: "the rule is held against the path that the socket was bound by: docs/findings/socket-bound-elsewhere",
			},
		},
	},
	{
		Group: "network", Name: "unix-unmediated", About: "what a kernel without mediation of UNIX sockets does",
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

const mountWhy = "mount.c: every profile of the label decides by itself (fn_for_each_confined)"

// inMounts are the steps that give a task mounts of its own to change.
func inMounts(more ...string) []string {
	return append([]string{"try mkdir /iso/m", "try mkdir /iso/n", "put /iso/f", "unshare mnt", "mount none / none rec,private"}, more...)
}

var mountRows = []Row{
	{
		Group: "mount", Name: "mount", About: "mount a tmpfs", Why: mountWhy, Smoke: true,
		Deny: "audit deny mount fstype=tmpfs -> /iso/m/,", Prepare: inMounts(), Do: []string{"mount none /iso/m tmpfs nosuid"},
		Records: []Record{{Operation: "mount", Name: "/iso/m/"}},
	},
	{
		Group: "mount", Name: "bind", About: "mount a folder in a second place", Why: mountWhy,
		Deny: "audit deny mount options=(bind) -> /iso/n/,", Prepare: inMounts(), Do: []string{"mount /iso/m /iso/n none bind"},
		Records: []Record{{Operation: "mount", Name: "/iso/n/"}},
	},
	{
		Group: "mount", Name: "remount", About: "make a mount read-only", Why: mountWhy,
		Deny: "audit deny remount /iso/m/,", Prepare: inMounts("mount none /iso/m tmpfs nosuid"), Do: []string{"mount none /iso/m none remount,ro"},
		Records: []Record{{Operation: "mount", Name: "/iso/m/"}},
	},
	{
		Group: "mount", Name: "move", About: "move a mount", Why: mountWhy,
		Deny: "audit deny mount options=(move) -> /iso/n/,", Prepare: inMounts("mount none /iso/m tmpfs nosuid"), Do: []string{"mount /iso/m /iso/n none move"},
		Records: []Record{{Operation: "mount", Name: "/iso/n/"}},
	},
	{
		Group: "mount", Name: "umount", About: "unmount", Why: mountWhy,
		Deny: "audit deny umount /iso/m/,", Prepare: inMounts("mount none /iso/m tmpfs nosuid"), Do: []string{"umount /iso/m"},
		Records: []Record{{Operation: "umount", Name: "/iso/m/"}},
	},
	{
		Group: "mount", Name: "pivot-root", About: "change the root", Why: "the first part that denies ends it, and alone logs: mount.c, aa_pivotroot, fn_label_build", Second: Never,
		Deny: "audit deny pivot_root,", Prepare: inMounts("mount none /iso/m tmpfs nosuid", "try mkdir /iso/m/old"), Do: []string{"pivotroot /iso/m /iso/m/old"},
		Records: []Record{{Operation: "pivotroot"}},
	},
	{
		Group: "mount", Name: "propagation", About: "change how a mount propagates", Why: mountWhy,
		Deny: "audit deny mount options=(shared) -> /iso/m/,", Prepare: inMounts("mount none /iso/m tmpfs nosuid"), Do: []string{"mount none /iso/m none shared"},
		Records: []Record{{Operation: "mount", Name: "/iso/m/"}},
	},
	{
		Group: "mount", Name: "move-mount", About: "attach a mount through move_mount(2)", Why: mountWhy, Needs: []string{"mount/move_mount"},
		Deny: "audit deny mount -> /iso/n/,", Prepare: inMounts("mount none /iso/m tmpfs nosuid", "t = opentree /iso/m"), Do: []string{"movemount t /iso/n"},
		Records: []Record{{Operation: "mount", Name: "/iso/n/"}},
	},
}

const (
	busDeny = "audit deny dbus send bus=session path=/org/freedesktop/DBus interface=org.freedesktop.DBus member=GetId,"
	// busStart starts a bus of the host's, once for a machine, at /iso/bus for
	// tasks of the host and for those in the container.
	busStart = `@: sh test -S /iso/bus && exit 0; mkdir -p /iso; echo '<busconfig><type>session</type>` +
		`<listen>unix:path=/iso/bus</listen><listen>unix:path=` + lifeRoot + `/iso/bus</listen><auth>EXTERNAL</auth>` +
		`<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy>` +
		`<apparmor mode="required"/></busconfig>' > /run/iso-bus.conf; dbus-daemon --fork --nopidfile --config-file=/run/iso-bus.conf > /run/iso-bus.log 2>&1 || { cat /run/iso-bus.log; exit 1; }`
)

// busCall is a case of a task that calls the bus.
func busCall(name, where, label, want string) Case {
	return Case{
		Name: name, Tasks: []Task{{Name: "t", Where: where, Label: label}}, Prepare: []string{busStart},
		Do: []string{"buscall /iso/bus => " + want},
	}
}

func recorded(why string, c Case) Case {
	c.Recorded = why
	return c
}

var ipcRows = []Row{
	{
		Group: "ipc", Name: "userns", About: "make a user namespace", Why: "lsm.c, apparmor_userns_create; task.c, aa_profile_ns_perm",
		Needs: []string{"namespaces/mask userns_create"}, Deny: "audit deny userns create,", Do: []string{"unshare user"},
		Records: []Record{{Operation: "userns_create"}},
	},
	{
		Group: "ipc", Name: "io-uring", About: "an io_uring with a kernel thread that polls", Why: "lsm.c, apparmor_uring_sqpoll",
		Needs: []string{"io_uring/mask sqpoll", "CONFIG_IO_URING"}, Deny: "audit deny io_uring sqpoll,", Do: []string{"r = iouring sqpoll"},
		Records: []Record{{Operation: "uring_sqpoll"}},
	},
	{
		Group: "ipc", Name: "io-uring-credentials", About: "an io_uring does a request with credentials that were registered with it", Why: "lsm.c, apparmor_uring_override_creds; task.c, profile_uring, which matches the label of the credentials taken on: here the task's own",
		Needs: []string{"io_uring/mask override_creds", "CONFIG_IO_URING"}, Deny: "audit deny io_uring override_creds,", Do: []string{"uringcreds"},
		Records: []Record{{Operation: "uring_override"}},
	},
	{
		Group: "ipc", Name: "posix-mqueue", About: "open a POSIX message queue", Why: "mediated where the kernel has ipc/posix_mqueue",
		Needs: []string{"ipc/posix_mqueue"}, Deny: "audit deny mqueue (create, open) type=posix /iso-mq,", Prepare: []string{"try mqunlink iso-mq"}, Do: []string{"q = mqopen iso-mq"},
		Records: []Record{{Operation: "mknod"}},
	},
	{
		Group: "ipc", Name: "sysv-mqueue", About: "open a SysV message queue", Why: "mediated where the kernel has ipc/sysv_mqueue",
		Needs: []string{"ipc/sysv_mqueue"}, Deny: "audit deny mqueue (create, open) type=sysv,", Do: []string{"q = msgget 4711"},
		Records: []Record{{Operation: "sysv_mqueue"}},
	},
	{
		Group: "ipc", Name: "dbus", About: "what the kernel answers a bus that asks whether a task may send",
		Why:        "the bus asks (libapparmor, aa_query_label) and decides; the kernel joins the answers of all parts: apparmorfs.c, query_label. But \"label\", which is what buses ask for, is of the parts in the label's own namespace only, so the host's part of a stack is not asked: see docs/findings/dbus-query-of-a-stack. A file below features/dbus says that the kernel answers, the folder alone does not",
		BlindStack: []string{"host"},
		Needs:      []string{"dbus/mask send"}, Deny: "audit deny dbus,", Do: []string{"dbussend"},
	},
	{
		Group: "ipc", Name: "dbus-call", About: "call a method of a bus of the host's, dbus-daemon, which lets AppArmor mediate",
		Why:   "dbus-daemon, bus/apparmor.c, bus_apparmor_allows_send: it asks the kernel by the label that the socket was made with, and says AccessDenied. As it asks by \"label\", the host's part of a stack does not answer: see the row dbus, and docs/findings/dbus-query-of-a-stack",
		Needs: []string{"dbus/mask send", "network_v9/af_unix"},
		Policy: []Policy{
			{Text: "profile busless flags=(attach_disconnected) {\n  …\n  " + busDeny + "\n}\n"},
			{Namespace: Namespace, Text: "profile busless flags=(attach_disconnected) {\n  …\n  " + busDeny + "\n}\n"},
		},
		Cases: []Case{
			busCall("unconfined", OnHost, "", "ok"), busCall("host-allow", OnHost, hostAllow, "ok"), busCall("host-deny", OnHost, "busless", "EACCES"),
			busCall("namespace-allow", InContainer, ":iso:ct-allow", "ok"), busCall("namespace-deny", InContainer, ":iso:busless", "EACCES"),
			busCall("stacked-allow", InContainer, InitLabel, "ok"), busCall("stacked-deny-namespace", InContainer, "host-allow//&:iso:busless", "EACCES"),
			busCall("stacked-deny-both", InContainer, "busless//&:iso:busless", "EACCES"),
			recorded("the host's part of a stack is not asked", busCall("stacked-deny-host", InContainer, "busless//&:iso:ct-allow", "ok")),
		},
	},
}
