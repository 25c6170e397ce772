package service

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A set with anything wrong in it leaves all options as they were, and a set that is right
// reaches the daemon.
func TestOptions(t *testing.T) {
	s := newStage(t.TempDir(), 1)
	set := func(options map[string]any) {
		s.juju.Config["pet-scheduler"] = options
		s.hooks(t, 3)
	}
	bad := func() error {
		return Facts{Options: s.juju.Config["pet-scheduler"], Config: s.config(t, 0)}.BadOptions()
	}
	good := "pets: [{name: big, zone: Europe/Berlin, windows: [Fri 21:00-Sat 05:00]}]"
	set(map[string]any{"pets": good, "min-lead-time": "5m", "max-lead-time": "3h", "on-drain-failure": "keep"})
	require.NoError(t, bad())
	want := s.config(t, 0)
	assert.Equal(t, good, want.Pets)
	assert.Equal(t, 5*time.Minute, want.LeadMin)
	assert.Equal(t, 3*time.Hour, want.LeadMax)
	assert.True(t, want.KeepFailed)

	for _, tc := range []struct{ name, value, says string }{
		{"pets", "pets:\n- name: big\n  windows: [Fri 25:00-Sat 05:00]\n", `option pets: line 3: pets.big.windows[0] "Fri 25:00-Sat 05:00" has the time 25:00`},
		{"pets", "pets: [", "option pets: line 1: "},
		{"pets", "pets: [{name: big, zone: Mars/Olympus}]", "option pets: line 1: pets.big.zone"},
		{"min-lead-time", "soon", `option min-lead-time is "soon", wanted a duration`},
		{"max-lead-time", "1ms", `option max-lead-time is "1ms"`},
		{"max-lead-time", "2m", "option min-lead-time is 5m0s and max-lead-time is 2m0s"},
		{"on-drain-failure", "cry", `option on-drain-failure is "cry", wanted undo or keep`},
	} {
		options := map[string]any{"pets": good, "min-lead-time": "5m", "max-lead-time": "3h", "on-drain-failure": "keep"}
		options[tc.name] = tc.value
		set(options)
		assert.ErrorContains(t, bad(), tc.says)
		assert.Equal(t, want, s.config(t, 0), "%s=%s", tc.name, tc.value)
	}

	set(map[string]any{"pets": "", "min-lead-time": "", "max-lead-time": "", "on-drain-failure": "undo"})
	require.NoError(t, bad())
	assert.Empty(t, s.config(t, 0).Pets)
	assert.Equal(t, 1, s.machines[unit(0)].restarts, "no option restarts the daemon")
}
