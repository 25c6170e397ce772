// Package brokered is lxd-profile-sub with a broker. It requests a profile over the lxd-profile relation
// for its principal's containers, proves for each unit which container is its own, and reports the broker's
// status. It does not use LXD's API.
package brokered

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// Endpoint is the relation to the broker, in charmcraft.yaml.
const Endpoint = "lxd-profile"

// Env is what this package works on.
type Env struct {
	Tools hooktool.Tools
	LXD   LXD
	// Notify triggers the broker that listens at address; NotifyUDP is the implementation.
	Notify func(ctx context.Context, address string) error
}

// publish writes to the application's databag of a relation, and notifies the broker if it listens. A
// failure to notify is ignored: Juju reports the change too.
func (w Env) publish(ctx context.Context, relation, notifyAddress string, values map[string]string) error {
	if err := w.Tools.RelationSetApp(ctx, relation, values); err != nil {
		return err
	}
	if notifyAddress != "" {
		_ = w.Notify(ctx, notifyAddress)
	}
	return nil
}

// LXD is what LXD reports to an instance about itself; DevLXD is the implementation.
type LXD interface {
	// Instance returns the instance's name; "" outside LXD.
	Instance(ctx context.Context) (string, error)
	// Option returns one of its user.* options; "" if it is not set.
	Option(ctx context.Context, key string) (string, error)
	// Started returns a text that differs after each start of the instance.
	Started(ctx context.Context) (string, error)
}

// Facts are what this package observed.
type Facts struct {
	Self      lxdprofile.Claim // without a proof; Instance is "" outside LXD
	Model     string           // the model's name
	Leader    bool
	Options   Options
	Relations []Relation

	share *share // on the leader, a share with a key for the hosts
}

// Relation is one relation to a broker.
type Relation struct {
	ID, Broker string                   // "lxd-profile:3", and the broker's application as known here
	Request    map[string]string        // the application's databag; only on the leader
	Claim      map[string]string        // this unit's databag
	Status     lxdprofile.ProfileStatus // the broker's; zero while there is none
	State      lxdprofile.State         // this unit's in Status
	Unreadable string                   // why its answer cannot be read; "" when it can
	Nonce      string                   // the nonce for State.Key, if it has to be answered

	members map[string]lxdprofile.Member // the broker's units by number, with a share
}

// Observe gathers the facts.
func Observe(ctx context.Context, event hooktool.Event, w Env) (Facts, error) {
	f := Facts{
		Self:  lxdprofile.Claim{Unit: event.Unit, Principal: event.Principal, ModelUUID: event.ModelUUID},
		Model: event.Model,
	}
	config, err := w.Tools.Config(ctx)
	if err != nil {
		return f, err
	}
	f.Options = optionsOf(config)
	if f.Leader, err = w.Tools.IsLeader(ctx); err != nil {
		return f, err
	}
	if err := f.observeShare(ctx, w); err != nil {
		return f, err
	}
	if f.Self.Instance, err = w.LXD.Instance(ctx); err != nil {
		// LXD on the host may be restarting, which is no failure of this unit.
		return f, charm.Waiting("%s (retried automatically)", err)
	}
	if f.Self.Instance != "" {
		if f.Self.Started, err = w.LXD.Started(ctx); err != nil {
			return f, err
		}
	}
	ids, err := w.Tools.RelationIDs(ctx, Endpoint)
	if err != nil {
		return f, err
	}
	for _, id := range ids {
		r, err := f.observe(ctx, id, w)
		if err != nil {
			return f, err
		}
		f.Relations = append(f.Relations, r)
	}
	f.setCephCluster()
	return f, nil
}

func (f Facts) observe(ctx context.Context, id string, w Env) (Relation, error) {
	r := Relation{ID: id}
	var err error
	if r.Broker, err = w.Tools.RelationApp(ctx, id); err != nil {
		return r, err
	}
	if r.Claim, err = w.Tools.RelationGet(ctx, id, f.Self.Unit); err != nil {
		return r, err
	}
	if f.Leader {
		if r.Request, err = w.Tools.RelationGet(ctx, id, hooktool.AppOf(f.Self.Unit)); err != nil {
			return r, err
		}
	}
	if err := f.observeMembers(ctx, &r, w); err != nil {
		return r, err
	}
	// While a relation is being removed Juju may no longer know the other side.
	bag, err := w.Tools.RelationGet(ctx, id, r.Broker)
	if err != nil && !errors.Is(err, hooktool.ErrNotFound) {
		return r, err
	}
	r.Status, err = lxdprofile.DecodeProfileStatus(bag)
	if err != nil && !errors.Is(err, lxdprofile.ErrEmpty) {
		r.Unreadable = err.Error()
	}
	r.State = r.Status.Units[f.Self.Unit]
	// Only a key that can have a nonce is read: the broker must not get a proof, which is a hash, of
	// anything else.
	if f.Self.Instance != "" && r.State.Instance == f.Self.Instance &&
		r.State.Challenge != r.Claim["challenge"] && lxdprofile.IsNonceKey(r.State.Key) {
		if r.Nonce, err = w.LXD.Option(ctx, r.State.Key); err != nil {
			return r, charm.Waiting("%s (retried automatically)", err)
		}
	}
	return r, nil
}

// Plan returns what to publish and what to report. An invalid profile is not published: the last request
// stays in force.
func Plan(f Facts) charm.Plan[Env] {
	layered, err := f.Options.Wanted()
	wanted := layered.Profile
	var plan charm.Plan[Env]
	for _, r := range f.Relations {
		if err == nil && f.Leader {
			if values, err := f.shareRelationData(r, wanted); err != nil {
				plan.Status = charm.Blockedf("%s", err)
				return plan
			} else if !relation.Contains(r.Request, values) {
				plan.Steps = append(plan.Steps, publishShare{r.ID, r.Broker, r.Status.NotifyAddress, values})
			}
			if values := f.request(r, wanted); !relation.Contains(r.Request, values) {
				plan.Steps = append(plan.Steps, publishRequest{r.ID, r.Broker, r.Status.NotifyAddress, values})
			}
		}
		if f.Self.Instance != "" {
			if values := f.claim(r).Encode(); !relation.Contains(r.Claim, values) {
				plan.Steps = append(plan.Steps, publishClaim{r.ID, r.Broker, values, r.tamperedFields(values)})
			}
		}
	}
	plan.Status = f.status(wanted, err)
	return plan
}

// claim returns this unit's claim, with the proof that it has given, or a new one if the broker requires
// it.
func (f Facts) claim(r Relation) lxdprofile.Claim {
	c := f.Self
	switch {
	case lxdprofile.IsNonce(r.Nonce) && lxdprofile.ChallengeOf(r.Nonce) == r.State.Challenge:
		c.Challenge = r.State.Challenge
		c.Proof = c.Prove(r.State.Key, r.Nonce)
	case r.Claim["instance"] == c.Instance:
		c.Challenge, c.Proof = r.Claim["challenge"], r.Claim["proof"]
	}
	return c
}

// tamperedFields returns a warning about fields of this unit's claim that another program wrote, or that
// are from another place of the unit; "" if there are none.
func (r Relation) tamperedFields(own map[string]string) string {
	var parts []string
	for _, key := range []string{"unit", "principal", "model-uuid", "instance"} {
		if was := r.Claim[key]; was != "" && was != own[key] {
			parts = append(parts, fmt.Sprintf("%s %.60q where it is %q", key, was, own[key]))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	warning := "this unit's claim said " + strings.Join(parts, ", ") + ": taken back"
	if r.State.State == lxdprofile.Refused || r.State.State == lxdprofile.UnknownInstance {
		warning += "; " + r.Broker + " has refused it: " + r.State.Message
	}
	return warning
}

// Direct reports whether this unit uses LXD directly instead of a broker.
func (f Facts) Direct() bool {
	return f.Options.Endpoint != "" && f.Self.Instance != "" && len(f.Relations) == 0
}

func (f Facts) status(wanted profile.Profile, err error) charm.Status {
	switch {
	case err != nil:
		return charm.Blockedf("%s", err)
	case f.Self.Instance == "":
		return charm.Active("not in an LXD container: nothing to do")
	case len(f.Relations) == 0:
		return charm.Blockedf("missing relation %s: integrate with lxd-cluster or its offer, or set option endpoint", Endpoint)
	case f.Options.Endpoint != "":
		return charm.Blockedf("cannot use both relation %s and option endpoint: remove one of them", Endpoint)
	}
	if f.share != nil && f.share.err != "" {
		return charm.Blockedf("%s", f.share.err)
	}
	// There is usually one relation; of several the first that is not active determines the status.
	status := charm.Status{}
	for _, r := range f.Relations {
		if f.share != nil && !r.rolledBack(wanted) {
			for _, number := range slices.Sorted(maps.Keys(r.members)) {
				if problem := r.members[number].Problem; problem != "" {
					return charm.Blockedf("%s/%s: %s", r.Broker, number, problem)
				}
			}
			if missing := f.missing(r); len(missing) > 0 {
				return charm.Waitingf("waiting for the key of the share on %s", strings.Join(missing, ", "))
			}
		}
		if status = r.status(wanted, hooktool.AppOf(f.Self.Unit)); status.Level != charm.LevelActive {
			break
		}
	}
	return status
}

func (r Relation) status(wanted profile.Profile, app string) charm.Status {
	rolledBack := r.rolledBack(wanted)
	switch {
	case r.Unreadable != "":
		return charm.Blockedf("%s (%s)", r.Unreadable, r.Broker)
	case r.State.State == lxdprofile.Refused:
		return charm.Blockedf("%s refused: %s", r.Broker, r.State.Message)
	case r.State.State == lxdprofile.UnknownInstance:
		return charm.Blockedf("%s %s", r.Broker, r.State.Message)
	case r.State.State == lxdprofile.Waiting:
		return charm.Waitingf("%s: %s", r.Broker, r.State.Message)
	case r.State.State == lxdprofile.Challenged:
		return charm.Waitingf("waiting for %s to check that %s is this unit's container", r.Broker, r.State.Instance)
	case r.State.State != lxdprofile.Applied || !rolledBack && r.State.Revision != lxdprofile.Revision(wanted):
		return charm.Waitingf("waiting for %s to apply the profile", r.Broker)
	case r.Status.Restart.State == lxdprofile.Failed && len(r.waitForRestart()) > 0:
		return charm.Blockedf("%s stopped the restart: %s", r.Broker, r.Status.Restart.Message)
	}
	if rolledBack {
		return inForce("rolled back, until the options change; ", *r.Status.Profile, r.State, app)
	}
	if wanted.IsEmpty() && len(r.State.Restart) == 0 {
		return charm.Active("options profile and preset are empty: nothing to apply")
	}
	return inForce("", wanted, r.State, app)
}

// rolledBack reports whether the broker has an earlier profile instead of the wanted one.
func (r Relation) rolledBack(wanted profile.Profile) bool {
	return r.Status.Profile != nil && r.Status.RolledBack == lxdprofile.Revision(wanted)
}

// waitForRestart returns the units for which a key waits for a restart, sorted.
func (r Relation) waitForRestart() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.Status.Units)), func(unit string) bool {
		return len(r.Status.Units[unit].Restart) == 0
	})
}

// inForce returns the status of an applied profile.
func inForce(prefix string, p profile.Profile, s lxdprofile.State, app string) charm.Status {
	var parts []string
	if live := p.Without(append(slices.Clone(s.Restart), s.Ignored...)); !live.IsEmpty() {
		parts = append(parts, "in force: "+live.Summary())
	}
	if len(s.Restart) > 0 {
		parts = append(parts, fmt.Sprintf("restart needed for %s: juju run %s/leader apply-restart", profile.Names(s.Restart), app))
	}
	if len(s.Ignored) > 0 {
		parts = append(parts, "ignored by a virtual machine: "+profile.Names(s.Ignored))
	}
	if len(s.Differs) > 0 {
		parts = append(parts, fmt.Sprintf("overridden on instance %s itself: %s", s.Instance, profile.Names(slices.Sorted(maps.Keys(s.Differs)))))
	}
	return charm.Active("%s%s", prefix, strings.Join(parts, "; "))
}

// publishRequest requests a profile from the broker.
type publishRequest struct {
	relation, broker, notifyAddress string
	values                          map[string]string
}

func (s publishRequest) Name() string {
	return fmt.Sprintf("request the profile from %s (%s)", s.broker, s.relation)
}

func (s publishRequest) Apply(ctx context.Context, w Env) error {
	return w.publish(ctx, s.relation, s.notifyAddress, s.values)
}

// publishShare publishes the sealed access to a share, or requests the keys to seal it to.
type publishShare struct {
	relation, broker, notifyAddress string
	values                          map[string]string
}

func (s publishShare) Name() string {
	return fmt.Sprintf("publish the share for %s (%s)", s.broker, s.relation)
}

func (s publishShare) Apply(ctx context.Context, w Env) error {
	return w.publish(ctx, s.relation, s.notifyAddress, s.values)
}

// publishClaim publishes which instance is this unit's, with the proof if there is one.
type publishClaim struct {
	relation, broker string
	values           map[string]string
	tampered         string // a warning about the claim that was there before
}

func (s publishClaim) Name() string {
	if s.values["proof"] != "" {
		return fmt.Sprintf("prove to %s that instance %s is this unit's (%s)", s.broker, s.values["instance"], s.relation)
	}
	return fmt.Sprintf("claim to %s that instance %s is this unit's (%s)", s.broker, s.values["instance"], s.relation)
}

func (s publishClaim) Apply(ctx context.Context, w Env) error {
	if s.tampered != "" {
		_ = w.Tools.Log(ctx, "WARNING", s.tampered)
	}
	return w.Tools.RelationSet(ctx, s.relation, s.values)
}
