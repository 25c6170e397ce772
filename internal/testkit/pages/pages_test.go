package pages_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/testkit/pages"
)

func TestOpenedPorts(t *testing.T) {
	page := filepath.Join(t.TempDir(), "ports.md")
	require.NoError(t, os.WriteFile(page, []byte("# Ports\n\n"+
		"| charm | port | service | opened | by |\n|---|---|---|---|---|\n"+
		"| a | 80/tcp | web | yes | |\n| a, b | 53/tcp, 53/udp | DNS | yes | x |\n| b | 1-2/udp | | yes | |\n| a | 9/tcp | yes | no | |\n| c | none | | | |\n\n"+
		"| what | port |\n|---|---|\n| a | 7/tcp |\n"), 0o600))
	require.Equal(t, []string{"80/tcp", "53/tcp", "53/udp"}, pages.OpenedPorts(t, page, "a"))
	require.Equal(t, []string{"53/tcp", "53/udp", "1-2/udp"}, pages.OpenedPorts(t, page, "b"))
	require.Empty(t, pages.OpenedPorts(t, page, "c"))
}
