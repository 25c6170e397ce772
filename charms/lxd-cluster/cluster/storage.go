package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// Pool is a storage pool as the options want it.
type Pool struct {
	Name, Driver string
	Source       string // a block device or folder on each member; empty: LXD's own place
}

// sharedDriver makes a pool that all members share. The ceph room makes it, once the
// cluster is there.
const sharedDriver = "ceph"

// defaultPool is what the options say when nobody has changed them.
var defaultPool = Pool{Name: "local", Driver: "dir"}

var (
	poolDrivers = []string{"dir", "btrfs", "lvm", "zfs", sharedDriver}
	// deviceDrivers are those that can be on a block device.
	deviceDrivers = []string{"btrfs", "lvm", "zfs"}
)

// problems lists what is wrong with the options, as ParseConfig does.
func (p Pool) problems() []string {
	var problems []string
	if !plainName(p.Name) {
		problems = append(problems, fmt.Sprintf("option storage-pool is %q: give a name of letters, digits, dots, dashes, like local", p.Name))
	}
	if !slices.Contains(poolDrivers, p.Driver) {
		problems = append(problems, fmt.Sprintf("option storage-driver is %q: give one of %s", p.Driver, strings.Join(poolDrivers, ", ")))
	}
	switch device := strings.HasPrefix(p.Source, "/dev/"); {
	case p.Source == "":
	case p.Driver == sharedDriver:
		problems = append(problems, fmt.Sprintf("option storage-source is %q: a pool of driver ceph is where relation ceph says: clear the option", p.Source))
	case !filepath.IsAbs(p.Source) || filepath.Clean(p.Source) != p.Source:
		problems = append(problems, fmt.Sprintf("option storage-source is %q: give the whole path of a block device or folder, like /dev/sdb or /srv/lxd, or nothing", p.Source))
	case device && p.Driver == "dir":
		problems = append(problems, fmt.Sprintf("option storage-source is %q: a pool of driver dir is in a folder: give a folder, like /srv/lxd, or another storage-driver", p.Source))
	case !device && (p.Driver == "lvm" || p.Driver == "zfs"):
		problems = append(problems, fmt.Sprintf("option storage-source is %q: a pool of driver %s is on a block device: give one, like /dev/sdb, or nothing for a loop file of LXD's own", p.Source, p.Driver))
	}
	return problems
}

// storageName is the charm's storage that a member's pool may be on.
const storageName = "local"

// attach takes the devices that Juju has attached for the pool. The problem is as in
// ParseConfig.
func (p *Pool) attach(devices []string) string {
	switch {
	case len(devices) == 0:
		return ""
	case p.Source != "":
		return fmt.Sprintf("option storage-source is %s, and Juju has attached storage %s (%s): clear the option to use that", p.Source, storageName, devices[0])
	case !slices.Contains(deviceDrivers, p.Driver):
		return fmt.Sprintf("option storage-driver is %s, and Juju has attached storage %s (%s), which takes one of %s: set storage-driver to one of them", p.Driver, storageName, devices[0], strings.Join(deviceDrivers, ", "))
	}
	p.Source = devices[0]
	return ""
}

// missing says why the source cannot be used on this machine; "" when it can.
func (p Pool) missing() string {
	if p.Source == "" {
		return ""
	}
	info, err := os.Stat(p.Source)
	device := strings.HasPrefix(p.Source, "/dev/")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "this machine has none"
	case err != nil:
		return err.Error()
	case device && info.Mode().Type() != fs.ModeDevice:
		return "on this machine that is no block device"
	case !device && !info.IsDir():
		return "on this machine that is no folder"
	}
	return ""
}

// memberConfig is what a joining member has to say for itself; LXD takes the rest from the
// cluster, and no notice of a pool that the cluster does not have.
func (p Pool) memberConfig() []api.ClusterMemberConfigKey {
	if p.Source == "" {
		return nil
	}
	return []api.ClusterMemberConfigKey{{Entity: "storage-pool", Name: p.Name, Key: "source", Value: p.Source}}
}

// wantsPool reports whether the founder has to make the pool. One that is there is kept, and
// where nobody has changed the options any other that is there serves as well.
func (f Facts) wantsPool() bool {
	if slices.Contains(f.LXD.Pools, f.Config.Storage.Name) || f.Config.Storage.Driver == sharedDriver {
		return false
	}
	return len(f.LXD.Pools) == 0 || f.Config.Storage != defaultPool
}

// cannotStore says why this machine's LXD cannot have the pool that the options want; ""
// when it can. It is asked before anything is changed.
func (f Facts) cannotStore() string {
	want := f.Config.Storage
	if len(f.LXD.Drivers) > 0 && !slices.Contains(f.LXD.Drivers, want.Driver) {
		return fmt.Sprintf("option storage-driver is %s: the LXD of %s supports %s: give one of these, or install what %s needs there and restart LXD", want.Driver, f.Hostname, strings.Join(f.LXD.Drivers, ", "), want.Driver)
	}
	driver, there := f.LXD.PoolDrivers[want.Name]
	there = there && !f.wipeOnJoinApplies()
	switch {
	case there && want.Driver != defaultPool.Driver && driver != want.Driver:
		return fmt.Sprintf("option storage-driver is %s: %s has a pool %s already, of driver %s, and it is kept: set storage-driver=%s to use it, or another storage-pool to have one made", want.Driver, f.Hostname, want.Name, driver, defaultPool.Driver)
	case !there && f.SourceErr != "":
		return fmt.Sprintf("option storage-source is %s: %s (%s): make it there, or give what every machine has", want.Source, f.SourceErr, f.Hostname)
	}
	return ""
}

// storageUnmet says what a cluster does not have although the options ask for it: they are
// read when it is founded, and what it has is never changed.
func (f Facts) storageUnmet() []string {
	want := f.Config.Storage
	if !f.LXD.Clustered || len(f.Problems) > 0 || want == defaultPool {
		return nil
	}
	if want.Driver == sharedDriver && f.Pending != "" {
		return nil // the ceph room says so
	}
	if !slices.Contains(f.LXD.Pools, want.Name) {
		return []string{fmt.Sprintf("option storage-pool is %s: the cluster was there first, with %s: give one of these, or make it with lxc storage create", want.Name, strings.Join(f.LXD.Pools, ", "))}
	}
	if has := f.LXD.Profiles[ProfileName].Devices["root"]["pool"]; has != "" && has != want.Name {
		return []string{fmt.Sprintf("option storage-pool is %s: profile %s has its root disks in %s, and instances may be there: set it back, or change the profile: lxc profile device set %s root pool=%s", want.Name, ProfileName, has, ProfileName, want.Name)}
	}
	return nil
}

// rootPool is the pool for root disks. The profile keeps the one it has: LXD refuses
// another as long as an instance is there.
func (f Facts) rootPool() string {
	has, want := f.LXD.Profiles[ProfileName].Devices["root"]["pool"], f.Config.Storage.Name
	switch {
	case slices.Contains(f.LXD.Pools, has):
		return has
	case len(f.LXD.Pools) == 0 || slices.Contains(f.LXD.Pools, want):
		return want
	}
	return f.LXD.Pools[0]
}
