package profiles

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
	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// stopTimeout is how many seconds an instance has for shutting down before its restart. It
// is never forced: an instance that will not stop ends the request.
const stopTimeout = 120

// How long a restart that nothing waits for any more is taken to be under way: as long as the
// instance has for shutting down, and then for starting. After that LXD is asked again, so
// often.
const (
	restartTime  = stopTimeout*time.Second + time.Minute
	restartTries = 2
	// LXD starts an instance again as soon as it has stopped: one that is seen stopped so long
	// after the request stays so, unless LXD is asked again.
	stoppedTime = time.Minute
)

// RestartKey is the instance option with the note of a restart that was asked for over a
// relation.
func RestartKey(relation string) string { return restartPrefix + number(relation) }

// StartedKey is the instance option in which its unit says of its start what it has no
// databag for.
func StartedKey(relation string) string { return startedPrefix + number(relation) }

const (
	restartPrefix = "user.dcib.restart."
	startedPrefix = "user.dcib.started."
)

// note is written into an instance before it is restarted, so that a hook which is killed
// then does not restart it twice, and so that one can tell when its unit is back.
type note struct {
	request string    // its id
	started time.Time // when the instance had been started until then
	asked   time.Time // when LXD was asked for the restart, the last time
	tries   int       // how often it was
	unit    string    // what its unit said of its start until then
}

func (n note) String() string {
	return fmt.Sprintf("%s %d %d %d %s", n.request, n.started.UnixNano(), n.asked.UnixNano(), n.tries, n.unit)
}

func parseNote(text string) (note, bool) {
	parts := strings.SplitN(text, " ", 5)
	if len(parts) != 5 {
		return note{}, false
	}
	started, err := strconv.ParseInt(parts[1], 10, 64)
	asked, err2 := strconv.ParseInt(parts[2], 10, 64)
	tries, err3 := strconv.Atoi(parts[3])
	return note{parts[0], time.Unix(0, started), time.Unix(0, asked), tries, parts[4]}, errors.Join(err, err2, err3) == nil
}

// Request is what somebody asked for over a relation.
type Request struct {
	Relation string
	lxdprofile.Restart
}

// Unit is one of those that a request is about.
type Unit struct {
	Name, Instance string
	Started        string // another text after each start of the instance, in the unit's own words
	Waits          bool   // something waits for a restart
}

// Next says what to restart now, and how far the request is. units are in the order of
// their turns. take tells which instance is in the way of one's restart, and takes it when
// none is.
func (r Request) Next(units []Unit, instances map[string]Instance, failed map[string]string, now time.Time, reserve func(instance string) string) (*Restart, lxdprofile.Progress) {
	say := func(state, format string, args ...any) lxdprofile.Progress {
		return lxdprofile.Progress{ID: r.ID, State: state, Message: fmt.Sprintf(format, args...)}
	}
	batch := Restart{Relation: r.Relation, Request: r.ID, units: map[string]string{}}
	var waiting, restarting []string
	var candidates []Unit
	for _, u := range units {
		instance := instances[u.Instance]
		n, noted := instance.note(r.Relation)
		switch mine := noted && n.request == r.ID; {
		case mine && instance.Started.Equal(n.started) && instance.underWay(n, now):
			restarting = append(restarting, u.Name)
		case mine && instance.Started.Equal(n.started) && n.tries >= restartTries:
			return nil, say(lxdprofile.Failed, "LXD has not restarted instance %s of %s within %s: it does not shut down, or does not start: look at it, then ask again", u.Instance, u.Name, restartTime)
		case mine && instance.Started.Equal(n.started):
			// Its hook was killed after the note, or LXD has given up.
			batch.units[u.Instance] = n.unit
		case mine && r.back(u, instance):
		case mine:
			if limit := time.Duration(r.WaitHealthy); now.Sub(instance.Started) > limit {
				return nil, say(lxdprofile.Failed, "%s is not back %s after the restart of its instance %s: look at it, then ask again for the rest", u.Name, limit, u.Instance)
			}
			waiting = append(waiting, u.Name)
		case u.Waits:
			candidates = append(candidates, u)
		}
	}
	for _, step := range slices.Sorted(maps.Keys(failed)) {
		// Whichever instances were in it.
		if strings.HasPrefix(step, restartName) && strings.HasSuffix(step, batch.of()) {
			return nil, say(lxdprofile.Failed, "LXD would not: %s", failed[step])
		}
	}
	var held []string
	for _, u := range candidates {
		if len(batch.units)+len(waiting)+len(restarting) >= r.Batch {
			break
		}
		if other := reserve(u.Instance); other != "" {
			held = append(held, fmt.Sprintf("%s (%s is being restarted)", u.Name, other))
			continue
		}
		batch.units[u.Instance] = u.Started
	}
	var step *Restart
	if len(batch.units) > 0 {
		step = &batch
	}
	switch {
	case len(waiting) > 0:
		return step, say(lxdprofile.Running, "waiting for %s to be back", strings.Join(waiting, ", "))
	case len(restarting) > 0:
		return step, say(lxdprofile.Running, "LXD restarts %s", strings.Join(restarting, ", "))
	case step != nil:
		return step, say(lxdprofile.Running, "%d to go", len(candidates))
	case len(held) > 0:
		return nil, say(lxdprofile.Running, "not yet: %s", strings.Join(held, ", "))
	}
	return nil, say(lxdprofile.Done, "")
}

// Restarts reports whether the request is restarting a unit's instance: noted, and not back.
func (r Request) Restarts(u Unit, instance Instance) bool {
	n, noted := instance.note(r.Relation)
	return noted && n.request == r.ID && !(instance.Started.After(n.started) && r.back(u, instance))
}

// back reports whether an instance runs again and its unit has said so.
func (r Request) back(u Unit, instance Instance) bool {
	n, _ := instance.note(r.Relation)
	return r.WaitHealthy == 0 || instance.Running && u.Started != n.unit
}

// Restarted reports whether the instance has been started since a request over a relation
// noted that it restarts it.
func (i Instance) Restarted(relation string) bool {
	n, noted := i.note(relation)
	return noted && i.Started.After(n.started)
}

func (i Instance) note(relation string) (note, bool) { return parseNote(i.Own[RestartKey(relation)]) }

// ClearNotes takes away the notes of a relation's requests.
func ClearNotes(relation string, instances map[string]Instance) []charm.Step[*Env] {
	var steps []charm.Step[*Env]
	key := RestartKey(relation)
	for _, name := range slices.Sorted(maps.Keys(instances)) {
		if i := instances[name]; i.Own[key] != "" && i.Unreachable == "" {
			steps = append(steps, Release{Instance: name, Keys: []string{key}})
		}
	}
	return steps
}

// underWay reports whether a restart that has not been done may be under way at that time.
func (i Instance) underWay(n note, now time.Time) bool {
	if i.Running {
		return now.Before(n.asked.Add(restartTime))
	}
	return now.Before(n.asked.Add(stoppedTime))
}

// Busy reports whether LXD may be restarting the instance at that time. An update of an instance
// ends its restart half-way, so none is made then: LXD's update inherits the lock of the restart
// and releases it (lxd/instance/drivers/driver_lxc.go, Update); the instance stops, and LXD 5.0.2
// then refuses to start it ("Instance is busy running a stop operation").
func (i Instance) Busy(now time.Time) bool {
	for key := range i.Own {
		if n, noted := parseNote(i.Own[key]); strings.HasPrefix(key, restartPrefix) && noted && !i.Started.After(n.started) && i.underWay(n, now) {
			return true
		}
	}
	return false
}

// Restart restarts instances at the same time.
type Restart struct {
	Relation, Request string
	// Wait is how long the step waits for LXD, at most; 0 is until it is done. What takes
	// longer goes on, and whoever observes next sees what became of it.
	Wait  time.Duration
	units map[string]string // by instance: what its unit says of its start
}

// Instances are those that it restarts, sorted.
func (s Restart) Instances() []string { return slices.Sorted(maps.Keys(s.units)) }

// Name implements charm.Step.
func (s Restart) Name() string { return restartName + strings.Join(s.Instances(), ", ") + s.of() }

const restartName = "restart instance "

// of says whose request it is.
func (s Restart) of() string { return fmt.Sprintf(" (%s, request %s)", s.Relation, s.Request) }

// Apply implements charm.Step.
func (s Restart) Apply(ctx context.Context, w *Env) error {
	w.restarted = true
	wait := ctx
	if s.Wait > 0 {
		bounded, cancel := context.WithTimeout(ctx, s.Wait)
		defer cancel()
		wait = bounded
	}
	type begun struct {
		instance string
		op       lxdclient.Operation
	}
	var running []begun
	var errs []error
	for _, name := range s.Instances() {
		op, err := s.begin(ctx, w, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("instance %s: %w", name, err))
			break // what cannot be restarted here is no reason to stop more
		}
		running = append(running, begun{name, op})
	}
	for _, b := range running {
		if err := s.finish(wait, w, b.instance, b.op); err != nil && (wait.Err() == nil || ctx.Err() != nil) {
			errs = append(errs, fmt.Errorf("instance %s: %w", b.instance, err))
		}
	}
	return w.Note(ctx, s.Name(), errors.Join(errs...))
}

// tries is how often LXD is asked for one restart, and between the pause between two.
const (
	tries   = 5
	between = time.Second
)

// finish waits until an instance has been restarted. Now and then LXD 5.0 gives up on a restart
// when the instance has been told to shut down already ("shutting down the container failed"): it
// goes down after that, and nobody would start it. So LXD is asked for what is left to do.
func (s Restart) finish(ctx context.Context, w *Env, name string, op lxdclient.Operation) error {
	began, err := w.Now(), lxd.Await(ctx, w.LXD)(op, nil)
	for try := 1; err != nil && try < tries; try++ {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(between):
		}
		there, _, lost := w.LXD.GetInstance(name)
		left := stopTimeout - int(w.Now().Sub(began)/time.Second)
		if lost != nil || left <= 0 {
			return err
		}
		put := api.InstanceStatePut{Action: "restart", Timeout: left}
		if there.StatusCode == api.Stopped {
			put = api.InstanceStatePut{Action: "start", Timeout: -1}
		} else if n, _ := parseNote(there.Config[RestartKey(s.Relation)]); there.LastUsedAt.After(n.started) {
			return nil
		}
		err = lxd.Await(ctx, w.LXD)(w.LXD.UpdateInstanceState(name, put, ""))
	}
	return err
}

// begin notes the restart in the instance and asks LXD for it, or for the start that is left to
// do of an earlier one.
func (s Restart) begin(ctx context.Context, w *Env, name string) (lxdclient.Operation, error) {
	if err := w.NoteRestart(ctx, name, s.Relation, s.Request, s.units[name]); err != nil {
		return nil, err
	}
	there, _, err := w.LXD.GetInstance(name)
	if err != nil {
		return nil, err
	}
	if there.StatusCode == api.Stopped {
		return w.LXD.UpdateInstanceState(name, api.InstanceStatePut{Action: "start", Timeout: -1}, "")
	}
	return w.LXD.UpdateInstanceState(name, api.InstanceStatePut{Action: "restart", Timeout: stopTimeout}, "")
}

// NoteRestart notes in an instance that it is about to be restarted. started is what its
// unit says of its start until then.
func (w *Env) NoteRestart(ctx context.Context, name, relation, request, started string) error {
	instance, _, err := w.LXD.GetInstance(name)
	if err != nil {
		return err
	}
	tries := 1
	if n, noted := parseNote(instance.Config[RestartKey(relation)]); noted && n.request == request {
		tries += n.tries
	}
	text := note{request, instance.LastUsedAt, w.Now(), tries, started}.String()
	return w.Change(ctx, name, func(put *api.InstancePut) error {
		put.Config[RestartKey(relation)] = text
		return nil
	})
}

// Restarting reports whether anybody's request is restarting the instance, as far as units
// say that they are back in the instance itself.
func (i Instance) Restarting() bool {
	for key := range i.Own {
		number, is := strings.CutPrefix(key, restartPrefix)
		n, noted := parseNote(i.Own[key])
		if is && noted && !(i.Running && i.Started.After(n.started) && i.Own[startedPrefix+number] != n.unit) {
			return true
		}
	}
	return false
}

// ReportBack says in an instance that was restarted that its unit is back.
type ReportBack struct{ Instance, Relation, Started string }

// Name implements charm.Step.
func (s ReportBack) Name() string {
	return "say that instance " + s.Instance + " is back after its restart"
}

// Apply implements charm.Step.
func (s ReportBack) Apply(ctx context.Context, w *Env) error {
	err := w.Change(ctx, s.Instance, func(put *api.InstancePut) error {
		put.Config[StartedKey(s.Relation)] = s.Started
		return nil
	})
	return w.Note(ctx, s.Name(), err)
}
