// Package lxdhost runs the box's own LXD on the machine: its daemon, its pool, its bridge
// and its images.
package lxdhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	lxd "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/box/proc"
	"github.com/dcib/dcib/internal/steps"
)

// Packages are what the daemon needs of the machine.
var Packages = []string{"lxd", "lxd-client", "dnsmasq-base", "squashfs-tools", "nftables", "iproute2", "btrfs-progs", "debootstrap", "attr", "rsync", "xz-utils"}

// port is LXD's own.
const port = 8443

// MachineBridge is the bridge that each of the box's machines has over its NIC. bridgeKey distinguishes a
// machine to make it: the image's script usr/local/lib/dcib/bridge reads it.
const (
	MachineBridge = "br0"
	bridgeKey     = "user.dcib.bridge"
)

// Host is the box's LXD.
type Host struct {
	Place  place.Place
	Subnet netip.Prefix
	// PoolGiB is how large the pool's file may grow.
	PoolGiB int
	// Driver is the pool's storage driver, "btrfs" or "dir".
	Driver string
}

// Mark is how the box's processes on the machine are known.
func Mark(p place.Place) proc.Mark {
	return proc.Mark{Env: place.Marker + "=" + p.Dir(), Monitor: filepath.Join(p.LXD(), "containers"), Dir: p.Dir()}
}

// Pid returns the daemon's process id, or 0 if it does not run.
func Pid(p place.Place) int { return proc.ReadPid(p.Pid(), Mark(p)) }

// Connect returns a client of the daemon, in the box's project.
func Connect(ctx context.Context, p place.Place) (lxd.InstanceServer, error) {
	c, err := lxd.ConnectLXDUnixWithContext(ctx, p.Socket(), nil)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the box's LXD at %s: %w", p.Socket(), err)
	}
	return c.UseProject(p.Project()), nil
}

// Running reports whether there is a daemon to talk to.
func Running(p place.Place) bool { return p.Snap != nil || Pid(p) != 0 }

// Up reports whether the daemon runs and answers.
func (h Host) Up(ctx context.Context) (bool, string, error) {
	if !Running(h.Place) {
		return false, "no daemon", nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := Connect(ctx, h.Place)
	if err != nil {
		return false, "the daemon does not answer", nil
	}
	server, _, err := c.GetServer()
	if err != nil {
		return false, "the daemon does not answer", nil
	}
	return true, fmt.Sprintf("LXD %s, pid %d", server.Environment.ServerVersion, server.Environment.ServerPid), nil
}

// Start starts the daemon, or waits for the one that is starting.
func (h Host) Start(ctx context.Context, log *steps.Log) error {
	if h.Place.Snap != nil {
		return errors.New("cannot reach the machine's LXD: start it with snap start lxd")
	}
	if Pid(h.Place) == 0 {
		// A daemon whose id was not kept in time would hold the database: there can be none
		// beside ours, which is the one that is not there.
		if err := h.endLeftover(ctx, log); err != nil {
			return err
		}
		daemon, err := find("lxd", "/usr/sbin/lxd", "/usr/bin/lxd")
		if err != nil {
			return err
		}
		pid, err := proc.Start([]string{daemon, "--group", "root", "--logfile", filepath.Join(h.Place.Logs(), "lxd-daemon.log")}, h.Place.Env(), h.Place.Pid(), filepath.Join(h.Place.Logs(), "lxd-daemon.out"))
		if err != nil {
			return err
		}
		log.Say("started, pid %d", pid)
	}
	if _, err := proc.Run(ctx, proc.Cmd{Args: []string{"lxd", "waitready", "--timeout", "120"}, Env: h.Place.Env(), Log: log}); err != nil {
		return fmt.Errorf("cannot start the box's LXD: %w (its log: %s)", err, filepath.Join(h.Place.Logs(), "lxd-daemon.log"))
	}
	return nil
}

func (h Host) endLeftover(ctx context.Context, log *steps.Log) error {
	found, err := proc.Find("/proc", proc.Mark{Env: Mark(h.Place).Env})
	if err != nil {
		return err
	}
	for _, p := range found {
		if strings.Contains(p.Command, "--logfile "+filepath.Join(h.Place.Logs(), "lxd-daemon.log")) {
			log.Say("end a daemon that lost its pid file: %s", p)
			if !proc.Stop(ctx, p.Pid, 30*time.Second) {
				return fmt.Errorf("cannot end the LXD daemon %s of an earlier run: run dcib box down", p)
			}
		}
	}
	return nil
}

func find(name string, paths ...string) (string, error) {
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("cannot find %s: looked for %s: install the package %s", name, strings.Join(paths, ", "), name)
}

// Gateway is the bridge's address, at which containers reach the machine and LXD's API.
func (h Host) Gateway() netip.Addr { return h.Subnet.Masked().Addr().Next() }

func (h Host) address() string {
	return apiAddress(h.Gateway().String())
}

// Set reports whether pool, bridge, default profile and API address are as they should be.
func (h Host) Set(ctx context.Context) (bool, string, error) {
	c, err := Connect(ctx, h.Place)
	if err != nil {
		return false, "no daemon", nil
	}
	pool, _, err := c.GetStoragePool(h.Place.Pool())
	if missing(err) {
		return false, "no pool", nil
	} else if err != nil {
		return false, "", err
	}
	if pool.Status != "Created" {
		return false, "the pool is " + strings.ToLower(pool.Status), nil
	}
	network, _, err := c.GetNetwork(h.Place.Bridge())
	if missing(err) || (err == nil && !network.Managed) {
		return false, "no bridge", nil
	} else if err != nil {
		return false, "", err
	}
	if network.Status != "Created" || network.Config["ipv4.address"] != h.cidr() {
		return false, "the bridge is not finished", nil
	}
	profile, _, err := c.GetProfile("default")
	if err != nil {
		return false, "", err
	}
	if profile.Devices["root"] == nil || profile.Devices["eth0"] == nil {
		return false, "the default profile is empty", nil
	}
	if h.Place.Snap == nil && profile.Config[bridgeKey] != MachineBridge {
		return false, "machines have no bridge " + MachineBridge, nil
	}
	if h.Place.Snap != nil {
		_, _, err := c.GetProject(h.Place.Project())
		if missing(err) {
			return false, "no project " + h.Place.Project(), nil
		} else if err != nil {
			return false, "", err
		}
	}
	server, _, err := c.GetServer()
	if err != nil {
		return false, "", err
	}
	conn, err := net.DialTimeout("tcp", h.endpoint(server), 2*time.Second)
	if err != nil || !h.listens(server) {
		return false, "the API does not listen", nil
	}
	_ = conn.Close()
	return true, fmt.Sprintf("pool %s, bridge %s %s", pool.Driver, h.Place.Bridge(), h.Subnet), nil
}

func (h Host) cidr() string { return fmt.Sprintf("%s/%d", h.Gateway(), h.Subnet.Bits()) }

// Setup makes pool, bridge, default profile and API address.
func (h Host) Setup(ctx context.Context, log *steps.Log) error {
	c, err := Connect(ctx, h.Place)
	if err != nil {
		return err
	}
	if err := h.makeProject(c, log); err != nil {
		return err
	}
	if pool, _, err := c.GetStoragePool(h.Place.Pool()); err == nil && pool.Status != "Created" {
		log.Say("remove a pool that was cut off half way")
		if err := c.DeleteStoragePool(h.Place.Pool()); err != nil {
			return fmt.Errorf("cannot remove the unfinished pool: %w: run dcib box down", err)
		}
	}
	if _, _, err := c.GetStoragePool(h.Place.Pool()); missing(err) {
		config := map[string]string{}
		if h.Driver == "btrfs" {
			config["size"] = fmt.Sprintf("%dGiB", h.PoolGiB)
		}
		log.Say("pool %s", h.Driver)
		if err := c.CreateStoragePool(api.StoragePoolsPost{Name: h.Place.Pool(), Driver: h.Driver, StoragePoolPut: api.StoragePoolPut{Config: config}}); err != nil {
			return fmt.Errorf("cannot make the pool: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("cannot look for the pool: %w", err)
	}

	if network, _, err := c.GetNetwork(h.Place.Bridge()); err == nil && network.Managed && (network.Status != "Created" || network.Config["ipv4.address"] != h.cidr()) {
		log.Say("remove a bridge that was cut off half way")
		if err := c.DeleteNetwork(h.Place.Bridge()); err != nil {
			return fmt.Errorf("cannot remove the unfinished bridge: %w: run dcib box down", err)
		}
	}
	if network, _, err := c.GetNetwork(h.Place.Bridge()); missing(err) || (err == nil && !network.Managed) {
		log.Say("bridge %s, %s", h.Place.Bridge(), h.cidr())
		err := c.CreateNetwork(api.NetworksPost{Name: h.Place.Bridge(), Type: "bridge", NetworkPut: api.NetworkPut{Config: map[string]string{
			"ipv4.address": h.cidr(), "ipv4.nat": "true", "ipv6.address": "none", "dns.domain": "lxd",
		}}})
		if err != nil {
			return fmt.Errorf("cannot make the bridge %s: %w", h.Place.Bridge(), err)
		}
	} else if err != nil {
		return fmt.Errorf("cannot look for the bridge: %w", err)
	}

	profile, etag, err := c.GetProfile("default")
	if err != nil {
		return fmt.Errorf("cannot read the default profile: %w", err)
	}
	put := profile.Writable()
	if put.Devices == nil {
		put.Devices = map[string]map[string]string{}
	}
	put.Devices["root"] = map[string]string{"type": "disk", "path": "/", "pool": h.Place.Pool()}
	put.Devices["eth0"] = map[string]string{"type": "nic", "name": "eth0", "network": h.Place.Bridge()}
	if h.Place.Snap == nil { // Ubuntu's images do not have what reads it
		if put.Config == nil {
			put.Config = map[string]string{}
		}
		put.Config[bridgeKey] = MachineBridge
	}
	op, err := c.UpdateProfile("default", put, etag)
	if err == nil {
		err = op.WaitContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot write the default profile: %w", err)
	}

	return h.listen(c)
}

// listens reports whether LXD's API is told to listen where it should: at the bridge alone,
// or where the machine's LXD does.
func (h Host) listens(server *api.Server) bool {
	address, _ := server.Config["core.https_address"].(string)
	if h.Place.Snap != nil {
		return address != ""
	}
	return address == h.address()
}

// endpoint is where containers reach the API.
func (h Host) endpoint(server *api.Server) string {
	address, _ := server.Config["core.https_address"].(string)
	if h.Place.Snap == nil || address == "" {
		return h.address()
	}
	host, at, err := net.SplitHostPort(address)
	if err != nil {
		host, at = address, fmt.Sprint(port)
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil || ip.IsUnspecified() {
		host = h.Gateway().String() // it listens everywhere
	}
	return net.JoinHostPort(host, at)
}

// listen makes LXD's API listen. The machine's LXD keeps the address that it has.
func (h Host) listen(c lxd.InstanceServer) error {
	addresses := []string{"", h.address()}
	if h.Place.Snap != nil {
		server, _, err := c.GetServer()
		if err != nil {
			return fmt.Errorf("cannot read LXD's settings: %w", err)
		}
		if h.listens(server) {
			return nil
		}
		addresses = addresses[1:]
	}
	// Set again even if it is the same: a daemon that started before its bridge was there
	// does not listen.
	for _, address := range addresses {
		server, etag, err := c.GetServer()
		if err != nil {
			return fmt.Errorf("cannot read LXD's settings: %w", err)
		}
		put := server.Writable()
		put.Config["core.https_address"] = address
		if h.Place.Snap == nil {
			put.Config["images.auto_update_interval"] = "0"
		}
		if err := c.UpdateServer(put, etag); err != nil {
			return fmt.Errorf("cannot make LXD's API listen at %s: %w", address, err)
		}
	}
	return nil
}

// missing reports whether LXD answered that a thing is not there.
func missing(err error) bool { return api.StatusErrorCheck(err, http.StatusNotFound) }

// Instances returns the box's instances, sorted by name.
func Instances(ctx context.Context, p place.Place) ([]api.Instance, error) {
	c, err := Connect(ctx, p)
	if err != nil {
		return nil, err
	}
	all, err := c.GetInstances(api.InstanceTypeAny)
	if err != nil {
		return nil, fmt.Errorf("cannot list the instances: %w", err)
	}
	return all, nil
}

// Remove stops and deletes instances, whatever they do, several at a time.
func Remove(ctx context.Context, p place.Place, instances []api.Instance, say func(format string, args ...any)) error {
	c, err := Connect(ctx, p)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, 4)
	errs := make(chan error, len(instances))
	for _, i := range instances {
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs <- remove(ctx, p, c, i.Name)
		}()
	}
	var all []error
	for n := range instances {
		if err := <-errs; err != nil {
			all = append(all, err)
		} else {
			say("%d of %d instances removed", n+1, len(instances))
		}
	}
	return errors.Join(all...)
}

func remove(ctx context.Context, p place.Place, c lxd.InstanceServer, name string) error {
	if op, err := c.UpdateInstanceState(name, api.InstanceStatePut{Action: "stop", Force: true, Timeout: -1}, ""); err == nil {
		// One that is stopped already answers with an error: only the deletion counts.
		_ = op.WaitContext(ctx)
	}
	err := deleteInstance(ctx, c, name)
	if err != nil && p.Snap == nil && ctx.Err() == nil {
		// A daemon that was killed while it made the instance has left a plain folder, which
		// it does not take for a volume afterwards; without it there is nothing to delete.
		if os.RemoveAll(filepath.Join(p.LXD(), "storage-pools", p.Pool(), "containers", name)) == nil {
			err = deleteInstance(ctx, c, name)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot delete instance %s: %w", name, err)
	}
	return nil
}

func deleteInstance(ctx context.Context, c lxd.InstanceServer, name string) error {
	op, err := c.DeleteInstance(name)
	if err == nil {
		err = op.WaitContext(ctx)
	}
	if missing(err) {
		return nil
	}
	return err
}

// Address returns the IPv4 address at which an instance is reached over the bridge.
func Address(ctx context.Context, p place.Place, instance string) (string, error) {
	c, err := Connect(ctx, p)
	if err != nil {
		return "", err
	}
	state, _, err := c.GetInstanceState(instance)
	if err != nil {
		return "", fmt.Errorf("cannot ask LXD for the address of %s: %w", instance, err)
	}
	if address := addressOf(state.Network); address != "" {
		return address, nil
	}
	return "", fmt.Errorf("cannot find the address of %s: it is %s, and neither its %s nor its eth0 has one", instance, strings.ToLower(state.Status), MachineBridge)
}

// addressOf returns the IPv4 address of a machine: of its bridge or, where it has none, of its NIC.
func addressOf(networks map[string]api.InstanceStateNetwork) string {
	for _, name := range []string{MachineBridge, "eth0"} {
		for _, a := range networks[name].Addresses {
			if a.Family == "inet" && a.Scope == "global" {
				return a.Address
			}
		}
	}
	return ""
}
