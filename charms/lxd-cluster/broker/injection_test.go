package broker_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// A value that adds a line to the container's configuration file is refused, whatever the policy,
// and taken out of a profile that an earlier version of the charm wrote.
func TestAValueThatAddsALineIsNotInForce(t *testing.T) {
	const injection = "a\nlxc.hook.pre-start = /x"
	for _, key := range []string{"environment.X", "linux.sysctl.kernel.domainname", "nvidia.require.cuda", "limits.kernel.nofile", "linux.kernel_modules"} {
		c := newCluster(t)
		c.policy("keys: ['*']\ndevices: ['*']")
		a := c.ask(shop, "web", 1, "limits.memory=1GiB").settle()
		assert.Equal(t, lxdprofile.Applied, a.state(0).State)
		c.lxd.Profiles["dcib-shop-web"].Config[key] = injection
		a.request.Profile.Config[key] = injection
		a.relation.Databags[a.app] = a.request.Encode()
		c.hook()
		assert.NotContains(t, c.lxd.Profiles["dcib-shop-web"].Config, key)
		assert.Equal(t, lxdprofile.Refused, a.state(0).State)
		assert.Contains(t, a.state(0).Message, "config."+key)
		assert.NotContains(t, a.answer().Profile.Config, key)
	}
}
