package broker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/policy"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// grant is what a unit may keep in the instance that it names.
type grant int

const (
	noGrant      grant = iota // the instance keeps nothing of the relation
	nonceGrant                // the unit only claims the instance, which keeps the nonce
	profileGrant              // the unit has proven the instance, or had the profile there before
)

// claimResult is the result for the claim of one unit.
type claimResult struct {
	unit     Unit
	state    string
	message  string
	proven   bool
	grant    grant
	instance string // that grant is about
}

// requester returns the facts about a requester that it cannot choose.
func (r Relation) requester(model string) policy.Requester {
	return policy.Requester{Endpoint: r.Endpoint, Relation: strconv.Itoa(lxdprofile.RelationNumber(r.ID)), Model: model}
}

// modelOf returns the UUID of the model of a relation's application, "" while it is not known. Within a
// model Juju names the other side. Across models it is the model of the first instance that one of its
// units has proven; an application stays in its model, so the profile stores it.
func (f Facts) modelOf(r Relation) string {
	if !strings.HasPrefix(r.App, "remote-") {
		return f.Model
	}
	for _, p := range f.Profiles {
		if p.Ours && p.Relation == r.ID && p.Model != "" {
			return p.Model
		}
	}
	for _, u := range r.Units {
		if u.Claim != nil && u.Claim.ProvenIn(r.ID, f.Instances[u.Claim.Instance].Own) {
			return u.Claim.ModelUUID
		}
	}
	return ""
}

// proven reports whether a unit of the relation has proven an instance, now or when its profile was
// written.
func (o relationResult) proven(p profiles.Profile) bool {
	return p.Model != "" || slices.ContainsFunc(o.claims, func(v claimResult) bool { return v.proven })
}

// evaluateClaims evaluates the claims of a relation's units.
func (f Facts) evaluateClaims(r Relation, model string) []claimResult {
	claimResults := make([]claimResult, len(r.Units))
	for i, u := range r.Units {
		claimResults[i] = f.evaluateClaim(r, u, model)
	}
	if model == "" {
		f.probe(claimResults)
	}
	return claimResults
}

func (f Facts) evaluateClaim(r Relation, u Unit, model string) claimResult {
	v := claimResult{unit: u}
	record, _ := r.record(u.Name)
	if u.Claim == nil {
		// An empty databag takes nothing away.
		v.instance, v.grant = record.Instance, recorded(record)
		if u.Err != "" {
			v.state, v.message = lxdprofile.Refused, u.Err
		}
		return v
	}
	c := *u.Claim
	v.instance = c.Instance
	had := record.Instance == c.Instance && recorded(record) == profileGrant
	i, ok := f.Instances[c.Instance]
	switch {
	case ok && i.Unreachable != "" && had:
		v.state, v.grant = lxdprofile.Waiting, profileGrant
		v.message = fmt.Sprintf("instance %s is on member %s, which is offline", c.Instance, i.Unreachable)
		return v
	case !ok || i.Unreachable != "" || i.Model != c.ModelUUID || model != "" && c.ModelUUID != model:
		// One result for all of these, so that a claim does not reveal which instances exist.
		v.state = lxdprofile.UnknownInstance
		v.message = fmt.Sprintf("cannot find instance %s of model %s in project %s, the only one served: integrate with the lxd-cluster that has the instance", quote(c.Instance), quote(c.ModelUUID), f.Project)
		return v
	case f.principalDeployedElsewhere(c):
		v.state = lxdprofile.Refused
		v.message = fmt.Sprintf("Juju placed %[2]s on another instance than %[1]s", c.Instance, quote(c.Principal))
		return v
	}
	key := lxdprofile.NonceKey(r.ID)
	v.proven = c.ProvenIn(r.ID, i.Own)
	v.grant = nonceGrant
	if v.proven || had {
		v.grant = profileGrant
	}
	v.state = lxdprofile.Applied
	if v.proven && i.VM && r.Request != nil {
		// LXD refuses a profile with such a device on a virtual machine.
		if _, refused := profile.ForContainers(r.Request.Profile); len(refused) > 0 {
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
		if had {
			v.message += "; until then it keeps what it has"
		}
	}
	return v
}

// recorded returns what a unit had in its instance by its last status.
func recorded(record lxdprofile.State) grant {
	switch {
	case record.Instance == "":
		return noGrant
	case record.Profile == "":
		return nonceGrant
	}
	return profileGrant
}

// How many units of a relation are challenged at a time while none has proven its model, and for how long.
// Only a few instances are changed for unproven claims.
const (
	maxProbes = 3
	probeTime = 10 * time.Minute
)

// probe keeps only some of a relation's challenges.
func (f Facts) probe(claimResults []claimResult) {
	var challenged []int
	for i, v := range claimResults {
		if v.state == lxdprofile.Challenged && v.grant == nonceGrant {
			challenged = append(challenged, i)
		}
	}
	n := len(challenged)
	if n <= maxProbes {
		return
	}
	first := int(f.Now.Unix()/int64(probeTime/time.Second)%int64(n)) * maxProbes % n
	for turn, i := range challenged {
		if (turn-first+n)%n >= maxProbes {
			claimResults[i].state, claimResults[i].grant = lxdprofile.Waiting, noGrant
			claimResults[i].message = "waiting for another unit of the application to prove its instance"
		}
	}
}

// principalDeployedElsewhere reports whether Juju created another instance for the claimed principal. Juju
// writes the list once, when it creates a machine. A unit that is on no list was placed later, and only the
// proof shows where it is.
func (f Facts) principalDeployedElsewhere(c lxdprofile.Claim) bool {
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

// held returns what the relation's units keep in each instance. Units with an empty databag, or that this
// unit has not seen yet, keep what they had.
func (r Relation) held(o relationResult) map[string]grant {
	held := map[string]grant{}
	listed := map[int]bool{}
	add := func(instance string, h grant) { held[instance] = max(held[instance], h) }
	for _, v := range o.claims {
		add(v.instance, v.grant)
		listed[lxdprofile.UnitNumber(v.unit.Name)] = true
	}
	for name, record := range r.Status.Units {
		if !listed[lxdprofile.UnitNumber(name)] && !r.Gone[name] {
			add(record.Instance, recorded(record))
		}
	}
	return held
}

// record returns the last status of a unit, by its name here.
func (r Relation) record(unit string) (lxdprofile.State, bool) {
	state, ok := r.Status.Units[r.records[lxdprofile.UnitNumber(unit)]]
	return state, ok
}

// byNumber indexes the units of a status by number, which is the same on both sides.
func byNumber(units map[string]lxdprofile.State) map[int]string {
	names := map[int]string{}
	for name := range units {
		names[lxdprofile.UnitNumber(name)] = name
	}
	return names
}
