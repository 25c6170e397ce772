package drainlxd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/lxd"
)

// The keys that distinguish a copy from an instance, until Adopt settles it.
const (
	copyOfKey  = "user.dcib.copy-of"
	copyForKey = "user.dcib.copy-for"
)

// CopyBlockers implements drain.Observer.
func (c Cluster) CopyBlockers(_ context.Context, instances []drain.Instance) (map[drain.Ref]string, error) {
	if len(instances) == 0 {
		return nil, nil
	}
	server, _, err := c.Server.GetServer()
	if err != nil {
		return nil, fmt.Errorf("cannot read LXD's version: %w", err)
	}
	blockers := map[drain.Ref]string{}
	if !lxd.FeaturesOf(server).CopiesRunning {
		for _, i := range instances {
			blockers[i.Ref] = fmt.Sprintf("LXD %s may miss what changes within a second", server.Environment.ServerVersion)
		}
		return blockers, nil
	}
	remote, err := c.remotePools()
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		there, _, err := c.project(i.Ref).GetInstance(i.Name)
		if err != nil {
			blockers[i.Ref] = "its configuration cannot be read"
			continue
		}
		blockers[i.Ref] = copyBlocker(*there, remote)
	}
	return blockers, nil
}

// copyBlocker returns why an instance is not copied while it runs; empty when it is.
func copyBlocker(i api.Instance, remotePools map[string]bool) string {
	root, disks := "", []string(nil)
	for name, d := range i.ExpandedDevices {
		switch {
		case d["type"] != "disk":
		case d["path"] == "/":
			root = d["pool"]
		case d["pool"] != "" && !remotePools[d["pool"]]:
			disks = append(disks, name)
		}
	}
	slices.Sort(disks)
	switch {
	case i.Type != string(api.InstanceTypeContainer):
		return "it is a virtual machine"
	case i.Ephemeral:
		return "it is ephemeral"
	case i.Config[uuidKey] == "":
		return "it has no " + uuidKey
	case remotePools[root]:
		return "its root disk is on pool " + root + ", which all members share"
	case len(disks) > 0:
		return "it has local volumes: " + strings.Join(disks, ", ")
	}
	return ""
}

// Copy implements drain.Mover. LXD's own copy to another member freezes a running instance for as long as
// it takes, on pools that have no snapshots for it (dir, lvm): it does not pass on that the content need
// not be consistent (lxd 6.6, clusterCopyContainerInternal in lxd/instances_post.go). So the two halves of
// the migration are begun here, as a client does between two servers.
func (c Cluster) Copy(ctx context.Context, i drain.Ref, to drain.Copy) (drain.CopyState, error) {
	fail := func(err error) (drain.CopyState, error) {
		return drain.CopyState{}, fmt.Errorf("cannot copy %s to %s: %w", i, to.Member, err)
	}
	copied := drain.Ref{Project: i.Project, Name: to.Name}
	// A client that was killed may have begun it.
	if err := c.waitNotBusy(ctx, copied); err != nil {
		return fail(err)
	}
	there, _, err := c.project(i).GetInstance(i.Name)
	if err != nil {
		return fail(err)
	}
	old, _, err := c.project(i).GetInstance(to.Name)
	switch {
	case api.StatusErrorCheck(err, http.StatusNotFound):
		old = nil
	case err != nil:
		return fail(err)
	case old.Location != to.Member:
		if err := c.DeleteTemporary(ctx, copied); err != nil {
			return fail(err)
		}
		old = nil
	}
	err = c.migrateCopy(ctx, *there, to, old != nil)
	if err != nil && old != nil && ctx.Err() == nil && !errors.Is(err, lxd.ErrOperationLost) {
		// What is there may be half of a copy that LXD did not complete.
		if err = c.DeleteTemporary(ctx, copied); err == nil {
			err = c.migrateCopy(ctx, *there, to, false)
		}
	}
	if err != nil {
		return fail(err)
	}
	now, _, err := c.project(i).GetInstance(i.Name)
	if err != nil {
		return fail(err)
	}
	return drain.CopyState{Running: isRunning(*now), LastStart: now.LastUsedAt}, nil
}

// migrateCopy makes the copy of an instance, or refreshes it.
func (c Cluster) migrateCopy(ctx context.Context, i api.Instance, to drain.Copy, refresh bool) error {
	ref := drain.Ref{Project: i.Project, Name: i.Name}
	server, _, err := c.Server.GetServer()
	if err != nil {
		return err
	}
	source, _, err := c.Server.GetClusterMember(i.Location)
	if err != nil {
		return err
	}
	post := api.InstancePost{Name: to.Name, Migration: true, AllowInconsistent: isRunning(i)}
	answer, _, err := c.Server.RawQuery(http.MethodPost, instanceURL(ref).String(), post, "")
	if err != nil {
		return err
	}
	sending, err := answer.MetadataAsOperation()
	if err != nil {
		return err
	}
	secrets := map[string]string{}
	for name, value := range sending.Metadata {
		if secret, ok := value.(string); ok {
			secrets[name] = secret
		}
	}
	request := api.InstancesPost{
		InstancePut: api.InstancePut{
			Architecture: i.Architecture,
			Config:       copyConfig(i, to),
			Devices:      rootDevice(i),
			Profiles:     []string{},
			Description:  "Copy of " + i.Name + " that dcib makes to move it",
		},
		Name: to.Name,
		Type: api.InstanceType(i.Type),
		Source: api.InstanceSource{
			Type:        api.SourceTypeMigration,
			Mode:        "pull",
			Operation:   source.URL + api.NewURL().Path("1.0", "operations", sending.ID).String(),
			Certificate: server.Environment.Certificate,
			Websockets:  secrets,
			Refresh:     refresh,
			BaseImage:   i.Config["volatile.base_image"],
		},
	}
	path := api.NewURL().Path("1.0", "instances").Project(i.Project).Target(to.Member)
	err = c.operate(ctx, http.MethodPost, path, request)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// LXD's other half knows why, and ends within ten seconds of this one.
	bounded, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if why := lxd.WaitOperation(bounded, c.Server, sending.ID); why != nil && bounded.Err() == nil && !errors.Is(why, lxd.ErrOperationLost) {
		err = fmt.Errorf("%w (%w)", err, why)
	}
	return err
}

// copyConfig returns the configuration of a copy until it is adopted: what its files' owners depend on,
// and nothing that starts it or by which others know the instance.
func copyConfig(i api.Instance, to drain.Copy) map[string]string {
	config := map[string]string{"boot.autostart": "false", copyOfKey: to.Of, copyForKey: to.For}
	for key, value := range i.ExpandedConfig {
		if strings.HasPrefix(key, "security.idmap.") || key == "security.privileged" || key == "raw.idmap" || key == "volatile.base_image" {
			config[key] = value
		}
	}
	return config
}

// rootDevice returns an instance's root disk, as the only device.
func rootDevice(i api.Instance) map[string]map[string]string {
	for name, d := range i.ExpandedDevices {
		if d["type"] == "disk" && d["path"] == "/" {
			return map[string]map[string]string{name: d}
		}
	}
	return nil
}

// Adopt implements drain.Mover.
func (c Cluster) Adopt(ctx context.Context, i, to drain.Ref, state drain.CopyState, settle bool) error {
	fail := func(err error) error { return fmt.Errorf("cannot make %s like %s: %w", to, i, err) }
	from, _, err := c.project(i).GetInstanceFull(i.Name)
	if err != nil {
		return fail(err)
	}
	there, _, err := c.project(to).GetInstanceFull(to.Name)
	if err != nil {
		return fail(err)
	}
	switch {
	case isRunning(from.Instance):
		return fail(fmt.Errorf("%s runs: %w", i, drain.ErrChanged))
	case !state.LastStart.IsZero() && !from.LastUsedAt.Equal(state.LastStart):
		return fail(fmt.Errorf("%s was started: %w", i, drain.ErrChanged))
	case !slices.Equal(snapshotsOf(*from), snapshotsOf(*there)):
		return fail(fmt.Errorf("%s has other snapshots: %w", i, drain.ErrChanged))
	}
	put := from.Writable()
	put.Config = maps.Clone(put.Config)
	if !settle {
		put.Config[copyOfKey], put.Config[copyForKey] = there.Config[copyOfKey], there.Config[copyForKey]
	}
	if err := c.operate(ctx, http.MethodPut, instanceURL(to), put); err != nil {
		return fail(err)
	}
	if settle && shared.IsTrue(from.ExpandedConfig["boot.autostart"]) {
		return c.setConfig(i, "boot.autostart", "false")
	}
	return nil
}

// snapshotsOf returns what distinguishes an instance's snapshots, sorted.
func snapshotsOf(i api.InstanceFull) []string {
	all := make([]string, len(i.Snapshots))
	for n, s := range i.Snapshots {
		all[n] = s.Name + " " + s.CreatedAt.UTC().Format(time.RFC3339)
	}
	slices.Sort(all)
	return all
}

// DeleteTemporary implements drain.Mover.
func (c Cluster) DeleteTemporary(ctx context.Context, i drain.Ref) error {
	fail := func(err error) error { return fmt.Errorf("cannot delete %s: %w", i, err) }
	if _, _, ok := drain.ParseTemporaryName(i.Name); !ok {
		return fail(errors.New("it has not the name of a copy or of what one replaced"))
	}
	if err := c.waitNotBusy(ctx, i); err != nil {
		return fail(err)
	}
	there, _, err := c.project(i).GetInstance(i.Name)
	if api.StatusErrorCheck(err, http.StatusNotFound) {
		return nil
	}
	if err != nil {
		return fail(err)
	}
	if shared.IsTrue(there.ExpandedConfig["security.protection.delete"]) {
		if err := c.setConfig(i, "security.protection.delete", "false"); err != nil {
			return err
		}
	}
	err = c.operate(ctx, http.MethodDelete, instanceURL(i), nil)
	if err == nil || api.StatusErrorCheck(err, http.StatusNotFound) {
		return nil
	}
	return fail(err)
}

// waitNotBusy waits until no operation of LXD's is about an instance.
func (c Cluster) waitNotBusy(ctx context.Context, i drain.Ref) error {
	for {
		operations, err := lxd.Operations(ctx, c.project(i))
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(operations, func(op api.Operation) bool { return !op.StatusCode.IsFinal() && concerns(op, i) }) {
			return nil
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return fmt.Errorf("LXD still works on it for another client: %w", ctx.Err())
		}
	}
}
