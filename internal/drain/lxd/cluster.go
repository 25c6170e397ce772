// Package drainlxd is a LXD cluster as package drain wants it: its members, its instances,
// and the journal, which is kept in the members' own config.
//
// It speaks to LXD 5.0 and later. Where the client library asks for API extensions that
// 5.0 lacks although the call is older, the call is made by hand.
package drainlxd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared"
	"github.com/canonical/lxd/shared/api"
	"github.com/canonical/lxd/shared/osarch"

	"github.com/dcib/dcib/internal/drain"
)

// Cluster is a LXD cluster, reached through any of its members.
type Cluster struct {
	Server lxdclient.InstanceServer
	// Near gives a client that asks that member itself; nil leaves it to Server.
	MemberClient func(member string) lxdclient.InstanceServer
}

var (
	_ drain.Cluster = Cluster{}
	_ drain.Journal = Cluster{}
)

// at is the cluster asked at that member, if there is a way to.
func (c Cluster) onMember(member string) Cluster {
	if c.MemberClient != nil {
		c.Server = c.MemberClient(member)
	}
	return c
}

// Members implements drain.Cluster.
func (c Cluster) Members(context.Context) ([]drain.Member, error) {
	all, err := c.Server.GetClusterMembers()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's cluster members: %w", err)
	}
	return MembersOf(all), nil
}

// MembersOf gives LXD's members as drain knows them.
func MembersOf(all []api.ClusterMember) []drain.Member {
	members := make([]drain.Member, len(all))
	for n, m := range all {
		members[n] = memberOf(m)
	}
	return members
}

func memberOf(m api.ClusterMember) drain.Member {
	return drain.Member{
		Name:          m.ServerName,
		Status:        drain.MemberStatus(m.Status),
		Architectures: architecturesOf(m.Architecture),
		Scheduler:     m.Config[schedulerKey],
		Groups:        m.Groups,
		Voter:         slices.Contains(m.Roles, "database") || slices.Contains(m.Roles, "database-leader"),
		Standby:       slices.Contains(m.Roles, "database-standby"),
		ControlPlane:  slices.Contains(m.Roles, "control-plane"),
	}
}

// runs lists the architectures that a machine of one runs.
func architecturesOf(architecture string) []string {
	all := []string{architecture}
	id, err := osarch.ArchitectureId(architecture)
	if err != nil {
		return all
	}
	others, err := osarch.ArchitecturePersonalities(id)
	if err != nil {
		return all
	}
	for _, id := range others {
		if name, err := osarch.ArchitectureName(id); err == nil {
			all = append(all, name)
		}
	}
	return all
}

// Instances implements drain.Cluster.
func (c Cluster) Instances(context.Context) ([]drain.Instance, error) {
	all, err := c.Server.GetInstancesAllProjects(api.InstanceTypeAny)
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's instances: %w", err)
	}
	var remote map[string]bool
	if slices.ContainsFunc(all, hasPoolDisk) {
		if remote, err = c.remotePools(); err != nil {
			return nil, err
		}
	}
	whole := map[string]bool{} // by volatile.uuid
	for _, i := range all {
		whole[i.Config[uuidKey]] = whole[i.Config[uuidKey]] || !temporaryName.MatchString(i.Name)
	}
	instances := make([]drain.Instance, 0, len(all))
	for _, i := range all {
		one := instanceOf(i, remote)
		if temporaryName.MatchString(i.Name) {
			if whole[i.Config[uuidKey]] && !one.Running {
				continue // the half of a move that LXD has not finished
			}
			one.HalfMoved = one.ID != ""
		}
		instances = append(instances, one)
	}
	return instances, nil
}

// uuidKey is the instance option that stays the same wherever an instance goes.
const uuidKey = "volatile.uuid"

// halfMoved is how LXD calls an instance that is still coming to a member: by a number up to 5.0.1,
// by its UUID since (lxd/instance_post.go; seen with lxd 5.0.2).
var temporaryName = regexp.MustCompile(`^lxd-move-of-([0-9]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

func instanceOf(i api.Instance, remotePools map[string]bool) drain.Instance {
	evacuate := i.ExpandedConfig["cluster.evacuate"]
	if member, was := savedEvacuate(i); member != "" {
		evacuate = was
	}
	auto := isAuto(evacuate)
	tied, uses := classifyDevices(i.Type, i.ExpandedDevices, remotePools)
	return drain.Instance{
		Ref:          drain.Ref{Project: i.Project, Name: i.Name},
		ID:           i.Config[uuidKey],
		Member:       i.Location,
		Unobserved:   i.StatusCode == api.Error && len(i.Config) == 0,
		Running:      isRunning(i),
		Frozen:       i.StatusCode == api.Frozen,
		CloudInitID:  i.Config[cloudInitKey],
		Architecture: i.Architecture,
		Group:        strings.TrimPrefix(i.Config[groupKey], "@"),
		Requirements: requirementsOf(i),
		Ephemeral:    i.Ephemeral,
		LiveMovable:  evacuate == "live-migrate" || auto && len(tied) == 0 && i.Type == "virtual-machine" && shared.IsTrue(i.ExpandedConfig["migration.stateful"]),
		Evacuate:     evacuate,
		LocalDevices: tied,
		HostDevices:  uses,
		Origin:       i.Config["volatile.evacuate.origin"],
		ShouldRun:    i.Config["volatile.last_state.power"] == "RUNNING",
	}
}

// runsNow tells whether an instance runs, frozen ones included. LXD says "Error" for what
// it cannot ask, as on a member that is Offline.
func isRunning(i api.Instance) bool {
	return i.StatusCode != api.Stopped && i.StatusCode != api.Error
}

// hasPoolDisk tells whether an instance has a disk out of a pool besides its root.
func hasPoolDisk(i api.Instance) bool {
	for _, d := range i.ExpandedDevices {
		if d["type"] == "disk" && d["pool"] != "" && d["path"] != "/" {
			return true
		}
	}
	return false
}

// remotePools tells which pools every member reaches.
func (c Cluster) remotePools() (map[string]bool, error) {
	pools, err := c.Server.GetStoragePools()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's storage pools: %w", err)
	}
	remote := map[string]bool{}
	for _, p := range pools {
		remote[p.Name] = slices.Contains([]string{"ceph", "cephfs", "cephobject"}, p.Driver)
	}
	return remote, nil
}

// in gives a client for an instance's project.
func (c Cluster) project(i drain.Ref) lxdclient.InstanceServer {
	if i.Project == "" {
		return c.Server
	}
	return c.Server.UseProject(i.Project)
}

// Reach implements drain.Cluster. LXD passes a request on to a member, as it does an instance,
// once it is told of what happens there, for which it waits up to ten seconds: lxd 5.0.2,
// lxd/cluster/connect.go. The one that is made here is about nothing. The connection for Start is
// made too: made when it is needed, an instance would be down for as long.
func (c Cluster) WaitReachable(_ context.Context, from, to string) error {
	c.onMember(to)
	if _, _, err := c.onMember(from).Server.RawQuery(http.MethodGet, api.NewURL().Path("1.0").Target(to).String(), nil, ""); err != nil {
		return fmt.Errorf("cannot reach LXD on %s from %s: %w", to, from, err)
	}
	return nil
}

// SetOrigin implements drain.Cluster. PATCH is no operation and costs LXD a third of PUT. It keeps
// what the request leaves out, except for the description, which it would empty (lxd 5.0.2 to 6.9,
// lxd/instance_patch.go).
func (c Cluster) SetOrigin(_ context.Context, i drain.Ref, origin string) error {
	return c.setConfig(i, "volatile.evacuate.origin", origin)
}

// groupKey is the instance option that says in which cluster group an instance was launched.
const groupKey = "volatile.cluster.group"

// SetGroup implements drain.Cluster.
func (c Cluster) SetGroup(_ context.Context, i drain.Ref, group string) error {
	return c.setConfig(i, groupKey, group)
}

// cloudInitKey is the instance option by which cloud-init tells a new instance from one that it has
// set up. LXD sets another when it renames an instance, as it does at the end of a move (lxd 5.0.2,
// resetInstanceID in lxd/instance/drivers).
const cloudInitKey = "volatile.cloud-init.instance-id"

// SetCloudInit implements drain.Cluster.
func (c Cluster) SetCloudInitID(_ context.Context, i drain.Ref, id string) error {
	return c.setConfig(i, cloudInitKey, id)
}

// Freeze implements drain.Cluster.
func (c Cluster) Freeze(ctx context.Context, i drain.Ref, member string) error {
	c = c.onMember(member)
	err := c.power(ctx, i, api.InstanceStatePut{Action: "freeze", Timeout: -1})
	if err == nil {
		return nil
	}
	if there, _, lost := c.project(i).GetInstance(i.Name); lost == nil && there.StatusCode == api.Frozen {
		return nil
	}
	return fmt.Errorf("cannot freeze %s: %w", i, err)
}

// set sets one of an instance's own options; "" unsets it.
func (c Cluster) setConfig(i drain.Ref, key, value string) error {
	there, _, err := c.project(i).GetInstance(i.Name)
	if err == nil {
		patch := map[string]any{"config": map[string]string{key: value}, "description": there.Description}
		_, _, err = c.Server.RawQuery(http.MethodPatch, instanceURL(i).String(), patch, "")
	}
	if err != nil {
		return fmt.Errorf("cannot set %s of %s to %q: %w", key, i, value, err)
	}
	return nil
}

// Start implements drain.Cluster.
func (c Cluster) Start(ctx context.Context, i drain.Ref, member string) error {
	c = c.onMember(member)
	err := c.power(ctx, i, api.InstanceStatePut{Action: "start", Timeout: -1})
	if err == nil {
		return nil
	}
	if there, _, lost := c.project(i).GetInstance(i.Name); lost == nil && isRunning(*there) {
		return nil
	}
	return fmt.Errorf("cannot start %s: %w", i, err)
}

// defaultShutdown is how many seconds LXD gives an instance that does not say how long it
// takes to shut down (boot.host_shutdown_timeout).
const defaultShutdownSeconds = 30

// longestShutdown is how many seconds an instance has for it at most, whatever it says: its owner
// writes that option, and would keep a member from being emptied by it.
const maxShutdownSeconds = 3600

// Stop implements drain.Cluster. Only what had its time to shut down is stopped by force. With one
// of forty LXD 5.0 gives up at once ("shutting down the container failed") although it is on its
// way down, and LXD's own evacuation then kills it (lxd 5.0.2, lxd/api_cluster.go): it is asked
// again.
func (c Cluster) Stop(ctx context.Context, i drain.Ref) error {
	return c.stop(ctx, i, time.Now())
}

// stop is Stop of an instance that has been shutting down since then.
func (c Cluster) stop(ctx context.Context, i drain.Ref, began time.Time) error {
	for pause := pollInterval / 10; ; pause = min(2*pause, pollInterval) {
		there, _, err := c.project(i).GetInstance(i.Name)
		if err != nil {
			return fmt.Errorf("cannot stop %s: %w", i, err)
		}
		if !isRunning(*there) {
			return nil
		}
		timeout, err := strconv.Atoi(there.ExpandedConfig["boot.host_shutdown_timeout"])
		if err != nil {
			timeout = defaultShutdownSeconds
		}
		timeout = min(timeout, maxShutdownSeconds)
		put := api.InstanceStatePut{Action: "stop", Timeout: -1, Force: true}
		if left := timeout - int(time.Since(began)/time.Second); left > 0 {
			put = api.InstanceStatePut{Action: "stop", Timeout: left}
		}
		err = c.power(ctx, i, put)
		if err == nil {
			return nil
		}
		if put.Force {
			return fmt.Errorf("cannot stop %s: %w", i, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("cannot stop %s in the time given: %w", i, ctx.Err()) // whatever LXD said last
		}
	}
}

func (c Cluster) power(ctx context.Context, i drain.Ref, put api.InstanceStatePut) error {
	return c.operate(ctx, http.MethodPut, instanceURL(i, "state"), put)
}

// Move implements drain.Cluster.
func (c Cluster) Move(ctx context.Context, i drain.Ref, member string, live bool) error {
	post := api.InstancePost{Name: i.Name, Migration: true, Live: live}
	if err := c.operate(ctx, http.MethodPost, instanceURL(i).Target(member), post); err != nil {
		return fmt.Errorf("cannot move %s to %s: %w", i, member, err)
	}
	return nil
}

// Rename implements drain.Cluster.
func (c Cluster) Rename(ctx context.Context, i drain.Ref, name string) error {
	fail := func(err error) error { return fmt.Errorf("cannot rename %s to %s: %w", i, name, err) }
	// LXD names the instance that it moves by the name that it had.
	if err := c.waitNotMoving(ctx, drain.Ref{Project: i.Project, Name: name}); err != nil {
		return fail(err)
	}
	if _, _, err := c.project(i).GetInstance(i.Name); err != nil {
		if api.StatusErrorCheck(err, http.StatusNotFound) {
			return nil
		}
		return fail(err)
	}
	if err := c.operate(ctx, http.MethodPost, instanceURL(i), api.InstancePost{Name: name}); err != nil {
		return fail(err)
	}
	return nil
}

// shutsDown are the versions of LXD that have a running instance shut down when it is to be moved,
// give it defaultShutdown for that, and start it where it was moved to (lxd 5.0.2,
// lxd/instance_post.go). From 5.0.3 on LXD kills it instead.
var shutDownVersions = []string{"5.0.0", "5.0.1", "5.0.2"}

// Relocate implements drain.Cluster. What LXD needs for the move it has ready by the time that the
// instance has stopped, and two operations less to keep book of.
func (c Cluster) Relocate(ctx context.Context, i drain.Ref, member string) (time.Duration, error) {
	there, _, err := c.project(i).GetInstance(i.Name)
	if err != nil {
		return 0, fmt.Errorf("cannot move %s to %s: %w", i, member, err)
	}
	if timeout := there.ExpandedConfig["boot.host_shutdown_timeout"]; !isRunning(*there) || timeout != "" && timeout != strconv.Itoa(defaultShutdownSeconds) {
		return 0, drain.ErrNotRelocatable
	}
	if c.hasCloudInit(i) {
		return 0, drain.ErrNotRelocatable
	}
	server, _, err := c.Server.UseTarget(there.Location).GetServer()
	if err != nil {
		return 0, fmt.Errorf("cannot ask LXD on %s what it is: %w", there.Location, err)
	}
	if !slices.Contains(shutDownVersions, server.Environment.ServerVersion) {
		return 0, drain.ErrNotRelocatable
	}
	began := time.Now()
	if err := c.Move(ctx, i, member, false); err != nil {
		return 0, errors.Join(err, c.ensureStopped(ctx, i, there.Location, began))
	}
	now, _, err := c.project(i).GetInstance(i.Name)
	if err != nil {
		return 0, nil // it is done all the same
	}
	// LXD makes the instance anew once it has stopped, and notes when it begins to start, for which
	// it needs half as long again.
	return now.LastUsedAt.Sub(now.CreatedAt) * 3 / 2, nil
}

// hasCloudInit reports whether cloud-init has set up a running instance, or whether that is not known.
// LXD starts what it moves in one with another id for it.
func (c Cluster) hasCloudInit(i drain.Ref) bool {
	content, _, err := c.project(i).GetInstanceFile(i.Name, "/var/lib/cloud")
	if content != nil {
		_ = content.Close()
	}
	return !api.StatusErrorCheck(err, http.StatusNotFound)
}

// halted has an instance stopped if it is still on that member, where it has been shutting down
// since then.
func (c Cluster) ensureStopped(ctx context.Context, i drain.Ref, on string, began time.Time) error {
	at, err := c.WaitMoved(ctx, i)
	if err != nil || at != on {
		return err
	}
	return c.stop(ctx, i, began)
}

// again repeats a change that lost a race against another, a few times.
func retryConflict(change func() error) error {
	var err error
	for range 5 {
		if err = change(); !api.StatusErrorCheck(err, http.StatusPreconditionFailed) {
			return err
		}
	}
	return err
}
