package profile

import "strings"

// Effect is when a key or device of a profile is in force in a running container.
type Effect int

// The effects, from best to worst.
const (
	Live    Effect = iota // at once
	Restart               // when the container has been restarted
	Refused               // never: applications may not request it
)

func (e Effect) String() string {
	return [...]string{"live", "restart", "refused"}[e]
}

// key is a row of the table of configuration keys.
type key struct {
	name   string // the key, or a namespace when it ends in a dot or a hyphen
	value  value  // what its value must be
	effect Effect
	why    string // for Refused: the owner, or the purpose
}

// keys are LXD's instance options for containers, and whether a running one applies a change, as in LXD 5.0
// to 6.6 (lxd/instance/drivers/driver_lxc.go, Update). The effects are the same in all of them; keys that
// came later are in extensions. LXD's documentation has security.nesting as live, too; only its
// AppArmor profile is, the mounts for nested containers are made at the start. The first row that matches
// counts. https://documentation.ubuntu.com/lxd/en/stable-5.0/reference/instance_options/
// https://documentation.ubuntu.com/lxd/latest/reference/instance_options/
var keys = []key{
	{"boot.autostart", boolean, Live, ""},
	{"boot.autostart.delay", startDelay, Live, ""},
	{"boot.autostart.priority", startPriority, Live, ""},
	{"boot.host_shutdown_timeout", stopTimeout, Live, ""},
	{"boot.stop.priority", priority, Live, ""},
	{"boot.debug_edk2", boolean, Refused, "it is for the firmware of virtual machines"},

	{"cluster.evacuate", oneOf("auto", "migrate", "live-migrate", "stop"), Live, ""},

	{"environment.", text, Live, ""},

	{"limits.cpu", cpus, Live, ""},
	{"limits.cpu.allowance", allowance, Live, ""},
	{"limits.cpu.nodes", nodes, Live, ""},
	{"limits.cpu.priority", priority, Live, ""},
	{"limits.disk.priority", priority, Live, ""},
	{"limits.hugepages.1GB", size, Live, ""},
	{"limits.hugepages.1MB", size, Live, ""},
	{"limits.hugepages.2MB", size, Live, ""},
	{"limits.hugepages.64KB", size, Live, ""},
	{"limits.kernel.", rlimit, Restart, ""},
	{"limits.memory", memory, Live, ""},
	{"limits.memory.enforce", oneOf("soft", "hard"), Live, ""},
	{"limits.memory.swap", boolean, Live, ""},
	{"limits.memory.swap.priority", priority, Live, ""},
	{"limits.network.priority", priority, Live, ""},
	{"limits.processes", processes, Live, ""},

	{"linux.kernel_modules", modules, Live, ""},
	{"linux.kernel_modules.load", oneOf("boot", "ondemand"), Restart, ""},
	{"linux.sysctl.", text, Restart, ""},

	{"migration.incremental.memory", boolean, Live, ""},
	{"migration.incremental.memory.goal", integer, Live, ""},
	{"migration.incremental.memory.iterations", integer, Live, ""},

	{"nvidia.driver.capabilities", words, Restart, ""},
	{"nvidia.require.cuda", text, Restart, ""},
	{"nvidia.require.driver", text, Restart, ""},
	{"nvidia.runtime", boolean, Restart, ""},

	{"placement.group", group, Live, ""},

	{"raw.apparmor", lines, Live, ""},
	{"raw.idmap", lines, Restart, ""},
	{"raw.lxc", lines, Restart, ""},
	{"raw.seccomp", lines, Restart, ""},

	{"security.delegate_bpf", boolean, Restart, ""},
	{"security.delegate_bpf.", text, Restart, ""},
	{"security.devlxd", boolean, Refused, "containers prove who they are through it"},
	{"security.devlxd.images", boolean, Live, ""},
	{"security.devlxd.management.volumes", boolean, Live, ""},
	{"security.idmap.base", integer, Restart, ""},
	{"security.idmap.isolated", boolean, Restart, ""},
	{"security.idmap.size", integer, Restart, ""},
	{"security.nesting", boolean, Restart, ""},
	{"security.privileged", boolean, Restart, ""},
	{"security.protection.delete", boolean, Live, ""},
	{"security.protection.shift", boolean, Live, ""},
	{"security.protection.start", boolean, Live, ""},
	{"security.syscalls.intercept.mount.allowed", text, Live, ""},
	{"security.syscalls.intercept.mount.fuse", text, Live, ""},
	{"security.syscalls.intercept.mount.shift", boolean, Live, ""},
	{"security.syscalls.intercept.", boolean, Restart, ""},
	{"security.syscalls.allow", lines, Restart, ""},
	{"security.syscalls.deny", lines, Restart, ""},
	{"security.syscalls.deny_compat", boolean, Restart, ""},
	{"security.syscalls.deny_default", boolean, Restart, ""},

	{"snapshots.expiry", text, Live, ""},
	{"snapshots.pattern", pattern, Live, ""},
	{"snapshots.schedule", text, Live, ""},
	{"snapshots.schedule.stopped", boolean, Live, ""},

	{"ubuntu_pro.guest_attach", oneOf("on", "off", "available"), Live, ""},

	{"cloud-init.", text, Refused, "Juju starts its machines with it"},
	{"image.", text, Refused, "LXD writes it from the image"},
	{"user.dcib.", text, Refused, "it is lxd-cluster's own"},
	{"user.juju-", text, Refused, "it is Juju's own"},
	{"user.meta-data", text, Refused, "Juju starts its machines with it"},
	{"user.network-config", text, Refused, "Juju starts its machines with it"},
	{"user.user-data", text, Refused, "Juju starts its machines with it"},
	{"user.vendor-data", text, Refused, "Juju starts its machines with it"},
	{"user.", lines, Live, ""},
	{"volatile.", text, Refused, "LXD keeps its own notes in it"},
}

// suffixes are what may follow the rows that are namespaces, if LXD or liblxc interprets it.
var suffixes = map[string]value{
	// POSIX.1-2017, 8.1: names of environment variables that all programs can read.
	"environment.": matching("letters, digits and underscores after environment.", `[A-Za-z_][A-Za-z0-9_]*`),
	// liblxc, limit_opt in src/lxc/conf.c; a number is an unnamed limit of the kernel.
	"limits.kernel.": oneOf("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
	// liblxc writes to the file of /proc/sys, with each dot made a slash.
	"linux.sysctl.": matching("a sysctl such as net.ipv4.ip_forward after linux.sysctl.", `[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)+`),
}

// extensions are the API extensions of keys that came after LXD 5.0, by the rows' names.
// https://documentation.ubuntu.com/lxd/latest/api-extensions/
var extensions = map[string]string{
	"limits.cpu.nodes":                   "numa_cpu_placement",
	"linux.kernel_modules.load":          "container_syscall_intercept_finit_module",
	"placement.group":                    "instance_placement_groups",
	"security.delegate_bpf":              "container_bpf_delegation",
	"security.delegate_bpf.":             "container_bpf_delegation",
	"security.devlxd.management.volumes": "devlxd_volume_management",
	"security.protection.start":          "instance_protection_start",
	"ubuntu_pro.guest_attach":            "ubuntu_pro_guest_attach",
}

// vmKeys are the rows that apply to a virtual machine.
// https://documentation.ubuntu.com/lxd/latest/reference/instance_options/, "Condition"
var vmKeys = map[string]bool{
	"boot.autostart": true, "boot.autostart.delay": true, "boot.autostart.priority": true,
	"boot.host_shutdown_timeout": true, "boot.stop.priority": true, "cluster.evacuate": true,
	"environment.": true, "limits.cpu": true, "limits.cpu.nodes": true, "limits.disk.priority": true,
	"limits.memory": true, "placement.group": true, "raw.apparmor": true, "security.devlxd.images": true,
	"security.devlxd.management.volumes": true, "security.protection.delete": true,
	"security.protection.start": true, "snapshots.expiry": true, "snapshots.pattern": true,
	"snapshots.schedule": true, "snapshots.schedule.stopped": true, "ubuntu_pro.guest_attach": true, "user.": true,
}

// stoppedVMKeys are the vmKeys that LXD changes only while the machine is stopped: it refuses the whole
// profile while it runs (lxd/instance/drivers/driver_qemu.go, Update).
var stoppedVMKeys = map[string]bool{
	"limits.cpu.nodes": true, "limits.disk.priority": true, "placement.group": true, "raw.apparmor": true,
	"security.protection.delete": true, "security.protection.start": true, "ubuntu_pro.guest_attach": true,
}

// containerDevices are the types that LXD refuses on a virtual machine, with the whole profile.
var containerDevices = map[string]bool{"unix-block": true, "unix-char": true, "unix-hotplug": true}

// findKey returns the row of a key, and whether there is one.
func findKey(name string) (key, bool) {
	for _, row := range keys {
		if isNamespace(row.name) {
			if strings.HasPrefix(name, row.name) && name != row.name {
				return row, true
			}
		} else if row.name == name {
			return row, true
		}
	}
	return key{}, false
}

// isNamespace reports whether the row stands for all keys that begin with its name.
func isNamespace(name string) bool {
	return strings.HasSuffix(name, ".") || strings.HasSuffix(name, "-")
}

// device is a row of the table of device types.
type device struct {
	kind     string
	required []string // properties that it requires
	effect   Effect
	why      string
}

// devices are LXD's device types for containers, all hot-plugged where LXD can.
// https://documentation.ubuntu.com/lxd/en/stable-5.0/reference/devices/
var devices = []device{
	{"disk", []string{"path"}, Live, ""},
	{"gpu", nil, Live, ""},
	{"infiniband", []string{"nictype", "parent"}, Restart, ""},
	{"nic", nil, Live, ""},
	{"none", nil, Live, ""},
	{"proxy", []string{"connect", "listen"}, Live, ""},
	{"tpm", nil, Restart, ""},
	{"unix-block", nil, Live, ""},
	{"unix-char", nil, Live, ""},
	{"unix-hotplug", nil, Live, ""},
	{"usb", nil, Live, ""},
	{"pci", nil, Refused, "it is for virtual machines"},
}

func findDevice(kind string) (device, bool) {
	for _, row := range devices {
		if row.kind == kind {
			return row, true
		}
	}
	return device{}, false
}

// paths are the device properties that name a file.
var paths = map[string]bool{"path": true, "source": true}
