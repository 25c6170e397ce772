// Package preflight says what a machine lacks for a box, all at once and before anything
// on it is changed.
package preflight

import (
	"fmt"
	"strconv"
	"strings"
)

const gib = 1 << 30

// What a box needs at least.
const (
	MinMemory   = 6 * gib  // bytes of memory that can be had
	MinDisk     = 20 * gib // bytes free below the state folder, nothing cached
	MinDiskWarm = 12 * gib // the same with everything cached
	MinIDs      = 1200000  // ids of root's range: two levels of containers
)

// Facts are what was found on the machine.
type Facts struct {
	UID         int
	Arch        string   // as Go names it
	Memory      uint64   // bytes available
	Disk        uint64   // bytes free below Home
	Closed      string   // the nearest parent of Home that others may not pass through, "" for none
	Charms      []string // charm archives that are to be deployed and are not there
	Home        string
	Warm        bool   // the cache has everything
	Snap        bool   // LXD and Juju are there as snaps: nothing is built
	Running     bool   // the box runs: it has its memory and disk already
	UserNS      int64  // how many user namespaces are allowed; -1 if the kernel has none
	SubUID      string // /etc/subuid, "" when it is missing
	SubGID      string // /etc/subgid
	SubIDs      bool   // whether these files are final, or a package yet to be installed writes them
	Cgroups     bool   // whether any cgroup hierarchy with the memory controller is there
	Filesystems string // /proc/filesystems
	Modules     bool   // the kernel can load modules, so more filesystems may appear
	LoopControl bool   // /dev/loop-control is there
	OS          string // the system's name, for people
	Debian      bool   // it is Debian or made of it, and has apt-get
	Ubuntu      bool   // it is Ubuntu or made of it: its LXD and Juju are snaps
	Go          string // the go command's version, "" when there is none
	SubnetErr   error  // why no subnet can be had
	MirrorErr   error  // why packages cannot be downloaded, though some must be
	GoProxyErr  error  // why Go modules cannot be downloaded, though some must be
	Driver      string // the storage driver that the pool will have
}

// Problem is one thing that is missing, and what to do about it.
type Problem struct{ What, Do string }

func (p Problem) String() string { return p.What + ": " + p.Do }

// Check returns everything that stands in the way; nothing does when it is empty.
func Check(f Facts) []Problem {
	var found []Problem
	add := func(do, what string, args ...any) {
		found = append(found, Problem{What: fmt.Sprintf(what, args...), Do: do})
	}
	if f.UID != 0 {
		add("run it as root (sudo make box)", "not root (user id %d): LXD and its containers need root", f.UID)
	}
	if f.Arch != "amd64" {
		add("use a machine with an x86-64 processor", "architecture %s: the box is made for amd64", f.Arch)
	}
	if !f.Running && f.Memory < MinMemory {
		add("end what uses the memory, or use a larger machine", "memory: %s available, %s needed", size(f.Memory), size(MinMemory))
	}
	need := uint64(MinDisk)
	if f.Warm {
		need = MinDiskWarm
	}
	if !f.Running && f.Disk < need {
		add("free some, or point DCIB_HOME to a larger disk", "disk: %s free in %s, %s needed", size(f.Disk), f.Home, size(need))
	}
	if f.Closed != "" {
		add("chmod o+x "+f.Closed+", or point DCIB_HOME elsewhere", "%s is closed to others: the root users of containers, who are such, cannot reach their files in %s", f.Closed, f.Home)
	}
	if len(f.Charms) > 0 {
		add("run make charms", "charm archives are missing: %s", strings.Join(f.Charms, ", "))
	}
	if f.UserNS <= 0 {
		add("boot a kernel with CONFIG_USER_NS, and raise sysctl user.max_user_namespaces", "no user namespaces: containers cannot be unprivileged")
	}
	if f.SubIDs && !f.Snap && !f.Ubuntu {
		for _, file := range []struct{ name, text string }{{"/etc/subuid", f.SubUID}, {"/etc/subgid", f.SubGID}} {
			if n := rootRange(file.text); n < MinIDs {
				add(fmt.Sprintf("write root:100000:10000001 into %s", file.name), "%s assigns root %d ids, and containers in containers need %d", file.name, n, MinIDs)
			}
		}
	}
	if !f.Cgroups {
		add("mount the memory cgroup (systemd does, and so does the package cgroupfs-mount)", "no memory cgroup")
	}
	if f.Driver == "btrfs" {
		if !f.LoopControl {
			add("load the kernel module loop (modprobe loop)", "no loop devices: the pool is a file")
		}
		if !hasFilesystem(f.Filesystems, "btrfs") && !f.Modules {
			add("boot a kernel with btrfs", "no btrfs, which the pool is made of")
		}
	}
	switch {
	case f.Snap || f.Debian:
	case f.Ubuntu:
		add("snap install lxd, snap install juju", "the snaps lxd and juju are not both installed, from which the box on %s is made", f.OS)
	default:
		add("use Debian 12 or 13, or Ubuntu with the snaps juju and lxd", "%s is not Debian or has no apt-get", f.OS)
	}
	if f.Go == "" && !f.Snap && !f.Ubuntu {
		add("install Go 1.26 or newer and put it into PATH", "no go command: Juju's commands must be built")
	}
	if f.SubnetErr != nil {
		add("name a free one with --subnet", "%v", f.SubnetErr)
	}
	if f.MirrorErr != nil {
		add("check the network and /etc/apt/sources.list", "packages cannot be downloaded: %v", f.MirrorErr)
	}
	if f.GoProxyErr != nil {
		add("check the network and `go env GOPROXY`", "Go modules cannot be downloaded: %v", f.GoProxyErr)
	}
	return found
}

// Error joins problems into one error, one per line.
func Error(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		lines = append(lines, "  - "+p.String())
	}
	return fmt.Errorf("cannot build a box on this machine (nothing was changed):\n%s", strings.Join(lines, "\n"))
}

// rootRange returns the largest number of ids that a file assigns to root in one piece.
func rootRange(file string) int64 {
	var most int64
	for line := range strings.Lines(file) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || (f[0] != "root" && f[0] != "0") {
			continue
		}
		if n, err := strconv.ParseInt(f[2], 10, 64); err == nil {
			most = max(most, n)
		}
	}
	return most
}

func hasFilesystem(list, name string) bool {
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) > 0 && f[len(f)-1] == name {
			return true
		}
	}
	return false
}

func size(bytes uint64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/gib) }
