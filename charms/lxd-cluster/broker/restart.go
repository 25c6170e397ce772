package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// stopTimeout is how many seconds an instance has for shutting down before its restart. It
// is never forced: an instance that will not stop ends the request.
const stopTimeout = 120

// restartKey is the instance option with the note of a restart that was asked for over a
// relation.
func restartKey(relation string) string {
	_, number, _ := strings.Cut(relation, ":")
	return "user.dcib.restart." + number
}

// note is written into an instance before it is restarted, so that a hook which is killed
// then does not restart it twice, and so that one can tell when its unit is back.
type note struct {
	request string    // its id
	started time.Time // when the instance had been started until then
	unit    string    // what its unit said of its start until then
}

func (n note) String() string {
	return fmt.Sprintf("%s %d %s", n.request, n.started.UnixNano(), n.unit)
}

func parseNote(text string) (note, bool) {
	parts := strings.SplitN(text, " ", 3)
	if len(parts) != 3 {
		return note{}, false
	}
	nano, err := strconv.ParseInt(parts[1], 10, 64)
	return note{parts[0], time.Unix(0, nano), parts[2]}, err == nil
}

// restarts says what is to be restarted now, and what became of each relation's request, by
// relation. Requests are told apart by their ids: one that is done or has failed is over.
func (f Facts) restarts(outcomes []outcome) ([]charm.Step[*World], map[string]lxdprofile.Progress) {
	busy := f.busy(outcomes)
	var steps []charm.Step[*World]
	progress := map[string]lxdprofile.Progress{}
	for i, r := range f.Relations {
		last := r.Answer.Restart
		progress[r.ID] = last
		over := last.State == lxdprofile.Done || last.State == lxdprofile.Failed
		var request lxdprofile.Restart
		if r.Wish != nil && r.Wish.Restart != nil {
			request = *r.Wish.Restart
		}
		if request.ID == "" || request.ID == last.ID && over {
			steps = append(steps, f.forget(r.ID)...)
			continue
		}
		if strings.ContainsAny(request.ID, " \n") || request.Batch < 1 {
			progress[r.ID] = lxdprofile.Progress{ID: request.ID, State: lxdprofile.Failed, Message: "cannot restart: the request is not one: wanted an id without spaces, and a batch of at least 1"}
			continue
		}
		var step *restart
		step, progress[r.ID] = f.restart(r, outcomes[i], request, busy)
		if step != nil {
			steps = append(steps, *step)
		}
	}
	return steps, progress
}

// restart decides on one request.
func (f Facts) restart(r Relation, o outcome, request lxdprofile.Restart, busy map[string]map[string]bool) (*restart, lxdprofile.Progress) {
	say := func(state, format string, args ...any) lxdprofile.Progress {
		return lxdprofile.Progress{ID: request.ID, State: state, Message: fmt.Sprintf(format, args...)}
	}
	batch := restart{relation: r.ID, request: request.ID, units: map[string]string{}}
	var waiting, candidates []verdict
	for _, v := range o.sorted() {
		instance := f.Instances[v.unit.Claim.Instance]
		n, noted := parseNote(instance.Own[restartKey(r.ID)])
		switch {
		case noted && n.request == request.ID && instance.Started.Equal(n.started):
			// Its hook was killed, or LXD would not, after the note.
			batch.units[v.unit.Claim.Instance] = n.unit
		case noted && n.request == request.ID && f.back(v, n, request):
		case noted && n.request == request.ID:
			if limit := time.Duration(request.WaitHealthy) * time.Second; f.Now.Sub(instance.Started) > limit {
				return nil, say(lxdprofile.Failed, "%s is not back %s after the restart of its instance %s: look at it, then ask again for the rest", v.unit.Claim.Unit, limit, v.unit.Claim.Instance)
			}
			waiting = append(waiting, v)
		case v.state == lxdprofile.Applied && len(instance.Pending(f.Profiles[o.profile])) > 0:
			candidates = append(candidates, v)
		}
	}
	if failure := f.Failed[batch.Name()]; failure != "" {
		return nil, say(lxdprofile.Failed, "LXD would not: %s", failure)
	}
	var held []string
	for _, v := range candidates {
		name := v.unit.Claim.Instance
		if len(batch.units)+len(waiting) >= request.Batch {
			break
		}
		if others := f.others(name, r.ID, busy); others != "" {
			held = append(held, fmt.Sprintf("%s (%s is being restarted)", v.unit.Claim.Unit, others))
			continue
		}
		batch.units[name] = v.unit.Claim.Started
		for app := range f.applications(name) {
			busy[app][r.ID+" "+name] = true
		}
	}
	var units []string
	for _, v := range waiting {
		units = append(units, v.unit.Claim.Unit)
	}
	switch {
	case len(batch.units) > 0 && !f.Restarted:
		return &batch, say(lxdprofile.Running, "")
	case len(waiting) > 0:
		return nil, say(lxdprofile.Running, "waiting for %s to be back", strings.Join(units, ", "))
	case len(batch.units) > 0:
		return nil, say(lxdprofile.Running, "%d to go", len(candidates))
	case len(held) > 0:
		return nil, say(lxdprofile.Running, "not yet: %s", strings.Join(held, ", "))
	}
	return nil, say(lxdprofile.Done, "")
}

// back tells whether an instance runs again and its unit has said so.
func (f Facts) back(v verdict, n note, request lxdprofile.Restart) bool {
	if request.WaitHealthy == 0 {
		return true
	}
	return f.Instances[v.unit.Claim.Instance].Running && v.unit.Claim.Started != n.unit
}

// sorted gives the verdicts of units that have proven their instance, by their numbers.
func (o outcome) sorted() []verdict {
	proven := slices.DeleteFunc(slices.Clone(o.verdicts), func(v verdict) bool { return !v.proven })
	slices.SortFunc(proven, func(a, b verdict) int {
		return lxdprofile.UnitNumber(a.unit.Name) - lxdprofile.UnitNumber(b.unit.Name)
	})
	return proven
}

// applications are those with a unit on an instance, by what Juju wrote there and by the
// claims that have been proven.
func (f Facts) applications(instance string) map[string]bool {
	apps := map[string]bool{}
	i := f.Instances[instance]
	for _, unit := range i.Deployed {
		apps[i.Model+"/"+hooktool.AppOf(unit)] = true
	}
	for _, r := range f.Relations {
		for _, u := range r.Units {
			if key := lxdprofile.NonceKey(r.ID); u.Claim != nil && u.Claim.Instance == instance && u.Claim.Proven(key, i.Nonces[key]) {
				apps[u.Claim.ModelUUID+"/"+hooktool.AppOf(u.Claim.Principal)] = true
			}
		}
	}
	return apps
}

// busy gives for each application which of its instances are being restarted, each as
// "relation instance".
func (f Facts) busy(outcomes []outcome) map[string]map[string]bool {
	busy := map[string]map[string]bool{}
	for name := range f.Instances {
		for app := range f.applications(name) {
			if busy[app] == nil {
				busy[app] = map[string]bool{}
			}
		}
	}
	for i, r := range f.Relations {
		if r.Wish == nil || r.Wish.Restart == nil || r.Wish.Restart.ID == r.Answer.Restart.ID && r.Answer.Restart.State != lxdprofile.Running {
			continue
		}
		for _, v := range outcomes[i].sorted() {
			name := v.unit.Claim.Instance
			n, noted := parseNote(f.Instances[name].Own[restartKey(r.ID)])
			if noted && n.request == r.Wish.Restart.ID && !(f.Instances[name].Started.After(n.started) && f.back(v, n, *r.Wish.Restart)) {
				for app := range f.applications(name) {
					busy[app][r.ID+" "+name] = true
				}
			}
		}
	}
	return busy
}

// others names an instance of one of the applications on this one that somebody else's
// request is restarting; "" when there is none. How many of its own are, is the request's
// to say.
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

// forget takes away the notes of a request that is over, and of earlier ones.
func (f Facts) forget(relation string) []charm.Step[*World] {
	var steps []charm.Step[*World]
	key := restartKey(relation)
	for _, name := range slices.Sorted(maps.Keys(f.Instances)) {
		if i := f.Instances[name]; i.Own[key] != "" && i.Unreachable == "" {
			steps = append(steps, lift(profiles.Release{Instance: name, Keys: []string{key}}))
		}
	}
	return steps
}

// restart restarts instances at the same time.
type restart struct {
	relation, request string
	units             map[string]string // by instance: what its unit says of its start
}

func (s restart) Name() string {
	return fmt.Sprintf("restart instance %s (%s, request %s)", strings.Join(slices.Sorted(maps.Keys(s.units)), ", "), s.relation, s.request)
}

func (s restart) Apply(ctx context.Context, w *World) error {
	w.restarted = true
	type begun struct {
		instance string
		op       lxdclient.Operation
	}
	var running []begun
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.units)) {
		op, err := s.begin(ctx, w, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("instance %s: %w", name, err))
			break // what cannot be restarted here is no reason to stop more
		}
		running = append(running, begun{name, op})
	}
	for _, b := range running {
		if err := b.op.WaitContext(ctx); err != nil {
			errs = append(errs, fmt.Errorf("instance %s: %w", b.instance, err))
		}
	}
	return w.Note(ctx, s.Name(), errors.Join(errs...))
}

// begin notes the restart in the instance and asks LXD for it.
func (s restart) begin(ctx context.Context, w *World, name string) (lxdclient.Operation, error) {
	instance, _, err := w.LXD.GetInstance(name)
	if err != nil {
		return nil, err
	}
	text := note{s.request, instance.LastUsedAt, s.units[name]}.String()
	err = w.Change(ctx, name, func(put *api.InstancePut) error {
		put.Config[restartKey(s.relation)] = text
		return nil
	})
	if err != nil {
		return nil, err
	}
	return w.LXD.UpdateInstanceState(name, api.InstanceStatePut{Action: "restart", Timeout: stopTimeout}, "")
}
