package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		soon := func() bool { return time.Since(began) >= 3*time.Second }
		PollFor(time.Minute)(t.Context(), soon)
		require.Equal(t, 3*time.Second, time.Since(began))

		began = time.Now()
		PollFor(time.Minute)(t.Context(), func() bool { return false })
		require.Equal(t, time.Minute, time.Since(began))

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		PollFor(time.Minute)(ctx, func() bool { return false })
		require.Zero(t, time.Since(began))
	})
}
