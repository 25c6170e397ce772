package trust

import (
	"testing"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/testkit/crash"
)

// Every hook is killed at every point while two clients come, change what they ask for and
// their certificate, the leader moves, and they go.
func TestCrashes(t *testing.T) {
	first, second, other := newCertificate(t), newCertificate(t), newCertificate(t)
	crashtest.Check(t, func(run *crashtest.Run) any {
		juju, r := model()
		juju.AddUnit("pet-scheduler/1", "10.0.0.8")
		lxd := &store{gate: run.Gate, clustered: true, entries: []api.Certificate{{Name: "operator", Type: "client", Fingerprint: "ff"}}}
		var ends []any
		ask := func(unit, certificate string, projects ...string) {
			r.Databags[unit] = lxdhttps.Request{Certificate: certificate, Projects: projects}.Encode()
		}
		hooks := func() {
			for range 2 {
				for _, unit := range []string{"lxd-cluster/0", "lxd-cluster/1"} {
					_ = crashtest.Hook(run, juju, over(lxd), hooktool.Event{Unit: unit, Hook: "update-status"})
				}
			}
			entries := map[string]api.Certificate{}
			for _, entry := range lxd.entries {
				entries[entry.Name] = entry
			}
			ends = append(ends, entries)
		}
		ask("pet-scheduler/0", first)
		ask("pet-scheduler/1", other, "a", "b")
		hooks()
		ask("pet-scheduler/0", first, "a")
		hooks()
		ask("pet-scheduler/0", second)
		juju.Leaders["lxd-cluster"] = "lxd-cluster/1"
		hooks()
		juju.RemoveUnit("pet-scheduler/0")
		hooks()
		told := r.Databags["lxd-cluster"]
		juju.Unrelate(r)
		hooks()
		return map[string]any{"entries after each change": ends, "told": told}
	}, crashtest.Late, crashtest.Lost)
}
