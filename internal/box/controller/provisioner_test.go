package controller

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The report is what a controller of Juju 4.1-beta2 gave, with most of its workers left out.
func TestProvisions(t *testing.T) {
	text, err := os.ReadFile("testdata/depengine")
	require.NoError(t, err)
	for model, expected := range map[string]bool{
		"10d9d7a4-18b6-48ac-a0d2-16e0e3c1a111": true,
		"10d9d7a4-18b6-48ac-a0d2-16e0e3c1a222": false, // its provisioner waits for what it needs
		"10d9d7a4-18b6-48ac-a0d2-16e0e3c1a333": false, // has no workers yet
	} {
		so, err := provisions(string(text), model)
		require.NoError(t, err)
		require.Equal(t, expected, so, model)
	}
	_, err = provisions("Dependency Engine Report\n\n\tno", "m")
	require.ErrorContains(t, err, "cannot read what the controller reports")
}
