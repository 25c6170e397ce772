package cluster

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/relation/lxdcluster"
)

// LocalResource is something that a fresh LXD does not have, and that joining deletes.
type LocalResource struct {
	Kind    string // one of the kinds below
	Project string // empty for the default project, and for what is in none
	Pool    string // of a volume or bucket
	Name    string // an image's fingerprint
}

// The kinds, in the order of deletion: what is used comes after what uses it.
const (
	kindInstance = "instance"
	kindImage    = "image"
	kindProfile  = "profile"
	kindVolume   = "volume"
	kindBucket   = "bucket"
	kindNetwork  = "network"
	kindPool     = "pool"
	kindProject  = "project"
)

var kinds = []string{kindInstance, kindImage, kindProfile, kindVolume, kindBucket, kindNetwork, kindPool, kindProject}

// String returns an operator's name of it: "instance web", "volume data (pool local, project lab)".
func (b LocalResource) String() string {
	name := b.Name
	if b.Kind == kindImage {
		name = name[:min(12, len(name))]
	}
	var where []string
	if b.Pool != "" {
		where = append(where, "pool "+b.Pool)
	}
	if b.Project != "" {
		where = append(where, "project "+b.Project)
	}
	if len(where) == 0 {
		return b.Kind + " " + name
	}
	return fmt.Sprintf("%s %s (%s)", b.Kind, name, strings.Join(where, ", "))
}

// wipeOnJoinApplies reports whether this machine's LXD may be wiped to join: the option is set, the LXD is
// in no cluster, and there is a cluster that another unit bootstrapped.
func (f Facts) wipeOnJoinApplies() bool {
	return f.Config.WipeOnJoin && !f.LXD.Clustered && f.unitInCluster() != "" && !f.BootstrapUnit.Is(f.Unit)
}

// describeResources lists what joining would delete.
func (f Facts) describeResources() string {
	names := make([]string, len(f.LXD.Resources))
	for n, b := range f.LXD.Resources {
		names[n] = b.String()
	}
	return some(names, ", ")
}

// maxListed is how many names a message has.
const maxListed = 20

// some joins at most maxListed names for a message.
func some(names []string, sep string) string {
	if more := len(names) - maxListed; more > 0 {
		return strings.Join(names[:maxListed], sep) + fmt.Sprintf("%sand %d more", sep, more)
	}
	return strings.Join(names, sep)
}

// jujuHint returns how to remove the containers that Juju placed on this machine; empty if there are none.
// The unit that bootstraps keeps such containers; on any other unit they prevent joining.
func (f Facts) jujuHint() string {
	var machines []string
	for _, b := range f.LXD.Resources {
		if machine := jujuMachine(b.Name); b.Kind == kindInstance && machine != "" {
			machines = append(machines, machine)
		}
	}
	if len(machines) == 0 {
		return ""
	}
	return " (Juju's own: juju remove-machine " + some(machines, " ") + ")"
}

// jujuMachine returns the Juju machine of an instance that Juju placed in a machine's LXD: 0/lxd/1 for
// juju-3b1f0c-0-lxd-1; empty for any other (github.com/juju/juju/core/instance, Namespace).
func jujuMachine(name string) string {
	parts := strings.Split(name, "-")
	if len(parts) < 5 || parts[0] != "juju" || len(parts[1]) != 6 || parts[len(parts)-2] != "lxd" {
		return ""
	}
	return strings.Join(parts[2:], "/")
}

// planWipe plans to delete all local resources.
func (f Facts) planWipe() []charm.Step[Env] {
	steps := make([]charm.Step[Env], len(f.LXD.Resources))
	for n, b := range f.LXD.Resources {
		steps[n] = wipe{b}
	}
	return steps
}

// wipe deletes one local resource.
type wipe struct{ what LocalResource }

func (s wipe) Name() string { return "delete " + s.what.String() + ", for option wipe-on-join" }

func (s wipe) Apply(ctx context.Context, w Env) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	if err := w.LXD.DeleteResource(ctx, s.what); err != nil {
		return charm.Blocked("cannot delete %s, for option wipe-on-join: LXD refuses: %s: fix that, or move it away", s.what, err)
	}
	return nil
}

// mayWipe reports whether this unit has its join token. Nothing is deleted before that.
func (f Facts) mayWipe(request lxdcluster.JoinRequest) bool {
	return f.wipeOnJoinApplies() && slices.ContainsFunc(f.sortedPeers(), func(unit string) bool { return f.Peers[unit].Token.ValidFor(request, f.Now) })
}

// observeLocalResources fills in what joining a cluster would delete.
func (l *ServerState) observeLocalResources(server lxdclient.InstanceServer) error {
	pools, err := server.GetStoragePools()
	if err != nil {
		return err
	}
	l.PoolDrivers = map[string]string{}
	for _, pool := range pools {
		l.Resources, l.PoolDrivers[pool.Name] = append(l.Resources, LocalResource{Kind: kindPool, Name: pool.Name}), pool.Driver
	}
	projects, err := server.GetProjects()
	if err != nil {
		return err
	}
	for _, project := range projects {
		if err := l.observeProject(server.UseProject(project.Name), project, pools); err != nil {
			return fmt.Errorf("in project %s: %w", project.Name, err)
		}
	}
	slices.SortStableFunc(l.Resources, func(a, b LocalResource) int {
		return slices.Index(kinds, a.Kind) - slices.Index(kinds, b.Kind)
	})
	return nil
}

// observeProject lists what is in one project. What it shares with the default project is listed there.
func (l *ServerState) observeProject(server lxdclient.InstanceServer, project api.Project, pools []api.StoragePool) error {
	name := project.Name
	own := func(feature string) bool {
		return name == api.ProjectDefaultName || project.Config["features."+feature] == "true"
	}
	if name == api.ProjectDefaultName {
		name = ""
	} else {
		l.Resources = append(l.Resources, LocalResource{Kind: kindProject, Name: name})
	}
	add := func(kind, pool, what string) {
		l.Resources = append(l.Resources, LocalResource{kind, name, pool, what})
	}
	instances, err := server.GetInstances(api.InstanceTypeAny)
	if err != nil {
		return err
	}
	for _, i := range instances {
		add(kindInstance, "", i.Name)
	}
	if own("images") {
		images, err := server.GetImageFingerprints()
		if err != nil {
			return err
		}
		for _, fingerprint := range images {
			add(kindImage, "", fingerprint)
		}
	}
	if own("profiles") {
		profiles, err := server.GetProfiles()
		if err != nil {
			return err
		}
		for _, p := range profiles {
			if p.Name != "default" || len(p.Devices) > 0 || len(p.Config) > 0 {
				add(kindProfile, "", p.Name)
			}
		}
	}
	if own("networks") {
		networks, err := server.GetNetworks()
		if err != nil {
			return err
		}
		for _, ovn := range []bool{true, false} { // OVN networks use the others
			for _, n := range networks {
				if n.Managed && (n.Type == "ovn") == ovn {
					add(kindNetwork, "", n.Name)
				}
			}
		}
	}
	for _, pool := range pools {
		if own("storage.volumes") {
			volumes, err := server.GetStoragePoolVolumes(pool.Name)
			if err != nil {
				return err
			}
			for _, v := range volumes {
				if v.Type == "custom" && !strings.Contains(v.Name, "/") { // a snapshot is deleted with its volume
					add(kindVolume, pool.Name, v.Name)
				}
			}
		}
		if own("storage.buckets") && l.buckets && slices.Contains(bucketDrivers, pool.Driver) {
			buckets, err := server.GetStoragePoolBuckets(pool.Name)
			if err != nil {
				return err
			}
			for _, b := range buckets {
				add(kindBucket, pool.Name, b.Name)
			}
		}
	}
	return nil
}

// bucketDrivers are the drivers with buckets; LXD refuses to list buckets on others.
var bucketDrivers = []string{"btrfs", "cephobject", "dir", "lvm", "zfs"}

// DeleteResource implements LXD.
func (s *LocalLXD) DeleteResource(ctx context.Context, b LocalResource) error {
	if _, err := s.Server(ctx); err != nil {
		return err
	}
	// The client knows the server's extensions only after GetServer.
	if _, _, err := s.server.GetServer(); err != nil {
		return err
	}
	project := b.Project
	if project == "" {
		project = api.ProjectDefaultName
	}
	err := deleteResource(ctx, s.server.UseProject(project), b)
	if api.StatusErrorCheck(err, http.StatusNotFound) {
		return nil
	}
	return err
}

func deleteResource(ctx context.Context, server lxdclient.InstanceServer, b LocalResource) error {
	wait := lxd.Await(ctx, server)
	switch b.Kind {
	case kindInstance:
		there, _, err := server.GetInstance(b.Name)
		if err != nil {
			return err
		}
		if there.StatusCode != api.Stopped {
			if err := wait(server.UpdateInstanceState(b.Name, api.InstanceStatePut{Action: "stop", Force: true, Timeout: -1}, "")); err != nil {
				return err
			}
		}
		return wait(server.DeleteInstance(b.Name))
	case kindImage:
		return wait(server.DeleteImage(b.Name))
	case kindProfile:
		if b.Name == "default" { // LXD does not delete it
			return wait(server.UpdateProfile(b.Name, api.ProfilePut{Description: "Default LXD profile"}, ""))
		}
		return server.DeleteProfile(b.Name)
	case kindVolume:
		return wait(server.DeleteStoragePoolVolume(b.Pool, "custom", b.Name))
	case kindBucket:
		return server.DeleteStoragePoolBucket(b.Pool, b.Name)
	case kindNetwork:
		return server.DeleteNetwork(b.Name)
	case kindPool:
		return server.DeleteStoragePool(b.Name)
	case kindProject:
		return server.DeleteProject(b.Name, false)
	}
	return fmt.Errorf("cannot delete %s: unknown kind", b)
}
