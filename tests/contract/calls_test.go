//go:build contract

package contract

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// form is one way to call a method of hooktool.Tools, and what has to come of it with Juju 3.6 and
// with Juju 4.
type form struct {
	name   string
	method string
	args   []any // without the context
	event  hooktool.Event
	world  world

	calls    []string // tool and arguments, joined by spaces; $secret and $file for what changes
	want     any      // the result beside the error, where there is one
	err      string   // part of the error's text, in either version
	errs     [2]string
	notFound bool
	effects  []effect
	differs  bool // the answers of the versions differ: docs/reference/juju-versions.md says how
}

// m and db shorten the tables.
type (
	m  = map[string]string
	db = map[string]map[string]string
)

const uri = "secret:9m4e2mr0ui3e8a215n4g"

func id(uri string) string { return strings.TrimPrefix(uri, "secret:") }

var (
	unit   = hooktool.Event{Unit: "app/0", Hook: "config-changed"}
	action = hooktool.Event{Unit: "app/0", Action: "drain"}
	bags   = db{"app": {"coordinator": "app/0"}, "app/0": {"join-request": "w"}, "other": {"k": "v"}, "other/0": {"address": "10.0.0.7"}, "other/9": {"left": "yes"}}
)

func joined(bags db) []*relation {
	return []*relation{{ID: 4, Endpoint: "maas", App: "other", Units: []string{"other/1", "other/0"}, Databags: bags}}
}

func peers() []*relation {
	return []*relation{{ID: 0, Endpoint: "cluster", App: "app", Peer: true, Units: []string{"app/1"}, Databags: bags}}
}

func removed() []*relation {
	all := joined(bags)
	all[0].Removed = true
	return all
}

func secrets(owner string, granted ...string) map[string]*secret {
	return map[string]*secret{id(uri): {Owner: owner, Label: "store", Content: m{"private-key": "k: \"1\"\n"}, Granted: granted}}
}

func forms() []form {
	all := []form{
		{name: "options", method: "Config", event: unit,
			world: world{Config: map[string]any{"bridge": "auto", "port": 8443, "force": false, "ratio": 1.5, "password": nil}},
			calls: []string{"config-get --format=json --all"},
			want:  map[string]any{"bridge": "auto", "port": 8443.0, "force": false, "ratio": 1.5, "password": nil}},
		{name: "no options", method: "Config", event: unit, calls: []string{"config-get --format=json --all"}, want: map[string]any{}},
		{name: "options in an action", method: "Config", event: action, world: world{Action: true, Config: map[string]any{"a": "b"}},
			calls: []string{"config-get --format=json --all"}, want: map[string]any{"a": "b"}},

		{name: "leader", method: "IsLeader", event: unit, world: world{Leader: true}, calls: []string{"is-leader --format=json"}, want: true},
		{name: "no leader", method: "IsLeader", event: unit, calls: []string{"is-leader --format=json"}, want: false},

		{name: "address", method: "Address", args: []any{"maas"}, event: unit,
			world: world{Network: map[string][]iface{"maas": {{"eth0", nil}, {"br0", []string{"10.0.0.5", "fd00::5"}}}}},
			calls: []string{"network-get --format=json maas"}, want: "10.0.0.5"},
		{name: "address that Juju does not know yet", method: "Address", args: []any{"maas"}, event: unit,
			world: world{Network: map[string][]iface{"maas": {{"eth0", nil}}}},
			calls: []string{"network-get --format=json maas"}, err: "wait until Juju knows it"},
		{name: "no network", method: "Address", args: []any{"maas"}, event: unit,
			calls: []string{"network-get --format=json maas"}, err: `no network config found for binding "maas"`},

		{name: "addresses", method: "Addresses", args: []any{"maas"}, event: unit,
			world: world{Network: map[string][]iface{"maas": {{"eth0", []string{"10.1.0.5"}}, {"br0", []string{"10.0.0.5", "fd00::5"}}}}},
			calls: []string{"network-get --format=json maas"}, want: []string{"10.1.0.5", "10.0.0.5", "fd00::5"}},

		{name: "units", method: "Units", event: unit,
			world: world{Goal: m{"app/1": "waiting", "app/0": "active", "app/2": "dying", "app/10": "allocating"}},
			calls: []string{"goal-state --format=json"}, want: []string{"app/0", "app/1", "app/10"}},

		{name: "relations", method: "RelationIDs", args: []any{"maas"}, event: unit,
			world: world{Relations: append(append(joined(nil), peers()...), &relation{ID: 11, Endpoint: "maas", App: "third"})},
			calls: []string{"relation-ids --format=json maas"}, want: []string{"maas:11", "maas:4"}},
		{name: "no relations", method: "RelationIDs", args: []any{"maas"}, event: unit, world: world{Relations: peers()},
			calls: []string{"relation-ids --format=json maas"}, want: []string{}},
		{name: "relation that is broken", method: "RelationIDs", args: []any{"maas"},
			event: hooktool.Event{Unit: "app/0", Hook: "maas-relation-broken", Relation: "maas:4"},
			world: world{Relations: joined(nil), InHookOf: "maas:4"},
			calls: []string{"relation-ids --format=json maas"}, want: []string{}},

		{name: "units of a relation", method: "RelationUnits", args: []any{"maas:4"}, event: unit, world: world{Relations: joined(nil)},
			calls: []string{"relation-list --format=json -r maas:4"}, want: []string{"other/0", "other/1"}},
		{name: "relation without units", method: "RelationUnits", args: []any{"maas:4"}, event: unit,
			world: world{Relations: []*relation{{ID: 4, Endpoint: "maas", App: "other"}}},
			calls: []string{"relation-list --format=json -r maas:4"}, want: []string{}},
		{name: "units of an unknown relation", method: "RelationUnits", args: []any{"maas:7"}, event: unit, world: world{Relations: joined(nil)},
			calls: []string{"relation-list --format=json -r maas:7"}, err: "relation not found", notFound: true},
		{name: "other application", method: "RelationApp", args: []any{"maas:4"}, event: unit, world: world{Relations: joined(nil)},
			calls: []string{"relation-list --format=json -r maas:4 --app"}, want: "other"},
		{name: "application of an unknown relation", method: "RelationApp", args: []any{"maas:7"}, event: unit,
			calls: []string{"relation-list --format=json -r maas:7 --app"}, err: "relation not found", notFound: true},

		{name: "databag of a unit", method: "RelationGet", args: []any{"maas:4", "other/0"}, event: unit, world: world{Relations: joined(bags)},
			calls: []string{"relation-get --format=json -r maas:4 - other/0"}, want: m{"address": "10.0.0.7"}},
		{name: "databag of a unit that left", method: "RelationGet", args: []any{"maas:4", "other/9"}, event: unit, world: world{Relations: joined(bags)},
			calls: []string{"relation-get --format=json -r maas:4 - other/9"}, want: m{"left": "yes"}},
		{name: "databag of a unit that never came", method: "RelationGet", args: []any{"maas:4", "other/5"}, event: unit, world: world{Relations: joined(bags)},
			calls: []string{"relation-get --format=json -r maas:4 - other/5"},
			errs:  [2]string{"settings not found", "relation unit not found"}, notFound: true, differs: true},
		{name: "databag of the other application", method: "RelationGet", args: []any{"maas:4", "other"}, event: unit, world: world{Relations: joined(bags)},
			calls: []string{"relation-get --format=json -r maas:4 --app - other"}, want: m{"k": "v"}},
		{name: "empty databag of an application", method: "RelationGet", args: []any{"maas:4", "other"}, event: unit, world: world{Relations: joined(db{})},
			calls: []string{"relation-get --format=json -r maas:4 --app - other"}, want: m{}},
		{name: "own databag", method: "RelationGet", args: []any{"maas:4", "app/0"}, event: unit, world: world{Relations: joined(bags)},
			calls: []string{"relation-get --format=json -r maas:4 - app/0"}, want: m{"join-request": "w"}},
		{name: "own application's databag, by the leader", method: "RelationGet", args: []any{"maas:4", "app"}, event: unit, world: world{Leader: true, Relations: joined(bags)},
			calls: []string{"relation-get --format=json -r maas:4 --app - app"}, want: m{"coordinator": "app/0"}},
		{name: "own application's databag, no leader", method: "RelationGet", args: []any{"maas:4", "app"}, event: unit, world: world{Relations: joined(bags)},
			calls: []string{"relation-get --format=json -r maas:4 --app - app"},
			errs:  [2]string{"permission denied", ""}, want: m{"coordinator": "app/0"}, differs: true},
		{name: "own application's databag among peers", method: "RelationGet", args: []any{"cluster:0", "app"}, event: unit, world: world{Relations: peers()},
			calls: []string{"relation-get --format=json -r cluster:0 --app - app"}, want: m{"coordinator": "app/0"}},
		{name: "databag of a peer", method: "RelationGet", args: []any{"cluster:0", "app/1"}, event: unit,
			world: world{Relations: []*relation{{ID: 0, Endpoint: "cluster", App: "app", Peer: true, Databags: db{"app/1": {"a": "b"}}}}},
			calls: []string{"relation-get --format=json -r cluster:0 - app/1"}, want: m{"a": "b"}},
		{name: "databag of a unit over a removed relation", method: "RelationGet", args: []any{"maas:4", "other/0"}, event: unit, world: world{Relations: removed()},
			calls: []string{"relation-get --format=json -r maas:4 - other/0"},
			errs:  [2]string{"permission denied", "relation not found"}, notFound: true, differs: true},
		{name: "databag of an application over a removed relation", method: "RelationGet", args: []any{"maas:4", "other"}, event: unit, world: world{Relations: removed()},
			calls: []string{"relation-get --format=json -r maas:4 --app - other"},
			errs:  [2]string{"permission denied", "relation not found"}, notFound: true, differs: true},
		{name: "own databag over a removed relation", method: "RelationGet", args: []any{"maas:4", "app/0"}, event: unit, world: world{Relations: removed()},
			calls: []string{"relation-get --format=json -r maas:4 - app/0"}, err: "permission denied", notFound: true},
		{name: "databag over an unknown relation", method: "RelationGet", args: []any{"maas:7", "other/0"}, event: unit,
			calls: []string{"relation-get --format=json -r maas:7 - other/0"}, err: "relation not found", notFound: true},

		{name: "write and delete", method: "RelationSet", args: []any{"maas:4", m{"join-request": "", "csr": "a: b\nc"}}, event: unit, world: world{Relations: joined(bags)},
			calls: []string{"relation-get --format=json -r maas:4 - app/0", "relation-set -r maas:4 --file -"},
			effects: []effect{
				{What: "relation-delete", Of: "app/0", Text: "join-request"},
				{What: "relation-set", Of: "app/0", Text: "csr", Bag: m{"csr": "a: b\nc"}},
			}},
		{name: "write to an unknown relation", method: "RelationSet", args: []any{"maas:7", m{"a": "b"}}, event: unit,
			calls: []string{"relation-get --format=json -r maas:7 - app/0", "relation-set -r maas:7 --file -"}, err: "relation not found", notFound: true},
		{name: "write to the application's databag", method: "RelationSetApp", args: []any{"cluster:0", m{"coordinator": "app/0"}}, event: unit,
			world: world{Leader: true, Relations: peers()}, calls: []string{"relation-get --format=json -r cluster:0 --app - app", "relation-set -r cluster:0 --app --file -"},
			effects: []effect{{What: "relation-set", Of: "app", Text: "coordinator", Bag: m{"coordinator": "app/0"}}}},
		{name: "write to the application's databag, no leader", method: "RelationSetApp", args: []any{"cluster:0", m{"coordinator": "app/0"}}, event: unit,
			world: world{Relations: peers()}, calls: []string{"relation-get --format=json -r cluster:0 --app - app", "relation-set -r cluster:0 --app --file -"}, err: "cannot write relation settings"},

		{name: "storage", method: "Storage", args: []any{"local"}, event: unit,
			world: world{Storage: map[string]*attachment{"local/1": {"block", "/dev/sdc"}, "logs/0": {"filesystem", "/srv"}}},
			calls: []string{"storage-list --format=json local", "storage-get --format=json -s local/1"}, want: []string{"/dev/sdc"}},
		{name: "storage in a folder", method: "Storage", args: []any{"logs"}, event: unit,
			world: world{Storage: map[string]*attachment{"logs/0": {"filesystem", "/srv"}}},
			calls: []string{"storage-list --format=json logs", "storage-get --format=json -s logs/0"}, want: []string{"/srv"}},
		{name: "no storage", method: "Storage", args: []any{"local"}, event: unit, calls: []string{"storage-list --format=json local"}, want: []string(nil)},
		{name: "block device that is not attached yet", method: "Storage", args: []any{"local"}, event: unit,
			world: world{Storage: map[string]*attachment{"local/1": {"block", ""}}},
			calls: []string{"storage-list --format=json local", "storage-get --format=json -s local/1"}, want: []string(nil), differs: true},
		{name: "folder that is not attached yet", method: "Storage", args: []any{"logs"}, event: unit,
			world: world{Storage: map[string]*attachment{"logs/0": {"filesystem", ""}}},
			calls: []string{"storage-list --format=json logs", "storage-get --format=json -s logs/0"}, want: []string(nil), differs: true},

		{name: "own secret", method: "Secret", args: []any{uri}, event: unit, world: world{Secrets: secrets("app")},
			calls: []string{"secret-get --format=json --refresh -- $secret"}, want: m{"private-key": "k: \"1\"\n"},
			effects: []effect{{What: "get-secret", Of: id(uri), Text: "refresh=true peek=false"}}},
		{name: "granted secret, in the long form", method: "Secret", args: []any{"secret://5d21d68b-6ba6-4d4e-8a2c-1d7a6d1a9b11/" + id(uri)}, event: unit, world: world{Secrets: secrets("other", "app")},
			calls:   []string{"secret-get --format=json --refresh -- secret://5d21d68b-6ba6-4d4e-8a2c-1d7a6d1a9b11/" + id(uri)},
			want:    m{"private-key": "k: \"1\"\n"},
			effects: []effect{{What: "get-secret", Of: id(uri), Text: "refresh=true peek=false"}}},
		{name: "unknown secret", method: "Secret", args: []any{uri}, event: unit, calls: []string{"secret-get --format=json --refresh -- $secret"},
			errs: [2]string{`secret "` + uri + `" not found`, "getting latest secret revision: "}, notFound: true, differs: true},
		{name: "secret that is not granted", method: "Secret", args: []any{uri}, event: unit, world: world{Secrets: secrets("other")},
			calls: []string{"secret-get --format=json --refresh -- $secret"}, err: "permission denied"},
		{name: "what is no secret", method: "Secret", args: []any{"hunter2 !"}, event: unit,
			calls: []string{"secret-get --format=json --refresh -- hunter2 !"}, err: "not valid"},

		{name: "new secret", method: "AddSecret", args: []any{"maas-rack 4", m{"private-key": "-----BEGIN\nä: \"€\"\n", "certificate": "c"}}, event: unit, world: world{Leader: true},
			calls: []string{"secret-add --owner application --label maas-rack 4 --file $file"}, want: "$secret",
			effects: []effect{{What: "create-secret", Of: "$secret", Text: "application-app maas-rack 4", Bag: m{"private-key": "-----BEGIN\nä: \"€\"\n", "certificate": "c"}}}},
		{name: "new secret, no leader", method: "AddSecret", args: []any{"store", m{"private-key": "k"}}, event: unit,
			calls: []string{"secret-add --owner application --label store --file $file"}, err: "this unit is not the leader"},
		{name: "new secret with a short key", method: "AddSecret", args: []any{"store", m{"ab": "k"}}, event: unit, world: world{Leader: true},
			calls: []string{"secret-add --owner application --label store --file $file"}, err: `key "ab" not valid`},
		{name: "new secret without content", method: "AddSecret", args: []any{"store", m{}}, event: unit, world: world{Leader: true},
			calls: []string{"secret-add --owner application --label store --file $file"}, err: "empty secret"},
		{name: "new secret that is too big", method: "AddSecret", args: []any{"store", m{"private-key": strings.Repeat("k", 750_001)}}, event: unit, world: world{Leader: true},
			calls: []string{"secret-add --owner application --label store --file $file"}, err: "too large"},
		{name: "new content", method: "SetSecret", args: []any{uri, m{"private-key": "l"}}, event: unit, world: world{Leader: true, Secrets: secrets("app")},
			calls:   []string{"secret-get --format=json --refresh -- $secret", "secret-set $secret --file $file"},
			effects: []effect{{What: "get-secret", Of: id(uri), Text: "refresh=true peek=false"}, {What: "update-secret", Of: id(uri), Bag: m{"private-key": "l"}}}},
		{name: "new content, no leader", method: "SetSecret", args: []any{uri, m{"private-key": "l"}}, event: unit, world: world{Secrets: secrets("app")},
			calls:   []string{"secret-get --format=json --refresh -- $secret", "secret-set $secret --file $file"},
			effects: []effect{{What: "get-secret", Of: id(uri), Text: "refresh=true peek=false"}}, err: "this unit is not the leader"},
		{name: "whether a granted secret is granted", method: "Granted", args: []any{uri}, event: unit, world: world{Leader: true, Secrets: secrets("app", "other")},
			calls: []string{"secret-info-get --format=json $secret"}, want: true},
		{name: "whether a secret is granted", method: "Granted", args: []any{uri}, event: unit, world: world{Leader: true, Secrets: secrets("app")},
			calls: []string{"secret-info-get --format=json $secret"}, want: false},
		{name: "whether a secret of another is granted", method: "Granted", args: []any{uri}, event: unit, world: world{Leader: true, Secrets: secrets("other", "app")},
			calls: []string{"secret-info-get --format=json $secret"}, err: "not found", notFound: true},
		{name: "grant", method: "GrantSecret", args: []any{uri, "maas:4"}, event: unit, world: world{Leader: true, Secrets: secrets("app"), Relations: joined(nil)},
			calls: []string{"secret-grant $secret -r maas:4"}, effects: []effect{{What: "grant-secret", Of: id(uri), Text: "other over app:maas other:maas"}}},
		{name: "grant, no leader", method: "GrantSecret", args: []any{uri, "maas:4"}, event: unit, world: world{Secrets: secrets("app"), Relations: joined(nil)},
			calls: []string{"secret-grant $secret -r maas:4"}, err: "this unit is not the leader"},
		{name: "grant of an unknown secret", method: "GrantSecret", args: []any{uri, "maas:4"}, event: unit, world: world{Leader: true, Relations: joined(nil)},
			calls: []string{"secret-grant $secret -r maas:4"}, err: "not found", notFound: true},
		{name: "grant over an unknown relation", method: "GrantSecret", args: []any{uri, "maas:7"}, event: unit, world: world{Leader: true, Secrets: secrets("app")},
			calls: []string{"secret-grant $secret -r maas:7"}, err: "relation not found", notFound: true},

		{name: "open ports", method: "OpenedPorts", event: unit, world: world{Ports: []string{"8443/tcp", "8080-8088/udp"}},
			calls: []string{"opened-ports --format=json"}, want: []string{"8080-8088/udp", "8443/tcp"}},
		{name: "no open ports", method: "OpenedPorts", event: unit, calls: []string{"opened-ports --format=json"}, want: []string{}},
		{name: "open a port", method: "OpenPort", args: []any{"8443/tcp"}, event: unit, calls: []string{"open-port -- 8443/tcp"},
			effects: []effect{{What: "open-port", Text: "8443/tcp"}}},
		{name: "open a range", method: "OpenPort", args: []any{"8080-8088/udp"}, event: unit, calls: []string{"open-port -- 8080-8088/udp"},
			effects: []effect{{What: "open-port", Text: "8080-8088/udp"}}},
		{name: "open what is no port", method: "OpenPort", args: []any{"https"}, event: unit, calls: []string{"open-port -- https"}, err: `invalid port`},
		{name: "close a port", method: "ClosePort", args: []any{"8443/tcp"}, event: unit, calls: []string{"close-port -- 8443/tcp"},
			effects: []effect{{What: "close-port", Text: "8443/tcp"}}},

		{name: "status that is so already", method: "StatusSet", args: []any{"active", "ready"}, event: unit, world: world{Status: status{"active", "ready"}},
			calls: []string{"status-get --format=json --include-data"}},
		{name: "status without a message", method: "StatusSet", args: []any{"active", ""}, event: unit, world: world{Status: status{"waiting", "for machine"}},
			calls:   []string{"status-get --format=json --include-data", "status-set -- active "},
			effects: []effect{{What: "set-status", Of: "active"}}},
		{name: "status that is none", method: "StatusSet", args: []any{"ready", "now"}, event: unit,
			calls: []string{"status-get --format=json --include-data", "status-set -- ready now"}, err: `invalid status "ready"`},

		{name: "version", method: "VersionSet", args: []any{"5.0.2"}, event: unit, calls: []string{"application-version-set -- 5.0.2"},
			effects: []effect{{What: "set-version", Text: "5.0.2"}}},
		{name: "log in a relation hook", method: "Log", args: []any{"INFO", "join"}, event: unit, world: world{Relations: joined(nil), InHookOf: "maas:4"},
			calls: []string{"juju-log -l INFO -- join"}, effects: []effect{{What: "log", Of: "INFO", Text: "maas:4: join"}}},
		{name: "log of an empty line", method: "Log", args: []any{"INFO", ""}, event: unit,
			calls: []string{"juju-log -l INFO -- "}, effects: []effect{{What: "log", Of: "INFO"}}},

		{name: "parameters", method: "ActionParams", event: action, world: world{Action: true, Params: map[string]any{"pet": "node7", "force": false, "parallel": 4}},
			calls: []string{"action-get --format=json"}, want: map[string]any{"pet": "node7", "force": false, "parallel": 4.0}},
		{name: "no parameters", method: "ActionParams", event: action, world: world{Action: true}, calls: []string{"action-get --format=json"}, want: map[string]any{}},
		{name: "parameters of a hook", method: "ActionParams", event: unit, calls: []string{"action-get --format=json"}, err: "not running an action"},
		{name: "progress", method: "ActionLog", args: []any{"-moved web\nto node2"}, event: action, world: world{Action: true},
			calls: []string{"action-log -- -moved web\nto node2"}, effects: []effect{{What: "action-log", Text: "-moved web\nto node2"}}},
		{name: "results", method: "ActionSet", args: []any{m{"moved": "2", "instances": "a=b: c\n-d"}}, event: action, world: world{Action: true},
			calls: []string{"action-set -- instances=a=b: c\n-d moved=2"},
			effects: []effect{
				{What: "action-result", Of: "instances", Text: "a=b: c\n-d"}, {What: "action-result", Of: "moved", Text: "2"},
			}},
		{name: "empty result", method: "ActionSet", args: []any{m{"failed": ""}}, event: action, world: world{Action: true},
			calls: []string{"action-set -- failed="}, effects: []effect{{What: "action-result", Of: "failed"}}},
		{name: "secret results", method: "ActionSetSecret", args: []any{m{"api-key": "a:b:c"}}, event: action, world: world{Action: true},
			calls: []string{"action-set -- api-key=a:b:c"}, effects: []effect{{What: "action-result", Of: "api-key", Text: "a:b:c"}}},
		{name: "result with a key that is none", method: "ActionSet", args: []any{m{"Moved": "2"}}, event: action, world: world{Action: true},
			calls: []string{"action-set -- Moved=2"}, err: `key "Moved" must start and end with lowercase alphanumeric`},
		{name: "result with a key of Juju's", method: "ActionSet", args: []any{m{"stdout": "2"}}, event: action, world: world{Action: true},
			calls: []string{"action-set -- stdout=2"}, err: "cannot set reserved action key"},
		{name: "failure", method: "ActionFail", args: []any{"-cannot drain: \"node7\""}, event: action, world: world{Action: true},
			calls:   []string{"action-fail -- -cannot drain: \"node7\""},
			effects: []effect{{What: "action-message", Text: "-cannot drain: \"node7\""}, {What: "action-failed"}}},
	}
	for _, level := range []charm.Level{charm.LevelActive, charm.LevelBlocked, charm.LevelWaiting, charm.LevelMaintenance} {
		all = append(all, form{name: "status " + string(level), method: "StatusSet", args: []any{string(level), "--help: it's \"so\""}, event: unit,
			world:   world{Status: status{"waiting", "for machine"}},
			calls:   []string{"status-get --format=json --include-data", fmt.Sprintf("status-set -- %s --help: it's \"so\"", level)},
			effects: []effect{{What: "set-status", Of: string(level), Text: "--help: it's \"so\""}}})
	}
	for _, level := range []string{"DEBUG", "INFO", "WARNING", "ERROR"} {
		all = append(all, form{name: "log at " + level, method: "Log", args: []any{level, "-l 100% done"}, event: unit,
			calls: []string{"juju-log -l " + level + " -- -l 100% done"}, effects: []effect{{What: "log", Of: level, Text: "-l 100% done"}}})
	}
	return all
}

var (
	aSecret = regexp.MustCompile(`^secret:[0-9a-v]{20}$`)
	aFile   = regexp.MustCompile(`^/proc/\d+/fd/\d+$`)
)

// plain writes a call so that it is the same each time.
func (c call) plain() string {
	words := []string{c.Tool}
	for _, arg := range c.Args {
		switch {
		case arg == uri:
			arg = "$secret"
		case aFile.MatchString(arg):
			arg = "$file"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// Every method of hooktool, in every form, is answered by the agent of either version as the charms
// take it.
func TestEveryCall(t *testing.T) {
	all := forms()
	answers := [2][]string{make([]string, len(all)), make([]string, len(all))}
	for which, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			a := v.serve(t)
			called := map[string]bool{}
			var argv []call
			for i, f := range all {
				t.Run(f.name, func(t *testing.T) {
					calls := f.check(t, a, which)
					called[f.method] = true
					argv = append(argv, calls...)
					answers[which][i] = answer(calls)
				})
			}
			t.Run("is complete", func(t *testing.T) { complete(t, a, called, argv) })
		})
	}
	list(t, all, answers)
	for i, f := range all {
		if f.differs != (answers[0][i] != answers[1][i]) {
			t.Errorf("%s: whether the versions differ is said wrongly here and in docs/reference/juju-versions.md:\n%s\n%s", f.name, answers[0][i], answers[1][i])
		}
	}
}

// list writes down each call with the versions' answers, for people to read.
func list(t *testing.T, all []form, answers [2][]string) {
	var b strings.Builder
	for i, f := range all {
		fmt.Fprintf(&b, "%s: %s\n", f.method, f.name)
		for which, v := range versions {
			fmt.Fprintf(&b, "  %s\n", v.name)
			for line := range strings.Lines(answers[which][i]) {
				if len(line) > 1 {
					fmt.Fprintf(&b, "    %s\n", strings.TrimSuffix(clip(line), "\n"))
				}
			}
		}
	}
	path := filepath.Join(root, "bin/contract/calls.txt")
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
}

func (f form) check(t *testing.T, a *agent, which int) []call {
	a.begin(t, f.world)
	x := hooktool.NewExec(f.event)
	in := []reflect.Value{reflect.ValueOf(context.Background())}
	for _, arg := range f.args {
		in = append(in, reflect.ValueOf(arg))
	}
	out := reflect.ValueOf(x).MethodByName(f.method).Call(in)
	err, _ := out[len(out)-1].Interface().(error)
	record := a.record(t)
	for _, c := range record.Calls {
		t.Logf("%s → %d %s%s", c.plain(), c.Code, strings.TrimSpace(clip(c.Stdout)), strings.TrimSpace(clip(c.Stderr)))
	}

	var calls []string
	for _, c := range record.Calls {
		calls = append(calls, c.plain())
	}
	require.Equal(t, f.calls, calls)
	switch text := f.err + f.errs[which]; {
	case text == "":
		require.NoError(t, err)
	default:
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, "cannot ")
	}
	require.Equal(t, f.notFound, errors.Is(err, hooktool.ErrNotFound), "%v", err)
	var made string
	if len(out) == 2 && err == nil {
		got := out[0].Interface()
		if f.want == "$secret" {
			require.Regexp(t, aSecret, got)
			made = got.(string)
			got = "$secret"
		}
		require.Equal(t, f.want, got)
	}
	for i, e := range record.Effects {
		if made != "" && e.Of == id(made) {
			record.Effects[i].Of = "$secret"
		}
	}
	require.ElementsMatch(t, f.effects, record.Effects)
	return record.Calls
}

func clip(s string) string { return s[:min(len(s), 300)] }

// answer is what the calls came to, without what is another each time.
func answer(calls []call) string {
	var b strings.Builder
	for _, c := range calls {
		out := c.Stdout
		if aSecret.MatchString(strings.TrimSpace(out)) {
			out = "$secret"
		}
		fmt.Fprintf(&b, "%s → %d %s%s\n", c.plain(), c.Code, out, c.Stderr)
	}
	return b.String()
}

// complete fails where hooktool has a method, or writes a flag or the name of a tool, that no form
// used; and where charm code other than hooktool names a hook tool.
func complete(t *testing.T, a *agent, called map[string]bool, calls []call) {
	tools := reflect.TypeFor[hooktool.Tools]()
	for i := range tools.NumMethod() {
		if name := tools.Method(i).Name; !called[name] {
			t.Errorf("no form calls %s: add them to forms", name)
		}
	}
	used := map[string]bool{}
	for _, c := range calls {
		used[c.Tool] = true
		for _, arg := range c.Args {
			used[arg] = true
		}
	}
	used["-relation-broken"] = true // ends the name of a hook
	known := a.tools(t)[1:]
	for text, where := range literals(t, filepath.Join(root, "internal/hooktool")) {
		if (slices.Contains(known, text) || strings.HasPrefix(text, "-")) && !used[text] {
			t.Errorf("%s: no form has hooktool run a tool with %s", where, text)
		}
	}
	for _, dir := range []string{"charms", "internal"} {
		for text, where := range literals(t, filepath.Join(root, dir)) {
			if slices.Contains(known, text) && !strings.HasPrefix(where, filepath.Join(root, "internal/hooktool")+"/") {
				t.Errorf("%s: %s is a hook tool: only package hooktool runs them", where, text)
			}
		}
	}
}

// literals returns the strings in the Go code of a folder and those below it, with a place of
// each. Tests, and what is for tests only, are left out.
func literals(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "hooktooltest") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if text, err := strconv.Unquote(l.Value); err == nil {
					found[text] = files.Position(l.Pos()).String()
				}
			}
			return true
		})
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, found, "no Go code in %s", dir)
	return found
}

// The reference has a table of what differs between the versions: each tool that answers otherwise
// is in it, and each that one of them does not have.
func TestTheReferenceHasWhatDiffers(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/reference/versions.md"))
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(text), "## What depends on Juju's version\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	for _, f := range forms() {
		if f.differs {
			tool, _, _ := strings.Cut(f.calls[len(f.calls)-1], " ")
			require.Contains(t, section, "`"+tool, f.name)
		}
	}
	has := [2]map[string]bool{{}, {}}
	for i, v := range versions {
		for _, tool := range v.serve(t).tools(t)[1:] {
			has[i][tool] = true
		}
	}
	for tool := range has[0] {
		if !has[1][tool] {
			require.Contains(t, section, "`"+tool+"`", "Juju 4 has none")
		}
	}
	for tool := range has[1] {
		require.True(t, has[0][tool], "%s is new in Juju 4: say so in the reference", tool)
	}
}

// Either version's agent sets the variables of a hook's environment that the charms read.
func TestHooksHaveTheirEnvironment(t *testing.T) {
	read := map[string]string{}
	for _, dir := range []string{"charms", "internal"} {
		for text, where := range literals(t, filepath.Join(root, dir)) {
			if aVariable.MatchString(text) {
				read[text] = where
			}
		}
	}
	require.Contains(t, read, "JUJU_UNIT_NAME")
	for which, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			set := literals(t, filepath.Join(v.source(t), "internal/worker/uniter/runner"))
			for name, where := range read {
				if name == "JUJU_AGENT_TOKEN" && which == 1 {
					continue // there is none in Juju 4, see TestTheAgentAsksWhoCalls
				}
				found := false
				for text := range set {
					if strings.HasSuffix(name, "_") { // begins several
						found = found || strings.HasPrefix(text, name) && strings.HasSuffix(text, "=")
					} else {
						found = found || text == name+"="
					}
				}
				if !found {
					t.Errorf("%s: the agent sets no %s", where, name)
				}
			}
		})
	}
}

var aVariable = regexp.MustCompile(`^(JUJU|CLOUD)_[A-Z_]+$`)

// The agent asks the controller for the status once per hook. A status that is set back to what it
// was first has to be written all the same.
func TestAStatusThatIsSetBack(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			a := v.serve(t)
			a.begin(t, world{Status: status{"active", "ready"}})
			x := hooktool.NewExec(unit)
			require.NoError(t, x.StatusSet(context.Background(), "maintenance", "upgrading"))
			require.NoError(t, x.StatusSet(context.Background(), "active", "ready"))
			require.Equal(t, []effect{
				{What: "set-status", Of: "maintenance", Text: "upgrading"},
				{What: "set-status", Of: "active", Text: "ready"},
			}, a.record(t).Effects)
		})
	}
}

// What is read is what it was when the hook began, also where the hook wrote before it read: the
// agent itself shows what a hook has written.
func TestWhatAHookWritesItDoesNotRead(t *testing.T) {
	ctx := context.Background()
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			a := v.serve(t)
			a.begin(t, world{Leader: true, Secrets: secrets("app"), Relations: joined(db{"app": {"coordinator": "app/1"}, "app/0": {"join-request": "w"}})})
			x := hooktool.NewExec(unit)
			require.NoError(t, x.RelationSet(ctx, "maas:4", m{"join-request": "x"}))
			require.NoError(t, x.RelationSetApp(ctx, "maas:4", m{"coordinator": "app/0"}))
			require.NoError(t, x.SetSecret(ctx, uri, m{"private-key": "l"}))
			bag, err := x.RelationGet(ctx, "maas:4", "app/0")
			require.NoError(t, err)
			require.Equal(t, m{"join-request": "w"}, bag)
			bag, err = x.RelationGet(ctx, "maas:4", "app")
			require.NoError(t, err)
			require.Equal(t, m{"coordinator": "app/1"}, bag)
			content, err := x.Secret(ctx, uri)
			require.NoError(t, err)
			require.Equal(t, m{"private-key": "k: \"1\"\n"}, content)
			bag, err = hooktool.NewExec(unit).RelationGet(ctx, "maas:4", "app")
			require.NoError(t, err)
			require.Equal(t, m{"coordinator": "app/0"}, bag, "the agent shows it")
		})
	}
}

// relation-set reads YAML, and hooktool writes JSON. Whatever text there is in a databag arrives.
func TestAnyTextGoesIntoADatabag(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			a := v.serve(t)
			values := m{
				"long": strings.Repeat("x: 'y'\n", 40_000), "yes": "yes", "number": "007", "null": "null", "tilde": "~",
				"quotes": `"'\` + "`", "html": "<a href='x'>&</a>", "json": `{"a":["b"]}`, "space": "  a  ", "key: with": "colon",
			}
			for r := rune(1); r <= 0x1ffff; r++ {
				if r >= 0x3000 && r < 0xd000 || r >= 0xd800 && r < 0xe000 {
					continue // more of the same, and what is no character
				}
				key := fmt.Sprintf("u%x", r>>4)
				values[key] += string(r)
			}
			a.begin(t, world{Relations: joined(nil)})
			require.NoError(t, hooktool.NewExec(unit).RelationSet(context.Background(), "maas:4", values))
			got := m{}
			for _, e := range a.record(t).Effects {
				require.Equal(t, "relation-set", e.What)
				got[e.Text] = e.Bag[e.Text]
			}
			for key, value := range values {
				if got[key] != value {
					t.Errorf("%s: %q became %q", key, clip(value), clip(got[key]))
				}
			}
			require.Len(t, got, len(values))
		})
	}
}

// hooktooltest, with which the charms are tested, refuses what the agent refuses, so that a key
// that Juju does not take is found without it.
func TestTheFakeIsAsStrict(t *testing.T) {
	ctx := context.Background()
	type attempt struct {
		what string
		try  func(hooktool.Tools) error
	}
	var all []attempt
	for _, key := range []string{"moved", "a", "5-o-0", "node7", "foo.bar", "return-code", "-foo", "foo-", "Foo", "foo!", "a_b", "a b", "", "foo..bar", ".foo", "stdout", "stderr-encoding", "a.stdout"} {
		all = append(all,
			attempt{"result " + key, func(x hooktool.Tools) error { return x.ActionSet(ctx, m{key: "v"}) }},
			attempt{"secret result " + key, func(x hooktool.Tools) error { return x.ActionSetSecret(ctx, m{key: "v"}) }})
	}
	all = append(all, attempt{"no result", func(x hooktool.Tools) error { return x.ActionSet(ctx, m{}) }})
	for _, key := range []string{"abc", "ab", "a-b", "a-bc", "private-key", "Key", "9ab", "a--b", "a b", "abc-", "key_2", "", "key2"} {
		all = append(all, attempt{"secret " + key, func(x hooktool.Tools) error { _, err := x.AddSecret(ctx, "l", m{key: "v"}); return err }})
	}
	all = append(all, attempt{"empty secret", func(x hooktool.Tools) error { _, err := x.AddSecret(ctx, "l", nil); return err }},
		attempt{"big secret", func(x hooktool.Tools) error {
			_, err := x.AddSecret(ctx, "l", m{"key": strings.Repeat("k", 750_001)})
			return err
		}},
		attempt{"secret that is not too big", func(x hooktool.Tools) error {
			_, err := x.AddSecret(ctx, "l", m{"key": strings.Repeat("k", 740_000)})
			return err
		}})
	for _, status := range []string{"active", "blocked", "waiting", "maintenance", "ready", "error", "unknown", "terminated", "", "Active"} {
		all = append(all, attempt{"status " + status, func(x hooktool.Tools) error { return x.StatusSet(ctx, status, "m") }})
	}
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			a := v.serve(t)
			for _, try := range all {
				a.begin(t, world{Leader: true, Action: true})
				real := try.try(hooktool.NewExec(action))
				juju := hooktooltest.New()
				juju.AddUnit("app/0", "10.0.0.5")
				tools, _ := juju.Hook("app/0")
				fake := try.try(tools)
				require.Equal(t, real == nil, fake == nil, "%s: Juju: %v; the fake: %v", try.what, real, fake)
			}
		})
	}
}

// Both agents refuse what does not come from the hook that runs: hooktool leaves it to the tools,
// of which there are none here.
func TestTheAgentAsksWhoCalls(t *testing.T) {
	for which, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			a := v.serve(t)
			a.begin(t, world{})
			t.Setenv("JUJU_CONTEXT_ID", "app/0-config-changed-0")
			_, err := hooktool.NewExec(unit).IsLeader(context.Background())
			require.ErrorContains(t, err, "cannot find the hook tool is-leader")
			require.Contains(t, a.record(t).Calls[0].Stderr, `wrong context ID; got "app/0-config-changed-0"`)

			a.begin(t, world{})
			require.NoError(t, os.Unsetenv("JUJU_AGENT_TOKEN"))
			leader, err := hooktool.NewExec(unit).IsLeader(context.Background())
			require.False(t, leader)
			if which == 0 {
				require.ErrorContains(t, err, "cannot find the hook tool is-leader")
				require.Contains(t, a.record(t).Calls[0].Stderr, "token does not match")
			} else {
				require.NoError(t, err, "there is no token in Juju 4")
			}
		})
	}
}
