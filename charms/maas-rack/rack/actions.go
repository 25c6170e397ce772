package rack

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/maas/node"
)

// ShowPlan is the action show-plan.
func ShowPlan(_ context.Context, f Facts, w Env, _ charm.Call) (map[string]string, error) {
	services := "running"
	if !f.Active {
		services = "not running: journalctl -u " + service
	}
	if len(f.Down) > 0 {
		services += "; " + down(f.Down) + ": journalctl -u " + f.Down[0]
	}
	p := Plan(f)
	var todo []string
	for _, step := range p.Steps {
		todo = append(todo, step.Name())
	}
	return map[string]string{
		"status": string(p.Status.Level) + ": " + p.Status.Message, "to-do": strings.Join(todo, "\n"), "system-id": f.SystemID,
		"region": f.Offer.URL, "package": f.Package.Version, "rackd": services, "hostname": w.Hostname,
	}, nil
}

// ResetIdentity is the action reset-identity: the rack comes up as another one in MAAS. The
// old one stays on the region's list, as dead.
func ResetIdentity(ctx context.Context, f Facts, w Env, call charm.Call) (map[string]string, error) {
	switch {
	case f.Colocated:
		return nil, errors.New("cannot renew the rack's identity: this machine is a region, too, and has one identity for both: run the region's action")
	case f.SystemID == "":
		return nil, errors.New("cannot renew the rack's identity: it has none yet: see the unit's status")
	case !call.Bool("force"):
		return nil, errors.New("cannot renew the rack's identity: " + f.SystemID + " would stay in MAAS as a dead rack, with its part in VLANs' DHCP; and MAAS assigns the same identity back as long as host name or a network address are the same: force=true does it")
	}
	if err := w.Forget(ctx); err != nil {
		return nil, err
	}
	if err := (start{}).Apply(ctx, w); err != nil {
		return nil, err
	}
	return map[string]string{"old-id": f.SystemID, "new-id": w.Text("var/lib/maas/maas_id")}, nil
}

// PrepareClone is the action prepare-clone.
func PrepareClone(ctx context.Context, f Facts, w Env, _ charm.Call) (map[string]string, error) {
	if f.Colocated {
		return nil, errors.New("cannot prepare for copying: this machine is a region, too: run the region's action")
	}
	if err := w.PrepareClone(ctx, filepath.Join(w.CharmDir, "dispatch")); err != nil {
		return nil, err
	}
	return map[string]string{"next": "lxc copy " + w.Hostname + " NAME [--target MEMBER]; lxc start NAME: the copy is a rack of its own, without a Juju agent"}, nil
}

// UpgradeMAAS is the action upgrade-maas: the unit's packages become what the source has.
func UpgradeMAAS(ctx context.Context, f Facts, w Env, _ charm.Call) (map[string]string, error) {
	if !f.Package.Installed() {
		return nil, errors.New("cannot refresh MAAS: it is not installed on this unit: see its status")
	}
	if err := apt.InstallReplacing(ctx, w.Run, "option source is "+f.Source.String(), node.Replaceable, node.RackPackage); err != nil {
		return nil, err
	}
	return map[string]string{"old-version": f.Package.Version, "new-version": apt.Query(ctx, w.Run, node.RackPackage)[node.RackPackage].Version}, nil
}
