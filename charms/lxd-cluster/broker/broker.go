// Package broker gives applications the LXD profiles they ask for over the lxd-profile
// relation, on behalf of the operator: what the policy does not allow is refused, and only
// a unit that has proven which instance is its own gets anything done to it.
//
// For each relation there is one LXD profile, dcib-<model>-<application>, that carries our
// mark, and in each instance that a unit claimed one nonce, user.dcib.nonce.<relation>.
// They are all that is ever written: no other profile, no other key, no other entry in an
// instance's list of profiles. They are also all the memory there is, except for the
// answers in the relation: what to do is read off LXD each time.
package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// Endpoint is the relation to those who ask, in charmcraft.yaml.
const Endpoint = "lxd-profile"

// The marks on our profiles: who made it (model and application of this charm) under which
// name, for which relation, and for whom.
const (
	markPrefix      = "user.dcib."
	ownerMark       = "user.dcib.owner"
	relationMark    = "user.dcib.relation"
	applicationMark = "user.dcib.application"
)

// What Juju writes into an instance's options when it makes it.
// https://github.com/juju/juju/blob/main/environs/tags/tags.go
const (
	jujuModel = "user.juju-model-uuid"
	jujuUnits = "user.juju-units-deployed"
)

// Server is what the broker needs of LXD; LXD's own client is one, for one project.
type Server interface {
	GetInstances(kind api.InstanceType) ([]api.Instance, error)
	GetInstance(name string) (instance *api.Instance, etag string, err error)
	UpdateInstance(name string, instance api.InstancePut, etag string) (lxdclient.Operation, error)
	GetProfiles() ([]api.Profile, error)
	GetProfile(name string) (profile *api.Profile, etag string, err error)
	CreateProfile(profile api.ProfilesPost) error
	UpdateProfile(name string, profile api.ProfilePut, etag string) (lxdclient.Operation, error)
	DeleteProfile(name string) error
}

var _ Server = lxdclient.InstanceServer(nil)

// World is what the broker works on, for one hook.
type World struct {
	Tools   hooktool.Tools
	LXD     Server    // that has been asked about itself (GetServer): its client goes by the answer
	Project string    // the LXD project that LXD is for, for messages
	Random  io.Reader // for nonces

	// failed is what LXD refused to do in this hook, by the step's name. It is told to
	// those it concerns rather than failing the hook, and tried again in the next.
	failed map[string]string
}

// Facts are what the broker saw.
type Facts struct {
	Active    bool   // whether this unit is the one that acts
	Unit      string // this unit
	Owner     string // the mark of this application
	Project   string
	Policy    Policy
	PolicyErr string // why there is no policy; "" when there is
	Relations []Relation
	Instances map[string]Instance
	Profiles  map[string]Profile
	Failed    map[string]string // what LXD refused in this hook, by step
}

// Relation is one application that asks.
type Relation struct {
	ID, App   string
	Wish      *lxdprofile.Wish // nil while there is none that can be read
	WishErr   string           // why the wish cannot be read; "" when nothing is written yet
	Units     []Unit           // as Juju lists them
	Published map[string]string
	Answer    lxdprofile.Answer // Published, read
	Gone      map[string]bool   // units of Answer that have left for certain
}

// Unit is one unit that asks.
type Unit struct {
	Name  string            // as known here, "remote-<hash>/0"
	Claim *lxdprofile.Claim // nil while there is none that can be believed
	Err   string            // why not; "" when nothing is written yet
}

// Instance is what the broker looks at in an instance.
type Instance struct {
	Model       string   // UUID, as Juju wrote it
	Deployed    []string // principal units, as Juju knew them when it made the machine
	Profiles    []string
	Nonces      map[string]string // by key
	Unreachable string            // the offline member it is on; "" when it can be changed
}

// Profile is a profile of the project. Only what is Ours says more than its name.
type Profile struct {
	Ours     bool
	Relation string
	Content  profile.Profile // without the marks
	Used     bool            // by any instance, also one that cannot be reached
}

// Observe gathers the facts. active says whether this unit is to act: exactly one may, the
// one that leads in Juju and is a member of the cluster. For the others it asks nobody
// anything.
func Observe(ctx context.Context, event hooktool.Event, w *World, active bool) (Facts, error) {
	f := Facts{
		Active:    active,
		Unit:      event.Unit,
		Owner:     event.ModelUUID + "/" + event.App(),
		Project:   w.Project,
		Instances: map[string]Instance{},
		Profiles:  map[string]Profile{},
		Failed:    maps.Clone(w.failed),
	}
	if !active {
		return f, nil
	}
	ids, err := w.Tools.RelationIDs(ctx, Endpoint)
	if err != nil {
		return f, err
	}
	for _, id := range ids {
		r, err := f.observeRelation(ctx, id, w.Tools)
		if err != nil {
			return f, err
		}
		f.Relations = append(f.Relations, r)
	}
	if err := f.observeProfiles(w.LXD); err != nil {
		return f, err
	}
	ours := slices.ContainsFunc(slices.Collect(maps.Values(f.Profiles)), func(p Profile) bool { return p.Ours })
	if len(ids) == 0 && !ours {
		return f, nil // nobody asks, and nothing is left of those who did
	}
	if err := f.observeInstances(w.LXD); err != nil {
		return f, err
	}
	config, err := w.Tools.Config(ctx)
	if err != nil {
		return f, err
	}
	text, _ := config[PolicyOption].(string)
	if f.Policy, err = ParsePolicy(text); err != nil {
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
	if wish, err := lxdprofile.DecodeWish(bag); err == nil {
		r.Wish = &wish
	} else if !errors.Is(err, lxdprofile.ErrEmpty) {
		r.WishErr = err.Error()
	}
	names, err := tools.RelationUnits(ctx, id)
	if err != nil {
		return r, err
	}
	listed := map[int]bool{}
	for _, name := range names {
		listed[lxdprofile.UnitNumber(name)] = true
		unit := Unit{Name: name}
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
	if r.Answer, err = lxdprofile.DecodeAnswer(r.Published); err != nil {
		r.Answer = lxdprofile.Answer{} // it is written anew
	}
	for name, state := range r.Answer.Units {
		// Juju lists to a unit only those whose joining it has handled: to a unit that was
		// itself just added, none. So a unit is gone when this one has seen it before.
		if !listed[lxdprofile.UnitNumber(name)] && state.SeenBy == f.Unit {
			r.Gone[name] = true
		}
	}
	return r, nil
}

func (f Facts) observeProfiles(server Server) error {
	profiles, err := server.GetProfiles()
	if err != nil {
		return fmt.Errorf("cannot list LXD's profiles in project %s: %w", f.Project, err)
	}
	for _, p := range profiles {
		known := Profile{Used: len(p.UsedBy) > 0}
		if p.Config[ownerMark] == mark(f.Owner, p.Name) {
			known.Ours = true
			known.Relation = p.Config[relationMark]
			known.Content = contentOf(p.Config, p.Devices)
		}
		f.Profiles[p.Name] = known
	}
	return nil
}

// mark is the value of ownerMark. It names the profile, so that an operator's copy of one
// of ours is theirs.
func mark(owner, profile string) string { return owner + " " + profile }

// contentOf gives what a profile of ours asks for, without our marks.
func contentOf(config map[string]string, devices map[string]map[string]string) profile.Profile {
	content := profile.Merge(profile.Profile{Config: config, Devices: devices})
	maps.DeleteFunc(content.Config, func(key, _ string) bool { return strings.HasPrefix(key, markPrefix) })
	return content
}

func (f Facts) observeInstances(server Server) error {
	instances, err := server.GetInstances(api.InstanceTypeAny)
	if err != nil {
		return fmt.Errorf("cannot list LXD's instances in project %s: %w", f.Project, err)
	}
	for _, i := range instances {
		// The instance's own options: those that come from a profile prove nothing.
		known := Instance{
			Model:    i.Config[jujuModel],
			Deployed: strings.FieldsFunc(i.Config[jujuUnits], func(r rune) bool { return r == ' ' || r == ',' }),
			Profiles: i.Profiles,
			Nonces:   map[string]string{},
		}
		// LXD names the instances of an offline member without telling what they have.
		if i.StatusCode == api.Error && len(i.Config) == 0 {
			known.Unreachable = i.Location
		}
		for key, value := range i.Config {
			if lxdprofile.IsNonceKey(key) {
				known.Nonces[key] = value
			}
		}
		f.Instances[i.Name] = known
	}
	return nil
}
