package cluster

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/crash"
)

// silentLXD is one that does not start, since it cannot listen.
type silentLXD struct{ *fakeLXD }

func (silentLXD) Observe(context.Context) (ServerState, error) {
	return ServerState{}, errors.New("cannot read the state of this machine's LXD: connection refused")
}

// A machine that got another address needs that of LXD's cluster changed; no replica of its database
// helps it.
func TestAMachineWithAnotherAddress(t *testing.T) {
	for name, state := range map[string]func(l *fakeLXD) LXD{
		"and LXD's database does not answer": func(l *fakeLXD) LXD { l.stuck = true; return l },
		"and LXD does not start":             func(l *fakeLXD) LXD { return silentLXD{l} },
		"and LXD sees the others offline": func(l *fakeLXD) LXD {
			l.setStatus(hostOf(1), "Offline")
			return l
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := formed(t, 3)
			l := state(m.lxds["lxd-cluster/0"])
			message := func(has ...string) string {
				c := m.charm()
				open := c.Env
				c.Env = func(event hooktool.Event, tools hooktool.Tools) Env {
					w := open(event, tools)
					w.LXD = l
					for _, a := range has {
						w.Addresses = append(w.Addresses, netip.MustParseAddr(a))
					}
					return w
				}
				require.NoError(t, crashtest.Try(m.w.gate, m.juju, c, hooktool.Event{Hook: "update-status", Unit: "lxd-cluster/0"}))
				unit := m.juju.Units["lxd-cluster/0"]
				return unit.Status + " " + unit.Message
			}
			require.NotContains(t, message("127.0.0.1", "10.0.0.1"), "lxd cluster edit", "it has its address")
			require.NotContains(t, message(), "lxd cluster edit", "nothing is known of it")
			m.juju.Units["lxd-cluster/0"].Address = "10.0.0.77"
			says := message("127.0.0.1", "10.0.0.77")
			require.Contains(t, says, "blocked LXD's cluster knows this member as 10.0.0.1:8443, and Juju knows this machine as 10.0.0.77")
			require.Contains(t, says, "lxd cluster edit")
			require.NotContains(t, says, "recover-from-quorum-loss")
			require.NotContains(t, says, "remove-member")
		})
	}
}

func TestAnLXDThatIsOlderThanItWas(t *testing.T) {
	m := formed(t, 3)
	hook := func(l LXD) string {
		c := m.charm()
		open := c.Env
		c.Env = func(event hooktool.Event, tools hooktool.Tools) Env {
			w := open(event, tools)
			w.LXD = l
			w.Downgraded = func(_ context.Context, ran string) string {
				return "this machine ran LXD " + ran + ", its snap is older"
			}
			return w
		}
		require.NoError(t, crashtest.Try(m.w.gate, m.juju, c, hooktool.Event{Hook: "update-status", Unit: "lxd-cluster/0"}))
		unit := m.juju.Units["lxd-cluster/0"]
		return unit.Status + " " + unit.Message
	}
	l := m.lxds["lxd-cluster/0"]
	require.Contains(t, hook(l), "active")
	require.Equal(t, "blocked cannot reach LXD: this machine ran LXD 5.0.2, its snap is older", hook(silentLXD{l}))
	l.local.Version = "5.0.1"
	require.Contains(t, hook(l), "its LXD 5.0.1 is older than 5.0.2 of lxd-cluster/1: juju run lxd-cluster/0 upgrade-lxd")
	l.local = ServerState{}
	l.members = nil
	require.NoError(t, m.hook("lxd-cluster/0"))
}
