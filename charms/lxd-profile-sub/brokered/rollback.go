package brokered

import (
	"context"
	"errors"
	"fmt"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// historyKey is the key in the leader's application databag with the last two profiles that were fully
// applied, the newest first.
const historyKey = "history"

// request returns what the leader requests: the profile of the options or, after a rollback, the earlier
// profile, while the options are the same as then.
func (f Facts) request(r Relation, wanted profile.Profile) map[string]string {
	request := lxdprofile.ProfileRequest{Application: hooktool.AppOf(f.Self.Principal), Model: f.Model, ModelUUID: f.Self.ModelUUID, Profile: f.withoutPendingShare(r, wanted)}
	asked, err := lxdprofile.DecodeProfileRequest(r.Request)
	if err == nil && asked.RolledBack == lxdprofile.Revision(wanted) {
		request.Profile, request.RolledBack = asked.Profile, asked.RolledBack
	}
	values := request.Encode()
	if err == nil && fullyApplied(r.Status, asked.Profile) {
		values[historyKey] = profile.ParseHistory(r.Request[historyKey]).With(asked.Profile).String()
	}
	return values
}

// fullyApplied reports whether each unit that the broker knows has the profile, and no key waits for a
// restart.
func fullyApplied(a lxdprofile.ProfileStatus, p profile.Profile) bool {
	revision := lxdprofile.Revision(p)
	for _, s := range a.Units {
		if s.State != lxdprofile.Applied || s.Revision != revision || len(s.Restart) > 0 {
			return false
		}
	}
	return len(a.Units) > 0
}

// Rollback is the action rollback. It requests the last fully applied profile that is not the current one,
// until the options change.
func Rollback(ctx context.Context, f Facts, w Env, _ charm.Call) (map[string]string, error) {
	r, err := f.broker()
	if err != nil {
		return nil, err
	}
	wanted, err := f.Options.Wanted()
	if err != nil {
		return nil, fmt.Errorf("cannot roll back: %w: fix the option first; the last request is still in force", err)
	}
	asked, err := lxdprofile.DecodeProfileRequest(r.Request)
	if err != nil {
		return nil, errors.New("cannot roll back: nothing was requested yet")
	}
	earlier, ok := profile.ParseHistory(r.Request[historyKey]).Before(asked.Profile)
	if !ok {
		return nil, errors.New("cannot roll back: no other profile was fully applied on every unit before")
	}
	asked.Profile, asked.RolledBack = earlier, lxdprofile.Revision(wanted.Profile)
	if err := w.publish(ctx, r.ID, r.Status.NotifyAddress, asked.Encode()); err != nil {
		return nil, err
	}
	return map[string]string{"profile": earlier.YAML(nil), "until": "the options change"}, nil
}

// broker returns the relation that an action of the leader works on.
func (f Facts) broker() (Relation, error) {
	switch {
	case !f.Leader:
		return Relation{}, fmt.Errorf("cannot do this on %s, which is not the leader: run it on %s/leader", f.Self.Unit, hooktool.AppOf(f.Self.Unit))
	case len(f.Relations) == 0:
		return Relation{}, fmt.Errorf("cannot do this without relation %s: integrate with lxd-cluster, or with its offer", Endpoint)
	}
	return f.Relations[0], nil
}
