package drainlxd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/lxd"
)

// evacuateKey is the instance option that controls what LXD's evacuation does with the instance.
const evacuateKey = "cluster.evacuate"

// stopInPlaceKey is the instance option that is set while cluster.evacuate of an instance is "stop" for
// the time of one evacuation: the member that is evacuated, a space, and the instance's own
// cluster.evacuate before, if it had one. Both are written together, so a run that takes over from a
// killed one can restore it.
const stopInPlaceKey = "user.dcib.evacuate"

// isAuto reports whether a cluster.evacuate leaves it to LXD whether the instance moves.
func isAuto(evacuate string) bool { return evacuate == "" || evacuate == "auto" }

// savedEvacuate parses stopInPlaceKey of an instance: the member, empty when it is not set, and the
// instance's own cluster.evacuate before.
func savedEvacuate(i api.Instance) (member, was string) {
	member, was, _ = strings.Cut(i.Config[stopInPlaceKey], " ")
	return member, was
}

// crashesLXD reports whether LXD up to 6.7 crashes when it evacuates the instance's member.
func crashesLXD(i api.Instance) bool {
	for _, d := range i.ExpandedDevices {
		if d["type"] == "disk" && d["pool"] == "" && d["path"] != "/" {
			return true
		}
	}
	return false
}

// stopInPlace sets cluster.evacuate of the instances that LXD must not be asked to move to "stop": those
// that have backups, which it would delete, and those over which an evacuation, or a restore, of a member
// would crash LXD. A newer LXD stops them too when it evacuates: such a disk does not move. A restore
// asks them only whether they move while they run.
func (c Cluster) stopInPlace(ctx context.Context, member, verb string) error {
	server, _, err := c.Server.GetServer()
	if err != nil {
		return fmt.Errorf("cannot read LXD's API extensions: %w", err)
	}
	crash := !lxd.FeaturesOf(server).HostDisks
	all, err := c.Server.GetInstancesAllProjects(api.InstanceTypeAny)
	if err != nil {
		return fmt.Errorf("cannot list LXD's instances: %w", err)
	}
	for _, i := range all {
		asked := i.Location == member
		if verb == "restore" {
			asked = i.Location != member && i.Config["volatile.evacuate.origin"] == member
		}
		ref := drain.Ref{Project: i.Project, Name: i.Name}
		why := ""
		switch {
		case !asked || !isAuto(i.ExpandedConfig[evacuateKey]):
			continue
		case crash && crashesLXD(i):
			why = fmt.Sprintf("LXD %s crashes over a disk without a pool, which %s has", server.Environment.ServerVersion, ref)
		case c.backups(ref) > 0:
			why = fmt.Sprintf("LXD deletes the backups of %s when it moves it", ref)
		default:
			continue
		}
		err := c.editConfig(ctx, ref, func(config map[string]string) {
			config[stopInPlaceKey] = member + " " + config[evacuateKey]
			config[evacuateKey] = "stop"
		})
		if err != nil {
			return fmt.Errorf("cannot %s %s: %s: set cluster.evacuate of %s to stop: %w", verb, member, why, ref, err)
		}
	}
	return nil
}

// undoStopInPlace restores what stopInPlace has changed.
func (c Cluster) undoStopInPlace(ctx context.Context, member string) error {
	all, err := c.Server.GetInstancesAllProjects(api.InstanceTypeAny)
	if err != nil {
		return fmt.Errorf("cannot list LXD's instances: %w", err)
	}
	var failed []error
	for _, i := range all {
		by, was := savedEvacuate(i)
		if by != member {
			continue
		}
		ref := drain.Ref{Project: i.Project, Name: i.Name}
		err := c.editConfig(ctx, ref, func(config map[string]string) {
			delete(config, stopInPlaceKey)
			if config[evacuateKey] != "stop" {
				return // an operator has set another meanwhile
			}
			delete(config, evacuateKey)
			if was != "" {
				config[evacuateKey] = was
			}
		})
		if err != nil && !api.StatusErrorCheck(err, http.StatusNotFound) {
			failed = append(failed, fmt.Errorf("cannot set cluster.evacuate of %s back to %q: %w", ref, was, err))
		}
	}
	return errors.Join(failed...)
}

// editConfig changes an instance's own options, as they are when they are written.
func (c Cluster) editConfig(ctx context.Context, i drain.Ref, edit func(config map[string]string)) error {
	server := c.project(i)
	return retryConflict(func() error {
		there, etag, err := server.GetInstance(i.Name)
		if err != nil {
			return err
		}
		put := there.Writable()
		if put.Config == nil {
			put.Config = map[string]string{}
		}
		edit(put.Config)
		return lxd.Await(ctx, server)(server.UpdateInstance(i.Name, put, etag))
	})
}
