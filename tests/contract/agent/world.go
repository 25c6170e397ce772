package main

import (
	"errors"
	"maps"
	"slices"
	"sort"
	"strings"
)

// World is what Juju knows when a hook begins. A test writes it as JSON.
type World struct {
	Unit     string // that runs the hook
	Leader   bool
	Config   map[string]any
	Network  map[string][]Interface // by endpoint
	Goal     map[string]string      // status by unit
	Status   Status
	Secrets  map[string]*Secret
	Storage  map[string]*Attachment // by id, "local/3"
	Ports    []string               // that this unit opened in earlier hooks, "5240/tcp"
	Action   bool                   // the hook is an action
	Params   map[string]any         // its parameters
	InHookOf string                 // the relation of a relation hook, "cluster:0"

	Relations []*Relation
}

// Interface is a network interface of the unit's machine.
type Interface struct {
	Name      string
	Addresses []string
}

// Status is a unit's workload status.
type Status struct{ Status, Message string }

// Secret is a Juju secret.
type Secret struct {
	Owner   string // an application
	Label   string
	Content map[string]string
	Granted []string // applications that may read it
}

// Attachment is a storage instance, as it is attached to the unit.
type Attachment struct {
	Kind     string // block or filesystem
	Location string // empty as long as it is not provisioned
}

// Relation is a relation as this unit sees it.
type Relation struct {
	ID       int
	Endpoint string // of this application
	App      string // on the other side
	Peer     bool
	Units    []string                     // whose joining the agent has handled, without this one
	Databags map[string]map[string]string // by unit or application; a unit stays here after it left
	Removed  bool                         // from the controller, by force: the agent has not noticed yet
}

// Effect is something that a hook tool asked of Juju.
type Effect struct {
	What string // "set-status", …
	Of   string // a relation's or secret's id, an owner, or empty
	Text string
	Bag  map[string]string
}

// hook is one hook, or action, of a world. Its methods are what the Context of either version of
// Juju has in common; texts of errors are those of the version.
type hook struct {
	World
	effects []Effect
	cached  *Status // UnitStatus asks the controller once per hook
}

func (h *hook) did(e Effect) { h.effects = append(h.effects, e) }

func (h *hook) app() string {
	app, _, _ := strings.Cut(h.Unit, "/")
	return app
}

func (h *hook) status() Status {
	if h.cached == nil {
		s := h.Status
		h.cached = &s
	}
	return *h.cached
}

func (h *hook) setStatus(s Status) {
	h.Status = s
	h.did(Effect{What: "set-status", Of: s.Status, Text: s.Message})
}

func (h *hook) relation(id int) *Relation {
	i := slices.IndexFunc(h.Relations, func(r *Relation) bool { return r.ID == id })
	if i < 0 {
		return nil
	}
	return h.Relations[i]
}

func (h *hook) relationIDs() []int {
	ids := []int{}
	for _, r := range h.Relations {
		ids = append(ids, r.ID)
	}
	sort.Sort(sort.Reverse(sort.IntSlice(ids)))
	return ids
}

// read reads a databag as the controller does, which looks for the relation first.
func (h *hook) read(r *Relation, owner string) (map[string]string, error) {
	if r.Removed {
		return nil, errRelationRemoved
	}
	if owner == h.app() && !r.Peer && ownBagByLeader {
		return nil, errPermission
	}
	bag, ok := r.Databags[owner]
	if !ok && strings.Contains(owner, "/") {
		return nil, errNoUnit(r, owner)
	}
	if bag == nil {
		return map[string]string{}, nil
	}
	return maps.Clone(bag), nil
}

// own reads what the agent writes later: a databag of this unit, or of its application.
func (h *hook) own(r *Relation, owner string) (*settings, error) {
	// In either version: UniterAPI.ReadSettings.
	if r.Removed {
		return nil, errPermission
	}
	if r.Databags == nil {
		r.Databags = map[string]map[string]string{}
	}
	if r.Databags[owner] == nil {
		r.Databags[owner] = map[string]string{}
	}
	return &settings{h, r, owner}, nil
}

// settings is a databag that can be written to.
type settings struct {
	h     *hook
	r     *Relation
	owner string
}

func (s *settings) values() map[string]string { return maps.Clone(s.r.Databags[s.owner]) }

func (s *settings) Set(key, value string) {
	s.r.Databags[s.owner][key] = value
	s.h.did(Effect{What: "relation-set", Of: s.owner, Text: key, Bag: map[string]string{key: value}})
}

func (s *settings) Delete(key string) {
	delete(s.r.Databags[s.owner], key)
	s.h.did(Effect{What: "relation-delete", Of: s.owner, Text: key})
}

// secret looks for a secret as the controller does for one who reads it: whether it is there
// first, then whether the application may.
func (h *hook) secret(id string) (*Secret, error) {
	s := h.Secrets[id]
	if s == nil {
		return nil, errNoSecret(id)
	}
	if s.Owner != h.app() && !slices.Contains(s.Granted, h.app()) {
		return nil, errPermission
	}
	return s, nil
}

func (h *hook) mustLead() error {
	if !h.Leader {
		return errNotLeader
	}
	return nil
}

func (h *hook) inAction() error {
	if !h.Action {
		return errors.New("not running an action") // HookContext.ActionParams
	}
	return nil
}

// The same in both versions: ErrPerm of apiserver/errors, and ErrIsNotLeader of the agent's
// internal/worker/uniter/runner/context.
var (
	errPermission = errors.New("permission denied")
	errNotLeader  = errors.New("this unit is not the leader")
)
