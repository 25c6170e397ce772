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

// Pool is the storage pool of the options.
type Pool struct {
	Name, Driver string
	Source       string // a block device or folder on each member; empty: LXD chooses
}

// sharedDriver makes a pool that all members share. Package ceph creates it, once there is a cluster.
const sharedDriver = "ceph"

// defaultPool is the pool of the options' defaults.
var defaultPool = Pool{Name: "local", Driver: "dir"}

var (
	poolDrivers = []string{"dir", "btrfs", "lvm", "zfs", sharedDriver}
	// deviceDrivers are the drivers that can use a block device.
	deviceDrivers = []string{"btrfs", "lvm", "zfs"}
)

// problems returns what is wrong with the options, as ParseConfig does.
func (p Pool) problems() []string {
	var problems []string
	if !plainName(p.Name) {
		problems = append(problems, fmt.Sprintf("option storage-pool is %q, wanted a name of letters, digits, dots, dashes, like local", p.Name))
	}
	if !slices.Contains(poolDrivers, p.Driver) {
		problems = append(problems, fmt.Sprintf("option storage-driver is %q, wanted one of %s", p.Driver, strings.Join(poolDrivers, ", ")))
	}
	switch device := strings.HasPrefix(p.Source, "/dev/"); {
	case p.Source == "":
	case p.Driver == sharedDriver:
		problems = append(problems, fmt.Sprintf("option storage-source is %q, but a pool of driver ceph is on relation ceph: clear the option", p.Source))
	case !filepath.IsAbs(p.Source) || filepath.Clean(p.Source) != p.Source:
		problems = append(problems, fmt.Sprintf("option storage-source is %q, wanted the absolute path of a block device or folder, like /dev/sdb or /srv/lxd, or nothing", p.Source))
	case device && p.Driver == "dir":
		problems = append(problems, fmt.Sprintf("option storage-source is %q, wanted a folder for driver dir, like /srv/lxd, or another storage-driver", p.Source))
	case !device && (p.Driver == "lvm" || p.Driver == "zfs"):
		problems = append(problems, fmt.Sprintf("option storage-source is %q, wanted a block device for driver %s, like /dev/sdb, or nothing for a loop file", p.Source, p.Driver))
	}
	return problems
}

// storageName is the name of the charm's storage for a member's pool.
const storageName = "local"

// attach uses the devices that Juju has attached for the pool. The problem is as in ParseConfig.
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

// missing returns the reason why the source cannot be used on this machine; "" if it can.
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

// memberConfig returns the configuration of a joining member. LXD takes the rest from the cluster, and
// ignores a pool that the cluster does not have.
func (p Pool) memberConfig() []api.ClusterMemberConfigKey {
	if p.Source == "" {
		return nil
	}
	return []api.ClusterMemberConfigKey{{Entity: "storage-pool", Name: p.Name, Key: "source", Value: p.Source}}
}

// wantsPool reports whether the pool has to be created. A pool that exists is kept, and with default
// options any other pool serves too.
func (f Facts) wantsPool() bool {
	if slices.Contains(f.LXD.Pools, f.Config.Storage.Name) || f.Config.Storage.Driver == sharedDriver {
		return false
	}
	return len(f.LXD.Pools) == 0 || f.Config.Storage != defaultPool
}

// cannotStore returns the reason why this machine's LXD cannot have the pool of the options; "" if it can.
// It is checked before anything is changed.
func (f Facts) cannotStore() string {
	want := f.Config.Storage
	if len(f.LXD.Drivers) > 0 && !slices.Contains(f.LXD.Drivers, want.Driver) {
		return fmt.Sprintf("option storage-driver is %s: the LXD of %s supports %s: choose one of these, or install what %s needs there and restart LXD", want.Driver, f.Hostname, strings.Join(f.LXD.Drivers, ", "), want.Driver)
	}
	driver, there := f.LXD.PoolDrivers[want.Name]
	there = there && !f.wipeOnJoinApplies()
	switch {
	case there && want.Driver != defaultPool.Driver && driver != want.Driver:
		return fmt.Sprintf("option storage-driver is %s: %s has a pool %s already, of driver %s, which is kept: set storage-driver=%s to use it, or another storage-pool", want.Driver, f.Hostname, want.Name, driver, defaultPool.Driver)
	case !there && f.SourceErr != "":
		return fmt.Sprintf("option storage-source is %s: %s (%s): create it there, or set a source that every machine has", want.Source, f.SourceErr, f.Hostname)
	}
	return ""
}

// storageUnmet returns what the options require and the cluster does not have. The options are read when
// the cluster is bootstrapped; what it has is never changed.
func (f Facts) storageUnmet() []string {
	want := f.Config.Storage
	if !f.LXD.Clustered || len(f.Problems) > 0 || want == defaultPool {
		return nil
	}
	if want.Driver == sharedDriver && f.Pending != "" {
		return nil // package ceph reports it
	}
	if !slices.Contains(f.LXD.Pools, want.Name) {
		return []string{fmt.Sprintf("option storage-pool is %s: the cluster has %s: choose one of these, or create it with lxc storage create", want.Name, strings.Join(f.LXD.Pools, ", "))}
	}
	if has := f.LXD.Profiles[ProfileName].Devices["root"]["pool"]; has != "" && has != want.Name {
		return []string{fmt.Sprintf("option storage-pool is %s: root disks of profile %s are in %s: set the option back, or run lxc profile device set %s root pool=%s", want.Name, ProfileName, has, ProfileName, want.Name)}
	}
	return nil
}

// rootPool returns the pool for root disks. The profile keeps its pool: LXD refuses to change it while an
// instance uses it.
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
