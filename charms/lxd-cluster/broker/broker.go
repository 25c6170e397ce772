// Package broker gives applications the LXD profiles they ask for over the lxd-profile
// relation, on behalf of the operator: what the policy does not allow is refused, and only
// a unit that has proven which instance is its own gets anything done to it.
//
// For each relation there is one LXD profile, dcib-<model>-<application>, that carries our
// mark, and in each instance that a unit claimed one nonce, user.dcib.nonce.<relation>, and
// notes of when it got the profile and of a restart. They are all that is ever written: no
// other profile, no other key, no other entry in an instance's list of profiles. They are
// also all the state there is, except for the answers in the relation: what to do is read
// off LXD each time.
package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile/policy"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// What Juju writes into an instance's options when it makes it.
// https://github.com/juju/juju/blob/main/environs/tags/tags.go
const (
	jujuModel = lxdprofile.ModelOption
	jujuUnits = "user.juju-units-deployed"
)

// Env is what the broker works on, for one hook.
type Env struct {
	profiles.Env
	Random io.Reader // for nonces
}

// Facts are what the broker saw.
type Facts struct {
	Active        bool   // whether this unit is the one that acts
	Unit          string // this unit
	Model         string // its model's UUID
	Owner         string // the mark of this application
	Project       string
	Policies      policy.Set
	PolicyErr     string // why there are no policies; "" when there are
	Relations     []Relation
	Instances     map[string]Instance
	Profiles      map[string]profiles.Profile
	Failed        map[string]string // what LXD refused in this hook, by step
	Restarted     bool              // a batch was restarted in this hook
	Now           time.Time
	NotifyAddress string // where this unit is called, host:port; "" while it does not listen

	extension func(name string) bool // whether this LXD has an API extension
}

// Relation is one application that asks.
type Relation struct {
	ID, App    string
	Endpoint   string                     // over which it asks
	Request    *lxdprofile.ProfileRequest // nil while there is none that can be read
	RequestErr string                     // why the request cannot be read; "" when nothing is written yet
	Units      []Unit                     // as Juju lists them
	Published  map[string]string
	Status     lxdprofile.ProfileStatus // Published, read
	Gone       map[string]bool          // units of Answer that have left for certain

	records map[int]string // units of Answer, by their numbers
}

// Unit is one unit that asks.
type Unit struct {
	Name  string            // as known here, "remote-<hash>/0"
	Claim *lxdprofile.Claim // nil while there is none that can be believed
	Err   string            // why not; "" when nothing is written yet
}

// Instance is what the broker looks at in an instance.
type Instance struct {
	profiles.Instance
	Model    string            // UUID, as Juju wrote it
	Deployed []string          // principal units, as Juju knew them when it made the machine
	Nonces   map[string]string // by key
}

// maxUnits is how many units of one relation are served. Juju is asked for each one's databag in
// each hook, which has to end in time for all the other relations.
const maxUnits = 1000

// Observe gathers the facts. active says whether this unit is to act: exactly one may, the
// one that leads in Juju and is a member of the cluster. For the others it asks nobody
// anything.
func Observe(ctx context.Context, event hooktool.Event, w *Env, active bool) (Facts, error) {
	f := Facts{
		Active:    active,
		Unit:      event.Unit,
		Model:     event.ModelUUID,
		Owner:     event.ModelUUID + "/" + event.App(),
		Project:   w.Project,
		Instances: map[string]Instance{},
		Failed:    w.Failed(),
		Restarted: w.Restarted(),
	}
	if !active {
		return f, nil
	}
	f.Now = w.Now()
	for _, endpoint := range policy.Endpoints() {
		ids, err := w.Tools.RelationIDs(ctx, endpoint)
		if err != nil {
			return f, err
		}
		for _, id := range ids {
			r, err := f.observeRelation(ctx, id, w.Tools)
			if err != nil {
				return f, err
			}
			r.Endpoint = endpoint
			f.Relations = append(f.Relations, r)
		}
	}
	// In the order of their numbers: where two set the same, the older one has it.
	slices.SortFunc(f.Relations, func(a, b Relation) int { return lxdprofile.RelationNumber(a.ID) - lxdprofile.RelationNumber(b.ID) })
	var err error
	if f.Profiles, err = profiles.List(w.LXD, f.Owner); err != nil {
		return f, fmt.Errorf("cannot list LXD's profiles in project %s: %w", f.Project, err)
	}
	ours := slices.ContainsFunc(slices.Collect(maps.Values(f.Profiles)), func(p profiles.Profile) bool { return p.Ours })
	if len(f.Relations) == 0 && !ours {
		return f, nil // nobody asks, and nothing is left of those who did
	}
	if err := f.observeInstances(w.LXD); err != nil {
		return f, err
	}
	f.extension = w.LXD.HasExtension
	config, err := w.Tools.Config(ctx)
	if err != nil {
		return f, err
	}
	text, _ := config[policy.Option].(string)
	if f.Policies, err = policy.Parse(text); err != nil {
		f.PolicyErr = err.Error()
	}
	return f, nil
}

func (f Facts) observeRelation(ctx context.Context, id string, tools hooktool.Tools) (Relation, error) {
	r := Relation{ID: id, Gone: map[string]bool{}}
	var err error
	if r.App, err = tools.RelationApp(ctx, id); err != nil {
		return r, err
	}
	// While a relation is being taken down Juju may not know the other side any more. That
	// is silence, too.
	bag, err := tools.RelationGet(ctx, id, r.App)
	if err != nil && !errors.Is(err, hooktool.ErrNotFound) {
		return r, err
	}
	if request, err := lxdprofile.DecodeProfileRequest(bag); err == nil {
		r.Request = &request
	} else if !errors.Is(err, lxdprofile.ErrEmpty) {
		r.RequestErr = err.Error()
	}
	names, err := tools.RelationUnits(ctx, id)
	if err != nil {
		return r, err
	}
	slices.SortFunc(names, func(a, b string) int { return lxdprofile.UnitNumber(a) - lxdprofile.UnitNumber(b) })
	listed := map[int]bool{}
	for i, name := range names {
		listed[lxdprofile.UnitNumber(name)] = true
		unit := Unit{Name: name}
		if i >= maxUnits {
			unit.Err = fmt.Sprintf("cannot serve more than %d units over one relation: relate the others by an application of their own", maxUnits)
			r.Units = append(r.Units, unit)
			continue
		}
		bag, err := tools.RelationGet(ctx, id, name)
		if err != nil && !errors.Is(err, hooktool.ErrNotFound) {
			return r, err
		}
		if claim, err := lxdprofile.DecodeClaim(name, bag); err == nil {
			unit.Claim = &claim
		} else if !errors.Is(err, lxdprofile.ErrEmpty) {
			unit.Err = err.Error()
		}
		r.Units = append(r.Units, unit)
	}
	if r.Published, err = tools.RelationGet(ctx, id, hooktool.AppOf(f.Unit)); err != nil {
		return r, err
	}
	if r.Status, err = lxdprofile.DecodeProfileStatus(r.Published); err != nil {
		r.Status = lxdprofile.ProfileStatus{} // it is written again
	}
	r.records = byNumber(r.Status.Units)
	for name, state := range r.Status.Units {
		// Juju lists to a unit only those whose joining it has handled: to a unit that was
		// itself just added, none. So a unit is gone when this one has seen it before.
		if !listed[lxdprofile.UnitNumber(name)] && state.SeenBy == f.Unit {
			r.Gone[name] = true
		}
	}
	return r, nil
}

func (f Facts) observeInstances(server profiles.Server) error {
	instances, err := profiles.Instances(server)
	if err != nil {
		return fmt.Errorf("cannot list LXD's instances in project %s: %w", f.Project, err)
	}
	for name, i := range instances {
		known := Instance{
			Instance: i,
			Model:    i.Own[jujuModel],
			Deployed: strings.FieldsFunc(i.Own[jujuUnits], func(r rune) bool { return r == ' ' || r == ',' }),
			Nonces:   map[string]string{},
		}
		for key, value := range i.Own {
			if lxdprofile.IsNonceKey(key) {
				known.Nonces[key] = value
			}
		}
		f.Instances[name] = known
	}
	return nil
}
