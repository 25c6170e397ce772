package policy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/policy"
	"github.com/dcib/dcib/internal/profile/preset"
)

// The policy in the how-to allows the presets that it is for, and no more of what they need.
func TestThePolicyInTheHowTo(t *testing.T) {
	page, err := os.ReadFile("../../../docs/how-to/profiles.md")
	require.NoError(t, err)
	var text strings.Builder
	in := false
	for line := range strings.Lines(string(page)) {
		switch {
		case line == "    keys:\n":
			in = true
		case in && !strings.HasPrefix(line, "    "):
			in = false
		}
		if in {
			text.WriteString(strings.TrimPrefix(line, "    "))
		}
	}
	allowed, err := policy.Parse(text.String())
	require.NoError(t, err)
	require.NotEmpty(t, allowed.Default.Keys)
	layers, err := preset.Layers([]string{"docker", "nested-kvm"}, preset.CephFS{})
	require.NoError(t, err)
	wanted := profile.Overlay(layers...).Profile
	assert.Empty(t, allowed.Default.Refuse(wanted))

	wanted.Config["linux.kernel_modules"] += ",kvm"
	wanted.Config["security.syscalls.intercept.mount"] = "true"
	wanted.Devices["mem"] = map[string]string{"type": "unix-char", "path": "/dev/mem"}
	assert.Len(t, allowed.Default.Refuse(wanted), 3)
}
