package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// A hook waits for a restart as long as most containers need: the leader has other work, and the machine's
// other charms wait for the hook. After a request that failed, the relation's next one is delayed, so that
// an application whose containers do not stop cannot cause one failure after another.
const (
	restartWait  = 10 * time.Second
	restartPause = 5 * time.Minute
)

// pausedUntil returns when a relation may restart instances again; zero if now.
func pausedUntil(last lxdprofile.Progress) time.Time {
	failed, err := time.Parse(time.RFC3339, last.Failed)
	if err != nil {
		return time.Time{}
	}
	return failed.Add(restartPause)
}

// maxWait is the longest time for which a request may wait for a unit to be back.
const maxWait = lxdprofile.Duration(7 * 24 * time.Hour)

// restarts plans the restarts, and returns the progress of each relation's request. A request with the id
// of one that is done or failed is ignored.
func (f Facts) restarts(results []relationResult) ([]charm.Step[*Env], map[string]lxdprofile.Progress) {
	busy := f.busy(results)
	var steps []charm.Step[*Env]
	progress := map[string]lxdprofile.Progress{}
	for i, r := range f.Relations {
		last := r.Status.Restart
		progress[r.ID] = last
		over := last.State == lxdprofile.Done || last.State == lxdprofile.Failed
		var request lxdprofile.Restart
		if r.Request != nil && r.Request.Restart != nil {
			request = *r.Request.Restart
		}
		if request.ID == "" || request.ID == last.ID && over {
			for _, step := range profiles.ClearNotes(r.ID, f.onLXD()) {
				steps = append(steps, adapt(step))
			}
			continue
		}
		if strings.ContainsAny(request.ID, " \n") || request.Batch < 1 || request.WaitHealthy < 0 || request.WaitHealthy > maxWait {
			progress[r.ID] = lxdprofile.Progress{ID: request.ID, State: lxdprofile.Failed, Failed: last.Failed, Message: fmt.Sprintf("cannot restart: the request is invalid: wanted an id without spaces, a batch of 1 or more, wait-healthy from 0 to %s", time.Duration(maxWait))}
			continue
		}
		if until := pausedUntil(last); f.Now.Before(until) {
			progress[r.ID] = lxdprofile.Progress{ID: request.ID, State: lxdprofile.Running, Failed: last.Failed,
				Message: fmt.Sprintf("not before %s, because the last request failed", until.UTC().Format(time.RFC3339))}
			continue
		}
		reserve := func(instance string) string {
			other := f.others(instance, r.ID, busy)
			for app := range f.applications(instance) {
				if other == "" {
					busy[app][r.ID+" "+instance] = true
				}
			}
			return other
		}
		var step *profiles.Restart
		step, progress[r.ID] = profiles.Request{Relation: r.ID, Restart: request}.Next(f.units(results[i]), f.onLXD(), f.Failed, f.Now, reserve)
		p := progress[r.ID]
		if p.State == lxdprofile.Failed {
			p.Failed = f.Now.UTC().Format(time.RFC3339)
		}
		p.Message = truncate(p.Message, maxMessage)
		progress[r.ID] = p
		if step != nil && !f.Restarted { // one batch in each hook
			step.Wait = restartWait
			steps = append(steps, adapt(*step))
		}
	}
	return steps, progress
}

// units returns the units of a relation that have proven their instance, by number.
func (f Facts) units(o relationResult) []profiles.Unit {
	proven := slices.DeleteFunc(slices.Clone(o.claims), func(v claimResult) bool { return !v.proven })
	slices.SortFunc(proven, func(a, b claimResult) int {
		return lxdprofile.UnitNumber(a.unit.Name) - lxdprofile.UnitNumber(b.unit.Name)
	})
	var units []profiles.Unit
	for _, v := range proven {
		c := v.unit.Claim
		waits := v.state == lxdprofile.Applied && len(f.Instances[c.Instance].Pending(f.Profiles[o.profile])) > 0
		units = append(units, profiles.Unit{Name: c.Unit, Instance: c.Instance, Started: c.Started, Waits: waits})
	}
	return units
}

// applications returns the applications with a unit on an instance, as Juju wrote them when it created the
// instance. The principal of a claim does not count: it is unproven, and could delay the restarts of
// another application.
func (f Facts) applications(instance string) map[string]bool {
	apps := map[string]bool{}
	i := f.Instances[instance]
	for _, unit := range i.Deployed {
		apps[i.Model+"/"+hooktool.AppOf(unit)] = true
	}
	return apps
}

// busy returns for each application which of its instances are being restarted, each as "relation
// instance".
func (f Facts) busy(results []relationResult) map[string]map[string]bool {
	busy := map[string]map[string]bool{}
	for name := range f.Instances {
		for app := range f.applications(name) {
			if busy[app] == nil {
				busy[app] = map[string]bool{}
			}
		}
	}
	for i, r := range f.Relations {
		if r.Request == nil || r.Request.Restart == nil || r.Request.Restart.ID == r.Status.Restart.ID && r.Status.Restart.State != lxdprofile.Running {
			continue
		}
		request := profiles.Request{Relation: r.ID, Restart: *r.Request.Restart}
		for _, u := range f.units(results[i]) {
			if request.Restarts(u, f.Instances[u.Instance].Instance) {
				for app := range f.applications(u.Instance) {
					busy[app][r.ID+" "+u.Instance] = true
				}
			}
		}
	}
	return busy
}

// others returns an instance of the same application that another relation's request is restarting; "" if
// there is none.
func (f Facts) others(instance, relation string, busy map[string]map[string]bool) string {
	for app := range f.applications(instance) {
		for _, other := range slices.Sorted(maps.Keys(busy[app])) {
			if from, name, _ := strings.Cut(other, " "); from != relation {
				return name
			}
		}
	}
	return ""
}
