package brokered_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/relation/lxdprofile"
	"github.com/dcib/dcib/internal/testkit/crash"
)

// nonceKey is where the broker of these tests puts its nonces.
var nonceKey = lxdprofile.NonceKey("lxd-profile:0")

// Every hook is killed at every point on the way from the request to a profile in force, while
// the request changes, the leader moves and the broker makes new nonces.
func TestCrashes(t *testing.T) {
	crashtest.Check(t, func(run *crashtest.Run) any {
		m := newModel(run)
		nonces := map[string]string{}
		run.Always = func() {
			for _, nonce := range nonces {
				require.NotContains(run, fmt.Sprint(m.relation.Databags), nonce, "the nonce is told")
			}
		}
		rounds := func(n int) {
			for range n {
				for _, unit := range []string{"sub/0", "sub/1"} {
					_ = crashtest.Hook(run, m.juju, m.charm(), m.event(unit))
					m.broke(unit, nonces)
				}
			}
		}
		rounds(4)
		m.config("config: {limits.memory: 1GiB}")
		rounds(3)
		m.juju.Leaders["sub"] = "sub/1"
		m.config("config: {limits.memory: 2GiB}")
		rounds(3)
		nonces["sub/0"] = strings.Repeat("f", 64)
		rounds(5)
		require.Contains(run, m.status("sub/0")+m.status("sub/1"), "active: in force: limits.memory=2GiB")
		return []any{m.relation.Databags, m.status("sub/0"), m.status("sub/1")}
	}, crashtest.Late, crashtest.Lost)
}

// broke answers a unit as the broker does: it asks for a proof, and applies the request once
// that is given.
func (m *model) broke(unit string, nonces map[string]string) {
	if nonces[unit] == "" {
		nonces[unit] = strings.Repeat(unit[len(unit)-1:], 64)
	}
	m.lxd[unit].options[nonceKey] = nonces[unit]
	request, err := lxdprofile.DecodeProfileRequest(m.relation.Databags["sub"])
	claim, claimErr := lxdprofile.DecodeClaim(unit, m.relation.Databags[unit])
	if err != nil || claimErr != nil {
		return // a hook was lost on the way
	}
	state := lxdprofile.State{State: lxdprofile.Challenged, Instance: claim.Instance, Key: nonceKey, Challenge: lxdprofile.ChallengeOf(nonces[unit])}
	if claim.Proven(nonceKey, nonces[unit]) {
		state.State, state.Revision = lxdprofile.Applied, lxdprofile.Revision(request.Profile)
	}
	m.answer(unit, state)
}
