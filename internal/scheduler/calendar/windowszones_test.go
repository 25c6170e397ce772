package calendar

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each Windows name stands for a zone that comes with the program.
func TestWindowsZones(t *testing.T) {
	require.Len(t, windowsZones, 139, "those of CLDR 47")
	for name, zone := range windowsZones {
		assert.NotNil(t, Zone(zone), name)
	}
	assert.Equal(t, "Europe/Berlin", windowsZones["W. Europe Standard Time"])
}
