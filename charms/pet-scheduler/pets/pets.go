// Package pets is the charm pet-scheduler: it knows which members of an LXD cluster are
// drained, and drains and undrains them when it is told to.
package pets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/charms/pet-scheduler/access"
	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/drain"
	drainlxd "github.com/dcib/dcib/internal/drain/lxd"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// Endpoint is the relation's name in charmcraft.yaml.
const Endpoint = "lxd"

// stateDir holds a directory for each unit on the machine.
const stateDir = "/var/lib/dcib"

// LXD is what this charm asks of an LXD cluster.
type LXD interface {
	drain.Cluster
	drain.Journal
	// Overview reports in one question what a hook wants to know.
	Overview() (Overview, error)
	// Prepare learns what LXD can do; it comes before anything else that an action asks.
	Prepare() error
}

// Overview is what a hook wants to know of LXD.
type Overview struct {
	Trusted bool // whether LXD trusts this unit's certificate; the rest is empty otherwise
	Members []drain.Member
	Records map[string]drain.Record
}

// Env is what the charm works on.
type Env struct {
	Unit  string
	Dir   string // the unit's state directory
	Tools hooktool.Tools
	// Connect reaches LXD.
	Connect func(ctx context.Context, offer lxdhttps.Offer, id access.Identity) (LXD, error)
}

// Open returns the real world of a hook.
func Open(event hooktool.Event, tools hooktool.Tools) Env {
	return Env{
		Unit:  event.Unit,
		Dir:   filepath.Join(stateDir, strings.ReplaceAll(event.Unit, "/", "-")),
		Tools: tools,
		Connect: func(ctx context.Context, offer lxdhttps.Offer, id access.Identity) (LXD, error) {
			server, err := access.Connect(ctx, offer, id, nil)
			if err != nil {
				return nil, err
			}
			return cluster{drainlxd.Cluster{Server: server}}, nil
		},
	}
}

// Reach connects to the LXD of an offer as the unit whose state directory is dir, ready to
// work, to that member if it can be reached; "" is any. The context is for the life of the
// connection; nothing is sent over it once may, unless it is nil, returns an error.
func Reach(ctx context.Context, dir, member string, offer lxdhttps.Offer, may func() error) (LXD, error) {
	id, ok, err := access.Load(dir)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("cannot reach LXD: this unit has no client certificate in %s yet", dir)
	}
	near, err := access.ConnectPerMember(ctx, offer, id.KeepSessions(control.RunDir(dir)), may)
	if err != nil {
		return nil, err
	}
	return cluster{drainlxd.Cluster{Server: near(member), MemberClient: near}}, nil
}

type cluster struct{ drainlxd.Cluster }

// Overview implements LXD. An untrusted client is refused the list of members.
func (c cluster) Overview() (Overview, error) {
	members, err := c.Server.GetClusterMembers()
	if api.StatusErrorCheck(err, http.StatusForbidden) {
		return Overview{}, nil
	}
	if err != nil {
		return Overview{}, fmt.Errorf("cannot list LXD's cluster members: %w", err)
	}
	records, err := drainlxd.RecordsOf(members)
	return Overview{Trusted: true, Members: drainlxd.MembersOf(members), Records: records}, err
}

// Prepare implements LXD.
func (c cluster) Prepare() error {
	_, err := access.Prepare(c.Server)
	return err
}

// Facts is what the charm decides on.
type Facts struct {
	Unit     string
	Identity access.Identity
	Made     bool // the identity is there

	Relation  string // the relation's id; empty when there is none
	Published map[string]string
	Offer     lxdhttps.Offer
	Offered   bool
	BadOffer  string // why the offer cannot be used

	LXD         LXD    // nil as long as it cannot be reached
	end         func() // ends the connection with it
	Unreachable string // why
	Trusted     bool
	Members     []drain.Member
	Records     map[string]drain.Record
}

// Observe gathers the facts.
func Observe(ctx context.Context, _ hooktool.Event, env Env) (Facts, error) {
	facts := Facts{Unit: env.Unit}
	var err error
	if facts.Identity, facts.Made, err = access.Load(env.Dir); err != nil {
		return Facts{}, err
	}
	relations, err := env.Tools.RelationIDs(ctx, Endpoint)
	if err != nil || len(relations) == 0 {
		return facts, err
	}
	facts.Relation = relations[0]
	if facts.Published, err = env.Tools.RelationGet(ctx, facts.Relation, env.Unit); err != nil {
		return Facts{}, err
	}
	if err := facts.readOffer(ctx, env.Tools); err != nil {
		return Facts{}, err
	}
	if !facts.Made || !facts.Offered {
		return facts, nil
	}
	if err := facts.ask(ctx, env); err != nil {
		facts.Unreachable = err.Error()
	}
	return facts, nil
}

// readOffer looks for where LXD is: a cluster says so once for its application, an LXD
// that is alone for its unit.
func (f *Facts) readOffer(ctx context.Context, tools hooktool.Tools) error {
	app, err := tools.RelationApp(ctx, f.Relation)
	if err != nil {
		return err
	}
	if done, err := f.readOfferOf(ctx, tools, app); done || err != nil {
		return err
	}
	units, err := tools.RelationUnits(ctx, f.Relation)
	if err != nil {
		return err
	}
	for _, unit := range units {
		if done, err := f.readOfferOf(ctx, tools, unit); done || err != nil {
			return err
		}
	}
	return nil
}

func (f *Facts) readOfferOf(ctx context.Context, tools hooktool.Tools, owner string) (done bool, err error) {
	if owner == "" {
		return false, nil
	}
	bag, err := tools.RelationGet(ctx, f.Relation, owner)
	if errors.Is(err, hooktool.ErrNotFound) {
		return false, nil // Juju still lists a unit that has just left
	}
	if err != nil {
		return false, err
	}
	offer, ok, err := lxdhttps.DecodeOffer(bag)
	if err != nil {
		f.BadOffer = owner + ": " + err.Error()
		return false, nil
	}
	if ok {
		f.Offer, f.Offered, f.BadOffer = offer, true, ""
	}
	return ok, nil
}

// Bounds of what LXD may take: a hook and an action hold the machine's lock.
const (
	// asking is for all members to be tried, and one of them to answer.
	asking = 30 * time.Second
	// putting is what an action may take beyond its timeout, to start what it has stopped.
	putting = 5 * time.Minute
)

// ask asks LXD its state. The connection is for an action's life.
func (f *Facts) ask(ctx context.Context, env Env) error {
	life, end := context.WithCancel(ctx)
	timer := time.AfterFunc(asking, end)
	lxd, err := env.Connect(life, f.Offer, f.Identity)
	var overview Overview
	if err == nil {
		overview, err = lxd.Overview()
	}
	if err != nil {
		if life.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("cannot reach LXD: it has not answered for %s", asking)
		}
		timer.Stop()
		end()
		return err
	}
	timer.Stop()
	f.end = end
	f.LXD, f.Trusted, f.Members, f.Records = lxd, overview.Trusted, overview.Members, overview.Records
	return nil
}

// Plan is pure.
func Plan(facts Facts) charm.Plan[Env] {
	plan := charm.Plan[Env]{Status: status(facts)}
	if !facts.Made {
		plan.Steps = append(plan.Steps, MakeIdentity{})
		return plan
	}
	if facts.Relation != "" && !published(facts) {
		plan.Steps = append(plan.Steps, Publish{Relation: facts.Relation, Certificate: facts.Identity.Certificate})
	}
	return plan
}

func published(facts Facts) bool {
	for key, value := range request(facts.Identity.Certificate) {
		if facts.Published[key] != value {
			return false
		}
	}
	return true
}

// request asks for all of LXD: only an unrestricted client may evacuate a member, and the
// instances of every project live on it.
func request(certificate string) map[string]string {
	return lxdhttps.Request{Certificate: certificate}.Encode()
}

func status(facts Facts) charm.Status {
	switch {
	case facts.Relation == "":
		return charm.Blockedf("no LXD cluster: relate lxd to lxd-cluster:https")
	case facts.BadOffer != "":
		return charm.Blockedf("%s", facts.BadOffer)
	case !facts.Offered:
		return charm.Waitingf("waiting for LXD's address from relation lxd (%s)", facts.Relation)
	case facts.Unreachable != "":
		return charm.Waitingf("%s", facts.Unreachable)
	case !facts.Trusted:
		return charm.Waitingf("waiting for the LXD cluster to trust this unit: if this stays, see the status of its leader: its option https-unrestricted has to name this application")
	}
	return charm.Active("%d members, pets drained: %s", len(facts.Members), drained(facts.Records))
}

func drained(records map[string]drain.Record) string {
	if len(records) == 0 {
		return "none"
	}
	names := slices.Sorted(maps.Keys(records))
	for n, name := range names {
		if phase := records[name].Phase; phase != drain.Drained {
			names[n] = fmt.Sprintf("%s (%s)", name, phase)
		}
	}
	return strings.Join(names, ", ")
}

// MakeIdentity makes the unit's client certificate.
type MakeIdentity struct{}

// Name implements charm.Step.
func (MakeIdentity) Name() string { return "make this unit's LXD client certificate" }

// Apply implements charm.Step.
func (MakeIdentity) Apply(_ context.Context, env Env) error {
	return access.Create(env.Dir, env.Unit)
}

// Publish asks the LXD cluster to trust this unit.
type Publish struct{ Relation, Certificate string }

// Name implements charm.Step.
func (s Publish) Name() string {
	return "ask for LXD's trust over relation " + s.Relation
}

// Apply implements charm.Step.
func (s Publish) Apply(ctx context.Context, env Env) error {
	return env.Tools.RelationSet(ctx, s.Relation, request(s.Certificate))
}

// RenewClientCertificate is the action renew-client-certificate.
func RenewClientCertificate(ctx context.Context, facts Facts, env Env, _ charm.Call) (map[string]string, error) {
	if err := access.Make(env.Dir, env.Unit); err != nil {
		return nil, err
	}
	id, ok, err := access.Load(env.Dir)
	if err == nil && !ok {
		err = fmt.Errorf("cannot renew the client certificate: it cannot be read back from %s", env.Dir)
	}
	if err != nil {
		return nil, err
	}
	if facts.Relation != "" {
		if err := env.Tools.RelationSet(ctx, facts.Relation, request(id.Certificate)); err != nil {
			return nil, err
		}
	}
	return map[string]string{"certificate": id.Certificate}, nil
}

// Charm is the charm, over the environment that open returns.
func Charm(open func(hooktool.Event, hooktool.Tools) Env) charm.Charm[Facts, Env] {
	return charm.Charm[Facts, Env]{
		Env:     open,
		Observe: Observe,
		Plan:    Plan,
		Actions: Actions,
	}
}

// ready returns the error of an action that finds no LXD to work on.
func ready(facts Facts) error {
	if s := status(facts); s.Level != charm.LevelActive {
		return fmt.Errorf("cannot work on LXD: %s", s.Message)
	}
	return nil
}

// Drain is the action drain.
func Drain(ctx context.Context, facts Facts, env Env, call charm.Call) (map[string]string, error) {
	return act(ctx, facts, env, call, store.Drain,
		func(view drain.View, pet string) drain.Plan { return drain.PlanDrain(view, pet, call.Bool("force")) },
		func(ctx context.Context, d drain.Drainer, pet string) (drain.Report, error) {
			return d.Drain(ctx, pet, call.Bool("force"))
		})
}

// Undrain is the action undrain.
func Undrain(ctx context.Context, facts Facts, env Env, call charm.Call) (map[string]string, error) {
	return act(ctx, facts, env, call, store.Undrain, drain.PlanUndrain,
		func(ctx context.Context, d drain.Drainer, pet string) (drain.Report, error) {
			return d.Undrain(ctx, pet)
		})
}

// duration returns a parameter that is a length of time, as 30m or 12h.
func duration(call charm.Call, param string) (time.Duration, error) {
	d, err := time.ParseDuration(call.String(param))
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("cannot use %s=%s: use a length of time such as 30m or 12h", param, call.String(param))
	}
	return d, nil
}

func act(ctx context.Context, facts Facts, env Env, call charm.Call, kind store.Kind,
	plan func(drain.View, string) drain.Plan,
	apply func(context.Context, drain.Drainer, string) (drain.Report, error),
) (map[string]string, error) {
	if err := ready(facts); err != nil {
		return nil, err
	}
	timeout, err := duration(call, "timeout")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer time.AfterFunc(timeout+putting, facts.end).Stop()
	pet, known, err := configured(ctx, env, call.String("pet"))
	if err != nil {
		return nil, err
	}
	if known.name != "" && !call.Bool("dry-run") {
		return order(ctx, env, call, known, kind)
	}
	if err := facts.LXD.Prepare(); err != nil {
		return nil, err
	}
	if call.Bool("dry-run") {
		observe := drain.ObserveWithCapacity
		if kind == store.Undrain {
			observe = drain.ObserveForUndrain
		}
		view, err := observe(ctx, facts.LXD, facts.LXD, pet)
		if err != nil {
			return nil, err
		}
		p := plan(view, pet)
		return map[string]string{"member": pet, "plan": p.String()}, p.Err()
	}
	start := time.Now()
	d := drain.Drainer{Cluster: facts.LXD, Journal: facts.LXD, By: facts.Unit, Progress: call.Progress, RetryNow: true, Limiter: drain.NewMoveLimiter(drain.DefaultMaxMoves, drain.DefaultStartSpacing)}
	report, err := apply(ctx, d, pet)
	results := map[string]string{"member": pet}
	if report.Plan.Refusal == "" {
		// A refusal is complete.
		results["plan"] = report.Plan.String()
	}
	if report.Plan.Err() == nil {
		results["moved"] = fmt.Sprint(report.Moved())
		results["duration"] = time.Since(start).Round(100 * time.Millisecond).String()
	}
	if lines := instances(report.Moves); lines != "" {
		results["instances"] = lines
	}
	return results, err
}

func instances(moves []drain.Move) string {
	lines := make([]string, len(moves))
	for n, m := range moves {
		lines[n] = m.String()
	}
	return strings.Join(lines, "\n")
}
