package rack

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/testkit/pages"
)

// The ports that the page names as opened are those that a rack opens which has its machine for itself.
func TestThePortsOnThePage(t *testing.T) {
	require.ElementsMatch(t, pages.OpenedPorts(t, "../../../docs/reference/ports.md", "maas-rack"), Facts{}.openPorts())
}
