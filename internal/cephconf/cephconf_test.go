package cephconf_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/cephconf"
)

func TestTexts(t *testing.T) {
	for _, c := range []struct {
		what  string
		check func(string) bool
		yes   []string
		no    []string
	}{
		{"monitor", cephconf.Monitor, []string{"192.0.2.1", "192.0.2.1:6789", "[2001:db8::1]", "[2001:db8::1]:3300", "mon-0.example"}, []string{"", "192.0.2.1\nlog_file = /etc/cron.d/x", "a,b", "2001:db8::1", "a b", "-a", "[v2:192.0.2.1:3300]", "a\r", "a:123456"}},
		{"user", cephconf.User, []string{"admin", "lxd-cluster", "a.b_c"}, []string{"", "../x", "a/b", "a\n", ".a", strings.Repeat("a", 65)}},
		{"key", cephconf.Key, []string{"AQBUfpVeNl7CHxAA8/f6WTcYFxW2dJ5VyvWmJg=="}, []string{"", "AQBUfpVeNl7CHxAA8\n/f6WTcYFxW2dJ5VyvWmJg==", "AQBUfpVeNl7CHxAA8/f6WTcYFxW2dJ5VyvWmJg==\n", "k", "not base64"}},
	} {
		for _, text := range c.yes {
			require.True(t, c.check(text), "%s %q", c.what, text)
		}
		for _, text := range c.no {
			require.False(t, c.check(text), "%s %q", c.what, text)
		}
	}
	require.Equal(t, "[2001:db8::1]", cephconf.Bracketed("2001:db8::1"))
	for _, text := range []string{"192.0.2.1", "mon", "[2001:db8::1]", "", "fe80::1%eth0"} {
		require.Equal(t, text, cephconf.Bracketed(text))
	}
}

// Whatever is accepted is one word of one line.
func FuzzTexts(f *testing.F) {
	for _, seed := range []string{"192.0.2.1", "[::1]:6789", "AQBU==", "a\nb"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if cephconf.Monitor(text) || cephconf.User(text) || cephconf.Key(text) || cephconf.Monitor(cephconf.Bracketed(text)) {
			require.False(t, strings.ContainsAny(text, " \t\r\n\x00;#,"), text)
		}
	})
}
