// Package broker applies the LXD profiles that applications request over the lxd-profile relation. It
// refuses what the operator's policy does not allow, and changes only instances that a unit has proven to
// be its own.
//
// Each relation has one LXD profile, dcib-<model>-<application>, with the charm's keys. Each instance that
// a unit claims has one nonce, user.dcib.nonce.<relation>, and notes of when it got the profile and of a
// restart. The broker writes nothing else: no other profile, no other key, no other entry in an instance's
// list of profiles. This and the published statuses are all its state: each hook reads from LXD what is
// left to do.
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

// What Juju writes into an instance's options when it creates it.
// https://github.com/juju/juju/blob/main/environs/tags/tags.go
const (
	jujuModel = lxdprofile.ModelOption
	jujuUnits = "user.juju-units-deployed"
)

// Env is what the broker works on, in one hook.
type Env struct {
	profiles.Env
	Random io.Reader // for nonces
}

// Facts are what the broker observed.
type Facts struct {
	Active        bool   // this unit is the broker
	Unit          string // this unit
	Model         string // its model's UUID
	Owner         string // the value of the owner key
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

// Relation is one application that requests a profile.
type Relation struct {
	ID, App    string
	Endpoint   string                     // lxd-profile or lxd-profile-trusted
	Request    *lxdprofile.ProfileRequest // nil if there is none that can be read
	RequestErr string                     // why the request cannot be read; "" when nothing is written yet
	Units      []Unit                     // as Juju lists them
	Published  map[string]string
	Status     lxdprofile.ProfileStatus // Published, decoded
	Gone       map[string]bool          // units of Status that have left for certain

	records map[int]string // units of Status, by number
}

// Unit is one unit of a requester.
type Unit struct {
	Name  string            // as known here, "remote-<hash>/0"
	Claim *lxdprofile.Claim // nil if there is none that is valid
	Err   string            // why not; "" when nothing is written yet
}

// Instance is an LXD instance with what the broker needs of it.
type Instance struct {
	profiles.Instance
	Model    string            // UUID, as Juju wrote it
	Deployed []string          // principal units, as of the creation of the machine
	Nonces   map[string]string // by key
}

// maxUnits is how many units of one relation are served. Each hook reads the databag of every unit, and has
// to end in time for all other relations.
const maxUnits = 1000

// Observe gathers the facts. active reports whether this unit is the broker: the one that leads in Juju and
// is a member of the cluster. For other units it reads nothing.
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
	// In the order of their numbers: on a conflict the older relation wins.
	slices.SortFunc(f.Relations, func(a, b Relation) int { return lxdprofile.RelationNumber(a.ID) - lxdprofile.RelationNumber(b.ID) })
	var err error
	if f.Profiles, err = profiles.List(w.LXD, f.Owner); err != nil {
		return f, fmt.Errorf("cannot list LXD's profiles in project %s: %w", f.Project, err)
	}
	ours := slices.ContainsFunc(slices.Collect(maps.Values(f.Profiles)), func(p profiles.Profile) bool { return p.Ours })
	if len(f.Relations) == 0 && !ours {
		return f, nil // no requester, and nothing left of earlier ones
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
	// While a relation is being removed Juju may no longer know the other side. That counts as an empty
	// databag.
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
		// Juju lists to a unit only the units whose joining it has handled: to a unit that was just added,
		// none. So a unit is gone only if this one has seen it before.
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
