// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"strings"

	"proofhouse/internal/features"
)

// The surroundings of all cells: a namespace with a container in it, and on each
// side a profile that allows and one that denies a row's operation.
const (
	// Namespace is the container's.
	Namespace = "iso"
	// Container is the LXC container's name, and Unprivileged that of one with
	// the same label in a user namespace of its own.
	Container    = "iso"
	Unprivileged = "iso-user"

	hostAllow, hostDeny = "host-allow", "host-deny"
	ctAllow, ctDeny     = "ct-allow", "ct-deny"

	// Directory is the directory of the cells' files, on the host and in the
	// container.
	Directory = "/iso"
)

// InitLabel is the label of the container's init: the stack that allows.
const InitLabel = hostAllow + "//&:" + Namespace + ":" + ctAllow

// Lasting reports whether a profile, or the namespace where profile is "", stays
// when a plan is done: the container's init needs it.
func Lasting(ns, profile string) bool {
	switch profile {
	case "":
		return ns == Namespace
	case hostAllow, ctAllow:
		return true
	}
	return false
}

// World is the plan that creates the surroundings, without the container.
func World(k Kernel) Plan {
	return Plan{Namespaces: []string{Namespace}, Policy: base(k)}
}

// ContainerCommands are the commands that create and start a container of the
// matrix in the World, with the label for its init. The unprivileged container
// is made of the other one, which must exist: it has that one's root, which an
// idmapped mount shows it as its own. Its tasks look at policy where LXC shows
// it: a user namespace may neither mount securityfs nor change how it is
// mounted.
func ContainerCommands(name, label string) [][]string {
	if name == Unprivileged {
		return [][]string{
			{"nsmgr", "container", "create", name, "--unprivileged", "--rootfs", containerRoot, "--namespace", Namespace, "--profile", ctAllow, "--host-profile", hostAllow},
			{"sh", "-c", `echo "$1" >> "$2"`, "sh", "lxc.mount.entry = /sys/kernel/security sys/kernel/security none bind 0 0", "/var/lib/lxc/" + name + "/config"},
			{"nsmgr", "container", "start", name},
		}
	}
	return [][]string{
		{"lxc-create", "-n", name, "-t", "busybox"},
		{"sh", "-c", `printf %s "$1" >> "$2"`, "sh", "lxc.net.0.type = empty\nlxc.apparmor.profile = " + label + "\n", "/var/lib/lxc/" + name + "/config"},
		{"mkdir", "-p", "/var/lib/lxc/" + name + "/rootfs" + Directory},
		{"lxc-start", "-n", name},
		{"lxc-wait", "-n", name, "-s", "RUNNING", "-t", "60"},
	}
}

func base(k Kernel) []Policy {
	return []Policy{
		{Text: profile(k, hostAllow, "", "")},
		{Namespace: Namespace, Text: profile(k, ctAllow, "", "")},
	}
}

// wide are the rules that allow everything. A kernel that mediates a class denies
// what no rule allows; rules of classes that the kernel does not know are left
// out, as not every parser accepts them.
func wide(k Kernel) string {
	rules := []string{"file,", "capability,", "network,", "mount,", "remount,", "umount,", "pivot_root,", "ptrace,", "signal,", "unix,", "dbus,", "change_profile,"}
	for _, r := range []struct{ rule, file, word string }{
		{"userns,", "namespaces/mask", "userns_create"},
		{"io_uring,", "io_uring/mask", ""},
		{"mqueue,", "ipc/posix_mqueue", ""},
	} {
		if features.Has(k.Features, r.file, r.word) {
			rules = append(rules, r.rule)
		}
	}
	return strings.Join(rules, "\n  ")
}

// profile is the text of a profile that allows everything, with more rules and
// flags. attach_disconnected is needed for pipes and sockets of another mount
// namespace.
func profile(k Kernel, name, flags, more string) string {
	return profileOf(name, flags, wide(k)+"\n  "+more)
}

func profileOf(name, flags, rules string) string {
	f := "attach_disconnected,mediate_deleted"
	if flags != "" {
		f += "," + flags
	}
	return "abi <kernel>,\nprofile " + name + " flags=(" + f + ") {\n  " + strings.TrimSpace(rules) + "\n}\n"
}

// containerRoot is the root of the matrix's container. Others share it, as the
// template takes seconds to create one.
const containerRoot = "/var/lib/lxc/" + Container + "/rootfs"

// fs is the directory of AppArmor's files.
const fs = "/sys/kernel/security/apparmor/"

// withFS are the steps that give a task in the container a writable securityfs:
// LXC mounts it read-only.
var withFS = []string{"unshare mnt", "mount none / none rec,private", "mount none /sys/kernel/security none remount,bind"}

// inside is one task in the container.
func inside(label string) []Task { return []Task{{Name: "t", Where: InContainer, Label: label}} }

// host is one unconfined task on the host.
var host = []Task{{Name: "t", Where: OnHost}}

// Two namespaces, one within the other.
const (
	outer  = "outer"
	within = "outer//within"
)

// nestedPolicy is a profile in each of them.
var nestedPolicy = []Policy{
	{Namespace: outer, Text: "profile p flags=(attach_disconnected) {\n  …\n}\n"},
	{Namespace: within, Text: "profile q flags=(attach_disconnected) {\n  …\n}\n"},
}

// sibling is a namespace beside the container's, with a profile.
var sibling = []Policy{{Namespace: "sibling", Text: "profile other flags=(attach_disconnected) {\n  …\n}\n"}}

const siblingLabel = "host-allow//&:sibling:other"

// both is a profile on each side, with the same name and text.
func both(text string) []Policy { return []Policy{{Text: text}, {Namespace: Namespace, Text: text}} }

// bothSides are a case for a profile of the host, and the same one for a profile
// of the namespace's in a stack. The first task gets the label; Labels["t"] is
// the profile that it ends in, by default the same; records are that profile's
// where they name none.
func bothSides(profile string, c Case) []Case {
	end := c.Labels["t"]
	if end == "" {
		end = profile
	}
	var list []Case
	for _, side := range []struct{ name, where, before, ns string }{{"host", OnHost, "", ""}, {"namespace", InContainer, hostAllow + "//&:" + Namespace + ":", Namespace}} {
		n := c
		n.Name = strings.TrimPrefix(c.Name+"-"+side.name, "-")
		n.Tasks = append([]Task{{Name: "t", Where: side.where, Label: side.before + profile}}, c.Tasks...)
		for i := range n.Tasks {
			if n.Tasks[i].Where == "" {
				n.Tasks[i].Where = side.where
			}
		}
		n.Labels = map[string]string{"t": side.before + end + " (enforce)"}
		n.Records = nil
		for _, r := range c.Records {
			r.Namespace = side.ns
			if r.Profile == "" {
				r.Profile = profile
			}
			n.Records = append(n.Records, r)
		}
		list = append(list, n)
	}
	return list
}
