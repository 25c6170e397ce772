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

// historyKey is where the leader keeps, in its application's own databag, the last two
// profiles that were fully applied, the newest first.
const historyKey = "history"

// request returns what the leader asks the broker for: what the options say, or after a rollback
// the earlier profile, as long as the options say what they said then.
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

// fullyApplied reports whether every unit that the broker knows has the profile, and nothing
// of it waits for a restart.
func fullyApplied(a lxdprofile.ProfileStatus, p profile.Profile) bool {
	revision := lxdprofile.Revision(p)
	for _, s := range a.Units {
		if s.State != lxdprofile.Applied || s.Revision != revision || len(s.Restart) > 0 {
			return false
		}
	}
	return len(a.Units) > 0
}

// Rollback is the action rollback: the last profile that was fully applied, and is not the
// one that is asked for now, is asked for in its place until the options change.
func Rollback(ctx context.Context, f Facts, w Env, _ charm.Call) (map[string]string, error) {
	r, err := f.broker()
	if err != nil {
		return nil, err
	}
	wanted, err := f.Options.Wanted()
	if err != nil {
		return nil, fmt.Errorf("cannot roll back: %w: what was asked for before that is still in force; mend the option first", err)
	}
	asked, err := lxdprofile.DecodeProfileRequest(r.Request)
	if err != nil {
		return nil, errors.New("cannot roll back: nothing has been asked for yet")
	}
	earlier, ok := profile.ParseHistory(r.Request[historyKey]).Before(asked.Profile)
	if !ok {
		return nil, errors.New("cannot roll back: no other profile has been fully applied on every unit before")
	}
	asked.Profile, asked.RolledBack = earlier, lxdprofile.Revision(wanted.Profile)
	if err := w.publish(ctx, r.ID, r.Status.NotifyAddress, asked.Encode()); err != nil {
		return nil, err
	}
	return map[string]string{"profile": earlier.YAML(nil), "until": "the options change"}, nil
}

// broker returns the one relation that an action of the leader works on.
func (f Facts) broker() (Relation, error) {
	switch {
	case !f.Leader:
		return Relation{}, fmt.Errorf("cannot do this on %s, which is not the leader: juju run %s/leader", f.Self.Unit, hooktool.AppOf(f.Self.Unit))
	case len(f.Relations) == 0:
		return Relation{}, fmt.Errorf("cannot do this without the relation %s: integrate this with lxd-cluster, or with its offer", Endpoint)
	}
	return f.Relations[0], nil
}
