package drain_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func drainer(lxd *draintest.LXD) drain.Drainer {
	return drain.Drainer{Cluster: lxd, Journal: lxd, By: "pet-scheduler/0", Now: func() time.Time { return noon }}
}

func observe(t *testing.T, lxd *draintest.LXD) drain.View {
	t.Helper()
	view, err := drain.Observe(t.Context(), lxd, lxd)
	require.NoError(t, err)
	return view
}

func moves(r drain.Report) []string {
	var lines []string
	for _, m := range r.Moves {
		lines = append(lines, m.String())
	}
	return lines
}

func ref(name string) drain.Ref { return drain.Ref{Project: "default", Name: name} }

func TestDrainAndUndrain(t *testing.T) {
	lxd := draintest.New("pet", "b", "c")
	lxd.Add("c1", "pet", true)
	lxd.Add("c2", "pet", false)
	lxd.Add("c3", "b", true)
	other := lxd.Add("c4", "pet", true)
	other.Project = "lab"
	d := drainer(lxd)

	report, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, []string{"c1: pet → c (running)", "c2: pet → b (stopped)", "lab/c4: pet → c (running)"}, moves(report))
	require.Equal(t, 3, report.Moved())
	require.Equal(t, drain.Evacuated, lxd.Status("pet"))
	require.Equal(t, drain.Drained, observe(t, lxd).Records["pet"].Phase)

	report, err = d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.True(t, report.Plan.Done)
	require.Equal(t, "pet is drained already, since 2026-01-02 12:00 UTC", report.Plan.String())
	require.Equal(t, 1, lxd.Evacuations)

	report, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.Equal(t, []string{"c1: c → pet (running)", "c2: b → pet (stopped)", "lab/c4: c → pet (running)"}, moves(report))
	require.Equal(t, drain.Online, lxd.Status("pet"))
	require.Empty(t, lxd.Journal)
	require.Equal(t, "b", lxd.Find(ref("c3")).Member)
	for _, i := range lxd.Instance {
		require.Empty(t, i.Origin)
	}

	report, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.True(t, report.Plan.Done)
}

func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(*draintest.LXD)
		want string
	}{
		"unknown": {func(l *draintest.LXD) { l.Member = l.Member[1:] }, "cannot drain pet: LXD has no member of that name: its members are b, c"},
		"offline": {func(l *draintest.LXD) { l.SetStatus("pet", drain.Offline) }, "cannot drain pet: it is Offline"},
		"blocked": {func(l *draintest.LXD) { l.SetStatus("pet", "Blocked") }, "cannot drain pet: it is Blocked"},
		"last": {func(l *draintest.LXD) {
			l.SetStatus("b", drain.Offline)
			l.SetStatus("c", drain.Evacuated)
		}, "cannot drain pet: no other member is Online"},
		"last that takes":  {func(l *draintest.LXD) { l.Member[1].Scheduler, l.Member[2].Scheduler = "manual", "group" }, "cannot drain pet: no other member is Online and takes"},
		"operator's":       {func(l *draintest.LXD) { _ = l.EvacuateByHand("pet") }, "cannot drain pet: it was evacuated, but not by pet-scheduler"},
		"tied":             {func(l *draintest.LXD) { l.Instance[0].LocalDevices = []string{"disk data"} }, "c1: is tied to this member by disk data; force=true, or unmovable: stop of its pet, stops it there"},
		"ephemeral":        {func(l *draintest.LXD) { l.Instance[0].Ephemeral = true }, "c1: is ephemeral: it is deleted when it stops; force=true"},
		"no such hardware": {func(l *draintest.LXD) { l.Instance[0].Architecture = "s390x" }, "c1: no other member is Online, takes instances and runs s390x; force=true"},
	} {
		t.Run(name, func(t *testing.T) {
			lxd := draintest.New("pet", "b", "c")
			lxd.Add("c1", "pet", true)
			test.set(lxd)
			calls := len(lxd.Calls)
			_, err := drainer(lxd).Drain(t.Context(), "pet", false)
			require.ErrorContains(t, err, test.want)
			require.Len(t, lxd.Calls, calls, "nothing was changed")
			require.Empty(t, lxd.Journal)
		})
	}
}

func TestUndrainLeavesAnOperatorsEvacuation(t *testing.T) {
	lxd := draintest.New("pet", "b")
	lxd.Add("c1", "pet", true)
	require.NoError(t, lxd.EvacuateByHand("pet"))
	_, err := drainer(lxd).Undrain(t.Context(), "pet")
	require.EqualError(t, err, "cannot undrain pet: it was evacuated, but not by pet-scheduler: use `lxc cluster restore pet`")
	require.Equal(t, drain.Evacuated, lxd.Status("pet"))
}

func TestImmovableInstancesAreStoppedIfAllowed(t *testing.T) {
	lxd := draintest.New("pet", "b")
	lxd.Add("stop", "pet", true).Evacuate = "stop"
	lxd.Add("tied", "pet", true).LocalDevices = []string{"gpu gpu0"}
	lxd.Add("idle", "pet", false).LocalDevices = []string{"gpu gpu0"}
	lxd.Add("alien", "pet", true).Architecture = "s390x"
	d := drainer(lxd)

	plan := drain.PlanDrain(observe(t, lxd), "pet", false)
	require.Equal(t, []drain.Verdict{drain.Warning, drain.Error, drain.Skip, drain.Error},
		[]drain.Verdict{plan.Items[0].Verdict, plan.Items[1].Verdict, plan.Items[2].Verdict, plan.Items[3].Verdict})
	require.Error(t, plan.Err())

	report, err := d.Drain(t.Context(), "pet", true)
	require.NoError(t, err)
	require.Equal(t, []string{"stop: pet (stopped)", "tied: pet (stopped)", "idle: pet (stopped)", "alien: pet (stopped)"}, moves(report))
	require.Zero(t, report.Moved())

	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.True(t, lxd.Find(ref("stop")).Running)
	require.True(t, lxd.Find(ref("tied")).Running)
	require.True(t, lxd.Find(ref("alien")).Running)
	require.False(t, lxd.Find(ref("idle")).Running)
}

func TestUndrainKeepsAnOperatorsChanges(t *testing.T) {
	lxd := draintest.New("pet", "b", "c")
	for _, name := range []string{"gone", "moved", "stopped", "again", "plain"} {
		lxd.Add(name, "pet", true)
	}
	d := drainer(lxd)
	_, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)

	lxd.Delete(ref("gone"))
	moved := lxd.Find(ref("moved"))
	moved.Member = map[string]string{"b": "c", "c": "b"}[moved.Member]
	there := moved.Member
	require.NoError(t, lxd.Stop(t.Context(), ref("stopped")))
	was := lxd.Find(ref("again")).Member
	lxd.Delete(ref("again"))
	lxd.Add("again", was, true)
	lxd.Add("new", "b", true).Origin = "pet"

	report, err := d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.Equal(t, there, lxd.Find(ref("moved")).Member)
	require.True(t, lxd.Find(ref("moved")).Running)
	require.Equal(t, was, lxd.Find(ref("again")).Member, "another instance of the same name")
	require.Equal(t, "b", lxd.Find(ref("new")).Member)
	require.Equal(t, "pet", lxd.Find(ref("stopped")).Member)
	require.False(t, lxd.Find(ref("stopped")).Running)
	require.Equal(t, "pet", lxd.Find(ref("plain")).Member)
	require.True(t, lxd.Find(ref("plain")).Running)
	require.Contains(t, moves(report), "gone: pet (deleted)")
	require.Contains(t, moves(report)[1], "left where an operator moved it")
	require.Contains(t, report.Plan.String(), " and stays stopped, as an operator stopped it there")
	require.Empty(t, lxd.Journal)
}

func TestFailedMoveLeavesTheInstanceRunning(t *testing.T) {
	lxd := draintest.New("pet", "b")
	lxd.Add("c1", "pet", true)
	lxd.Add("stuck", "pet", true)
	lxd.Add("c2", "pet", true)
	lxd.Fail = func(call string, r drain.Ref) error {
		if call == "move" && r.Name == "stuck" {
			return errors.New("Instance has backups")
		}
		return nil
	}
	d := drainer(lxd)
	report, err := d.Drain(t.Context(), "pet", false)
	require.ErrorContains(t, err, "cannot drain pet, tried 3 times: run drain again to resume it, or undrain")
	require.ErrorContains(t, err, "stuck: is still on pet")
	require.ErrorContains(t, err, "Instance has backups")
	require.True(t, lxd.Find(ref("stuck")).Running, "it is not left stopped")
	require.Contains(t, moves(report), "c1: pet → b (running)")

	// The cause is fixed; drain continues.
	lxd.Fail = nil
	_, err = d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	for _, i := range lxd.Instance {
		require.Equal(t, "pet", i.Member)
		require.True(t, i.Running)
	}
}

func TestFailedDrainCanBeUndone(t *testing.T) {
	lxd := draintest.New("pet", "b")
	lxd.Add("c1", "pet", true)
	lxd.Add("stuck", "pet", true)
	lxd.Fail = func(call string, r drain.Ref) error {
		if call == "move" && r.Name == "stuck" {
			return errors.New("no")
		}
		return nil
	}
	d := drainer(lxd)
	_, err := d.Drain(t.Context(), "pet", false)
	require.Error(t, err)
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.Equal(t, "pet", lxd.Find(ref("c1")).Member)
	require.True(t, lxd.Find(ref("c1")).Running)
	require.True(t, lxd.Find(ref("stuck")).Running)
	require.Empty(t, lxd.Journal)
}

// Where LXD can stop, move and start in one operation it is used, and what is left when it fails is done
// in steps.
func TestRelocate(t *testing.T) {
	for name, c := range map[string]struct {
		fails string
		drain []string // what is asked for about c1
		back  []string
	}{
		"done":              {"", []string{"relocate c1"}, []string{"relocate c1"}},
		"it is refused":     {"relocate", []string{"relocate c1", "stop c1", "move c1", "start c1"}, []string{"relocate c1"}},
		"it is not copied":  {"move", []string{"relocate c1", "stop c1", "move c1", "start c1"}, []string{"relocate c1"}},
		"it does not start": {"start", []string{"relocate c1", "start c1"}, []string{"relocate c1"}},
	} {
		t.Run(name, func(t *testing.T) {
			lxd := draintest.New("pet", "b")
			lxd.Relocates = true
			lxd.Add("c1", "pet", true)
			lxd.Add("idle", "pet", false)
			lxd.Fail = func(call string, r drain.Ref) error {
				if call == c.fails && r.Name == "c1" {
					c.fails = ""
					return errors.New("a passing fault")
				}
				return nil
			}
			asked := func() (calls []string) {
				for _, call := range lxd.Calls {
					if strings.HasSuffix(call, " c1") && !strings.HasPrefix(call, "origin ") {
						calls = append(calls, call)
					}
				}
				lxd.Calls = nil
				return calls
			}
			d := drainer(lxd)
			d.Limiter = drain.NewMoveLimiter(1, 0)
			_, err := d.Drain(t.Context(), "pet", false)
			require.NoError(t, err)
			require.Equal(t, c.drain, asked())
			require.True(t, lxd.Find(ref("c1")).Running)
			require.Equal(t, "b", lxd.Find(ref("idle")).Member)
			require.False(t, lxd.Find(ref("idle")).Running)
			_, err = d.Undrain(t.Context(), "pet")
			require.NoError(t, err)
			require.Equal(t, c.back, asked())
			require.Equal(t, "pet", lxd.Find(ref("c1")).Member)
			require.True(t, lxd.Find(ref("c1")).Running)
		})
	}
}

// stillMoving is an LXD that still moves an instance for a client that is gone: the move ends when the
// next client waits for it.
type stillMoving struct {
	*draintest.LXD
	to string
}

func (l *stillMoving) WaitMoved(ctx context.Context, ref drain.Ref) (string, error) {
	if l.to != "" {
		l.Find(ref).Member, l.to = l.to, ""
	}
	return l.LXD.WaitMoved(ctx, ref)
}

// A run that resumes waits for the moves of the earlier one, and does not repeat them.
func TestResumeWaitsForAMoveInProgress(t *testing.T) {
	lxd := &stillMoving{draintest.New("pet", "b", "c"), "c"}
	lxd.Relocates = true
	lxd.Add("c1", "pet", true)
	lxd.CallsLeft = 7 // it dies with the origin set
	d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: drain.NewMoveLimiter(1, 0)}
	_, err := d.Drain(t.Context(), "pet", false)
	require.ErrorIs(t, err, draintest.ErrKilled)
	require.NotEmpty(t, lxd.Journal)
	require.Equal(t, "pet", lxd.Find(ref("c1")).Member)
	lxd.CallsLeft, lxd.Calls = -1, nil
	_, err = d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, "c", lxd.Find(ref("c1")).Member)
	require.NotContains(t, lxd.Calls, "relocate c1")
	require.NotContains(t, lxd.Calls, "stop c1")
	require.True(t, lxd.Find(ref("c1")).Running)
}

func TestUndrainContinuesAfterAFailure(t *testing.T) {
	lxd := draintest.New("pet", "b")
	lxd.Add("stuck", "pet", true)
	lxd.Add("c1", "pet", true)
	d := drainer(lxd)
	_, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	lxd.Fail = func(call string, r drain.Ref) error {
		if call == "move" && r.Name == "stuck" {
			return errors.New("pool is full")
		}
		return nil
	}
	_, err = d.Undrain(t.Context(), "pet")
	require.ErrorContains(t, err, "stuck: is still on b: pool is full")
	require.Equal(t, "pet", lxd.Find(ref("c1")).Member)
	require.Equal(t, drain.Online, lxd.Status("pet"))
	lxd.Fail = nil
	d.RetryNow = true
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.Equal(t, "pet", lxd.Find(ref("stuck")).Member)
	require.True(t, lxd.Find(ref("stuck")).Running)
}

func TestDrainsOfTwoMembersOverlap(t *testing.T) {
	lxd := draintest.New("a", "b", "c")
	lxd.Add("x", "a", true)
	lxd.SetStatus("c", drain.Offline)
	d := drainer(lxd)
	_, err := d.Drain(t.Context(), "a", false)
	require.NoError(t, err)
	lxd.SetStatus("c", drain.Online)
	_, err = d.Drain(t.Context(), "b", false)
	require.NoError(t, err)
	require.Equal(t, "c", lxd.Find(ref("x")).Member)

	_, err = d.Undrain(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "a", lxd.Find(ref("x")).Member, "b's drain moved it, no other client")
	_, err = d.Undrain(t.Context(), "b")
	require.NoError(t, err)
	require.Equal(t, "a", lxd.Find(ref("x")).Member)
}

func TestDrainAfterAnOperatorsRestore(t *testing.T) {
	lxd := draintest.New("a", "b")
	lxd.Add("x", "a", true)
	d := drainer(lxd)
	_, err := d.Drain(t.Context(), "a", false)
	require.NoError(t, err)
	require.NoError(t, lxd.RestoreByHand("a"))
	report, err := d.Undrain(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, []string{"x: a (running)"}, moves(report))

	_, err = d.Drain(t.Context(), "a", false)
	require.NoError(t, err)
	require.NoError(t, lxd.RestoreByHand("a"))
	_, err = d.Drain(t.Context(), "a", false)
	require.NoError(t, err)
	require.Equal(t, "b", lxd.Find(ref("x")).Member)
}

func TestDrainBeyondItsDeadline(t *testing.T) {
	lxd := draintest.New("a", "b")
	lxd.Add("x", "a", true)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	lxd.Fail = func(string, drain.Ref) error { return ctx.Err() }
	_, err := drainer(lxd).Drain(ctx, "a", false)
	require.ErrorContains(t, err, "cannot drain a in the time given: run drain again, it resumes")
}

func TestRecordText(t *testing.T) {
	r := drain.Record{Phase: drain.Drained, By: "pet-scheduler/0", Since: noon, Runs: 2,
		Entries: []drain.Entry{{Ref: ref("c1"), ID: "1", Ran: true, To: "b"}}}
	text := r.Encode()
	require.Equal(t, `{"phase":"drained","by":"pet-scheduler/0","since":"2026-01-02T12:00:00Z","run":2,"instances":[{"project":"default","name":"c1","id":"1","ran":true,"to":"b"}]}`, text)
	got, err := drain.Decode(text)
	require.NoError(t, err)
	require.Equal(t, r, got)
	_, err = drain.Decode(`{"phase":"flying"}`)
	require.ErrorContains(t, err, `its phase is "flying"`)
	_, err = drain.Decode("x")
	require.ErrorContains(t, err, "cannot read drain record")
}

// concurrent is a cluster that is used by several goroutines, and counts how many of its instances move
// at a time.
type concurrent struct {
	draintest.Gated
	mu          *sync.Mutex
	moving, max int
	meet        chan struct{} // a move waits here for another, or for the last
}

func newConcurrent(members ...string) concurrent {
	mu := &sync.Mutex{}
	return concurrent{Gated: draintest.Gated{LXD: draintest.New(members...), Gate: draintest.Locked(mu)}, mu: mu}
}

func (l *concurrent) Move(ctx context.Context, ref drain.Ref, to string, live bool) error {
	l.mu.Lock()
	l.moving++
	l.max = max(l.max, l.moving)
	l.mu.Unlock()
	select {
	case l.meet <- struct{}{}:
	case <-l.meet:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moving--
	return l.LXD.Move(ctx, ref, to, live)
}

// Several instances move at a time, spread over the members, before LXD evacuates the rest.
func TestConcurrentMoves(t *testing.T) { synctest.Test(t, testConcurrentMoves) }

func testConcurrentMoves(t *testing.T) {
	lxd := newConcurrent("pet", "b", "c")
	lxd.meet = make(chan struct{})
	for n := range 8 {
		lxd.Add(fmt.Sprintf("c%d", n), "pet", true)
	}
	d := drain.Drainer{Cluster: &lxd, Journal: &lxd, By: "test", Limiter: drain.NewMoveLimiter(4, drain.DefaultStartSpacing)}
	report, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, 8, report.Moved())
	require.Greater(t, lxd.max, 1)
	require.LessOrEqual(t, lxd.max, 4)
	on := map[string]int{}
	for _, i := range lxd.Instance {
		require.True(t, i.Running)
		on[i.Member]++
	}
	require.Equal(t, map[string]int{"b": 4, "c": 4}, on)
	report, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.Equal(t, 8, report.Moved())
}

// A drain that was killed at any call is undone completely: also an instance that had not left yet must
// not keep the member as its origin, or it would go there when that is restored later.
func TestUndrainAfterADrainKilledAtEachCall(t *testing.T) {
	for life := range 60 {
		lxd := draintest.New("pet", "b", "c")
		for _, name := range []string{"c1", "c2", "c3"} {
			lxd.Add(name, "pet", true)
		}
		d := drainer(lxd)
		d.Limiter = drain.NewMoveLimiter(1, 0)
		lxd.CallsLeft = life
		_, err := d.Drain(t.Context(), "pet", false)
		lxd.CallsLeft = -1
		require.Equal(t, err == nil, lxd.Status("pet") == drain.Evacuated && observe(t, lxd).Records["pet"].Phase == drain.Drained)
		_, err = d.Undrain(t.Context(), "pet")
		require.NoError(t, err)
		require.Empty(t, lxd.Journal)
		require.Equal(t, drain.Online, lxd.Status("pet"))
		for _, i := range lxd.Instance {
			require.Equal(t, "pet", i.Member, "%s after %d calls", i.Ref, life)
			require.True(t, i.Running, "%s after %d calls", i.Ref, life)
			require.Empty(t, i.Origin, "%s after %d calls", i.Ref, life)
		}
	}
}

// No instance is stopped for a move to a member that LXD cannot reach: another member takes it. What
// would come back runs on where it is.
func TestUnreachableMember(t *testing.T) {
	lxd := draintest.New("pet", "b", "c")
	for n := range 4 {
		lxd.Add(fmt.Sprintf("c%d", n), "pet", true)
	}
	d := drainer(lxd)
	d.Limiter = drain.NewMoveLimiter(1, 0)
	lxd.Unreachable = map[string]bool{"b": true}
	_, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	for _, i := range lxd.Instance {
		require.Equal(t, "c", i.Member)
	}
	lxd.Unreachable = map[string]bool{"c": true}
	lxd.Calls = nil
	_, err = d.Undrain(t.Context(), "pet")
	require.ErrorContains(t, err, "cannot reach LXD on pet from c")
	for _, call := range lxd.Calls {
		require.NotContains(t, call, "stop")
	}
	for _, i := range lxd.Instance {
		require.True(t, i.Running)
	}
	lxd.Unreachable = nil
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	for _, i := range lxd.Instance {
		require.Equal(t, "pet", i.Member)
	}
}

// reachCounter counts the calls of WaitReachable, by the pair of members.
type reachCounter struct {
	concurrent
	pairs map[string]int
}

func (l *reachCounter) WaitReachable(ctx context.Context, from, to string) error {
	l.mu.Lock()
	l.pairs[from+" "+to]++
	l.mu.Unlock()
	return l.concurrent.WaitReachable(ctx, from, to)
}

// LXD is asked whether it reaches a member before the first instance that goes there is stopped, not
// before each.
func TestWaitReachableOncePerPair(t *testing.T) { synctest.Test(t, testWaitReachableOncePerPair) }

func testWaitReachableOncePerPair(t *testing.T) {
	lxd := &reachCounter{concurrent: newConcurrent("pet", "b", "c"), pairs: map[string]int{}}
	lxd.meet = make(chan struct{}, 16)
	for n := range 8 {
		lxd.Add(fmt.Sprintf("c%d", n), "pet", true)
	}
	d := drain.Drainer{Cluster: lxd, Journal: lxd, By: "test", Limiter: drain.NewMoveLimiter(4, drain.DefaultStartSpacing)}
	_, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"pet b": 1, "pet c": 1}, lxd.pairs)
	clear(lxd.pairs)
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.Equal(t, map[string]int{"b pet": 1, "c pet": 1}, lxd.pairs)
}

// LXD is killed while it evacuates, before it stops what stays: the drain stops it, and LXD does not mean
// it to run afterwards. The undrain starts it all the same.
func TestUndrainStartsWhatTheDrainStopped(t *testing.T) {
	lxd := draintest.New("pet", "b")
	stays := lxd.Add("stays", "pet", true)
	stays.Evacuate = "stop"
	d := drainer(lxd)
	d.Cluster = &crashesOnEvacuate{lxd}
	_, err := d.Drain(t.Context(), "pet", false)
	require.NoError(t, err)
	require.False(t, stays.Running)
	require.False(t, stays.ShouldRun)
	_, err = d.Undrain(t.Context(), "pet")
	require.NoError(t, err)
	require.True(t, stays.Running)
}

// crashesOnEvacuate is an LXD that is killed as soon as it begins to evacuate.
type crashesOnEvacuate struct{ *draintest.LXD }

func (l *crashesOnEvacuate) Evacuate(_ context.Context, member string, _ func(string)) error {
	l.SetStatus(member, drain.Evacuated)
	return errors.New("LXD has restarted since and has lost it")
}
