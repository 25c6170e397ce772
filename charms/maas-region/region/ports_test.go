package region

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/testkit/pages"
)

// The ports that the page names as opened are those that a region with TLS opens.
func TestThePortsOnThePage(t *testing.T) {
	var f Facts
	f.TLSPort = "5443"
	require.ElementsMatch(t, pages.OpenedPorts(t, "../../../docs/reference/ports.md", "maas-region"), f.openPorts())
}
