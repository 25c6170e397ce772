// Package ceph creates a storage pool on Ceph, which all members share. Over the relation `ceph`
// (interface ceph-client) each unit requests an OSD pool and a key, and writes Ceph's configuration on its
// machine. When all members have it, one unit creates LXD's pool.
package ceph

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation"
	"github.com/dcib/dcib/internal/relation/cephclient"
)

// Endpoint is the relation's name in charmcraft.yaml.
const Endpoint = "ceph"

// Driver is LXD's storage driver.
const Driver = "ceph"

// Env is what this package works on.
type Env struct {
	Tools hooktool.Tools
	LXD   LXD
	Dir   string // "/etc/ceph" outside tests; LXD looks there and nowhere else
}

// LXD is what this package uses of a cluster's LXD.
type LXD interface {
	// Pool returns a storage pool, complete or not; nil if there is none.
	Pool(ctx context.Context, name string) (*Pool, error)
	// Define makes a pool known on a member, and Create creates it.
	Define(ctx context.Context, name, member string, config map[string]string) error
	Create(ctx context.Context, name string, config map[string]string) error
}

// Pool is a storage pool as LXD lists it.
type Pool struct {
	Driver  string
	Created bool     // on all members
	Defined []string // the members where it is known
}

// ClusterInfo is what this package needs to know of the cluster.
type ClusterInfo struct {
	Unit, App     string
	Peers         string   // the peer relation's id; empty before Juju created it
	Clustered     bool     // this machine's LXD is a member
	IsCoordinator bool     // this unit does what is done once for the cluster
	Members       []string // by LXD's own list
	Ready         []string // members whose machines have Ceph's configuration
	Told          bool     // this unit has published that its machine has it
	Drivers       []string // storage drivers that this LXD supports; nil if it does not report them
	PoolName      string   // the name of LXD's pool
	Root          bool     // root disks are to be in it
}

// Config has the application's options that this package reads.
type Config struct {
	OSDPool  string // the OSD pool's name; empty: the application's
	Replicas int
}

var osdPool = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// ParseConfig reads the options. A problem names the option, its value and what is accepted.
func ParseConfig(options map[string]any) (Config, []string) {
	var problems []string
	name, _ := options["ceph-osd-pool"].(string)
	c := Config{OSDPool: strings.TrimSpace(name)}
	if c.OSDPool != "" && (len(c.OSDPool) > 63 || !osdPool.MatchString(c.OSDPool)) {
		problems = append(problems, fmt.Sprintf("option ceph-osd-pool is %q, wanted a name of letters, digits, dots, dashes, like lxd, or nothing", c.OSDPool))
	}
	replicas, _ := options["ceph-osd-replication-count"].(float64)
	if c.Replicas = int(replicas); c.Replicas < 1 || c.Replicas > 10 {
		problems = append(problems, fmt.Sprintf("option ceph-osd-replication-count is %v, wanted the number of copies, 1 to 10", options["ceph-osd-replication-count"]))
	}
	return c, problems
}

// Facts are what a plan is made from.
type Facts struct {
	ClusterInfo
	Problems []string // with the options

	Relation string // empty without one
	Request  cephclient.Request
	Sent     bool // as it is in the databag
	Monitors []string
	Key      string // secret
	Answer   cephclient.Answer
	Answered bool
	// Unusable reports which monitors published invalid values, and why. Nothing is written then.
	Unusable []string

	// Files are the files that have to be written.
	Files []File
	// Foreign is the reason why a ceph.conf that is not the charm's cannot be used.
	Foreign string

	Pool *Pool
}

// File is a file of Ceph's configuration.
type File struct {
	Name string
	Text string
	Mode fs.FileMode
}

// Observe gathers the facts and changes nothing.
func Observe(ctx context.Context, w Env, info ClusterInfo) (Facts, error) {
	f := Facts{ClusterInfo: info}
	relations, err := w.Tools.RelationIDs(ctx, Endpoint)
	if err != nil || len(relations) == 0 {
		return f, err
	}
	f.Relation = relations[0]
	options, err := w.Tools.Config(ctx)
	if err != nil {
		return f, err
	}
	var config Config
	if config, f.Problems = ParseConfig(options); len(f.Problems) > 0 {
		return f, nil
	}
	f.Request = cephclient.Request{App: info.App, Unit: info.Unit, Pool: config.OSDPool, Replicas: config.Replicas}
	if f.Request.Pool == "" {
		f.Request.Pool = info.App
	}
	mine, err := w.Tools.RelationGet(ctx, f.Relation, info.Unit)
	if err != nil {
		return f, err
	}
	f.Sent = relation.Contains(mine, f.Request.Encode())
	if err := f.observeMonitors(ctx, w); err != nil {
		return f, err
	}
	if f.Key != "" && len(f.Unusable) == 0 {
		if err := f.observeFiles(w); err != nil {
			return f, err
		}
	}
	if f.Clustered {
		f.Pool, err = w.LXD.Pool(ctx, f.PoolName)
	}
	return f, err
}

func (f *Facts) observeMonitors(ctx context.Context, w Env) error {
	units, err := w.Tools.RelationUnits(ctx, f.Relation)
	if err != nil && !errors.Is(err, hooktool.ErrNotFound) {
		return err
	}
	for _, unit := range units {
		bag, err := w.Tools.RelationGet(ctx, f.Relation, unit)
		if errors.Is(err, hooktool.ErrNotFound) {
			continue // Juju still lists a unit that has just left
		}
		if err != nil {
			return err
		}
		monitor, ok, err := cephclient.ReadMonitor(bag)
		if err != nil {
			f.Unusable = append(f.Unusable, fmt.Sprintf("%s: %s", unit, err))
		}
		if !ok {
			continue
		}
		f.Monitors, f.Key = append(f.Monitors, monitor.Address), monitor.Key
		// A monitor that led before may still show an older answer.
		answer, ok, err := cephclient.ReadAnswer(bag, f.Unit)
		if err != nil {
			f.Unusable = append(f.Unusable, fmt.Sprintf("%s: %s", unit, err))
		}
		if ok && answer.ID == f.Request.ID() {
			f.Answer, f.Answered = answer, true
		}
	}
	slices.Sort(f.Monitors)
	return nil
}

// Where Ceph's clients read their configuration, in /etc/ceph.
const confName = "ceph.conf"

func keyringName(app string) string { return "ceph.client." + app + ".keyring" }

// mark begins a ceph.conf of this charm.
const mark = "# kept by the lxd-cluster charm\n"

// observeFiles compares the files with what they should be. A machine that is part of Ceph has a ceph.conf
// of its own, which serves if it is of the same Ceph.
func (f *Facts) observeFiles(w Env) error {
	conf := File{confName, mark + "[global]\nmon_host = " + strings.Join(f.Monitors, ",") + "\nauth_client_required = cephx\n", 0o644}
	keyring := File{keyringName(f.App), "[client." + f.App + "]\n\tkey = " + f.Key + "\n", 0o600}
	for _, want := range []File{conf, keyring} {
		has, mode, err := read(filepath.Join(w.Dir, want.Name))
		if err != nil {
			return err
		}
		switch {
		case want.Name == conf.Name && has != "" && !strings.HasPrefix(has, mark):
			if !slices.ContainsFunc(f.Monitors, func(m string) bool { return names(has, m) }) {
				f.Foreign = fmt.Sprintf("%s is not this charm's and names none of the monitors %s", filepath.Join(w.Dir, want.Name), strings.Join(f.Monitors, ", "))
			}
		case has != want.Text || mode != want.Mode:
			f.Files = append(f.Files, want)
		}
	}
	return nil
}

// names reports whether a ceph.conf names a monitor.
func names(conf, address string) bool {
	address = strings.Trim(address, "[]")
	for line := range strings.Lines(conf) {
		key, hosts, ok := strings.Cut(line, "=")
		if !ok || strings.NewReplacer(" ", "", "_", "", "-", "").Replace(key) != "monhost" {
			continue
		}
		for _, host := range strings.FieldsFunc(hosts, func(r rune) bool { return strings.ContainsRune(" \t\n,[]", r) }) {
			host = strings.TrimPrefix(strings.TrimPrefix(host, "v1:"), "v2:")
			if host == address || strings.HasPrefix(host, address+":") {
				return true
			}
		}
	}
	return false
}

func read(path string) (text string, mode fs.FileMode, err error) {
	info, err := os.Stat(path)
	if os.IsNotExist(err) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("cannot look at Ceph's configuration: %w", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", 0, fmt.Errorf("cannot read Ceph's configuration: %w", err)
	}
	return string(raw), info.Mode().Perm(), nil
}
