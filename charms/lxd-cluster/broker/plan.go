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
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// Plan says what to do about the facts. What is gone is cleaned up first; then profiles,
// challenges and lists are put right, and what was asked for is restarted; and when nothing
// of that is left, or LXD would not, everybody is told what is so.
func Plan(f Facts) []charm.Step[*World] {
	if !f.Active {
		return nil
	}
	if steps := f.fresh(f.cleanUp()); len(steps) > 0 {
		return steps
	}
	outcomes := f.outcomes()
	attachments := f.attachments(outcomes)
	if steps := f.fresh(f.putRight(outcomes, attachments)); len(steps) > 0 {
		return steps
	}
	steps, restarts := f.restarts(outcomes)
	if steps := f.fresh(steps); len(steps) > 0 {
		return steps
	}
	steps = nil
	for i, r := range f.Relations {
		answer := f.answer(r, outcomes[i], attachments)
		answer.Restart = restarts[r.ID]
		if !lxdprofile.Same(r.Published, answer.Encode()) {
			steps = append(steps, publish{r.ID, r.App, answer, r.Answer})
		}
	}
	return steps
}

// fresh leaves out what LXD has refused already in this hook.
func (f Facts) fresh(steps []charm.Step[*World]) []charm.Step[*World] {
	return slices.DeleteFunc(steps, func(s charm.Step[*World]) bool {
		_, failed := f.Failed[s.Name()]
		return failed
	})
}

// cleanUp takes back what was made for relations that are gone.
func (f Facts) cleanUp() []charm.Step[*World] {
	alive := map[string]bool{}
	for _, r := range f.Relations {
		alive[r.ID] = true
	}
	var steps []charm.Step[*World]
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
				steps = append(steps, lift(profiles.Release{Instance: instance, Profile: name, Keys: keys}))
				released = true
			}
		}
		// The profile goes last, as it is what tells us that there may be more.
		if !released && !p.Used {
			steps = append(steps, lift(profiles.Delete{Profile: name, Owner: f.Owner}))
		}
	}
	return steps
}

// notes are the options of an instance that are about one relation.
func notes(relation string) []string {
	return []string{lxdprofile.NonceKey(relation), profiles.AttachedKey(relation), profiles.RestartKey(relation)}
}

// notes tells whether an instance has any of the options.
func (i Instance) notes(keys []string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { _, has := i.Own[key]; return has })
}

// lift makes a step on LXD one of the broker's.
func lift(step charm.Step[*profiles.World]) charm.Step[*World] {
	return charm.Lift([]charm.Step[*profiles.World]{step}, func(w *World) *profiles.World { return &w.World })[0]
}

// outcome is what becomes of one relation.
type outcome struct {
	profile  string // its name; "" when there is none and none is to be
	content  profile.Profile
	write    *profiles.Write // nil when it has not to be written
	refused  string          // why the wish is not in it; "" when it is
	wait     string          // what has to happen before there can be a profile
	verdicts []verdict
}

// verdict is what the claim of one unit is worth.
type verdict struct {
	unit    Unit
	state   string
	message string
	proven  bool
	holds   string // the instance that is not to be taken from it
}

func (f Facts) outcomes() []outcome {
	outcomes := make([]outcome, len(f.Relations))
	taken := map[string]bool{}
	for i, r := range f.Relations {
		o := &outcomes[i]
		for _, u := range r.Units {
			o.verdicts = append(o.verdicts, f.judge(r, u))
		}
		f.decide(r, o, outcomes[:i], taken)
	}
	return outcomes
}

// clash says why a content cannot be laid beside those of earlier relations that are on
// one of the same instances; "" when it can. LXD would silently let one of them win.
func (o outcome) clash(content profile.Profile, earlier []outcome) string {
	for _, other := range earlier {
		paths := profile.Conflicts(content, other.content)
		if len(paths) == 0 || other.profile == "" {
			continue
		}
		for _, v := range o.verdicts {
			shared := func(w verdict) bool { return w.proven && w.unit.Claim.Instance == v.unit.Claim.Instance }
			if v.proven && slices.ContainsFunc(other.verdicts, shared) {
				return fmt.Sprintf("%s: profile %s sets the same on instance %s to something else: take it out of one of the two",
					strings.Join(paths, ", "), other.profile, v.unit.Claim.Instance)
			}
		}
	}
	return ""
}

// judge weighs a unit's claim.
func (f Facts) judge(r Relation, u Unit) verdict {
	v := verdict{unit: u}
	record, hasRecord := r.record(u.Name)
	if u.Claim == nil {
		// Nothing is taken away because nothing is said.
		v.holds = record.Instance
		if u.Err != "" {
			v.state, v.message = lxdprofile.Refused, u.Err
		}
		return v
	}
	c := *u.Claim
	i, ok := f.Instances[c.Instance]
	switch {
	case !ok:
		v.state = lxdprofile.UnknownInstance
		v.message = fmt.Sprintf("cannot find instance %s in project %s of this cluster: integrate with the lxd-cluster whose instance it is", shown(c.Instance), f.Project)
		return v
	case i.Unreachable != "":
		v.state, v.holds = lxdprofile.Waiting, c.Instance
		v.message = fmt.Sprintf("instance %s is on member %s, which is offline", c.Instance, i.Unreachable)
		return v
	case i.Model != c.ModelUUID:
		v.state = lxdprofile.Refused
		v.message = fmt.Sprintf("instance %s is no machine of model %s", c.Instance, shown(c.ModelUUID))
		return v
	case f.livesElsewhere(c):
		v.state = lxdprofile.Refused
		v.message = fmt.Sprintf("instance %s is not where Juju put %s", c.Instance, shown(c.Principal))
		return v
	}
	key := lxdprofile.NonceKey(r.ID)
	v.proven = c.Proven(key, i.Nonces[key])
	v.holds = c.Instance
	v.state = lxdprofile.Applied
	if v.proven && i.VM && r.Wish != nil {
		// LXD takes no profile with such a device to a virtual machine.
		if _, refused := profile.ForContainers(r.Wish.Profile); len(refused) > 0 {
			v.state = lxdprofile.Refused
			v.message = fmt.Sprintf("%s: for containers only, and instance %s is a virtual machine", strings.Join(refused, ", "), c.Instance)
		}
	}
	if nonce := i.Nonces[key]; !v.proven && c.Proof != "" && lxdprofile.IsNonce(nonce) && c.Challenge == lxdprofile.ChallengeOf(nonce) {
		v.state = lxdprofile.Refused
		v.message = fmt.Sprintf("the proof that instance %s is the unit's own is wrong", c.Instance)
		return v
	}
	if !v.proven {
		v.state = lxdprofile.Challenged
		v.message = fmt.Sprintf("prove that instance %s is yours: read %s through /dev/lxd/sock", c.Instance, key)
		if hasRecord && record.Instance == c.Instance && record.Profile != "" {
			v.message += "; what it has, it keeps until then"
		}
	}
	return v
}

// livesElsewhere tells whether Juju made another instance for the claimed principal. It
// writes the list once, when it makes a machine: a unit that is on no list was placed
// later, and it takes the proof to know where.
func (f Facts) livesElsewhere(c lxdprofile.Claim) bool {
	if slices.Contains(f.Instances[c.Instance].Deployed, c.Principal) {
		return false
	}
	for _, other := range f.Instances {
		if other.Model == c.ModelUUID && slices.Contains(other.Deployed, c.Principal) {
			return true
		}
	}
	return false
}

// decide says what is to be in the relation's profile. A wish that is refused leaves in
// force what was, as far as the policy still allows that.
func (f Facts) decide(r Relation, o *outcome, earlier []outcome, taken map[string]bool) {
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
		o.wait = "the operator of lxd-cluster has to mend its option " + policy.Option
		return
	case r.Wish == nil:
		o.refused = r.WishErr
		o.wait = fmt.Sprintf("waiting for the leader of %s to say which profile", r.App)
		if exists {
			o.wait = ""
		}
	default:
		if o.refused = f.refuse(r.Wish.Profile); o.refused == "" {
			o.refused = f.foreignShare(r.ID, r.Wish.Profile)
		}
		if o.refused == "" {
			o.refused = o.clash(r.Wish.Profile, earlier)
		}
		if o.refused == "" {
			o.content = r.Wish.Profile
		}
	}
	if exists && (f.refuse(o.content) != "" || f.foreignShare(r.ID, o.content) != "" || o.clash(o.content, earlier) != "") {
		o.content = profile.Profile{}
	}
	// No profile, and with it no trace to be found later, for claims that nobody believes.
	believed := slices.ContainsFunc(o.verdicts, func(v verdict) bool { return v.proven || v.state == lxdprofile.Challenged })
	if !exists && r.Wish != nil && believed {
		o.profile = profiles.Name(r.Wish.Model, r.Wish.Application, f.Owner+" "+r.ID+" "+r.application(), func(name string) bool {
			_, exists := f.Profiles[name]
			return exists || taken[name]
		})
		taken[o.profile] = true
	}
	if now := f.Profiles[o.profile]; o.profile != "" && (!exists || !o.content.Equal(now.Content)) {
		o.write = &profiles.Write{
			Profile: o.profile, Owner: f.Owner, Relation: r.ID, Application: r.application(), Content: o.content,
			Instances: f.onLXD(), Again: exists && r.Answer.Profile != nil && !r.Answer.Profile.Equal(now.Content),
		}
	}
}

// onLXD gives the instances without what is the broker's alone.
func (f Facts) onLXD() map[string]profiles.Instance {
	all := map[string]profiles.Instance{}
	for name, i := range f.Instances {
		all[name] = i.Instance
	}
	return all
}

// refuse says why a profile is not for this cluster; "" when it is.
func (f Facts) refuse(p profile.Profile) string {
	if err := profile.Validate(p); err != nil {
		return err.Error()
	}
	if err := profile.Unsupported(p, f.extension); err != nil {
		return err.Error()
	}
	return strings.Join(f.Policy.Refuse(p), "; ")
}

// foreignShare says why a relation's profile may not use the Ceph cluster that it names: another
// relation's key is on the hosts under that name. "" when it may.
func (f Facts) foreignShare(relation string, wanted profile.Profile) string {
	own := lxdprofile.CephCluster(f.Model, relation)
	for _, name := range slices.Sorted(maps.Keys(wanted.Devices)) {
		cluster := wanted.Devices[name]["ceph.cluster_name"]
		if strings.HasPrefix(cluster, lxdprofile.CephPrefix) && cluster != own {
			return fmt.Sprintf("devices.%s.ceph.cluster_name is %s, which is not this relation's", name, shown(cluster))
		}
	}
	return ""
}

// started says when an instance was.
func (i Instance) started() string { return i.Started.UTC().Format(time.RFC3339Nano) }

// attachments says which profiles of ours are to be last on which instance.
func (f Facts) attachments(outcomes []outcome) map[string]profiles.Attach {
	attachments := map[string]profiles.Attach{}
	had := map[string]map[string]profiles.Claim{} // by instance, the profiles that it was told to have
	for i, r := range f.Relations {
		o, key := outcomes[i], lxdprofile.NonceKey(r.ID)
		for _, v := range o.verdicts {
			if !v.proven || o.profile == "" || v.state == lxdprofile.Refused {
				continue
			}
			instance := v.unit.Claim.Instance
			attach, ok := attachments[instance]
			if !ok {
				attach = profiles.Attach{Instance: instance, Profiles: map[string]profiles.Claim{}, Started: f.Instances[instance].Started}
				had[instance] = map[string]profiles.Claim{}
			}
			// The proof was about the instance that had this nonce.
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
	remaining := f.remaining(outcomes)
	for instance, attach := range attachments {
		// What we add or take away ourselves is nobody's tampering.
		now := remaining(instance)
		attach.Again = !slices.Equal(profiles.Attach{Profiles: had[instance]}.List(now), now)
		attachments[instance] = attach
	}
	return attachments
}

// releases says which profiles are to be taken off which instance: those of a relation whose
// nonce it has, while nobody holds it any more.
func (f Facts) releases(r Relation, o outcome) []profiles.Release {
	var releases []profiles.Release
	held := r.holders(o)
	for _, instance := range slices.Sorted(maps.Keys(f.Instances)) {
		if _, ours := f.Instances[instance].Nonces[lxdprofile.NonceKey(r.ID)]; ours && !held[instance] {
			releases = append(releases, profiles.Release{Instance: instance, Profile: o.profile, Keys: notes(r.ID)})
		}
	}
	return releases
}

// remaining gives the instances' lists of profiles when what is to be taken off them is.
func (f Facts) remaining(outcomes []outcome) func(instance string) []string {
	released := map[string]map[string]bool{}
	for i, r := range f.Relations {
		for _, release := range f.releases(r, outcomes[i]) {
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

// putRight makes LXD have what the outcomes say.
func (f Facts) putRight(outcomes []outcome, attachments map[string]profiles.Attach) []charm.Step[*World] {
	var steps []charm.Step[*World]
	for i, r := range f.Relations {
		o, key := outcomes[i], lxdprofile.NonceKey(r.ID)
		if o.write != nil {
			steps = append(steps, lift(*o.write))
		}
		for _, v := range o.verdicts {
			if v.state != lxdprofile.Challenged || o.profile == "" {
				continue
			}
			if instance := v.unit.Claim.Instance; !lxdprofile.IsNonce(f.Instances[instance].Nonces[key]) {
				steps = append(steps, challenge{instance, key, r.ID})
			}
		}
		// What carries our nonce is held by nobody any more: take back what it got.
		for _, release := range f.releases(r, o) {
			steps = append(steps, lift(release))
		}
	}
	remaining := f.remaining(outcomes)
	for _, instance := range slices.Sorted(maps.Keys(attachments)) {
		now := remaining(instance)
		if step := attachments[instance]; !slices.Equal(step.List(now), now) {
			steps = append(steps, lift(step))
		}
	}
	return steps
}

// holders are the instances that are not to be released: those that a unit claims, and
// those of units that say nothing just now, or that this unit has not seen yet.
func (r Relation) holders(o outcome) map[string]bool {
	held := map[string]bool{}
	listed := map[int]bool{}
	for _, v := range o.verdicts {
		held[v.holds] = true
		listed[lxdprofile.UnitNumber(v.unit.Name)] = true
	}
	for name, record := range r.Answer.Units {
		if !listed[lxdprofile.UnitNumber(name)] && !r.Gone[name] {
			held[record.Instance] = true
		}
	}
	return held
}

// record gives what was last answered to a unit, by its name here.
func (r Relation) record(unit string) (lxdprofile.State, bool) {
	for name, state := range r.Answer.Units {
		if lxdprofile.UnitNumber(name) == lxdprofile.UnitNumber(unit) {
			return state, true
		}
	}
	return lxdprofile.State{}, false
}

// application names whom the relation is for, as a mark.
func (r Relation) application() string {
	if r.Wish == nil {
		return ""
	}
	return r.Wish.ModelUUID + "/" + r.Wish.Application
}

// answer says what is so, when there is nothing left to do about it.
func (f Facts) answer(r Relation, o outcome, attachments map[string]profiles.Attach) lxdprofile.Answer {
	units := map[string]lxdprofile.State{}
	for name, record := range r.Answer.Units {
		if _, exists := f.Instances[record.Instance]; exists && !r.Gone[name] {
			units[name] = record
		}
	}
	for _, v := range o.verdicts {
		name := v.unit.Name
		if v.unit.Claim != nil {
			name = v.unit.Claim.Unit
		}
		if v.state == "" { // nothing said yet: as before, but seen
			for old := range units {
				if lxdprofile.UnitNumber(old) == lxdprofile.UnitNumber(name) {
					state := units[old]
					state.SeenBy = f.Unit
					units[old] = state
				}
			}
			continue
		}
		maps.DeleteFunc(units, func(old string, _ lxdprofile.State) bool {
			return old != name && lxdprofile.UnitNumber(old) == lxdprofile.UnitNumber(name)
		})
		units[name] = f.state(r, o, v, attachments)
	}
	answer := lxdprofile.Answer{Units: units, Calls: f.Calls, CephCluster: lxdprofile.CephCluster(f.Model, r.ID)}
	if p, exists := f.Profiles[o.profile]; exists {
		answer.Profile = &p.Content
	}
	if r.Wish != nil {
		answer.RolledBack = r.Wish.RolledBack
	}
	return answer
}

// state says what is so for one unit.
func (f Facts) state(r Relation, o outcome, v verdict, attachments map[string]profiles.Attach) lxdprofile.State {
	s := lxdprofile.State{State: v.state, Message: v.message, SeenBy: f.Unit}
	if v.unit.Claim == nil {
		return s
	}
	s.Instance = v.unit.Claim.Instance
	key := lxdprofile.NonceKey(r.ID)
	i := f.Instances[s.Instance]
	if nonce := i.Nonces[key]; lxdprofile.IsNonce(nonce) && v.holds != "" {
		s.Key, s.Challenge = key, lxdprofile.ChallengeOf(nonce)
	}
	if v.holds != "" && o.profile != "" && slices.Contains(i.Profiles, o.profile) {
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
	// What LXD refused in this hook, of what concerns this unit.
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
		s.State, s.Message = lxdprofile.Refused, "LXD would not: "+failure
	case v.state == lxdprofile.Challenged && s.Key != "":
	case v.proven && o.refused != "":
		s.State, s.Message = lxdprofile.Refused, o.refused
	case o.profile == "" || o.wait != "":
		s.State, s.Message = lxdprofile.Waiting, o.wait
	}
	return s
}

// shown quotes what the other side wrote, not more of it than a line bears.
func shown(s string) string {
	const short = 60
	if len(s) > short {
		s = s[:short] + "…"
	}
	return fmt.Sprintf("%q", s)
}
