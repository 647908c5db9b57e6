// SPDX-License-Identifier: Apache-2.0

// Package isolation defines what must hold where a host's AppArmor policy and a
// container's policy meet: rows of operations, labels and policies, as data. It
// makes the plan that the probe (proofhouse/isolation/probe) carries out on the
// kernel under test, and judges what the probe found and what the kernel logged.
//
//	for _, row := range isolation.Rows() {
//		plan := row.Plan(kernel)
//		… run the probe with the plan on the machine …
//		results := row.Judge(kernel, found, audit)
//	}
//
// Each group of rows is one file, group_NAME.go. What does not live here: no
// machine is started, no command is run on the host, nothing is printed.
//
// # Steps
//
// What a cell does is written in steps:
//
//	[TASK:] [VARIABLE =] [try] OPERATION [PARAMETER…] [=> EXPECTATION]
//
// TASK is a task of the cell, by default the first, or "@": the manager, which
// is the probe itself, unconfined, on the host. VARIABLE keeps the descriptor or
// number that the operation returned. "try" ignores a failure. An EXPECTATION,
// in cases only, is "ok" (the default), an errno such as EACCES, "exit 1", "dead"
// or a value in quotes.
//
//	f = open /iso/f r
//	sender: sendfd c f
//	cat /iso/f => EACCES
//	@: load replaced
//	label => "ct-allow (enforce)"
//
// # Operations of a task
//
//	open PATH [HOW]                    open a file; HOW are letters: r, w, a (append), c (create), t (truncate), p (O_PATH), d (directory), n (O_NONBLOCK); default r
//	openat DIRFD PATH [w]              open a file below an open directory, for reading or writing
//	read FD                            read up to 16 KiB; the value is the text
//	write FD [TEXT]                    write a word
//	cat PATH                           open, read and close a file; the value is the text
//	put PATH [TEXT]                    create or overwrite a file
//	say PATH WORD…                     write words to an existing file, such as one of securityfs
//	elf PATH                           create a program that sleeps, for exec
//	clear PATH…                        remove files and empty directories, if they exist
//	unlink PATH                        remove a file
//	mkdir PATH                         create a directory
//	mkdirat DIRFD PATH                 create a directory below an open directory
//	rmdir PATH                         remove a directory
//	rmdirat DIRFD PATH                 remove a directory below an open directory
//	list PATH                          list a directory; the value is the sorted names
//	mkfifo PATH                        create a named pipe
//	mknod PATH                         create a device node of /dev/null
//	chmod PATH                         change a file's mode to 0600
//	chown PATH [ID]                    change a file's user and group; default 1234
//	stat PATH                          read a file's attributes
//	link OLD NEW                       create a hard link
//	linkat DIRFD OLD NEW               create a hard link below an open directory
//	tmpfile PATH                       create a file without a name in a directory (O_TMPFILE)
//	linkfd FD PATH                     give an open file a name
//	symlink TARGET PATH                create a symbolic link
//	rename OLD NEW [exchange]          rename a file; exchange swaps two files (RENAME_EXCHANGE)
//	trunc PATH                         truncate a file by its name
//	lock FD                            lock a file for writing
//	mmap FD PROT                       map a page; PROT are letters: r, w, x, s (shared)
//	chroot PATH                        change the root directory
//	exec PATH                          execute a program that elf created, and wait until it sleeps
//	nnp                                set no_new_privs
//	label                              the value is the task's label as it reads it itself
//	changeprofile LABEL                change_profile(2)
//	stack LABEL                        stack a profile on the task's label
//	onexec LABEL                       change_onexec(2): the label at the next exec
//	stackonexec LABEL                  stack a profile at the next exec
//	changehat [HAT]                    change_hat(2); without HAT, back to the parent profile
//	hats HAT N                         change to a hat and back N times; the value is how many changes failed
//	query TEXT                         ask a question of the file .access; \x00 in TEXT is a zero byte; the value of a label's query is whether reading is allowed
//	loadpolicy POLICY PATH             write a compiled policy of the row to a file such as .replace
//	writepolicy FD POLICY              write a compiled policy of the row to an open file
//	kill TASK SIGNAL                   send a signal: urg, or 0
//	seize TASK                         trace a task without stopping it (PTRACE_SEIZE)
//	vmread TASK                        read a word of a task's memory (process_vm_readv)
//	proc TASK FILE                     read /proc/PID/FILE of a task; the value is the text
//	tryproc TASK FILE                  the same, without the text, which differs each time
//	exelink TASK                       read the link /proc/PID/exe of a task
//	setuid ID                          set the real, effective and saved user id
//	seteuid ID                         set the effective user id
//	setgid ID                          set the group id
//	nice                               raise the priority to -5
//	setrlimit RESOURCE SOFT HARD       set a resource limit: nofile, core, nproc
//	tty                                start a session with a new pseudoterminal as its controlling terminal
//	unshare KIND…                      enter new namespaces: user, mnt, net, uts, ipc, pid
//	userns                             enter a new user namespace in which the task is root
//	sethostname                        set the host name
//	socket FAMILY [TYPE [PROTOCOL]]    create a socket: unix, inet, inet6, netlink, packet; stream, dgram, raw, seqpacket
//	pair NAME [TYPE]                   create connected UNIX sockets, in the variables NAME0 and NAME1
//	bind FD ADDRESS                    bind to a path, @ABSTRACT, or a port of 127.0.0.1
//	connect FD ADDRESS                 connect to a path, @ABSTRACT, or a port of 127.0.0.1
//	listen FD                          listen on a socket
//	accept FD                          accept a connection
//	send FD [TEXT]                     send a word
//	sendto FD ADDRESS                  send a word to a path, @ABSTRACT, or a port of 127.0.0.1
//	recv FD                            receive what has been sent; the value is the text
//	getsockname FD                     read a socket's address
//	getsockopt FD                      read a socket's option (SO_SNDBUF)
//	setsockopt FD                      set a socket's option (SO_SNDBUF)
//	shutdown FD                        shut a connection down in both directions
//	fastopen FD PORT                   send to a port of 127.0.0.1 without connect (MSG_FASTOPEN)
//	sendfd SOCKET FD                   pass a descriptor (SCM_RIGHTS)
//	recvfd SOCKET                      receive a descriptor; EACCES where the kernel took it out of the message
//	peersec SOCKET                     the value is the label at the other end (SO_PEERSEC)
//	mount SOURCE TARGET TYPE FLAG,…    mount: bind, rbind, remount, ro, move, private, shared, slave, unbindable, rec, nosuid, nodev, noexec, strictatime; '' is an empty SOURCE
//	umount PATH                        unmount, at once
//	pivotroot NEW OLD                  pivot_root(2)
//	opentree PATH                      open a detached copy of a mount (open_tree)
//	movemount FD PATH                  attach an open mount (move_mount)
//	mqopen NAME                        open or create a POSIX message queue
//	mqunlink NAME                      remove a POSIX message queue
//	msgget KEY                         open or create a SysV message queue
//	iouring [sqpoll]                   create an io_uring, with a kernel thread that polls
//	uringcreds                         submit an io_uring request with registered credentials
//	dbussend                           ask the kernel whether the task's label may send a D-Bus message, as a bus does
//	buscall PATH                       call a method of the D-Bus bus at a socket; AccessDenied is EACCES
//
// # Operations of the manager
//
//	load POLICY                     load or replace a named policy of the row
//	churn POLICY POLICY             load two named policies in turn, again and again, until settle
//	settle                          end what churn began
//	remove NS PROFILE               remove a profile
//	mkns NS                         create a policy namespace
//	rmns NS                         remove a policy namespace
//	labelof TASK                    the value is a task's label as the host sees it
//	secure TASK                     the value is AT_SECURE of the program that a task executes: 0 or 1
//	limitof TASK RESOURCE           the value is a task's resource limit: soft and hard
//	ttyof TASK                      the value is "tty" or "none": whether a task has a controlling terminal
//	sysctl NAME VALUE               set a sysctl, named by its path below /proc/sys
//	hold NS                         remember all policy outside NS: revisions, profiles and their hashes
//	held                            the value is "unchanged", or what changed since hold
//	nest N                          nest N namespaces and remove them; the value is how many the kernel allowed
//	longname N                      create and remove a namespace with a name of N bytes
//	many N POLICY                   create N namespaces with a policy each; the value is how many
//	race N POLICY                   create, load and remove namespaces in parallel, N rounds; the value is "done"
//	leak N POLICY                   create, load and remove a namespace N times; the value is "freed" if less than 4 KiB a round remain allocated
//	leakinuse N POLICY PROFILE HAT  load a profile, let a task use it, its capabilities and its hat, and remove it, N times; the value is "freed" as for leak
//	run COMMAND…                    run a shell command; the value is its output, and a failure is "exit STATUS"
//	init CONTAINER                  the value is the label of the container's init; ESRCH if it is not running
//	mark CONTAINER                  remember the container's init, for reborn
//	reborn CONTAINER                wait until the container has another init; the value is its label
//	killinit CONTAINER              kill the container's init
//	killmonitor CONTAINER           kill the container's monitor
//	stopped CONTAINER               wait until LXC reports the container as stopped
//	survey                          remember namespaces, profiles, mounts, cgroups, containers and confined tasks
//	left [NAME]                     the value is "nothing", or what differs from the survey; with NAME, what exists with NAME in it
package isolation

//go:generate go test ./probe -run ^TestDocumented$ -update
