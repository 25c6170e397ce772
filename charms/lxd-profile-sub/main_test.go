package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/testkit/hooktool"
)

// A subordinate leaves when its relation to the principal is gone, not before it has one.
func TestLeaving(t *testing.T) {
	for _, c := range []struct {
		hook    string
		related bool
		leaves  bool
	}{
		{"install", false, false}, {"config-changed", false, false}, {"update-status", true, false}, {"stop", true, false},
		{"lxd-profile-relation-broken", true, false}, {"juju-info-relation-broken", false, true}, {"stop", false, true}, {"remove", false, true},
	} {
		juju := hooktooltest.New()
		juju.AddUnit("sub/0", "")
		if c.related {
			juju.Relate("sub:juju-info", "web:juju-info")
		}
		tools, _ := juju.Hook("sub/0")
		got, err := leaving(t.Context(), hooktool.Event{Hook: c.hook, Unit: "sub/0"}, tools)
		require.NoError(t, err)
		assert.Equal(t, c.leaves, got, "%s, related: %v", c.hook, c.related)
	}
}
