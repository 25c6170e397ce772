package hooktool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tool puts a shell script in the place of a hook tool.
func tool(t *testing.T, dir, name, script string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755))
}

func newTest(t *testing.T, event Event) (*Exec, string) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	t.Setenv("OUT", dir)
	return NewExec(event), dir
}

func TestReadsAreASnapshot(t *testing.T) {
	x, dir := newTest(t, Event{})
	tool(t, dir, "is-leader", `echo called >>$OUT/calls; echo true`)
	for range 3 {
		leader, err := x.IsLeader(context.Background())
		require.NoError(t, err)
		require.True(t, leader)
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(calls), "called"))
	n, spent := x.Cost()
	require.Equal(t, 1, n)
	require.Positive(t, spent)
}

func TestValuesTravelOnStdin(t *testing.T) {
	x, dir := newTest(t, Event{})
	tool(t, dir, "relation-set", `echo "$@" >$OUT/args; cat >$OUT/stdin`)
	long := strings.Repeat("x", 200_000) // more than a pipe holds
	require.NoError(t, x.RelationSetApp(context.Background(), "cluster:0", map[string]string{"k": long}))
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	require.NoError(t, err)
	require.Equal(t, "-r cluster:0 --app --file -\n", string(args))
	stdin, err := os.ReadFile(filepath.Join(dir, "stdin"))
	require.NoError(t, err)
	require.Equal(t, `{"k":"`+long+`"}`, string(stdin))
}

// relation-set reads YAML, which does not take each character that JSON takes.
func TestDatabagsAreYAML(t *testing.T) {
	x, dir := newTest(t, Event{})
	tool(t, dir, "relation-set", `cat >$OUT/stdin`)
	values := map[string]string{"k": "a\x7fb\u0085c\u009fd\ufeffe\ufffef\uffffg\u00a0\ufffd\U0001f600"}
	require.NoError(t, x.RelationSet(context.Background(), "cluster:0", values))
	stdin, err := os.ReadFile(filepath.Join(dir, "stdin"))
	require.NoError(t, err)
	require.Equal(t, `{"k":"a\u007fb\u0085c\u009fd\ufeffe\ufffef\uffffg`+"\u00a0\ufffd\U0001f600"+`"}`, string(stdin))
}

func TestWhatAToolSaysIsTheError(t *testing.T) {
	x, dir := newTest(t, Event{})
	tool(t, dir, "relation-get", `echo "ERROR relation not found" >&2; exit 2`)
	_, err := x.RelationGet(context.Background(), "cluster:9", "app/0")
	require.ErrorIs(t, err, ErrNotFound)
	tool(t, dir, "config-get", `exit 3`)
	_, err = x.Config(context.Background())
	require.EqualError(t, err, "cannot run config-get: it failed with exit code 3 and said nothing")
	tool(t, dir, "is-leader", `kill -9 $$`)
	_, err = x.IsLeader(context.Background())
	require.ErrorContains(t, err, "killed")
	_, err = x.Units(context.Background())
	require.ErrorContains(t, err, "cannot find the hook tool goal-state")
}

func TestABrokenRelationIsGone(t *testing.T) {
	x, dir := newTest(t, Event{Hook: "https-relation-broken", Relation: "https:3"})
	tool(t, dir, "relation-ids", `echo '["https:7","https:3"]'`)
	ids, err := x.RelationIDs(context.Background(), "https")
	require.NoError(t, err)
	require.Equal(t, []string{"https:7"}, ids)
}

func TestUnitsLeavesOutTheDying(t *testing.T) {
	x, dir := newTest(t, Event{})
	tool(t, dir, "goal-state", `echo '{"units":{"a/1":{"status":"active"},"a/0":{"status":"waiting"},"a/2":{"status":"dying"}},"relations":{}}'`)
	units, err := x.Units(context.Background())
	require.NoError(t, err)
	require.Equal(t, []string{"a/0", "a/1"}, units)
}

func TestStorageIsWhereItIsAttached(t *testing.T) {
	x, dir := newTest(t, Event{})
	tool(t, dir, "storage-list", `echo "$@" >$OUT/args; echo '["local/3","local/1"]'`)
	tool(t, dir, "storage-get", `case "$*" in *local/3) echo '{"kind":"block","location":"/dev/sdc"}';; *) echo '{"kind":"block","location":""}';; esac`)
	locations, err := x.Storage(context.Background(), "local")
	require.NoError(t, err)
	require.Equal(t, []string{"/dev/sdc"}, locations, "and not one that is not there yet")
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	require.NoError(t, err)
	require.Equal(t, "--format=json local\n", string(args))

	x, dir = newTest(t, Event{})
	tool(t, dir, "storage-list", `echo '[]'`)
	locations, err = x.Storage(context.Background(), "local")
	require.NoError(t, err)
	require.Empty(t, locations)
}

// A status is written when it is another one, or cannot be read.
func TestAStatusIsWrittenOnce(t *testing.T) {
	x, dir := newTest(t, Event{})
	tool(t, dir, "status-get", `echo "$@" >$OUT/args; echo '{"status":"active","message":"ready","status-data":{}}'`)
	tool(t, dir, "status-set", `echo "$@" >>$OUT/set`)
	require.NoError(t, x.StatusSet(context.Background(), "active", "ready"))
	require.NoFileExists(t, filepath.Join(dir, "set"))
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	require.NoError(t, err)
	require.Equal(t, "--format=json --include-data\n", string(args))
	require.NoError(t, x.StatusSet(context.Background(), "active", "ready soon"))
	require.NoError(t, x.StatusSet(context.Background(), "waiting", "ready"))
	tool(t, dir, "status-get", `echo 'ERROR permission denied' >&2; exit 1`)
	require.NoError(t, x.StatusSet(context.Background(), "active", "ready"))
	set, err := os.ReadFile(filepath.Join(dir, "set"))
	require.NoError(t, err)
	require.Equal(t, "-- active ready soon\n-- waiting ready\n-- active ready\n", string(set))
}

// Juju's agent asks for the status once per hook, and answers the same after it was set.
func TestAStatusThatWasSetIsKnown(t *testing.T) {
	x, dir := newTest(t, Event{})
	tool(t, dir, "status-get", `echo '{"status":"active","message":"ready","status-data":{}}'`)
	tool(t, dir, "status-set", `echo "$@" >>$OUT/set`)
	require.NoError(t, x.StatusSet(context.Background(), "maintenance", "upgrading"))
	require.NoError(t, x.StatusSet(context.Background(), "active", "ready"))
	require.NoError(t, x.StatusSet(context.Background(), "active", "ready"))
	set, err := os.ReadFile(filepath.Join(dir, "set"))
	require.NoError(t, err)
	require.Equal(t, "-- maintenance upgrading\n-- active ready\n", string(set))

	tool(t, dir, "status-set", `exit 1`)
	require.Error(t, x.StatusSet(context.Background(), "waiting", "for LXD"))
	tool(t, dir, "status-set", `echo "$@" >>$OUT/set`)
	require.NoError(t, x.StatusSet(context.Background(), "active", "ready"), "the failure may have come after the write")
	set, err = os.ReadFile(filepath.Join(dir, "set"))
	require.NoError(t, err)
	require.Equal(t, "-- maintenance upgrading\n-- active ready\n-- active ready\n", string(set))
}

// Juju 3.6 says "permission denied" of a relation that was removed by force.
func TestARemovedRelationIsNotFound(t *testing.T) {
	for said, gone := range map[string]bool{
		"ERROR permission denied":                                   true,
		"ERROR getting regular relation by key: relation not found": true,
		"ERROR upstream connection refused":                         false,
	} {
		x, dir := newTest(t, Event{Unit: "app/0"})
		tool(t, dir, "relation-get", `echo '`+said+`' >&2; exit 1`)
		for _, owner := range []string{"other/3", "other", "app/1", "app/0"} {
			_, err := x.RelationGet(context.Background(), "maas:4", owner)
			require.ErrorContains(t, err, said)
			require.Equal(t, gone, errors.Is(err, ErrNotFound), "%s of %s", said, owner)
		}
	}
	x, dir := newTest(t, Event{Unit: "app/0"})
	tool(t, dir, "relation-get", `echo 'ERROR permission denied' >&2; exit 1`)
	_, err := x.RelationGet(context.Background(), "maas:4", "app")
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrNotFound, "it may be that this unit leads no more")
}

// Juju lists storage before it is attached, and until it is removed.
func TestStorageThatIsNotAttachedIsLeftOut(t *testing.T) {
	for said, left := range map[string]bool{
		`storage local/4 not provisioned`:                                                     true, // 3.6
		`volume for storage "local/4" not provisioned`:                                        true,
		`storage attachment "local/4" for unit "app/0" not provisioned`:                       true, // 4
		`mount point for storage attachment "storage-local-4" for unit "app/0" missing`:       true,
		`block device link for storage attachment "storage-local-4" for unit "app/0" missing`: true,
		`storage attachment not found for "local/4" "app/0"`:                                  true,
		`permission denied`: false,
	} {
		x, dir := newTest(t, Event{Unit: "app/0"})
		tool(t, dir, "storage-list", `echo '["local/4","local/3"]'`)
		tool(t, dir, "storage-get", `case "$*" in *local/3) echo '{"kind":"block","location":"/dev/sdc"}';; *) echo 'ERROR `+said+`' >&2; exit 1;; esac`)
		locations, err := x.Storage(context.Background(), "local")
		if left {
			require.NoError(t, err, said)
			require.Equal(t, []string{"/dev/sdc"}, locations)
		} else {
			require.ErrorContains(t, err, said)
		}
	}
}

func TestASecretIsTheNewestOne(t *testing.T) {
	x, dir := newTest(t, Event{})
	tool(t, dir, "secret-get", `echo "$@" >$OUT/args; echo '{"api-key":"a:b:c"}'`)
	content, err := x.Secret(context.Background(), "secret:d1")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"api-key": "a:b:c"}, content)
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	require.NoError(t, err)
	require.Equal(t, "--format=json --refresh -- secret:d1\n", string(args))
	tool(t, dir, "secret-get", `echo 'ERROR secret "d2" not found' >&2; exit 1`)
	_, err = x.Secret(context.Background(), "secret:d2")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestASecretIsNoArgument(t *testing.T) {
	x, dir := newTest(t, Event{})
	tool(t, dir, "secret-add", `echo "$@" >$OUT/args; for last; do :; done; cat "$last" >$OUT/content; echo secret:d1`)
	id, err := x.AddSecret(context.Background(), "store", map[string]string{"private-key": "k\n"})
	require.NoError(t, err)
	require.Equal(t, "secret:d1", id)
	content, err := os.ReadFile(filepath.Join(dir, "content"))
	require.NoError(t, err)
	require.JSONEq(t, `{"private-key":"k\n"}`, string(content))
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	require.NoError(t, err)
	require.Regexp(t, `^--owner application --label store --file /proc/\d+/fd/\d+\n$`, string(args))
	tool(t, dir, "secret-add", `exit 0`)
	_, err = x.AddSecret(context.Background(), "store", nil)
	require.EqualError(t, err, "cannot read what secret-add printed: expected the secret's id")

	tool(t, dir, "secret-set", `echo "$@" > `+dir+`/args; cat "$3" > `+dir+`/content`)
	require.NoError(t, x.SetSecret(context.Background(), "secret:d1", map[string]string{"private-key": "l"}))
	content, err = os.ReadFile(filepath.Join(dir, "content"))
	require.NoError(t, err)
	require.JSONEq(t, `{"private-key":"l"}`, string(content))
	args, err = os.ReadFile(filepath.Join(dir, "args"))
	require.NoError(t, err)
	require.Regexp(t, `^secret:d1 --file /proc/\d+/fd/\d+\n$`, string(args))
	for id, out := range map[string]string{
		"secret:no":  `{"no":{"revision":1,"label":"a","owner":"application","rotation":"never"}}`,
		"secret:yes": `{"yes":{"revision":1,"access":[{"target":"application-b","scope":"relation-b.x#a.y","role":"view"}]}}`,
	} {
		tool(t, dir, "secret-info-get", `echo '`+out+`'`)
		granted, err := x.Granted(context.Background(), id)
		require.NoError(t, err)
		require.Equal(t, id == "secret:yes", granted)
	}
	tool(t, dir, "secret-info-get", `echo '{}'`)
	_, err = x.Granted(context.Background(), "secret:d3")
	require.ErrorContains(t, err, "expected secret secret:d3")
	tool(t, dir, "secret-grant", `echo "$@" > `+dir+`/args`)
	require.NoError(t, x.GrantSecret(context.Background(), "secret:d1", "maas:3"))
	args, err = os.ReadFile(filepath.Join(dir, "args"))
	require.NoError(t, err)
	require.Equal(t, "secret:d1 -r maas:3\n", string(args))
}

func TestEventFromEnvironment(t *testing.T) {
	env := map[string]string{"JUJU_UNIT_NAME": "pet-scheduler/11", "JUJU_DISPATCH_PATH": "actions/drain", "JUJU_MODEL_UUID": "u"}
	event, err := EventFrom(func(k string) string { return env[k] })
	require.NoError(t, err)
	require.Equal(t, Event{Unit: "pet-scheduler/11", Action: "drain", ModelUUID: "u"}, event)
	require.Equal(t, "pet-scheduler", event.App())

	// `juju exec` names an action, but what it runs is what the path says.
	env["JUJU_DISPATCH_PATH"], env["JUJU_ACTION_NAME"] = "hooks/update-status", "juju-exec"
	event, err = EventFrom(func(k string) string { return env[k] })
	require.NoError(t, err)
	require.Equal(t, "update-status", event.Hook)
	require.Empty(t, event.Action)

	_, err = EventFrom(func(string) string { return "" })
	require.ErrorContains(t, err, "is run by a Juju agent")
}

func TestAddresses(t *testing.T) {
	x, dir := newTest(t, Event{})
	tool(t, dir, "network-get", `echo '{"bind-addresses":[{"addresses":[{"value":"fd00::5"},{"address":"10.0.0.5"}]},{"addresses":[{"value":"10.1.0.5"}]}]}'`)
	all, err := x.Addresses(context.Background(), "maas")
	require.NoError(t, err)
	require.Equal(t, []string{"fd00::5", "10.0.0.5", "10.1.0.5"}, all)
	first, err := x.Address(context.Background(), "maas")
	require.NoError(t, err)
	require.Equal(t, "fd00::5", first)
	tool(t, dir, "network-get", `echo '{"bind-addresses":[]}'`)
	_, err = x.Address(context.Background(), "racks")
	require.ErrorContains(t, err, "network-get racks names none")
}
