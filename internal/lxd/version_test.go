package lxd_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/lxd"
)

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"5.0.2", "5.21.3", true},
		{"5.21.3", "5.0.2", false},
		{"5.21.3-c5ae129", "5.21.4-d0ffee1", true},
		{"5.0.2-5+deb12u1", "5.0.2-5", false},
		{"6.5", "6.5.1", true},
		{"6.10", "6.9", false},
		{"", "6.9", false},
		{"5.21", "git-abc", false},
	} {
		require.Equal(t, c.want, lxd.Older(c.a, c.b), "%s, %s", c.a, c.b)
	}
	rapid.Check(t, func(t *rapid.T) {
		version := rapid.OneOf(rapid.StringMatching(`[0-9]\.[0-9]{1,2}(\.[0-9])?(-[a-z]+)?`), rapid.String())
		a, b := version.Draw(t, "a"), version.Draw(t, "b")
		if lxd.Older(a, b) && lxd.Older(b, a) || lxd.Older(a, a) {
			t.Fatalf("%q and %q are older than each other", a, b)
		}
	})
}

func TestSnapChannel(t *testing.T) {
	for version, want := range map[string]string{"5.0.2": "5.0/stable", "5.21.3-c5ae129 (33110)": "5.21/stable", "6.5": "6/stable", "": "", "git": "", "6": ""} {
		require.Equal(t, want, lxd.SnapChannel(version), version)
	}
}
