// Package node is what a region and a rack of MAAS have in common on their machine: files
// of theirs, services, and the identity that MAAS knows the machine by.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/host/command"
)

// Files of MAAS's packages, below the root.
const (
	RegionConf   = "etc/maas/regiond.conf"
	RackConf     = "etc/maas/rackd.conf"
	SecretFile   = "var/lib/maas/secret"
	SystemIDFile = "var/lib/maas/maas_id"
	record       = "var/lib/dcib/maas-identity"
)

// RegionPackage and RackPackage are what to install. Never maas or maas-region-controller:
// the latter's postinst points regiond.conf at a database on the same machine.
const (
	RegionPackage = "maas-region-api"
	RackPackage   = "maas-rack-controller"
)

// Replaceable are the packages that an installation of MAAS may remove, as patterns: chrony, which MAAS
// needs, replaces the time service of Ubuntu, and MAAS its own older packages. dnsmasq, ntp, tftpd-hpa
// and squid-deb-proxy, with which MAAS's packages conflict too (debian/control), are an operator's.
var Replaceable = []string{"systemd-timesyncd", "maas-*", "python3-maas-*", "python3-django-maas"}

// Machine is the machine that MAAS is on.
type Machine struct {
	Run      command.Feeder
	Root     string // "/" outside tests
	Hostname string
	// MACs are the addresses of its network interfaces; Interfaces outside tests.
	MACs func() ([]string, error)
	// User returns the ids of a user; nil for SystemUser.
	User func(name string) (atomicfile.Owner, error)
}

// limits is how long the programs of MAAS's charms may run; hooks hold the machine's lock
// meanwhile. apt has limits of its own, and what only actions run has more.
var limits = map[string]time.Duration{
	"":            2 * time.Minute,
	"runuser":     30 * time.Second, // psql
	"psql":        30 * time.Second,
	"systemctl":   5 * time.Minute, // services that start slowly
	"maas":        5 * time.Minute, // each command loads all of MAAS
	"maas-region": MigrationLimit,
	"apt-get":     apt.Timeout,
	"dpkg":        apt.Timeout,
	"pg_dump":     6 * time.Hour,
	"pg_restore":  6 * time.Hour,
}

// MigrationLimit is how long maas-region dbupgrade may run. It goes on where it was ended.
const MigrationLimit = time.Hour

// Here is the machine that this runs on.
func Here() Machine {
	// An empty name is seen as what it is where it matters.
	hostname, _ := os.Hostname()
	run := command.System{Limits: limits, Environment: map[string][]string{"add-apt-repository": apt.Proxies(os.Getenv)}}
	return Machine{Run: run, Root: "/", Hostname: hostname, MACs: Interfaces}
}

// Interfaces lists the addresses of the machine's network interfaces, sorted, without those
// of bridges and other devices that the machine made up itself.
func Interfaces() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("cannot list the machine's network interfaces: %w", err)
	}
	var macs []string
	for _, i := range all {
		// A container's own end of a veth is such a device too, and is the one to count.
		_, bridge := os.Stat(filepath.Join("/sys/class/net", i.Name, "bridge"))
		if len(i.HardwareAddr) > 0 && i.Flags&net.FlagLoopback == 0 && bridge != nil && !slices.Contains([]string{"docker", "virbr", "veth", "vnet", "lxdbr", "tap"}, strings.TrimRight(i.Name, "0123456789abcdef")) {
			macs = append(macs, i.HardwareAddr.String())
		}
	}
	slices.Sort(macs)
	return slices.Compact(macs), nil
}

func (m Machine) path(name string) string { return filepath.Join(m.Root, name) }

// Text returns a file's content, trimmed; "" when there is none. MAAS's folders belong to user
// maas, so a symlink there is not followed.
func (m Machine) Text(name string) string {
	text, err := atomicfile.Read(m.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Has reports whether there is such a file.
func (m Machine) Has(name string) bool {
	_, err := os.Stat(m.path(name))
	return err == nil
}

// Write writes a file whole or not at all, for user and group maas alone to read where
// secret is set. Owner and mode are set before the file has its name, on what is written and
// not by a name: in a folder of user maas that could be another file by then.
func (m Machine) Write(name, content string, secret bool) error {
	opts := atomicfile.Options{Mode: 0o644}
	if secret {
		owner, err := m.user("maas")
		if err != nil {
			return fmt.Errorf("cannot write /%s: %w", name, err)
		}
		opts = atomicfile.Options{Mode: 0o640, Owner: &owner}
	}
	return m.write(name, []byte(content), opts)
}

func (m Machine) write(name string, content []byte, opts atomicfile.Options) error {
	path := m.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return atomicfile.Write(path, content, opts)
}

// Owner returns the owner of a file of MAAS that is a user's: that user, and group maas, so
// that MAAS can read it.
func (m Machine) Owner(name string) (atomicfile.Owner, error) {
	owner, err := m.user(name)
	if err != nil {
		return owner, err
	}
	maas, err := m.user("maas")
	owner.GID = maas.GID
	return owner, err
}

// user returns the ids of a user of the machine.
func (m Machine) user(name string) (atomicfile.Owner, error) {
	if m.User != nil {
		return m.User(name)
	}
	return SystemUser(name)
}

// SystemUser returns the ids of a user of this machine and of the user's first group.
func SystemUser(name string) (atomicfile.Owner, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return atomicfile.Owner{}, fmt.Errorf("cannot look up user %s: %w: is MAAS's package installed?", name, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return atomicfile.Owner{UID: uid, GID: gid}, errors.Join(err1, err2)
}

// Conf reads one of MAAS's configuration files; nothing when there is none, or when a crash
// has emptied it. The error says what is wrong with it.
func (m Machine) Conf(name string) (map[string]any, error) {
	text, err := atomicfile.Read(m.path(name))
	if info, statErr := os.Lstat(m.path(name)); errors.Is(err, atomicfile.ErrUnreadable) && (statErr != nil || !info.Mode().IsRegular()) {
		// It may be an operator's.
		return nil, fmt.Errorf("cannot read /%s: it is no regular file: replace it by one, or remove it to have it written again", name)
	}
	if err != nil && !atomicfile.Unusable(err) {
		return nil, err
	}
	conf := map[string]any{}
	if err := yaml.Unmarshal(text, &conf); err != nil {
		// What the library says may quote the line, and there are passwords in it.
		return nil, fmt.Errorf("cannot read /%s: it is no YAML: fix it, or remove it to have it written again", name)
	}
	return conf, nil
}

// Differs reports whether a configuration lacks some of what it should have. Keys that are
// not ours may be an operator's, and are not looked at.
func Differs(conf, want map[string]any) bool {
	for key, value := range want {
		has, err1 := yaml.Marshal(conf[key])
		wanted, err2 := yaml.Marshal(value)
		if err1 != nil || err2 != nil || string(has) != string(wanted) {
			return true
		}
	}
	return false
}

// SetConf writes what a configuration should have into its file, and keeps the rest.
func (m Machine) SetConf(name string, want map[string]any) error {
	conf, err := m.Conf(name)
	if err != nil {
		return err
	}
	maps.Copy(conf, want)
	text, err := yaml.Marshal(conf)
	if err != nil {
		return fmt.Errorf("cannot write /%s: %w", name, err)
	}
	return m.Write(name, string(text), true)
}

// Inactive lists those of some services that do not run.
func (m Machine) Inactive(ctx context.Context, services ...string) []string {
	// It prints a line for each, and fails when one does not run.
	out, _ := m.Run.Run(ctx, "systemctl", append([]string{"is-active"}, services...)...)
	lines := strings.Fields(out)
	var not []string
	for n, s := range services {
		if n >= len(lines) || lines[n] != "active" && lines[n] != "reloading" {
			not = append(not, s)
		}
	}
	return not
}

// identity is what a machine that MAAS knows is recognised by.
type identity struct {
	Hostname string   `json:"hostname"`
	MACs     []string `json:"macs"`
	SystemID string   `json:"system_id"`
}

func (m Machine) recorded() (id identity, ok bool) {
	text, err := atomicfile.Read(m.path(record))
	if err != nil {
		return id, false // a record that is lost is made again
	}
	return id, json.Unmarshal(text, &id) == nil && id.SystemID != ""
}

// Copied reports whether the identity on this machine is another's: it was recorded on one
// that had none of this one's network addresses. So it is with a container that was copied;
// LXD returns a copy addresses of its own. sameName reports whether it still has that other's
// host name, by which MAAS would take the two for one.
func (m Machine) Copied() (copied, sameName bool, err error) {
	was, ok := m.recorded()
	if !ok {
		return false, false, nil
	}
	now, err := m.MACs()
	if err != nil || len(now) == 0 || len(was.MACs) == 0 {
		return false, false, err
	}
	for _, mac := range was.MACs {
		if slices.Contains(now, mac) {
			return false, false, nil
		}
	}
	return true, was.Hostname == m.Hostname, nil
}

// Renamed reports whether the identity was recorded on a machine of another host name that has
// a network address of this one, and returns that name. It may be a copy with the original's
// addresses (hwaddr set on its device, as Juju does on machines of MAAS), or the original.
func (m Machine) Renamed() (was string, renamed bool) {
	id, ok := m.recorded()
	if !ok || id.Hostname == m.Hostname {
		return "", false
	}
	copied, _, err := m.Copied()
	return id.Hostname, err == nil && !copied
}

// Recorded reports whether the record is of the identity that this machine has.
func (m Machine) Recorded() bool {
	id := m.Text(SystemIDFile)
	if id == "" {
		return true // nothing to record
	}
	was, ok := m.recorded()
	if !ok || was.SystemID != id || was.Hostname != m.Hostname {
		return false
	}
	now, err := m.MACs()
	return err != nil || slices.Equal(now, was.MACs)
}

// Record writes down whose the identity on this machine is.
func (m Machine) Record() error {
	macs, err := m.MACs()
	if err != nil {
		return err
	}
	text, err := json.Marshal(identity{m.Hostname, macs, m.Text(SystemIDFile)})
	if err != nil {
		return err
	}
	return m.Write(record, string(text), false)
}

// services are those that have to stand still while an identity goes.
var services = []string{"maas-rackd", "maas-agent", "maas-regiond", "maas-apiserver", "maas-temporal-worker", "maas-temporal"}

// Stop stops and disables some services. Those that the machine does not have are no error.
func (m Machine) Stop(ctx context.Context, services ...string) error {
	for _, s := range services {
		if len(m.Inactive(ctx, s)) > 0 {
			continue
		}
		if _, err := m.Run.Run(ctx, "systemctl", "stop", s); err != nil {
			return err
		}
	}
	return nil
}

// stale are the files that belong to an identity, and go with it. The region's secret and
// database stay: they are what a copy comes back with.
var stale = []string{
	SystemIDFile, "var/lib/maas/rpc.state", "etc/maas/agent.yaml", "var/lib/maas/dhcpd.conf",
	"var/lib/maas/dhcpd6.conf", "var/lib/maas/dhcp/dhcpd.leases", "var/lib/maas/dhcp/dhcpd6.leases",
}

// Stale reports whether a file, below the root, belongs to an identity that MAAS gave a machine.
func Stale(name string) bool { return slices.Contains(stale, name) }

// Forget stops MAAS here and takes the machine's identity away. MAAS assigns a new one when
// it starts again.
func (m Machine) Forget(ctx context.Context) error {
	if err := m.Stop(ctx, services...); err != nil {
		return err
	}
	conf, err := m.Conf(RegionConf)
	if err != nil {
		return err
	}
	if _, told := conf["broadcast_address"]; told {
		// Another's; without it MAAS finds this machine's own.
		delete(conf, "broadcast_address")
		text, err := yaml.Marshal(conf)
		if err != nil {
			return fmt.Errorf("cannot write /%s: %w", RegionConf, err)
		}
		if err := m.Write(RegionConf, string(text), true); err != nil {
			return err
		}
	}
	// The record goes last: as long as it is there, this is done again.
	return m.Remove(append(slices.Clone(stale), record)...)
}

// folders of user maas, who may put a symlink anywhere in them.
var folders = []string{"etc/maas", "var/lib/maas"}

// Remove removes files; those that are not there are no error. Nothing in MAAS's folders
// leads out of them.
func (m Machine) Remove(names ...string) error {
	for _, name := range names {
		if err := m.remove(name); err != nil {
			return fmt.Errorf("cannot remove /%s: %w", name, err)
		}
	}
	return nil
}

func (m Machine) remove(name string) error {
	for _, folder := range folders {
		inside, ok := strings.CutPrefix(name, folder+"/")
		if !ok {
			continue
		}
		root, err := os.OpenRoot(m.path(folder))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer root.Close()
		return root.RemoveAll(inside)
	}
	return os.RemoveAll(m.path(name))
}
