// Package hooktooltest is a Juju model in memory: applications, units, relations with
// their databags, leaders and options. A test runs a hook of a unit, the charm's writes are
// committed when the hook succeeds and thrown away when it fails, as Juju does it.
//
// It is for speed and for faults that the real Juju cannot be made to have; what it does
// is held against the real one by the suites in tests/.
package hooktooltest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/dcib/dcib/internal/hooktool"
)

// Juju is one model. Its fields are the world: tests read and set them between hooks.
type Juju struct {
	Config    map[string]map[string]any // by application
	Leaders   map[string]string         // application → unit
	Units     map[string]*Unit
	Relations []*Relation
	Secrets   map[string]map[string]string // content by id; a test's own are granted to everyone

	related int // relations made so far

	owners map[string]string          // the application that made a secret
	grants map[string]map[string]bool // by a secret's id, the applications that may read it
}

// Unit is what Juju shows of a unit.
type Unit struct {
	Name, Address   string
	MoreAddresses   []string // that the unit has besides
	Status, Message string
	Version         string
	Starting        bool // it has not entered its relations yet
	Dying           bool // it goes away: Juju does not mean to keep it
	Log             []string
	Said            []string            // all statuses that it has set, "active ready"
	Storage         map[string][]string // where a storage's instances are, by its name
	Machine         string              // units with the same one share a machine; empty is one of its own
	Ports           []string            // that are open
}

// Relation joins two endpoints; a peer relation has the same application on both.
type Relation struct {
	ID       int
	Sides    [2]Side
	Databags map[string]map[string]string // by unit or application
	// Stale are units that were removed by force, and that relation-list still has: Juju 4.1 does not
	// inform those that remain.
	Stale []string
}

// Side is one end of a relation.
type Side struct{ App, Endpoint string }

// New returns an empty model.
func New() *Juju {
	return &Juju{Config: map[string]map[string]any{}, Leaders: map[string]string{}, Units: map[string]*Unit{}}
}

// AddUnit adds a unit; the first of an application leads it.
func (j *Juju) AddUnit(name, address string) *Unit {
	unit := &Unit{Name: name, Address: address}
	j.Units[name] = unit
	if app := hooktool.AppOf(name); j.Leaders[app] == "" {
		j.Leaders[app] = name
	}
	return unit
}

// RemoveUnit takes a unit and what it wrote out of the model. It leaves the leader to the
// test.
func (j *Juju) RemoveUnit(name string) {
	delete(j.Units, name)
	for _, r := range j.Relations {
		delete(r.Databags, name)
	}
}

// Relate joins a ("app:endpoint") and b; the same text twice makes a peer relation.
func (j *Juju) Relate(a, b string) *Relation {
	side := func(s string) Side {
		app, endpoint, _ := strings.Cut(s, ":")
		return Side{app, endpoint}
	}
	r := &Relation{ID: j.related, Sides: [2]Side{side(a), side(b)}, Databags: map[string]map[string]string{}}
	j.Relations = append(j.Relations, r)
	j.related++ // Juju uses no id twice
	return r
}

// Unrelate takes a relation away.
func (j *Juju) Unrelate(r *Relation) {
	j.Relations = slices.DeleteFunc(j.Relations, func(other *Relation) bool { return other == r })
}

// Hook returns the tools for one hook or action of a unit, and commit, which the test calls
// when the charm has succeeded.
func (j *Juju) Hook(unit string) (tools *Tools, commit func()) {
	t := &Tools{juju: j, unit: j.Units[unit], app: hooktool.AppOf(unit), snapshot: map[string]map[string]string{}}
	for _, r := range j.Relations {
		for owner, bag := range r.Databags {
			t.snapshot[r.id(t.app)+" "+owner] = maps.Clone(bag)
		}
	}
	return t, func() {
		if j.Secrets == nil {
			j.Secrets = map[string]map[string]string{}
		}
		t.unit.Ports = slices.DeleteFunc(t.unit.Ports, func(p string) bool { return slices.Contains(t.closed, p) })
		for _, p := range t.opened {
			if !slices.Contains(t.unit.Ports, p) {
				t.unit.Ports = append(t.unit.Ports, p)
			}
		}
		maps.Copy(j.Secrets, t.secrets)
		if j.owners == nil {
			j.owners, j.grants = map[string]string{}, map[string]map[string]bool{}
		}
		for id, app := range t.made {
			j.owners[id] = app
		}
		for _, g := range t.granted {
			if t.made[g[0]] != "" {
				continue // Juju 4.1-beta2 passes it over: it looks for the secret before it has made it
			}
			if j.grants[g[0]] == nil {
				j.grants[g[0]] = map[string]bool{}
			}
			j.grants[g[0]][g[1]] = true
		}
		for _, w := range t.writes {
			bag := w.relation.Databags[w.owner]
			if bag == nil {
				bag = map[string]string{}
				w.relation.Databags[w.owner] = bag
			}
			for k, v := range w.values {
				if v == "" {
					delete(bag, k)
				} else {
					bag[k] = v
				}
			}
		}
	}
}

// id names the relation as the units of app see it: by their own endpoint.
func (r *Relation) id(app string) string {
	for _, side := range r.Sides {
		if side.App == app {
			return fmt.Sprintf("%s:%d", side.Endpoint, r.ID)
		}
	}
	return ""
}

// other returns the application on the far side, seen from app.
func (r *Relation) other(app string) string {
	if r.Sides[0].App == app {
		return r.Sides[1].App
	}
	return r.Sides[0].App
}

type write struct {
	relation *Relation
	owner    string
	values   map[string]string
}

// Tools implements hooktool.Tools for one hook.
type Tools struct {
	juju     *Juju
	unit     *Unit
	app      string
	snapshot map[string]map[string]string
	writes   []write
	secrets  map[string]map[string]string // written by this hook
	made     map[string]string            // of these, what is new, and whose it is
	granted  [][2]string                  // secret and application
	opened   []string                     // ports
	closed   []string

	// Params are the running action's parameters.
	Params map[string]any
	// NoAgent has secret results refused, as where the agent's socket does not answer.
	NoAgent bool
	// Progress, Results and Failure are what the action said.
	Progress []string
	Results  map[string]string
	Failure  string
}

var _ hooktool.Tools = (*Tools)(nil)

// Wrote reports whether there is anything for commit to do.
func (t *Tools) Wrote() bool {
	return len(t.writes) > 0 || len(t.secrets) > 0 || len(t.granted) > 0 || len(t.opened) > 0 || len(t.closed) > 0
}

// Config implements hooktool.Tools.
func (t *Tools) Config(context.Context) (map[string]any, error) {
	return maps.Clone(t.juju.Config[t.app]), nil
}

// IsLeader implements hooktool.Tools.
func (t *Tools) IsLeader(context.Context) (bool, error) {
	return t.juju.Leaders[t.app] == t.unit.Name, nil
}

// Address implements hooktool.Tools.
func (t *Tools) Address(context.Context, string) (string, error) {
	if t.unit.Address == "" {
		return "", fmt.Errorf("cannot run network-get: unit %s has no address", t.unit.Name)
	}
	return t.unit.Address, nil
}

// Addresses implements hooktool.Tools.
func (t *Tools) Addresses(ctx context.Context, endpoint string) ([]string, error) {
	first, err := t.Address(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	return append([]string{first}, t.unit.MoreAddresses...), nil
}

// Units implements hooktool.Tools.
func (t *Tools) Units(context.Context) ([]string, error) {
	var units []string
	for name, unit := range t.juju.Units {
		if hooktool.AppOf(name) == t.app && !unit.Dying {
			units = append(units, name)
		}
	}
	sort.Strings(units)
	return units, nil
}

func (t *Tools) relation(id string) (*Relation, error) {
	for _, r := range t.juju.Relations {
		if r.id(t.app) == id {
			return r, nil
		}
	}
	return nil, fmt.Errorf("cannot find relation %q: %w", id, hooktool.ErrNotFound)
}

// RelationIDs implements hooktool.Tools.
func (t *Tools) RelationIDs(_ context.Context, endpoint string) ([]string, error) {
	var ids []string
	for _, r := range t.juju.Relations {
		if id := r.id(t.app); strings.HasPrefix(id, endpoint+":") {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	return ids, nil
}

// RelationUnits implements hooktool.Tools.
func (t *Tools) RelationUnits(_ context.Context, relation string) ([]string, error) {
	r, err := t.relation(relation)
	if err != nil {
		return nil, err
	}
	var units []string
	for name := range t.juju.Units {
		if hooktool.AppOf(name) == r.other(t.app) && name != t.unit.Name && !t.juju.Units[name].Starting {
			units = append(units, name)
		}
	}
	units = append(units, r.Stale...)
	sort.Strings(units)
	return units, nil
}

// RelationApp implements hooktool.Tools.
func (t *Tools) RelationApp(_ context.Context, relation string) (string, error) {
	r, err := t.relation(relation)
	if err != nil {
		return "", err
	}
	return r.other(t.app), nil
}

// RelationGet implements hooktool.Tools.
func (t *Tools) RelationGet(_ context.Context, relation, owner string) (map[string]string, error) {
	r, err := t.relation(relation)
	if err != nil {
		return nil, err
	}
	peer := r.Sides[0] == r.Sides[1]
	if owner == t.app && !peer && t.juju.Leaders[t.app] != t.unit.Name {
		return nil, fmt.Errorf("cannot run relation-get: permission denied: only the leader reads the databag of its own application %q", owner)
	}
	bag := maps.Clone(t.snapshot[relation+" "+owner])
	if bag == nil {
		bag = map[string]string{}
	}
	return bag, nil
}

// RelationSet implements hooktool.Tools.
func (t *Tools) RelationSet(_ context.Context, relation string, values map[string]string) error {
	r, err := t.relation(relation)
	if err != nil {
		return err
	}
	t.writes = append(t.writes, write{r, t.unit.Name, maps.Clone(values)})
	return nil
}

// RelationSetApp implements hooktool.Tools.
func (t *Tools) RelationSetApp(_ context.Context, relation string, values map[string]string) error {
	if t.juju.Leaders[t.app] != t.unit.Name {
		return fmt.Errorf("cannot run relation-set: unit %s is not the leader", t.unit.Name)
	}
	r, err := t.relation(relation)
	if err != nil {
		return err
	}
	t.writes = append(t.writes, write{r, t.app, maps.Clone(values)})
	return nil
}

// Storage implements hooktool.Tools.
func (t *Tools) Storage(_ context.Context, name string) ([]string, error) {
	return slices.Clone(t.unit.Storage[name]), nil
}

// Secret implements hooktool.Tools.
func (t *Tools) Secret(_ context.Context, id string) (map[string]string, error) {
	content, ok := t.juju.Secrets[id]
	owner := t.juju.owners[id]
	if ok && owner != "" && owner != t.app && !t.juju.grants[id][t.app] {
		return nil, fmt.Errorf("cannot run secret-get: permission denied: secret %q is not granted to %s", id, t.app)
	}
	if !ok {
		return nil, fmt.Errorf("cannot run secret-get: secret %q not found: %w", id, hooktool.ErrNotFound)
	}
	return maps.Clone(content), nil
}

// What Juju takes, in 3.6 and 4 alike; tests/contract holds it against them.
var (
	secretKey = regexp.MustCompile(`^[a-z](-?[a-z0-9]){2,}$`)         // core/secrets/createsecret.go
	resultKey = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`) // action-set.go
	reserved  = []string{"stdout", "stdout-encoding", "stderr", "stderr-encoding"}
	statuses  = []string{"active", "blocked", "waiting", "maintenance"}
)

const secretSize = 1000 * 1000 // bytes in base64

func checkSecret(content map[string]string) error {
	if len(content) == 0 {
		return errors.New("empty secret value not valid")
	}
	size := 0
	for key, value := range content {
		if !secretKey.MatchString(key) {
			return fmt.Errorf("key %q not valid", key)
		}
		size += base64.StdEncoding.EncodedLen(len(value))
	}
	if size > secretSize {
		return fmt.Errorf("secret content too large: %d bytes", size)
	}
	return nil
}

// AddSecret implements hooktool.Tools.
func (t *Tools) AddSecret(_ context.Context, label string, content map[string]string) (string, error) {
	if err := checkSecret(content); err != nil {
		return "", fmt.Errorf("cannot run secret-add: %w", err)
	}
	if t.juju.Leaders[t.app] != t.unit.Name {
		return "", fmt.Errorf("cannot run secret-add: unit %s is not the leader", t.unit.Name)
	}
	id := fmt.Sprintf("secret:%s-%s-%d", t.app, label, len(t.juju.Secrets)+len(t.secrets))
	if t.secrets == nil {
		t.secrets = map[string]map[string]string{}
	}
	t.secrets[id] = maps.Clone(content)
	if t.made == nil {
		t.made = map[string]string{}
	}
	t.made[id] = t.app
	return id, nil
}

// SetSecret implements hooktool.Tools.
func (t *Tools) SetSecret(_ context.Context, id string, content map[string]string) error {
	if err := checkSecret(content); err != nil {
		return fmt.Errorf("cannot run secret-set: %w", err)
	}
	if t.juju.Leaders[t.app] != t.unit.Name || t.juju.owners[id] != t.app {
		return fmt.Errorf("cannot run secret-set: permission denied: %q", id)
	}
	if t.secrets == nil {
		t.secrets = map[string]map[string]string{}
	}
	t.secrets[id] = maps.Clone(content)
	return nil
}

// GrantSecret implements hooktool.Tools.
func (t *Tools) GrantSecret(_ context.Context, id, relation string) error {
	r, err := t.relation(relation)
	if err != nil {
		return err
	}
	if t.juju.Leaders[t.app] != t.unit.Name || t.juju.owners[id] != t.app && t.made[id] != t.app {
		return fmt.Errorf("cannot run secret-grant: permission denied: %q", id)
	}
	t.granted = append(t.granted, [2]string{id, r.other(t.app)})
	return nil
}

// Granted implements hooktool.Tools.
func (t *Tools) Granted(_ context.Context, id string) (bool, error) {
	if t.juju.owners[id] != t.app {
		return false, fmt.Errorf("cannot run secret-info-get: secret %q not found: %w", id, hooktool.ErrNotFound)
	}
	return len(t.juju.grants[id]) > 0, nil
}

// OpenedPorts implements hooktool.Tools.
func (t *Tools) OpenedPorts(context.Context) ([]string, error) {
	return slices.Sorted(slices.Values(t.unit.Ports)), nil
}

// OpenPort implements hooktool.Tools.
func (t *Tools) OpenPort(_ context.Context, port string) error {
	wanted, err := parsePort(port)
	if err != nil {
		return err
	}
	t.closed = slices.DeleteFunc(t.closed, func(p string) bool { return p == port })
	if slices.Contains(t.unit.Ports, port) || slices.Contains(t.opened, port) {
		return nil
	}
	for _, other := range t.juju.Units {
		open := other.Ports
		if other == t.unit {
			open = append(slices.Clone(open), t.opened...)
		} else if other.Machine == "" || other.Machine != t.unit.Machine {
			continue
		}
		for _, p := range open {
			if has, _ := parsePort(p); has.protocol == wanted.protocol && has.from <= wanted.to && wanted.from <= has.to {
				return fmt.Errorf("cannot run open-port: cannot open %s (unit %q): port range conflicts with %s (unit %q)", port, t.unit.Name, p, other.Name)
			}
		}
	}
	t.opened = append(t.opened, port)
	return nil
}

// ClosePort implements hooktool.Tools.
func (t *Tools) ClosePort(_ context.Context, port string) error {
	if _, err := parsePort(port); err != nil {
		return err
	}
	t.opened = slices.DeleteFunc(t.opened, func(p string) bool { return p == port })
	t.closed = append(t.closed, port)
	return nil
}

// ports is a range of ports.
type ports struct {
	from, to int
	protocol string
}

// parsePort reads a port as open-port takes it.
func parsePort(text string) (ports, error) {
	numbers, protocol, _ := strings.Cut(text, "/")
	from, to, isRange := strings.Cut(numbers, "-")
	if !isRange {
		to = from
	}
	p := ports{protocol: protocol}
	var err, also error
	p.from, err = strconv.Atoi(from)
	p.to, also = strconv.Atoi(to)
	if err != nil || also != nil || p.from < 1 || p.to > 65535 || p.from > p.to || protocol != "tcp" && protocol != "udp" {
		return ports{}, fmt.Errorf("cannot run open-port: invalid port %q", text)
	}
	return p, nil
}

// StatusSet implements hooktool.Tools.
func (t *Tools) StatusSet(_ context.Context, status, message string) error {
	if !slices.Contains(statuses, status) {
		return fmt.Errorf("cannot run status-set: invalid status %q", status)
	}
	t.unit.Status, t.unit.Message = status, message
	t.unit.Said = append(t.unit.Said, status+" "+message)
	return nil
}

// VersionSet implements hooktool.Tools.
func (t *Tools) VersionSet(_ context.Context, version string) error {
	t.unit.Version = version
	return nil
}

// Log implements hooktool.Tools.
func (t *Tools) Log(_ context.Context, level, message string) error {
	t.unit.Log = append(t.unit.Log, level+" "+message)
	return nil
}

// ActionParams implements hooktool.Tools.
func (t *Tools) ActionParams(context.Context) (map[string]any, error) { return t.Params, nil }

// ActionLog implements hooktool.Tools.
func (t *Tools) ActionLog(_ context.Context, message string) error {
	t.Progress = append(t.Progress, message)
	return nil
}

// ActionSet implements hooktool.Tools.
func (t *Tools) ActionSet(_ context.Context, results map[string]string) error {
	if len(results) == 0 {
		return errors.New("cannot run action-set: no results given")
	}
	for path := range results {
		for key := range strings.SplitSeq(path, ".") {
			if !resultKey.MatchString(key) || slices.Contains(reserved, key) {
				return fmt.Errorf("cannot run action-set: key %q of result %q is not valid, or is Juju's own", key, path)
			}
		}
	}
	if t.Results == nil {
		t.Results = map[string]string{}
	}
	maps.Copy(t.Results, results)
	return nil
}

// ActionSetSecret implements hooktool.Tools.
func (t *Tools) ActionSetSecret(ctx context.Context, results map[string]string) error {
	if t.NoAgent {
		return errors.New("cannot run action-set: the agent's socket does not answer")
	}
	return t.ActionSet(ctx, results)
}

// ActionFail implements hooktool.Tools.
func (t *Tools) ActionFail(_ context.Context, message string) error {
	t.Failure = message
	return nil
}
