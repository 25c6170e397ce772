package main

// Charm is what a version of Juju read of a charm's archive.
type Charm struct {
	Name, Summary string
	Subordinate   bool
	Relations     map[string]Endpoint
	Bindings      []string
	Storage       map[string]Store
	Options       map[string]Option
	Actions       map[string]Action
	Bases         []string
	Assumes       bool
}

// Endpoint is one of a charm's relations.
type Endpoint struct {
	Role, Interface, Scope string
	Limit                  int
	Optional               bool
}

// Store is one of a charm's storages.
type Store struct {
	Type     string
	Min, Max int
	Location string
}

// Option is one of a charm's options.
type Option struct {
	Type    string
	Default any
}

// Action is one of a charm's actions, with the JSON schema of its parameters.
type Action struct {
	Description string
	Parallel    bool
	Params      map[string]any
}

// Bundle is what a version of Juju read of a bundle and its overlays.
type Bundle struct {
	Applications []string
	Problems     []string // what juju deploy warns of: fields that it does not know
}

func newCharm(name, summary string, subordinate, assumes bool) *Charm {
	return &Charm{
		Name: name, Summary: summary, Subordinate: subordinate, Assumes: assumes,
		Relations: map[string]Endpoint{}, Storage: map[string]Store{},
		Options: map[string]Option{}, Actions: map[string]Action{},
	}
}
