// Package direct applies the profile without a broker, if no charm controls the LXD: on a plain `localhost`
// cloud. Each unit has the client certificate that the operator put into a Juju secret. The leader writes
// the application's profile; each unit attaches it to its own instance, and removes it when it leaves; the
// last unit deletes it. LXD decides what is allowed, by the project that the certificate is restricted to.
package direct

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// relation returns the text that is used in place of a relation's id. It is unique for the application
// within an instance.
func (f Facts) relation() string { return "direct:" + hooktool.AppOf(f.Self.Unit) }

// What Juju writes into an instance's options when it creates it.
// https://github.com/juju/juju/blob/main/environs/tags/tags.go
const jujuModel = "user.juju-model-uuid"

// Options are the charm's options for direct mode.
type Options struct {
	Endpoint   string // of LXD's API; empty: not this mode
	Credential string // URI of the secret
	Project    string // of LXD
}

// Self is this unit.
type Self struct {
	Unit, Principal  string
	Model, ModelUUID string
	Instance         string
	Started          string // another text after each start of the instance
	Leader           bool
	Leaving          bool // Juju is removing the unit
}

// Env is what this package works on, in one hook.
type Env struct {
	profiles.Env
	Open func(ctx context.Context, o Options, credential Credential) (profiles.Server, bool, error)
	// For the action apply-restart: Pause waits, and Reboot restarts this unit's machine after the action.
	Pause  func(ctx context.Context, d time.Duration) error
	Reboot func(ctx context.Context) error

	restricted bool
}

// Facts are what this package observed.
type Facts struct {
	Self       Self
	Options    Options
	Owner      string
	Restricted bool // the certificate is restricted to projects
	Profiles   map[string]profiles.Profile
	Instances  map[string]profiles.Instance
	Failed     map[string]string
	Now        time.Time
	Extension  func(name string) bool
}

// Observe gathers the facts. What the operator has to fix is a charm.Blocked.
func Observe(ctx context.Context, self Self, o Options, w *Env) (Facts, error) {
	f := Facts{Self: self, Options: o, Owner: self.ModelUUID + "/" + hooktool.AppOf(self.Unit)}
	if w.LXD == nil {
		if err := w.connect(ctx, o); err != nil {
			return f, err
		}
	}
	f.Restricted, f.Extension = w.restricted, w.LXD.HasExtension
	return f, f.observe(w)
}

// observe reads the profiles and instances of the LXD.
func (f *Facts) observe(w *Env) error {
	var err error
	if f.Profiles, err = profiles.List(w.LXD, f.Owner); err == nil {
		f.Instances, err = profiles.Instances(w.LXD)
	}
	if err != nil {
		return charm.Waiting("cannot read project %[2]s of the LXD at %[1]s: %[3]s (retried automatically)", f.Options.Endpoint, f.Options.Project, err)
	}
	f.Failed, f.Now = w.Failed(), w.Now()
	return nil
}

func (w *Env) connect(ctx context.Context, o Options) error {
	if !strings.HasPrefix(o.Endpoint, "https://") {
		return charm.Blocked("option endpoint is %.60q, wanted the address of LXD's API, such as https://10.0.8.1:8443", o.Endpoint)
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
		return charm.Waiting("%s (retried automatically)", err)
	}
	return nil
}

// Plan returns what to do for the wanted profile; an invalid profile changes nothing.
func Plan(f Facts, wanted profile.Profile, wrong error) charm.Plan[*Env] {
	var plan charm.Plan[*Env]
	name, exists := f.ours()
	if f.Self.Leaving {
		return charm.Plan[*Env]{Steps: f.leave(name, exists), Status: charm.Maintenancef("removing profile %s", name)}
	}
	own, ok := f.Instances[f.Self.Instance]
	switch {
	case wrong != nil:
		plan.Status = charm.Blockedf("%s", wrong)
		return plan
	case !ok || own.Own[jujuModel] != f.Self.ModelUUID:
		plan.Status = charm.Blockedf("cannot find instance %s of this model in project %s of the LXD at %s: fix option endpoint or project", f.Self.Instance, f.Options.Project, f.Options.Endpoint)
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
	asked, rolledBack := profileInForce(now, wanted)
	switch {
	case exists && now.Content.Equal(asked) && (now.State.RolledBack == nil || rolledBack):
	case f.Self.Leader && f.busy(name) != "":
		plan.Status = charm.Waitingf("waiting for the restart of instance %s before profile %s is written", f.busy(name), name)
	case f.Self.Leader:
		write := f.write(asked)
		if rolledBack {
			write.State.RolledBack = now.State.RolledBack
		}
		if f.failed(&plan, write.Name()) {
			return plan
		}
		plan.Steps = append(plan.Steps, adapt(write)...)
	default:
		plan.Status = charm.Waitingf("waiting for the leader to write profile %s", name)
	}
	attach := profiles.Attach{Instance: f.Self.Instance, Started: own.Started, Profiles: map[string]profiles.Claim{name: {
		Relation: f.relation(), Holds: func(own map[string]string) bool { return own[jujuModel] == f.Self.ModelUUID },
	}}}
	_, attach.Repair = own.Own[profiles.AttachedKey(f.relation())]
	if (exists || f.Self.Leader) && !slices.Equal(attach.List(own.Profiles), own.Profiles) {
		if f.failed(&plan, attach.Name()) {
			return plan
		}
		plan.Steps = append(plan.Steps, adapt(attach)...)
	}
	if own.Restarted(f.relation()) && own.Own[profiles.StartedKey(f.relation())] != f.Self.Started {
		plan.Steps = append(plan.Steps, adapt(profiles.ReportBack{Instance: f.Self.Instance, Relation: f.relation(), Started: f.Self.Started})...)
	}
	if plan.Status.Level == "" {
		plan.Status = f.inForce(own, now, rolledBack)
	}
	return plan
}

// busy returns an instance with the profile that LXD may be restarting; "" if there is none. An update of
// the profile would end its restart half-way.
func (f Facts) busy(profile string) string {
	for _, name := range slices.Sorted(maps.Keys(f.Instances)) {
		if i := f.Instances[name]; slices.Contains(i.Profiles, profile) && i.Busy(f.Now) {
			return name
		}
	}
	return ""
}

// profileInForce returns the profile to apply: the wanted one or, after a rollback, the earlier one, while
// the options are the same as then.
func profileInForce(now profiles.Profile, wanted profile.Profile) (inForce profile.Profile, rolledBack bool) {
	if r := now.State.RolledBack; r != nil && r.Until == lxdprofile.Revision(wanted) {
		return r.Profile, true
	}
	return wanted, false
}

// write returns the step that writes the application's profile. Its history gets the previous content if
// that was fully applied.
func (f Facts) write(content profile.Profile) profiles.Write {
	name, exists := f.ours()
	now := f.Profiles[name]
	state := &profiles.State{Written: lxdprofile.Revision(content), History: now.State.History}
	repair := exists && now.State.Written != lxdprofile.Revision(now.Content)
	if !repair && f.fullyApplied(name) {
		state.History = state.History.With(now.Content)
	}
	return profiles.Write{
		Profile: name, Owner: f.Owner, Relation: f.relation(), Application: f.Self.ModelUUID + "/" + hooktool.AppOf(f.Self.Principal),
		Content: content, Instances: f.Instances, Repair: repair, State: state,
	}
}

// fullyApplied reports whether no key of the profile waits for a restart on any instance that has it.
func (f Facts) fullyApplied(name string) bool {
	applied := false
	for _, i := range f.Instances {
		if slices.Contains(i.Profiles, name) {
			applied = true
			if i.Unreachable != "" || len(i.Pending(f.Profiles[name])) > 0 {
				return false
			}
		}
	}
	return applied
}

// adapt makes steps of package profiles steps of this package.
func adapt(steps ...charm.Step[*profiles.Env]) []charm.Step[*Env] {
	return charm.AdaptSteps(steps, func(w *Env) *profiles.Env { return &w.Env })
}

// failed blocks the unit if LXD has refused the step in this hook.
func (f Facts) failed(plan *charm.Plan[*Env], step string) bool {
	reason := f.Failed[step]
	if reason != "" {
		plan.Status = charm.Blockedf("the LXD at %s refused to %s: %s", f.Options.Endpoint, step, reason)
	}
	return reason != ""
}

// ours returns the name of this application's profile, and whether it exists.
func (f Facts) ours() (name string, exists bool) {
	for _, name := range slices.Sorted(maps.Keys(f.Profiles)) {
		if p := f.Profiles[name]; p.Ours && p.Relation == f.relation() {
			return name, true
		}
	}
	return profiles.Name(f.Self.Model, hooktool.AppOf(f.Self.Principal), f.Owner, func(name string) bool {
		_, taken := f.Profiles[name]
		return taken
	}), false
}

// leave removes the profile from the unit's instance, and deletes it if no instance uses it.
func (f Facts) leave(name string, exists bool) []charm.Step[*Env] {
	keys := []string{profiles.AttachedKey(f.relation()), profiles.RestartKey(f.relation()), profiles.StartedKey(f.relation())}
	own, ok := f.Instances[f.Self.Instance]
	noted := slices.ContainsFunc(keys, func(key string) bool { _, has := own.Own[key]; return has })
	if ok && (noted || slices.Contains(own.Profiles, name)) {
		return adapt(profiles.Release{Instance: f.Self.Instance, Profile: name, Keys: keys})
	}
	if exists && !f.Profiles[name].Used {
		return adapt(profiles.Delete{Profile: name, Owner: f.Owner})
	}
	return nil
}

// inForce returns the status of the profile on the unit's own instance.
func (f Facts) inForce(own profiles.Instance, p profiles.Profile, rolledBack bool) charm.Status {
	var parts []string
	if rolledBack {
		parts = append(parts, "rolled back, until the options change")
	}
	restart := own.Pending(p)
	if live := p.Content.Without(restart); !live.IsEmpty() {
		parts = append(parts, "in force: "+live.Summary())
	}
	if len(restart) > 0 {
		parts = append(parts, fmt.Sprintf("restart needed for %s: juju run %s/leader apply-restart", profile.Names(restart), hooktool.AppOf(f.Self.Unit)))
	}
	if differs := own.Differs(p); len(differs) > 0 {
		parts = append(parts, "overridden on the instance itself: "+profile.Names(slices.Sorted(maps.Keys(differs))))
	}
	if len(parts) == 0 {
		parts = append(parts, "options profile and preset are empty: nothing to apply")
	}
	if !f.Restricted {
		parts = append(parts, "warning: the certificate is not restricted to a project: root in one of these containers controls that LXD and its host")
	}
	return charm.Active("%s", strings.Join(parts, "; "))
}
