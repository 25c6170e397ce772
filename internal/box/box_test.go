package box

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/box/place"
)

// Another box may build for minutes: who waits for it outside of a step is told so, once.
func TestTheWaitForAnotherBoxIsSaid(t *testing.T) {
	at := place.Place{Home: t.TempDir(), Name: "box"}
	unlock, err := at.LockMachine()
	require.NoError(t, err)
	time.AfterFunc(1200*time.Millisecond, unlock)
	var out strings.Builder
	b := &builder{Options: Options{Place: at, Out: &out}}
	require.NoError(t, b.withMachine(t.Context(), nil, func() error {
		out.WriteString("done\n")
		return nil
	}))
	require.Equal(t, "waiting for another box to finish its step\ndone\n", out.String())
}
