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

// stopTimeout is how many seconds an instance may take to shut down. It is never forced: an instance that
// does not stop ends the request.
const stopTimeout = 120

// restartTime is how long a restart counts as under way: the time for shutting down, and then for starting.
// After that LXD is asked again, restartTries times at most.
const (
	restartTime  = stopTimeout*time.Second + time.Minute
	restartTries = 2
	// LXD starts an instance as soon as it has stopped. One that is stopped this long after the request
	// stays so, unless LXD is asked again.
	stoppedTime = time.Minute
)

// RestartKey returns the instance option with the note of a restart that a relation requested.
func RestartKey(relation string) string { return restartPrefix + number(relation) }

// StartedKey returns the instance option in which a unit without a databag reports its start.
func StartedKey(relation string) string { return startedPrefix + number(relation) }

const (
	restartPrefix = "user.dcib.restart."
	startedPrefix = "user.dcib.started."
)

// note is written into an instance before it is restarted. A hook that is killed then does not restart it
// twice, and it shows when the unit is back.
type note struct {
	request string    // the request's id
	started time.Time // the instance's last start before the restart
	asked   time.Time // when LXD was last asked for the restart
	tries   int       // how often LXD was asked
	unit    string    // the unit's report of its start before the restart
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

// Request is a request for restarts over a relation.
type Request struct {
	Relation string
	lxdprofile.Restart
}

// Unit is a unit of a request.
type Unit struct {
	Name, Instance string
	Started        string // another text after each start of the instance, from the unit
	Waits          bool   // a key waits for a restart
}

// Next returns what to restart now, and the progress of the request. units are in the order of their
// restarts. reserve returns the instance that prevents a restart; if there is none it reserves the instance
// for one.
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
			return nil, say(lxdprofile.Failed, "LXD has not restarted instance %s of %s within %s: look at the instance, then request the restart again", u.Instance, u.Name, restartTime)
		case mine && instance.Started.Equal(n.started):
			// The hook was killed after the note, or LXD has given up.
			batch.units[u.Instance] = n.unit
		case mine && r.back(u, instance):
		case mine:
			if limit := time.Duration(r.WaitHealthy); now.Sub(instance.Started) > limit {
				return nil, say(lxdprofile.Failed, "%s is not back %s after the restart of its instance %s: look at it, then request the restart again", u.Name, limit, u.Instance)
			}
			waiting = append(waiting, u.Name)
		case u.Waits:
			candidates = append(candidates, u)
		}
	}
	for _, step := range slices.Sorted(maps.Keys(failed)) {
		// For any instances of the batch.
		if strings.HasPrefix(step, restartName) && strings.HasSuffix(step, batch.of()) {
			return nil, say(lxdprofile.Failed, "LXD refused: %s", failed[step])
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

// Restarts reports whether the request is restarting a unit's instance: it is noted, and not back.
func (r Request) Restarts(u Unit, instance Instance) bool {
	n, noted := instance.note(r.Relation)
	return noted && n.request == r.ID && !(instance.Started.After(n.started) && r.back(u, instance))
}

// back reports whether an instance runs again and its unit has reported so.
func (r Request) back(u Unit, instance Instance) bool {
	n, _ := instance.note(r.Relation)
	return r.WaitHealthy == 0 || instance.Running && u.Started != n.unit
}

// Restarted reports whether the instance was started after a relation's request noted its restart.
func (i Instance) Restarted(relation string) bool {
	n, noted := i.note(relation)
	return noted && i.Started.After(n.started)
}

func (i Instance) note(relation string) (note, bool) { return parseNote(i.Own[RestartKey(relation)]) }

// ClearNotes removes the notes of a relation's requests.
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

// underWay reports whether a restart that is not done yet may be under way at that time.
func (i Instance) underWay(n note, now time.Time) bool {
	if i.Running {
		return now.Before(n.asked.Add(restartTime))
	}
	return now.Before(n.asked.Add(stoppedTime))
}

// Busy reports whether LXD may be restarting the instance at that time. An update of the instance would end
// the restart half-way: LXD's update takes over the lock of the restart and releases it
// (lxd/instance/drivers/driver_lxc.go, Update). The instance stops, and LXD 5.0.2 then refuses to start it
// ("Instance is busy running a stop operation").
func (i Instance) Busy(now time.Time) bool {
	for key := range i.Own {
		if n, noted := parseNote(i.Own[key]); strings.HasPrefix(key, restartPrefix) && noted && !i.Started.After(n.started) && i.underWay(n, now) {
			return true
		}
	}
	return false
}

// Restart restarts a batch of instances.
type Restart struct {
	Relation, Request string
	// Wait is how long the step waits for LXD; 0 is until it is done. A restart that takes longer
	// continues, and the next observation shows the result.
	Wait  time.Duration
	units map[string]string // the unit's report of its start, by instance
}

// Instances returns the instances that it restarts, sorted.
func (s Restart) Instances() []string { return slices.Sorted(maps.Keys(s.units)) }

// Name implements charm.Step.
func (s Restart) Name() string { return restartName + strings.Join(s.Instances(), ", ") + s.of() }

const restartName = "restart instance "

// of returns the relation and the request.
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
			break // those that were started are still waited for
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

// maxTries is how often LXD is asked for one restart, retryDelay the pause between two requests.
const (
	maxTries   = 5
	retryDelay = time.Second
)

// finish waits until an instance has been restarted. LXD 5.0 sometimes gives up on a restart if the
// instance was already told to shut down ("shutting down the container failed"): the instance then stops
// and is not started. So LXD is asked for what is left to do.
func (s Restart) finish(ctx context.Context, w *Env, name string, op lxdclient.Operation) error {
	began, err := w.Now(), lxd.Await(ctx, w.LXD)(op, nil)
	for try := 1; err != nil && try < maxTries; try++ {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryDelay):
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

// begin notes the restart in the instance and asks LXD for it, or for the start that an earlier restart has
// left undone.
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

// NoteRestart notes in an instance that it is about to be restarted. started is the unit's report of its
// start so far.
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

// Restarting reports whether any request is restarting the instance, as far as units report their start in
// the instance.
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

// ReportBack reports in an instance that its unit is back after a restart.
type ReportBack struct{ Instance, Relation, Started string }

// Name implements charm.Step.
func (s ReportBack) Name() string {
	return "report that instance " + s.Instance + " is back after its restart"
}

// Apply implements charm.Step.
func (s ReportBack) Apply(ctx context.Context, w *Env) error {
	err := w.Change(ctx, s.Instance, func(put *api.InstancePut) error {
		put.Config[StartedKey(s.Relation)] = s.Started
		return nil
	})
	return w.Note(ctx, s.Name(), err)
}
