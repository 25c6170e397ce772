package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/policy"
	"github.com/dcib/dcib/internal/relation"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// Plan returns what to do about the facts. Its status is blocked while the policy cannot be read.
func Plan(f Facts) charm.Plan[*Env] {
	p := charm.Plan[*Env]{Steps: f.steps()}
	if f.PolicyErr != "" {
		p.Status = charm.Blockedf("%s", f.PolicyErr)
	}
	return p
}

// steps returns the next steps: first the cleanup, then the changes in LXD, then restarts. When nothing of
// that is left, or LXD has refused it, each requester gets its status.
func (f Facts) steps() []charm.Step[*Env] {
	if !f.Active {
		return nil
	}
	if steps := f.withoutFailed(f.cleanUp()); len(steps) > 0 {
		return steps
	}
	results := f.relationResults()
	attachments := f.attachments(results)
	if steps := f.withoutFailed(f.planLXDChanges(results, attachments)); len(steps) > 0 {
		return steps
	}
	steps, restarts := f.restarts(results)
	if steps := f.withoutFailed(steps); len(steps) > 0 {
		return steps
	}
	steps = nil
	for i, r := range f.Relations {
		status := f.profileStatus(r, results[i], attachments)
		status.Restart = restarts[r.ID]
		if !relation.Contains(r.Published, status.Encode()) {
			steps = append(steps, publish{r.ID, r.App, status, r.Status})
		}
	}
	return steps
}

// withoutFailed removes the steps that LXD has refused in this hook, and those that would change an
// instance that is being restarted; a later hook retries them.
func (f Facts) withoutFailed(steps []charm.Step[*Env]) []charm.Step[*Env] {
	return slices.DeleteFunc(steps, func(s charm.Step[*Env]) bool {
		_, failed := f.Failed[s.Name()]
		return failed || f.disturbs(s)
	})
}

// disturbs reports whether a step changes an instance that LXD may be restarting.
func (f Facts) disturbs(step charm.Step[*Env]) bool {
	busy := func(instance string) bool { return f.Instances[instance].Busy(f.Now) }
	switch s := step.(type) {
	case challenge:
		return busy(s.instance)
	case logPolicy:
		return f.disturbs(s.Step)
	case adapted:
		switch inner := s.step.(type) {
		case profiles.Attach:
			return busy(inner.Instance)
		case profiles.Release:
			return busy(inner.Instance)
		case profiles.Write: // LXD updates all instances that have the profile
			for name, i := range f.Instances {
				if slices.Contains(i.Profiles, inner.Profile) && busy(name) {
					return true
				}
			}
		}
	}
	return false
}

// cleanUp removes what was made for relations that are gone.
func (f Facts) cleanUp() []charm.Step[*Env] {
	alive := map[string]bool{}
	for _, r := range f.Relations {
		alive[r.ID] = true
	}
	var steps []charm.Step[*Env]
	for _, name := range slices.Sorted(maps.Keys(f.Profiles)) {
		p := f.Profiles[name]
		if !p.Ours || alive[p.Relation] {
			continue
		}
		keys := notes(p.Relation)
		released := false
		for _, instance := range slices.Sorted(maps.Keys(f.Instances)) {
			i := f.Instances[instance]
			if i.notes(keys) || slices.Contains(i.Profiles, name) {
				steps = append(steps, adapt(profiles.Release{Instance: instance, Profile: name, Keys: keys}))
				released = true
			}
		}
		// The profile is deleted last: it shows that there may be more to remove.
		if !released && !p.Used {
			steps = append(steps, adapt(profiles.Delete{Profile: name, Owner: f.Owner}))
		}
	}
	return steps
}

// notes returns the options of an instance that belong to one relation, the nonce first.
func notes(relation string) []string {
	return []string{lxdprofile.NonceKey(relation), profiles.AttachedKey(relation), profiles.RestartKey(relation)}
}

// notes reports whether an instance has any of the options.
func (i Instance) notes(keys []string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { _, has := i.Own[key]; return has })
}

// adapt makes a step of package profiles one of the broker.
func adapt(step charm.Step[*profiles.Env]) charm.Step[*Env] {
	whole := charm.AdaptSteps([]charm.Step[*profiles.Env]{step}, func(w *Env) *profiles.Env { return &w.Env })[0]
	return adapted{whole, step}
}

// adapted is a step of package profiles as one of the broker.
type adapted struct {
	charm.Step[*Env]
	step charm.Step[*profiles.Env]
}

// relationResult is the result for one relation.
type relationResult struct {
	profile string // its name; "" when there is none and none is to be
	content profile.Profile
	write   *profiles.Write // nil if there is nothing to write
	model   string          // of the application that asks; "" while it is not known
	policy  policy.Policy   // the requester's
	refused string          // why the request is not in it; "" when it is
	wait    string          // what has to happen before there can be a profile
	claims  []claimResult
}

func (f Facts) relationResults() []relationResult {
	results := make([]relationResult, len(f.Relations))
	taken := map[string]bool{}
	for i, r := range f.Relations {
		o := &results[i]
		o.model = f.modelOf(r)
		o.policy = f.Policies.For(r.requester(o.model))
		o.claims = f.evaluateClaims(r, o.model)
		f.resolveProfile(r, o, results[:i], taken)
	}
	return results
}

// clash returns why a content conflicts with that of an earlier relation on the same instance; "" if it
// does not. LXD would silently use one of them.
func (o relationResult) clash(content profile.Profile, earlier []relationResult) string {
	for _, other := range earlier {
		paths := profile.Conflicts(content, other.content)
		if len(paths) == 0 || other.profile == "" {
			continue
		}
		for _, v := range o.claims {
			shared := func(w claimResult) bool { return w.proven && w.unit.Claim.Instance == v.unit.Claim.Instance }
			if v.proven && slices.ContainsFunc(other.claims, shared) {
				return fmt.Sprintf("%s: profile %s sets another value on instance %s: remove it from one of the two",
					strings.Join(paths, ", "), other.profile, v.unit.Claim.Instance)
			}
		}
	}
	return ""
}

// resolveProfile decides what the relation's profile contains. If the request is refused, the previous
// content stays, as far as the policy still allows it.
func (f Facts) resolveProfile(r Relation, o *relationResult, earlier []relationResult, taken map[string]bool) {
	for _, name := range slices.Sorted(maps.Keys(f.Profiles)) {
		if p := f.Profiles[name]; p.Ours && p.Relation == r.ID {
			o.profile = name
			o.content = p.Content
			break
		}
	}
	exists := o.profile != ""
	switch {
	case f.PolicyErr != "":
		o.wait = "the operator of lxd-cluster has to fix its option " + policy.Option
		return
	case r.Request == nil:
		o.refused = r.RequestErr
		o.wait = fmt.Sprintf("waiting for the leader of %s to request a profile", r.App)
		if exists {
			o.wait = ""
		}
	default:
		if o.refused = f.refuse(o.policy, r.Request.Profile); o.refused == "" {
			o.refused = f.foreignShare(r.ID, r.Request.Profile)
		}
		if o.refused == "" {
			o.refused = o.clash(r.Request.Profile, earlier)
		}
		// Nothing that is requested is written before a unit has proven its instance.
		if o.refused == "" && o.proven(f.Profiles[o.profile]) {
			o.content = r.Request.Profile
		}
	}
	if exists && (f.refuse(o.policy, o.content) != "" || f.foreignShare(r.ID, o.content) != "" || o.clash(o.content, earlier) != "") {
		o.content = profile.Profile{}
	}
	// Invalid claims create no profile and leave nothing behind.
	believed := slices.ContainsFunc(o.claims, func(v claimResult) bool { return v.proven || v.state == lxdprofile.Challenged })
	if !exists && r.Request != nil && believed {
		o.profile = profiles.Name(r.Request.Model, r.Request.Application, f.Owner+" "+r.ID+" "+r.application(), func(name string) bool {
			_, exists := f.Profiles[name]
			return exists || taken[name]
		})
		taken[o.profile] = true
	}
	proven := ""
	if o.proven(f.Profiles[o.profile]) {
		proven = o.model
	}
	if now := f.Profiles[o.profile]; o.profile != "" && (!exists || !o.content.Equal(now.Content) || proven != now.Model) {
		o.write = &profiles.Write{
			Profile: o.profile, Owner: f.Owner, Relation: r.ID, Application: r.application(), Model: proven, Content: o.content,
			Instances: f.onLXD(), Repair: exists && r.Status.Profile != nil && !r.Status.Profile.Equal(now.Content),
		}
	}
}

// onLXD returns the instances as package profiles knows them.
func (f Facts) onLXD() map[string]profiles.Instance {
	all := map[string]profiles.Instance{}
	for name, i := range f.Instances {
		all[name] = i.Instance
	}
	return all
}

// refuse returns why this cluster refuses a profile; "" if it does not.
func (f Facts) refuse(allowed policy.Policy, p profile.Profile) string {
	if err := profile.Validate(p); err != nil {
		return err.Error()
	}
	if err := profile.Unsupported(p, f.extension); err != nil {
		return err.Error()
	}
	refused := allowed.Refuse(p)
	if more := len(refused) - maxRefusals; more > 0 {
		refused = append(refused[:maxRefusals], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(refused, "; ")
}

// maxRefusals is how many keys and devices a refusal names: each unit reads it.
const maxRefusals = 20

// foreignShare returns why a relation's profile may not use the Ceph cluster that it names: the hosts have
// another relation's key under that name; "" if it may.
func (f Facts) foreignShare(relation string, wanted profile.Profile) string {
	own := lxdprofile.CephCluster(f.Model, relation)
	for _, name := range slices.Sorted(maps.Keys(wanted.Devices)) {
		cluster := wanted.Devices[name]["ceph.cluster_name"]
		if strings.HasPrefix(cluster, lxdprofile.CephPrefix) && cluster != own {
			return fmt.Sprintf("devices.%s.ceph.cluster_name is %s, which is not this relation's", name, quote(cluster))
		}
	}
	return ""
}

// started returns the time of the instance's last start.
func (i Instance) started() string { return i.Started.UTC().Format(time.RFC3339Nano) }

// attachments returns for each instance which of the charm's profiles are to be last.
func (f Facts) attachments(results []relationResult) map[string]profiles.Attach {
	attachments := map[string]profiles.Attach{}
	had := map[string]map[string]profiles.Claim{} // by instance, the profiles that its unit was told about
	for i, r := range f.Relations {
		o, key := results[i], lxdprofile.NonceKey(r.ID)
		for _, v := range o.claims {
			if !v.proven || o.profile == "" || v.state == lxdprofile.Refused {
				continue
			}
			instance := v.unit.Claim.Instance
			attach, ok := attachments[instance]
			if !ok {
				attach = profiles.Attach{Instance: instance, Profiles: map[string]profiles.Claim{}, Started: f.Instances[instance].Started}
				had[instance] = map[string]profiles.Claim{}
			}
			// The proof is about the instance that had this nonce.
			challenge := lxdprofile.ChallengeOf(f.Instances[instance].Nonces[key])
			record, _ := r.record(v.unit.Name)
			again := record.Instance == instance && record.Profile == o.profile
			seen := again && record.Started == f.Instances[instance].started()
			attach.Profiles[o.profile] = profiles.Claim{Relation: r.ID, Seen: seen, Holds: func(own map[string]string) bool {
				return lxdprofile.ChallengeOf(own[key]) == challenge
			}}
			if again {
				had[instance][o.profile] = attach.Profiles[o.profile]
			}
			attachments[instance] = attach
		}
	}
	remaining := f.remaining(results)
	for instance, attach := range attachments {
		// The charm's own changes are no tampering.
		now := remaining(instance)
		attach.Repair = !slices.Equal(profiles.Attach{Profiles: had[instance]}.List(now), now)
		attachments[instance] = attach
	}
	return attachments
}

// releases returns what to remove from which instance: a relation's profile and notes if no unit has the
// instance any more, and all but the nonce if a unit only claims it.
func (f Facts) releases(r Relation, o relationResult) []profiles.Release {
	var releases []profiles.Release
	held := r.held(o)
	for _, instance := range slices.Sorted(maps.Keys(f.Instances)) {
		i := f.Instances[instance]
		if _, ours := i.Nonces[lxdprofile.NonceKey(r.ID)]; !ours || held[instance] == profileGrant {
			continue
		}
		keys := notes(r.ID)
		if held[instance] == nonceGrant {
			keys = keys[1:] // the nonce stays
			if !i.notes(keys) && !slices.Contains(i.Profiles, o.profile) {
				continue
			}
		}
		releases = append(releases, profiles.Release{Instance: instance, Profile: o.profile, Keys: keys})
	}
	return releases
}

// remaining returns the instances' lists of profiles after the releases.
func (f Facts) remaining(results []relationResult) func(instance string) []string {
	released := map[string]map[string]bool{}
	for i, r := range f.Relations {
		for _, release := range f.releases(r, results[i]) {
			if released[release.Instance] == nil {
				released[release.Instance] = map[string]bool{}
			}
			released[release.Instance][release.Profile] = true
		}
	}
	return func(instance string) []string {
		return slices.DeleteFunc(slices.Clone(f.Instances[instance].Profiles), func(name string) bool { return released[instance][name] })
	}
}

// planLXDChanges plans the changes in LXD that the results require.
func (f Facts) planLXDChanges(results []relationResult, attachments map[string]profiles.Attach) []charm.Step[*Env] {
	var steps []charm.Step[*Env]
	for i, r := range f.Relations {
		o, key := results[i], lxdprofile.NonceKey(r.ID)
		if o.write != nil {
			steps = append(steps, logPolicy{adapt(*o.write), *o.write, fmt.Sprintf("%s: %s is of model %s, and its profile is by policy %s of option %s", r.ID, r.App, o.model, o.policy.Name(), policy.Option)})
		}
		for _, v := range o.claims {
			if v.state != lxdprofile.Challenged || o.profile == "" {
				continue
			}
			if instance := v.unit.Claim.Instance; !lxdprofile.IsNonce(f.Instances[instance].Nonces[key]) {
				steps = append(steps, challenge{instance, key, r.ID})
			}
		}
		// No unit has this instance with the relation's nonce any more.
		for _, release := range f.releases(r, o) {
			steps = append(steps, adapt(release))
		}
	}
	remaining := f.remaining(results)
	for _, instance := range slices.Sorted(maps.Keys(attachments)) {
		now := remaining(instance)
		if step := attachments[instance]; !slices.Equal(step.List(now), now) {
			steps = append(steps, adapt(step))
		}
	}
	return steps
}

// application returns the value of the application key.
func (r Relation) application() string {
	if r.Request == nil {
		return ""
	}
	return r.Request.ModelUUID + "/" + r.Request.Application
}

// quote returns the other side's text in quotes, shortened to a line.
func quote(s string) string {
	const short = 60
	if len(s) > short {
		s = s[:short] + "…"
	}
	return fmt.Sprintf("%q", s)
}
