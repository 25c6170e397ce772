// Package hooktool is the only door to Juju's hook tools: the small commands (config-get,
// relation-set, status-set, …) that the agent puts on a hook's PATH.
//
// It is written by hand although github.com/gruyaume/goops exists: goops keeps one
// process-global runner (so no two units can be tested side by side), takes no context and
// passes relation values as arguments, where any user of the machine can read them.
//
// What is read from Juju is a snapshot: a value is asked for once per hook and stays what
// it was when the hook began, also after the hook itself has written to it. So a charm
// that reads a value back knows that Juju had committed it in an earlier hook.
package hooktool

import (
	"context"
	"errors"
	"fmt"
)

// ErrNotFound is returned (wrapped) when Juju does not know the relation, unit or secret.
var ErrNotFound = errors.New("not found")

// Tools is what a charm may ask of Juju and write to it. Exec is the real one; package
// hooktooltest has one in memory. Every method returns an error that begins with
// "cannot" and names the tool.
type Tools interface {
	// Config returns the application's options, defaults included. Numbers are float64.
	Config(ctx context.Context) (map[string]any, error)
	// IsLeader reports whether this unit leads its application for the next 30 seconds.
	IsLeader(ctx context.Context) (bool, error)
	// Address returns the unit's bind address on the space of an endpoint.
	Address(ctx context.Context, endpoint string) (string, error)
	// Addresses lists all of the unit's bind addresses there, that of Address first.
	Addresses(ctx context.Context, endpoint string) ([]string, error)

	// Units lists the units of this application that Juju means to keep, this one and
	// those that have not come up yet included.
	Units(ctx context.Context) ([]string, error)

	// RelationIDs lists the relations of an endpoint ("cluster:0"), sorted. A relation
	// whose relation-broken hook is running is left out: it is as good as gone.
	RelationIDs(ctx context.Context, endpoint string) ([]string, error)
	// RelationUnits lists the units on the other side (of a peer relation: the others).
	RelationUnits(ctx context.Context, relation string) ([]string, error)
	// RelationApp returns the name of the application on the other side; in a cross-model
	// relation that is the name it is known by here.
	RelationApp(ctx context.Context, relation string) (string, error)
	// RelationGet returns the databag of a unit ("app/0") or an application ("app"). The
	// own application's databag can be read by its leader only, except in a peer
	// relation. ErrNotFound when the owner has never been in the relation, or the relation
	// is gone.
	RelationGet(ctx context.Context, relation, owner string) (map[string]string, error)
	// RelationSet writes to this unit's databag; an empty value deletes its key. Juju
	// commits it when the hook succeeds.
	RelationSet(ctx context.Context, relation string, values map[string]string) error
	// RelationSetApp is RelationSet for the application's databag; only the leader may.
	RelationSetApp(ctx context.Context, relation string, values map[string]string) error

	// Storage returns where the instances of one of the charm's storages are on this machine:
	// a block device or a folder each, sorted; nothing when none is attached. Instances that
	// Juju still attaches, or detaches, are left out.
	Storage(ctx context.Context, name string) ([]string, error)

	// Secret returns the newest content of a Juju secret, by its id; ErrNotFound when there
	// is none. It has to be granted to the application.
	Secret(ctx context.Context, id string) (map[string]string, error)
	// AddSecret makes a secret that the application owns, and returns its id; only the leader
	// may. Every unit of the application can read it, once Juju has committed it: when the
	// hook succeeds. Keys are three or more lower-case letters, digits and hyphens.
	AddSecret(ctx context.Context, label string, content map[string]string) (id string, err error)
	// SetSecret returns a secret that the application owns another content; only the leader
	// may.
	SetSecret(ctx context.Context, id string, content map[string]string) error
	// Granted reports whether a secret that the application owns is granted to anyone; only
	// the leader may ask.
	Granted(ctx context.Context, id string) (bool, error)
	// GrantSecret lets the application on the other side of a relation read a secret that
	// this one owns, as long as there is the relation; only the leader may. The secret has to
	// be there since an earlier hook: Juju 4.1-beta2 looks for it before it makes the new
	// ones, and passes over the grant without a word.
	GrantSecret(ctx context.Context, id, relation string) error

	// OpenedPorts lists the ports that the unit had open when the hook began, as "80/tcp" or
	// "8080-8088/udp", sorted.
	OpenedPorts(ctx context.Context) ([]string, error)
	// OpenPort opens a port, written as in OpenedPorts, for all endpoints. It has an effect while the
	// application is exposed, and once the hook succeeds. It is an error where another unit on the
	// same machine has a port open that overlaps.
	OpenPort(ctx context.Context, port string) error
	// ClosePort closes a port; one that is not open is no error.
	ClosePort(ctx context.Context, port string) error

	// StatusSet sets the unit's workload status: active, blocked, waiting or maintenance.
	StatusSet(ctx context.Context, status, message string) error
	// VersionSet sets the version of the workload that `juju status` shows.
	VersionSet(ctx context.Context, version string) error
	// Log writes to `juju debug-log` at level DEBUG, INFO, WARNING or ERROR.
	Log(ctx context.Context, level, message string) error

	// ActionParams returns the running action's parameters, defaults included.
	ActionParams(ctx context.Context) (map[string]any, error)
	// ActionLog shows a line of progress to the one who runs the action.
	ActionLog(ctx context.Context, message string) error
	// ActionSet adds to the action's results. Keys are lower-case letters, digits and
	// hyphens.
	ActionSet(ctx context.Context, results map[string]string) error
	// ActionSetSecret is ActionSet for results that are secret, as an operator asked for with
	// reveal=true. action-set takes results as arguments only, so it is an error where they
	// would be arguments of a program, which every user of the machine can read.
	ActionSetSecret(ctx context.Context, results map[string]string) error
	// ActionFail marks the action as failed, with the reason that its user reads.
	ActionFail(ctx context.Context, message string) error
}

// Event says why Juju woke the charm, and who the charm is. Only logs, actions and
// departures look at it: plans are made from facts, not from events.
type Event struct {
	Hook   string // "config-changed", "cluster-relation-joined", …; empty for an action
	Action string // "drain", …; empty for a hook

	Unit      string // "lxd-cluster/0"
	Model     string // the model's name
	ModelUUID string
	Machine   string // Juju's machine id, "0" or "0/lxd/1"
	Zone      string // Juju's availability zone; empty when the cloud has none
	Principal string // a subordinate's principal unit, "app/0"
	CharmDir  string // where the charm is unpacked
	Relation  string // a relation hook's relation id, "cluster:0"
	Departing string // the unit that leaves, in relation-departed
}

// EventFrom reads the event from a hook's environment.
//
// getenv is os.Getenv outside tests. The error states that the program does not run under a
// Juju agent.
func EventFrom(getenv func(string) string) (Event, error) {
	e := Event{
		Unit:      getenv("JUJU_UNIT_NAME"),
		Model:     getenv("JUJU_MODEL_NAME"),
		ModelUUID: getenv("JUJU_MODEL_UUID"),
		Machine:   getenv("JUJU_MACHINE_ID"),
		Zone:      getenv("JUJU_AVAILABILITY_ZONE"),
		Principal: getenv("JUJU_PRINCIPAL_UNIT"),
		CharmDir:  getenv("JUJU_CHARM_DIR"),
		Relation:  getenv("JUJU_RELATION_ID"),
		Departing: getenv("JUJU_DEPARTING_UNIT"),
	}
	if e.Unit == "" {
		return Event{}, errors.New("cannot determine which unit this is: JUJU_UNIT_NAME is not set: this program is a charm and is run by a Juju agent")
	}
	// JUJU_DISPATCH_PATH is "hooks/<name>" or "actions/<name>".
	// https://documentation.ubuntu.com/juju/3.6/reference/hook/
	dir, name, ok := cutLast(getenv("JUJU_DISPATCH_PATH"), '/')
	switch {
	case !ok:
		return Event{}, fmt.Errorf("cannot determine which hook this is: JUJU_DISPATCH_PATH is %q, wanted hooks/<name> or actions/<name>", getenv("JUJU_DISPATCH_PATH"))
	case dir == "actions":
		e.Action = name
	default:
		e.Hook = name
	}
	return e, nil
}

// App returns the application's name: "lxd-cluster" for "lxd-cluster/0".
func (e Event) App() string { return AppOf(e.Unit) }

// Broken reports whether relation id is being taken away by this very hook.
func (e Event) Broken(relation string) bool {
	const suffix = "-relation-broken"
	return relation != "" && relation == e.Relation &&
		len(e.Hook) > len(suffix) && e.Hook[len(e.Hook)-len(suffix):] == suffix
}

// AppOf returns the application of a unit's name; an application's name is returned as is.
func AppOf(unit string) string {
	app, _, _ := cutLast(unit, '/')
	if app == "" {
		return unit
	}
	return app
}

// cutLast cuts s at the last sep.
func cutLast(s string, sep byte) (before, after string, found bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == sep {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
