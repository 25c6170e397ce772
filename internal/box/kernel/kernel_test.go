package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func settings(t *testing.T, values map[string]string) Settings {
	s := Settings{Root: t.TempDir()}
	for name, value := range values {
		require.NoError(t, os.MkdirAll(filepath.Dir(s.file(name)), 0o700))
		require.NoError(t, os.WriteFile(s.file(name), []byte(value+"\n"), 0o600))
	}
	return s
}

func TestRaiseAndPutBack(t *testing.T) {
	s := settings(t, map[string]string{
		"kernel.keys.maxkeys": "200",
		"vm.max_map_count":    strconv.FormatInt(Wanted["vm.max_map_count"]*2, 10),
		"net.ipv4.ip_forward": "0",
	})
	low, err := s.Low()
	require.NoError(t, err)
	require.Equal(t, []string{"kernel.keys.maxkeys", "net.ipv4.ip_forward"}, low)

	changes := map[string]Change{}
	saved := false
	require.NoError(t, s.Raise(changes, func(c map[string]Change) error {
		saved = true
		now, _ := s.get("kernel.keys.maxkeys")
		require.Equal(t, "200", now, "recorded before it is changed")
		require.Equal(t, Change{Was: "200", Set: "2000"}, c["kernel.keys.maxkeys"])
		return nil
	}))
	require.True(t, saved)
	low, err = s.Low()
	require.NoError(t, err)
	require.Empty(t, low)

	// A second box finds nothing to raise and forgets nothing.
	require.NoError(t, s.Raise(changes, func(map[string]Change) error { return nil }))
	require.Equal(t, "200", changes["kernel.keys.maxkeys"].Was)

	// What an operator set in the meantime stays.
	require.NoError(t, s.set("net.ipv4.ip_forward", "2"))
	back, err := s.PutBack(changes)
	require.NoError(t, err)
	require.Equal(t, []string{"kernel.keys.maxkeys"}, back)
	now, err := s.get("kernel.keys.maxkeys")
	require.NoError(t, err)
	require.Equal(t, "200", now)
}

func TestRaiseChangesNothingThatIsNotRecorded(t *testing.T) {
	s := settings(t, map[string]string{"kernel.keys.maxkeys": "200"})
	require.Error(t, s.Raise(map[string]Change{}, func(map[string]Change) error { return errors.New("disk full") }))
	now, err := s.get("kernel.keys.maxkeys")
	require.NoError(t, err)
	require.Equal(t, "200", now)
}

func TestRaiseAgainAfterARestart(t *testing.T) {
	// Killed between recording and changing: the first value found is kept.
	s := settings(t, map[string]string{"kernel.keys.maxkeys": "300"})
	changes := map[string]Change{"kernel.keys.maxkeys": {Was: "200", Set: "2000"}}
	require.NoError(t, s.Raise(changes, func(map[string]Change) error { return nil }))
	require.Equal(t, "200", changes["kernel.keys.maxkeys"].Was)
	require.True(t, strings.HasPrefix(s.file("a.b"), s.Root))
}
