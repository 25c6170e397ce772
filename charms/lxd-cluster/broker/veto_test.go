package broker_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// What an application writes about itself, at its extreme, neither fails a hook nor changes what
// other applications have, are told, and can ask for.
func TestNoVetoByTenants(t *testing.T) {
	long, quoted := strings.Repeat("x", 1<<20), strings.Repeat(`"\\\n`, 1000)
	bag := func(key, value string) func(*asker) {
		return func(evil *asker) { evil.relation.Databags[evil.app][key] = value }
	}
	claim := func(key, value string) func(*asker) {
		return func(evil *asker) { evil.relation.Databags[evil.unit(0)][key] = value }
	}
	config := func(n int, format, value string) func(*asker) {
		return func(evil *asker) {
			var lines []string
			for i := range n {
				lines = append(lines, fmt.Sprintf(format, i)+"="+value)
			}
			evil.want(lines...)
		}
	}
	for name, write := range map[string]func(evil *asker){
		"an unknown version":      bag("version", "9"),
		"a version of 1 MiB":      bag("version", long),
		"a key of 1 MiB":          bag(long, long),
		"a profile of 1 MiB":      bag("profile", long),
		"a profile that is deep":  bag("profile", strings.Repeat(`{"config":`, 10000)),
		"no profile":              bag("profile", "null"),
		"keys that do not exist":  config(2000, "no.such.%d", "x"),
		"keys not allowed":        config(2000, "linux.sysctl.a%d", "1"),
		"many keys":               config(1500, "user.n%d", "x"),
		"a large value":           config(1, "user.n%d", strings.Repeat("<", 60000)),
		"environment, large":      config(1, "environment.N%d", strings.Repeat("x", 60000)),
		"environment, many":       config(1500, "environment.N%d", "x"),
		"environment with lines":  config(1, "environment.N%d", "a\nlxc.hook.pre-start = /x"),
		"a negative limit":        config(1, "limits.processes", "-1"),
		"an application, long":    bag("application", long),
		"an application, of 256":  bag("application", strings.Repeat("x", 256)),
		"an application in lines": bag("application", "web\nuser.dcib.owner=x"),
		"a model that is a path":  bag("model", "../../"+strings.Repeat("/", 200)),
		"another's model":         bag("model-uuid", shop),
		"another's application":   bag("application", "web"),
		"a rollback, long":        bag("rolled-back", long),
		"a restart of all":        bag("restart", `{"id":"r","batch":9223372036854775807,"wait-healthy":"0"}`),
		"a restart, for ever":     bag("restart", `{"id":"r","batch":1,"wait-healthy":"2540400h"}`),
		"a restart, too large":    bag("restart", `{"id":"r","batch":1e400}`),
		"a restart, no duration":  bag("restart", `{"id":"r","batch":1,"wait-healthy":"`+quoted+`"}`),
		"a restart, backwards":    bag("restart", `{"id":"r","batch":-1,"wait-healthy":"-1s"}`),
		"a restart in lines":      bag("restart", `{"id":"a\nb","batch":1}`),
		"a restart, named long":   bag("restart", `{"id":"`+quoted+`","batch":1}`),
		"no restart":              bag("restart", `null`),
		"a share that is none":    bag("ceph", long),
		"a share":                 bag("ceph", `{"digest":"`+quoted+`","sealed":{"0":"x","-1":"y","`+quoted+`":"z"}}`),
		"a claim's version":       claim("version", "9"),
		"a unit, named long":      claim("unit", strings.Repeat("x", 100000)+"/0"),
		"a unit in lines":         claim("unit", "sub-evil\n/0"),
		"a unit of another":       claim("unit", "sub-web/0"),
		"an instance, long":       claim("instance", long),
		"an instance in lines":    claim("instance", "juju-web-0\n"),
		"another's instance":      claim("instance", "juju-web-0"),
		"another's principal":     claim("principal", "web/0"),
		"a principal, long":       claim("principal", long),
		"a proof, long":           claim("proof", long),
		"a challenge, long":       claim("challenge", long),
		"a start in lines":        claim("started", "a\nb"),
		"a start, long":           claim("started", long),
		"3000 units": func(evil *asker) {
			for i := 1; i < 3000; i++ {
				evil.add(i)
				evil.claims[i].Instance = fmt.Sprintf("juju-web-%d", i%2)
				evil.claims[i].ModelUUID = []string{shop, rogue}[i%2]
				evil.claims[i].Started = strings.Repeat("x", 256)
				evil.say(i)
			}
		},
		"1100 units, refused at length": func(evil *asker) {
			config(2000, "linux.sysctl.a%d", "1")(evil)
			for i := 1; i < 1100; i++ {
				evil.add(i)
				evil.c.lxd.Add(evil.claims[i].Instance, rogue, evil.claims[i].Principal)
				evil.say(i)
			}
			evil.c.hook()
			evil.proveIfAsked()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			evil := c.ask(rogue, "evil", 1, "limits.memory=1MiB").settle() // related first: it has the older rights
			web := c.ask(shop, "web", 2, "limits.memory=1GiB").settle()
			state := func() any {
				instances := map[string]any{}
				for _, claim := range web.claims {
					i := c.lxd.Instances[claim.Instance]
					instances[i.Name] = []any{maps.Clone(i.Config), fmt.Sprint(i.Profiles)}
				}
				return []any{instances, maps.Clone(c.lxd.Profiles["dcib-shop-web"].Config), maps.Clone(web.relation.Databags["lxd-cluster"])}
			}
			before := state()
			write(evil)
			began := time.Now()
			for range 3 {
				c.hook()
				require.Equal(t, before, state())
			}
			assert.Less(t, time.Since(began), time.Minute)
			for key, value := range evil.relation.Databags["lxd-cluster"] {
				assert.LessOrEqual(t, len(value), 2<<20, "the answer's %.40s", key)
			}
			_, err := lxdprofile.DecodeProfileStatus(evil.relation.Databags["lxd-cluster"])
			require.NoError(t, err)
			for _, line := range c.juju.Units["lxd-cluster/0"].Log {
				assert.NotContains(t, line, "\n")
				assert.Less(t, len(line), 4000)
			}

			// The others are served as ever.
			web.want("limits.memory=2GiB")
			c.hook()
			for i := range 2 {
				assert.Equal(t, lxdprofile.Applied, web.state(i).State, web.state(i).Message)
				assert.Equal(t, lxdprofile.Revision(web.request.Profile), web.state(i).Revision)
			}
			c.juju.Unrelate(evil.relation)
			c.hook()
			assert.NotContains(t, c.lxd.Profiles, "dcib-shop-evil")
			for name, i := range c.lxd.Instances {
				assert.NotContains(t, i.Config, evil.nonce(), name)
			}
		})
	}
}
