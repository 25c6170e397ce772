package charm_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// slow is the error of a program or a server that had a limit of its own.
type slow struct{}

func (slow) Error() string { return "psql has not ended within 30s" }

func (slow) Timeout() bool { return true }

// What has not ended within a limit of its own leaves the unit waiting, as what a Deadline has
// ended; a hook after which Juju would take the unit away fails.
func TestTimeoutLeavesTheUnitWaiting(t *testing.T) {
	timeout := func(context.Context) error { return fmt.Errorf("cannot run psql: %w", slow{}) }
	for _, c := range []struct {
		name  string
		env   *hanging
		event hooktool.Event
		fails bool
	}{
		{"observing", &hanging{observe: timeout}, hooktool.Event{Hook: "update-status", Unit: "app/0"}, false},
		{"a step", &hanging{step: timeout}, hooktool.Event{Hook: "config-changed", Unit: "app/0"}, false},
		{"leaving", &hanging{step: timeout}, hooktool.Event{Hook: "stop", Unit: "app/0"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			juju := hooktooltest.New()
			unit := juju.AddUnit("app/0", "10.0.0.1")
			tools, _ := juju.Hook("app/0")
			err := over(c.env, charm.Deadlines{}).Run(t.Context(), c.event, tools)
			if c.fails {
				require.ErrorContains(t, err, "psql has not ended within 30s")
				return
			}
			require.NoError(t, err)
			require.Equal(t, "waiting", unit.Status)
			require.Contains(t, unit.Message, "psql has not ended within 30s (tried again by the next hook)")
		})
	}
}
