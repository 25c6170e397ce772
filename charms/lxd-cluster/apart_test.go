package main

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/hooktool/hooktooltest"
)

type fakeStep struct {
	name string
	err  error
	done *[]string
}

func (s fakeStep) Name() string { return s.name }

func (s fakeStep) Apply(context.Context, *world) error {
	*s.done = append(*s.done, s.name)
	return s.err
}

// A component that is blocked or waits ends its own steps, in this hook; the others' go on.
func TestComponentsEndApart(t *testing.T) {
	juju := hooktooltest.New()
	unit := juju.AddUnit("lxd-cluster/0", "10.0.0.1")
	run := func(last error) (string, error) {
		var done []string
		c := charm.Charm[facts, *world]{
			World:   whole().World,
			Observe: func(_ context.Context, _ hooktool.Event, w *world) (facts, error) { return facts{Ended: w.ended}, nil },
			Plan: func(f facts) charm.Plan[*world] {
				steps := apart("ceph", []charm.Step[*world]{fakeStep{"a", charm.Waiting("ceph waits"), &done}, fakeStep{"b", nil, &done}})
				steps = append(steps, apart("maas", []charm.Step[*world]{fakeStep{"c", charm.Blocked("maas is blocked"), &done}})...)
				return charm.Plan[*world]{Steps: append(steps, apart("trust", []charm.Step[*world]{fakeStep{"d", last, &done}})...), Status: merged(charm.Active("fine"), f.Ended)}
			},
		}
		tools, _ := juju.Hook("lxd-cluster/0")
		err := c.Run(t.Context(), hooktool.Event{Hook: "update-status", Unit: "lxd-cluster/0"}, tools)
		require.Equal(t, []string{"a", "c", "d"}, done)
		return unit.Status + ": " + unit.Message, err
	}
	status, err := run(nil)
	require.NoError(t, err)
	require.Equal(t, "blocked: maas is blocked", status)
	require.Contains(t, unit.Log, "WARNING cannot a: ceph waits")

	_, err = run(errors.New("broken"))
	require.ErrorContains(t, err, "cannot d: broken", "a hook that has to be run again fails")
}

func TestMerged(t *testing.T) {
	ended := map[string]charm.Status{"ceph": charm.Waitingf("w"), "maas": charm.Blockedf("b")}
	for want, status := range map[charm.Status]charm.Status{
		charm.Blockedf("x; b"): charm.Blockedf("x"),
		charm.Blockedf("b"):    charm.Active("y"),
	} {
		require.Equal(t, want, merged(status, ended))
	}
	require.Equal(t, charm.Active("y"), merged(charm.Active("y"), nil))
	delete(ended, "maas")
	require.Equal(t, charm.Waitingf("x; w"), merged(charm.Waitingf("x"), ended))
	require.Equal(t, charm.Waitingf("w"), merged(charm.Active("y"), ended))
	require.Equal(t, charm.Blockedf("x"), merged(charm.Blockedf("x"), ended))
}
