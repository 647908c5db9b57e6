// SPDX-License-Identifier: Apache-2.0

package isolation

const (
	busDeny = "audit deny dbus send bus=session path=/org/freedesktop/DBus interface=org.freedesktop.DBus member=GetId,"
	// busStart starts a bus of the host's, once for a machine, at /iso/bus for
	// tasks of the host and for those in the container.
	busStart = `@: run test -S /iso/bus && exit 0; mkdir -p /iso; echo '<busconfig><type>session</type>` +
		`<listen>unix:path=/iso/bus</listen><listen>unix:path=` + containerRoot + `/iso/bus</listen><auth>EXTERNAL</auth>` +
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
		Group: "ipc", Name: "userns", About: "create a user namespace", Why: "lsm.c, apparmor_userns_create; task.c, aa_profile_ns_perm",
		Needs: []string{"namespaces/mask userns_create"}, Deny: "audit deny userns create,", Do: []string{"unshare user"},
		Records: []Record{{Operation: "userns_create"}},
	},
	{
		Group: "ipc", Name: "io-uring", About: "an io_uring with a kernel thread that polls", Why: "lsm.c, apparmor_uring_sqpoll",
		Needs: []string{"io_uring/mask sqpoll", "CONFIG_IO_URING"}, Deny: "audit deny io_uring sqpoll,", Do: []string{"r = iouring sqpoll"},
		Records: []Record{{Operation: "uring_sqpoll"}},
	},
	{
		Group: "ipc", Name: "io-uring-credentials", About: "submit an io_uring request with registered credentials", Why: "lsm.c, apparmor_uring_override_creds; task.c, profile_uring, which matches the label of the credentials taken on: here the task's own",
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
		Why:        "the bus asks (libapparmor, aa_query_label) and decides; the kernel joins the answers of all parts: apparmorfs.c, query_label. But \"label\", which is what buses ask for, is of the parts in the label's own namespace only, so the host's part of a stack is not asked: see docs/findings/dbus-query-of-a-stack. A file below features/dbus says that the kernel answers, the directory alone does not",
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
	{
		Group: "ipc", Name: "io-uring-record", About: "what the record of denied credentials in an io_uring says", Why: "lsm.c, audit_uring_cb: the label of the credentials",
		Needs: []string{"io_uring/mask override_creds", "CONFIG_IO_URING"}, Policy: both("profile ringless flags=(attach_disconnected) {\n  …\n  audit deny io_uring override_creds,\n}\n"),
		Cases: []Case{{
			Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "ringless"}}, Do: []string{"uringcreds => EACCES"}, Labels: map[string]string{"t": "ringless (enforce)"},
			Records: []Record{{Operation: "uring_override", Profile: "ringless", Fields: map[string]string{"requested": "override_creds", "denied": "override_creds", "tcontext": "ringless"}}},
		}},
	},
}
