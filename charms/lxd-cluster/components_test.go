package main

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// fakeStep is the one step of a component.
type fakeStep struct {
	name string
	err  error
	done map[string]bool
}

func (s fakeStep) Name() string { return s.name }

func (s fakeStep) Apply(context.Context, *env) error {
	s.done[s.name] = s.err == nil
	return s.err
}

// Which components go on while one is blocked, waits or fails; the steps of share and listener come
// before those of the components that they are after.
func TestWhatGoesOnWithoutAComponent(t *testing.T) {
	all := []string{"share", "listener", "cluster", "install", "broker", "metrics", "certificate", "trust", "ceph", "maas"}
	stopped := map[string][]string{
		"share":   {"share", "broker", "listener"},
		"cluster": {"cluster", "install", "broker", "metrics", "certificate", "trust", "ceph", "maas"},
		"install": {"install", "broker", "metrics", "certificate", "trust", "ceph", "maas"},
	}
	for _, broken := range all {
		for kind, err := range map[string]error{"blocked": charm.Blocked("no"), "waiting": charm.Waiting("not yet"), "failing": errors.New("broken")} {
			t.Run(broken+" is "+kind, func(t *testing.T) {
				parts := components()
				done := map[string]bool{}
				var names []string
				for i, c := range parts {
					names = append(names, c.Name)
					step := fakeStep{name: c.Name, done: done}
					if c.Name == broken {
						step.err = err
					}
					parts[i].When, parts[i].Observe = nil, nil
					parts[i].Plan = func(facts) charm.Plan[*env] { return charm.Plan[*env]{Steps: []charm.Step[*env]{step}} }
				}
				require.Equal(t, all, names)
				c := charm.Compose(parts...)
				c.Env = newCharm().Env
				juju := hooktooltest.New()
				juju.AddUnit("lxd-cluster/0", "10.0.0.1")
				tools, _ := juju.Hook("lxd-cluster/0")
				_ = c.Run(t.Context(), hooktool.Event{Hook: "update-status", Unit: "lxd-cluster/0"}, tools)
				for _, name := range all {
					want := name != broken
					if stops, ok := stopped[broken]; ok {
						want = !slices.Contains(stops, name)
					}
					require.Equal(t, want, done[name], name)
				}
			})
		}
	}
}
