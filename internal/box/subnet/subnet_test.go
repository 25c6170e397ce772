package subnet

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPick(t *testing.T) {
	free, err := Pick(netip.Prefix{}, nil)
	require.NoError(t, err)
	require.Equal(t, Candidates[0], free)

	// A wide one takes all candidates within it.
	used := []Used{{netip.MustParsePrefix("10.178.0.0/16"), "interface eth0"}}
	free, err = Pick(netip.Prefix{}, used)
	require.NoError(t, err)
	require.Equal(t, "10.179.64.0/24", free.String())

	_, err = Pick(netip.MustParsePrefix("10.178.3.0/24"), used)
	require.ErrorContains(t, err, "10.178.3.0/24 is in use by interface eth0 (10.178.0.0/16)")
	_, err = Pick(netip.Prefix{}, []Used{{netip.MustParsePrefix("10.0.0.0/8"), "a route through tun0"}})
	require.ErrorContains(t, err, "all 32 candidates")
	require.Equal(t, "10.178.64.1", Gateway(Candidates[0]).String())
}

func TestParse(t *testing.T) {
	for _, good := range []string{"10.1.2.0/24", "192.168.0.0/16", "172.16.5.64/26"} {
		_, err := Parse(good)
		require.NoError(t, err, good)
	}
	for _, bad := range []string{"", "10.1.2.3/24", "8.8.8.0/24", "10.0.0.0/8", "10.0.0.0/28", "fd00::/64"} {
		_, err := Parse(bad)
		require.Error(t, err, bad)
	}
}

func TestRoutes(t *testing.T) {
	table := "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"dcib-box\t0040B20A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	got := routes(table, "dcib-box")
	require.Equal(t, []Used{{netip.MustParsePrefix("192.0.2.0/24"), "a route through eth0"}}, got)
}
