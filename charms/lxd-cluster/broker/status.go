package broker

import (
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// profileStatus returns the status for a requester when there is nothing left to do about it.
func (f Facts) profileStatus(r Relation, o relationResult, attachments map[string]profiles.Attach) lxdprofile.ProfileStatus {
	units := map[string]lxdprofile.State{}
	for name, record := range r.Status.Units {
		if _, exists := f.Instances[record.Instance]; exists && !r.Gone[name] {
			units[name] = record
		}
	}
	names := byNumber(units)
	for _, v := range o.claims {
		name := v.unit.Name
		if v.unit.Claim != nil {
			name = v.unit.Claim.Unit
		}
		old, known := names[lxdprofile.UnitNumber(name)]
		if v.state == "" { // nothing published yet: as before, but seen
			if known {
				state := units[old]
				state.SeenBy = f.Unit
				units[old] = state
			}
			continue
		}
		if known {
			delete(units, old)
		}
		names[lxdprofile.UnitNumber(name)] = name
		units[name] = f.state(r, o, v, attachments)
	}
	status := lxdprofile.ProfileStatus{Units: limitSize(units), NotifyAddress: f.NotifyAddress, CephCluster: lxdprofile.CephCluster(f.Model, r.ID)}
	if p, exists := f.Profiles[o.profile]; exists {
		status.Profile = &p.Content
	}
	if r.Request != nil {
		status.RolledBack = r.Request.RolledBack
	}
	return status
}

// state returns the state of one unit.
func (f Facts) state(r Relation, o relationResult, v claimResult, attachments map[string]profiles.Attach) lxdprofile.State {
	s := lxdprofile.State{State: v.state, Message: v.message, SeenBy: f.Unit}
	if v.unit.Claim == nil {
		// What the unit had, it keeps while its databag cannot be read.
		if record, ok := r.record(v.unit.Name); ok {
			s.Instance, s.Profile, s.Revision, s.Started = record.Instance, record.Profile, record.Revision, record.Started
		}
		return s
	}
	s.Instance = v.unit.Claim.Instance
	key := lxdprofile.NonceKey(r.ID)
	i := f.Instances[s.Instance]
	if nonce := i.Nonces[key]; lxdprofile.IsNonce(nonce) && v.grant != noGrant {
		s.Key, s.Challenge = key, lxdprofile.ChallengeOf(nonce)
	}
	if v.grant == profileGrant && o.profile != "" && slices.Contains(i.Profiles, o.profile) {
		p := f.Profiles[o.profile]
		s.Profile, s.Revision = o.profile, lxdprofile.Revision(p.Content)
		s.Restart, s.Differs, s.Started = i.Pending(p), i.Differs(p), i.started()
		if i.VM {
			s.Ignored, _ = profile.ForContainers(p.Content)
		}
	}
	if v.state != lxdprofile.Applied && v.state != lxdprofile.Challenged {
		return s
	}
	// What LXD refused in this hook of the steps for this unit.
	failure := ""
	names := []string{challenge{s.Instance, key, r.ID}.Name(), attachments[s.Instance].Name()}
	if o.write != nil {
		names = append(names, o.write.Name())
	}
	for _, name := range names {
		if failure == "" {
			failure = f.Failed[name]
		}
	}
	switch {
	case failure != "":
		s.State, s.Message = lxdprofile.Refused, "LXD refused: "+truncate(failure, maxMessage)
	case v.state == lxdprofile.Challenged && s.Key != "":
	case v.proven && o.refused != "":
		s.State, s.Message = lxdprofile.Refused, o.refused
	case o.profile == "" || o.wait != "":
		s.State, s.Message = lxdprofile.Waiting, o.wait
	}
	return s
}

// Limits on what a status has about units, in bytes and in paths of a unit: Juju stores it, and each unit
// reads it.
const (
	maxMessage = 1000
	maxUnitsIn = 1 << 20
	maxPaths   = 20
)

// limitSize drops details if the states of all units are too large.
func limitSize(units map[string]lxdprofile.State) map[string]lxdprofile.State {
	if len(lxdprofile.ProfileStatus{Units: units}.Encode()["units"]) <= maxUnitsIn {
		return units
	}
	for name, s := range units {
		s.Message, s.Differs, s.Ignored = truncate(s.Message, maxMessage/10), nil, nil
		s.Restart = s.Restart[:min(len(s.Restart), maxPaths)]
		units[name] = s
	}
	return units
}

// truncate shortens a text to at most so many bytes, and marks it as shortened.
func truncate(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
