package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// Plan says what to do about the facts. What is gone is cleaned up first; then profiles,
// challenges and lists are put right; and when nothing of that is left, or LXD would not,
// everybody is told what is so.
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
	var steps []charm.Step[*World]
	for i, r := range f.Relations {
		answer := f.answer(r, outcomes[i], attachments)
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
		key := lxdprofile.NonceKey(p.Relation)
		released := false
		for _, instance := range slices.Sorted(maps.Keys(f.Instances)) {
			i := f.Instances[instance]
			if _, nonce := i.Nonces[key]; nonce || slices.Contains(i.Profiles, name) {
				steps = append(steps, release{instance, name, key})
				released = true
			}
		}
		// The profile goes last, as it is what tells us that there may be more.
		if !released && !p.Used {
			steps = append(steps, deleteProfile{name, f.Owner})
		}
	}
	return steps
}

// outcome is what becomes of one relation.
type outcome struct {
	profile  string // its name; "" when there is none and none is to be
	content  profile.Profile
	write    bool   // whether it has to be written
	refused  string // why the wish is not in it; "" when it is
	wait     string // what has to happen before there can be a profile
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
		f.decide(r, o, taken)
	}
	return outcomes
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
func (f Facts) decide(r Relation, o *outcome, taken map[string]bool) {
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
		o.wait = "the operator of lxd-cluster has to mend its option " + PolicyOption
		return
	case r.Wish == nil:
		o.refused = r.WishErr
		o.wait = fmt.Sprintf("waiting for the leader of %s to say which profile", r.App)
		if exists {
			o.wait = ""
		}
	default:
		if o.refused = f.refuse(r.Wish.Profile); o.refused == "" {
			o.write = !exists || !o.content.Equal(r.Wish.Profile)
			o.content = r.Wish.Profile
		}
	}
	if exists && f.refuse(o.content) != "" {
		o.content, o.write = profile.Profile{}, true
	}
	// No profile, and with it no trace to be found later, for claims that nobody believes.
	believed := slices.ContainsFunc(o.verdicts, func(v verdict) bool { return v.proven || v.state == lxdprofile.Challenged })
	if !exists && r.Wish != nil && believed {
		o.profile, o.write = f.name(r, taken), true
		taken[o.profile] = true
	} else if !exists {
		o.write = false
	}
}

// refuse says why a profile is not for this cluster; "" when it is.
func (f Facts) refuse(p profile.Profile) string {
	if err := profile.Validate(p); err != nil {
		return err.Error()
	}
	return strings.Join(f.Policy.Refuse(p), "; ")
}

// attachments says which profiles of ours are to be last on which instance.
func (f Facts) attachments(outcomes []outcome) map[string]attach {
	attachments := map[string]attach{}
	for i, r := range f.Relations {
		key := lxdprofile.NonceKey(r.ID)
		for _, v := range outcomes[i].verdicts {
			if !v.proven || outcomes[i].profile == "" {
				continue
			}
			instance := v.unit.Claim.Instance
			if _, ok := attachments[instance]; !ok {
				attachments[instance] = attach{instance, map[string]lock{}}
			}
			attachments[instance].profiles[outcomes[i].profile] = lock{key, lxdprofile.ChallengeOf(f.Instances[instance].Nonces[key])}
		}
	}
	return attachments
}

// putRight makes LXD have what the outcomes say.
func (f Facts) putRight(outcomes []outcome, attachments map[string]attach) []charm.Step[*World] {
	var steps []charm.Step[*World]
	for i, r := range f.Relations {
		o, key := outcomes[i], lxdprofile.NonceKey(r.ID)
		if o.write {
			steps = append(steps, writeProfile{
				profile: o.profile, owner: f.Owner, relation: r.ID, content: o.content,
				application: r.application(),
			})
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
		held := r.holders(o)
		for _, instance := range slices.Sorted(maps.Keys(f.Instances)) {
			if _, ours := f.Instances[instance].Nonces[key]; ours && !held[instance] {
				steps = append(steps, release{instance, o.profile, key})
			}
		}
	}
	for _, instance := range slices.Sorted(maps.Keys(attachments)) {
		now := f.Instances[instance].Profiles
		if step := attachments[instance]; !slices.Equal(step.list(now), now) {
			steps = append(steps, step)
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
func (f Facts) answer(r Relation, o outcome, attachments map[string]attach) lxdprofile.Answer {
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
	return lxdprofile.Answer{Units: units}
}

// state says what is so for one unit.
func (f Facts) state(r Relation, o outcome, v verdict, attachments map[string]attach) lxdprofile.State {
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
		s.Profile, s.Revision = o.profile, lxdprofile.Revision(f.Profiles[o.profile].Content)
	}
	if v.state != lxdprofile.Applied && v.state != lxdprofile.Challenged {
		return s
	}
	// What LXD refused in this hook, of what concerns this unit.
	failure := ""
	for _, step := range []charm.Step[*World]{writeProfile{profile: o.profile}, challenge{s.Instance, key, r.ID}, attachments[s.Instance]} {
		if failure == "" {
			failure = f.Failed[step.Name()]
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

// maxName is how long we let a profile's name be, in bytes.
const maxName = 63

// name chooses the name of a relation's profile: dcib-<model>-<application>, and where
// that is taken, or not all of it can be said, with a hash that makes it the relation's own.
func (f Facts) name(r Relation, taken map[string]bool) string {
	plain := "dcib-" + r.Wish.Model + "-" + r.Wish.Application
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' {
			return c
		}
		return '-'
	}, plain)
	if _, exists := f.Profiles[name]; name == plain && len(name) <= maxName && !exists && !taken[name] {
		return name
	}
	sum := sha256.Sum256([]byte(f.Owner + " " + r.ID + " " + r.application()))
	hash := "-" + hex.EncodeToString(sum[:4])
	return name[:min(len(name), maxName-len(hash))] + hash
}

// shown quotes what the other side wrote, not more of it than a line bears.
func shown(s string) string {
	const short = 60
	if len(s) > short {
		s = s[:short] + "…"
	}
	return fmt.Sprintf("%q", s)
}
