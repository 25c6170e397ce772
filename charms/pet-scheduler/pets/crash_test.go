package pets

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/pet-scheduler/access"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/testkit/crash"
	draintest "github.com/dcib/dcib/internal/testkit/drain"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// Every hook is killed at every point on the way to a cluster that trusts the unit. The
// unit shows one certificate for ever, and its key to no one. What kills do to a drain is
// in internal/drain.
func TestHooksSurviveCrashes(t *testing.T) {
	const unit = "pet-scheduler/0"
	crashtest.Check(t, func(run *crashtest.Run) any {
		juju := hooktooltest.New()
		juju.AddUnit(unit, "10.0.0.9")
		juju.AddUnit("lxd-cluster/0", "10.0.0.1")
		server := &lxd{LXD: draintest.New("m1", "m2")}
		dir := t.TempDir()
		c := Charm(func(event hooktool.Event, tools hooktool.Tools) Env {
			return Env{Unit: event.Unit, Dir: dir, Tools: tools, Connect: func(context.Context, lxdhttps.Offer, access.Identity) (LXD, error) {
				return server, nil
			}}
		})
		hooks := func(n int) {
			for range n {
				require.NoError(run, crashtest.Hook(run, juju, c, hooktool.Event{Hook: "update-status", Unit: unit}))
			}
		}
		hooks(1)
		relation := juju.Relate("pet-scheduler:lxd", "lxd-cluster:https")
		shown := map[string]bool{}
		run.Always = func() {
			require.NotContains(run, fmt.Sprint(relation.Databags), "PRIVATE")
			if certificate := relation.Databags[unit]["certificate"]; certificate != "" {
				shown[certificate] = true
			}
		}
		hooks(3)
		certificate := relation.Databags[unit]["certificate"]
		relation.Databags["lxd-cluster"] = lxdhttps.Offer{Certificate: certificate, Addresses: []string{"10.0.0.1:8443"}}.Encode()
		hooks(1)
		server.trusts = true
		hooks(2)
		require.Equal(run, "active", juju.Units[unit].Status)
		identity, ok, err := access.Load(dir)
		require.NoError(run, err)
		return map[string]any{
			"status":                  juju.Units[unit].Status + ": " + juju.Units[unit].Message,
			"certificates shown":      len(shown),
			"identity":                ok,
			"it is the one it showed": identity.Certificate == certificate,
		}
	}, crashtest.Late, crashtest.Lost)
}
