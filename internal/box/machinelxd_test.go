package box

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/box/place"
)

func TestMachineLXD(t *testing.T) {
	subnet := netip.MustParsePrefix("10.1.2.0/24")
	for _, c := range []struct {
		name   string
		record record
		wanted string
		want   string
		err    string
	}{
		{"a new box", record{}, "", DefaultLXD, ""},
		{"a new box with 6", record{}, "6", "6", ""},
		{"a new box with 5.0", record{}, "5.0", "5.0", ""},
		{"another version", record{}, "5.21", "", `cannot use LXD "5.21" for the box's machines: expected one of 6, 5.0`},
		{"a box keeps what it has", record{Subnet: subnet, LXD: "6"}, "", "6", ""},
		{"the same again", record{Subnet: subnet, LXD: "6"}, "6", "6", ""},
		{"a box of before there were two", record{Subnet: subnet}, "", "5.0", ""},
		{"a change", record{Subnet: subnet, LXD: "6"}, "5.0", "", "cannot change the LXD of box b to 5.0: its machines have 6: run dcib box --name b down first, or leave --lxd out"},
		{"a change of an old box", record{Subnet: subnet}, "6", "", "its machines have 5.0"},
	} {
		got, err := machineLXD("b", c.record, c.wanted)
		if c.err != "" {
			require.ErrorContains(t, err, c.err, c.name)
			continue
		}
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, got, c.name)
	}
}

func TestMachineLXDIsNotOursWithSnaps(t *testing.T) {
	b := &builder{Options: Options{Place: place.Place{Home: t.TempDir(), Name: "b", Snap: &place.Snap{}}, LXD: "6"}}
	require.ErrorContains(t, b.chooseLXD(), "option channel of lxd-cluster")
	b.LXD = ""
	require.NoError(t, b.chooseLXD())
}

// A refusal leaves the record as it is.
func TestUpRefusesAnotherLXDFirst(t *testing.T) {
	p := place.Place{Home: t.TempDir(), Name: "b"}
	require.NoError(t, p.Make())
	was := record{Subnet: netip.MustParsePrefix("10.1.2.0/24"), Driver: "dir", LXD: LXD6}
	require.NoError(t, place.WriteJSON(p.Record(), was))
	require.ErrorContains(t, Up(t.Context(), Options{Place: p, LXD: LXD50}), "run dcib box --name b down first")
	var is record
	require.NoError(t, place.ReadJSON(p.Record(), &is))
	require.Equal(t, was, is)
}
