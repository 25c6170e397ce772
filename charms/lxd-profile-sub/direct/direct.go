// Package direct gives a unit's container the profile without a broker, where no charm
// rules the LXD: on a plain `localhost` cloud. Each unit has the client certificate that
// the operator put into a Juju secret. The leader writes the one profile of its
// application, each unit attaches it to its own instance, and takes it off when it leaves;
// the last deletes it. What is allowed is LXD's to say, by the project that the certificate
// is restricted to.
package direct

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile"
)

// relation is what stands in the marks in the place of a relation's id.
const relation = "direct:0"

// What Juju writes into an instance's options when it makes it.
// https://github.com/juju/juju/blob/main/environs/tags/tags.go
const jujuModel = "user.juju-model-uuid"

// Options are the charm's options for this mode.
type Options struct {
	Endpoint   string // of LXD's API; empty: not this mode
	Credential string // URI of the secret
	Project    string // of LXD
}

// Self is who asks.
type Self struct {
	Unit, Principal  string
	Model, ModelUUID string
	Instance         string
	Leader           bool
	Leaving          bool // Juju takes the unit away
}

// World is what the unit works on, for one hook.
type World struct {
	profiles.World
	Open       func(ctx context.Context, o Options, credential Credential) (profiles.Server, bool, error)
	restricted bool
}

// Facts are what the unit saw.
type Facts struct {
	Self       Self
	Options    Options
	Owner      string
	Restricted bool // the certificate, to projects
	Profiles   map[string]profiles.Profile
	Instances  map[string]profiles.Instance
	Failed     map[string]string
	Extension  func(name string) bool
}

// Observe gathers the facts. What the operator has to mend is a charm.Blocked.
func Observe(ctx context.Context, self Self, o Options, w *World) (Facts, error) {
	f := Facts{Self: self, Options: o, Owner: self.ModelUUID + "/" + hooktool.AppOf(self.Unit)}
	if w.LXD == nil {
		if err := w.connect(ctx, o); err != nil {
			return f, err
		}
	}
	f.Restricted, f.Extension = w.restricted, w.LXD.HasExtension
	var err error
	if f.Profiles, err = profiles.List(w.LXD, f.Owner); err == nil {
		f.Instances, err = profiles.Instances(w.LXD)
	}
	if err != nil {
		return f, charm.Waiting("cannot ask the LXD at %s about project %s: %s: will look again", o.Endpoint, o.Project, err)
	}
	f.Failed = w.Failed()
	return f, nil
}

func (w *World) connect(ctx context.Context, o Options) error {
	if !strings.HasPrefix(o.Endpoint, "https://") {
		return charm.Blocked("cannot use option endpoint: it is %.60q, wanted the address of LXD's API, such as https://10.0.8.1:8443", o.Endpoint)
	}
	if o.Credential == "" {
		return charm.Blocked("missing option credential: wanted a secret with client-cert, client-key and server-cert, for the LXD at %s", o.Endpoint)
	}
	content, err := w.Tools.Secret(ctx, o.Credential)
	if err != nil {
		return charm.Blocked("cannot read the secret of option credential: %s: juju grant-secret it to this application", err)
	}
	credential, err := ParseCredential(content)
	if err != nil {
		return charm.Blocked("cannot use the secret of option credential: %s", err)
	}
	w.LXD, w.restricted, err = w.Open(ctx, o, credential)
	switch {
	case errors.Is(err, ErrUntrusted):
		return charm.Blocked("%s", err)
	case err != nil:
		return charm.Waiting("%s: will look again", err)
	}
	return nil
}

// Plan says what to do for what is wanted; a profile that is wrong changes nothing.
func Plan(f Facts, wanted profile.Profile, wrong error) charm.Plan[*World] {
	var plan charm.Plan[*World]
	name, exists := f.ours()
	if f.Self.Leaving {
		return charm.Plan[*World]{Steps: f.leave(name, exists), Status: charm.Active("")}
	}
	own, ok := f.Instances[f.Self.Instance]
	switch {
	case wrong != nil:
		plan.Status = charm.Blockedf("%s", wrong)
		return plan
	case !ok || own.Own[jujuModel] != f.Self.ModelUUID:
		plan.Status = charm.Blockedf("cannot find instance %s of this model in project %s of the LXD at %s: mend option endpoint or project", f.Self.Instance, f.Options.Project, f.Options.Endpoint)
		return plan
	case own.VM:
		if _, refused := profile.ForContainers(wanted); len(refused) > 0 {
			plan.Status = charm.Blockedf("%s: for containers only, and this is a virtual machine", strings.Join(refused, ", "))
			return plan
		}
	}
	if err := profile.Unsupported(wanted, f.Extension); err != nil {
		plan.Status = charm.Blockedf("the LXD at %s: %s", f.Options.Endpoint, err)
		return plan
	}
	now := f.Profiles[name]
	switch {
	case now.Content.Equal(wanted) && exists:
	case f.Self.Leader:
		write := profiles.Write{
			Profile: name, Owner: f.Owner, Relation: relation, Application: f.Self.ModelUUID + "/" + hooktool.AppOf(f.Self.Principal),
			Content: wanted, Instances: f.Instances,
		}
		if f.failed(&plan, write.Name()) {
			return plan
		}
		plan.Steps = append(plan.Steps, lift(write)...)
	default:
		plan.Status = charm.Waitingf("waiting for the leader to write profile %s", name)
	}
	attach := profiles.Attach{Instance: f.Self.Instance, Started: own.Started, Profiles: map[string]profiles.Claim{name: {
		Relation: relation, Holds: func(own map[string]string) bool { return own[jujuModel] == f.Self.ModelUUID },
	}}}
	_, attach.Again = own.Own[profiles.AttachedKey(relation)]
	if (exists || f.Self.Leader) && !slices.Equal(attach.List(own.Profiles), own.Profiles) {
		if f.failed(&plan, attach.Name()) {
			return plan
		}
		plan.Steps = append(plan.Steps, lift(attach)...)
	}
	if plan.Status.Level == "" {
		plan.Status = f.inForce(own, now)
	}
	return plan
}

// lift makes steps on LXD this room's.
func lift(steps ...charm.Step[*profiles.World]) []charm.Step[*World] {
	return charm.Lift(steps, func(w *World) *profiles.World { return &w.World })
}

// failed blocks the unit by what LXD refused in this hook.
func (f Facts) failed(plan *charm.Plan[*World], step string) bool {
	says := f.Failed[step]
	if says != "" {
		plan.Status = charm.Blockedf("the LXD at %s would not %s: %s", f.Options.Endpoint, step, says)
	}
	return says != ""
}

// ours gives the name of this application's profile, and whether there is one already.
func (f Facts) ours() (name string, exists bool) {
	for _, name := range slices.Sorted(maps.Keys(f.Profiles)) {
		if p := f.Profiles[name]; p.Ours && p.Relation == relation {
			return name, true
		}
	}
	return profiles.Name(f.Self.Model, hooktool.AppOf(f.Self.Principal), f.Owner, func(name string) bool {
		_, taken := f.Profiles[name]
		return taken
	}), false
}

// leave takes the profile off the unit's instance, and deletes it when nobody has it.
func (f Facts) leave(name string, exists bool) []charm.Step[*World] {
	key := profiles.AttachedKey(relation)
	own, ok := f.Instances[f.Self.Instance]
	if _, noted := own.Own[key]; ok && (noted || slices.Contains(own.Profiles, name)) {
		return lift(profiles.Release{Instance: f.Self.Instance, Profile: name, Keys: []string{key}})
	}
	if exists && !f.Profiles[name].Used {
		return lift(profiles.Delete{Profile: name, Owner: f.Owner})
	}
	return nil
}

// inForce says what the profile does on the unit's own instance.
func (f Facts) inForce(own profiles.Instance, p profiles.Profile) charm.Status {
	var parts []string
	restart := own.Pending(p)
	if live := p.Content.Without(restart); !live.IsEmpty() {
		parts = append(parts, "in force: "+live.Summary())
	}
	if len(restart) > 0 {
		parts = append(parts, fmt.Sprintf("restart needed for %s: lxc restart %s", profile.Names(restart), f.Self.Instance))
	}
	if differs := own.Differs(p); len(differs) > 0 {
		parts = append(parts, "set otherwise on the instance itself: "+profile.Names(slices.Sorted(maps.Keys(differs))))
	}
	if len(parts) == 0 {
		parts = append(parts, "options profile and preset are empty: nothing to apply")
	}
	if !f.Restricted {
		parts = append(parts, "warning: the certificate is not restricted to a project, so whoever is root in one of these containers rules that LXD and its host")
	}
	return charm.Active("%s", strings.Join(parts, "; "))
}

// Diff gives for this unit, in the words of the action diff, what its instance has
// otherwise than wanted.
func Diff(f Facts, wanted profile.Profile) map[string]string {
	own := f.Instances[f.Self.Instance]
	var lines []string
	for path, has := range profile.Differences(wanted, own.InForce) {
		if has == "" {
			has = "none"
		}
		lines = append(lines, fmt.Sprintf("%s: wanted %s, the instance has %s", path, wanted.Shown(path), has))
	}
	slices.Sort(lines)
	name, _ := f.ours()
	for _, path := range own.Pending(f.Profiles[name]) {
		lines = append(lines, path+": waits for a restart")
	}
	says := "instance " + f.Self.Instance + ": as wanted"
	if len(lines) > 0 {
		says = "instance " + f.Self.Instance + ":\n  " + strings.Join(lines, "\n  ")
	}
	return map[string]string{strings.ReplaceAll(f.Self.Unit, "/", "-"): says}
}
