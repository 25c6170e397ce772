package trust

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// rights are what a certificate has: all of LXD, or projects.
type rights struct {
	all      bool
	projects []string
}

func rightsOf(f Facts) map[string]rights {
	clients, _ := f.granted()
	all := map[string]rights{}
	for _, c := range clients {
		all[c.Fingerprint] = rights{!c.restricted(), c.Projects}
	}
	return all
}

// Whatever clients there are and whatever they ask for: each certificate has what the operator
// lets those that show it have, no more, and one client more takes nothing from any other.
func TestRightsOfCertificates(t *testing.T) {
	projects := []string{"restricted", "also-restricted", "default", "gone"}
	client := rapid.Custom(func(t *rapid.T) Client {
		app := rapid.SampledFrom([]string{"listed", "other", "evil"}).Draw(t, "app")
		return Client{
			Relation:    fmt.Sprintf("https:%d", rapid.IntRange(0, 3).Draw(t, "relation")),
			App:         app,
			Owner:       app + "/0",
			Fingerprint: rapid.SampledFrom([]string{"aa", "bb", "cc"}).Draw(t, "certificate"),
			Projects:    rapid.SliceOfNDistinct(rapid.SampledFrom(projects), 0, 3, rapid.ID).Draw(t, "projects"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		f := Facts{
			Clients:      rapid.SliceOfN(client, 0, 6).Draw(t, "clients"),
			Unrestricted: rapid.SampledFrom([][]string{nil, {"listed"}, {"https:1"}, {"listed", "https:2"}}).Draw(t, "option"),
			Projects:     map[string]bool{"restricted": true, "also-restricted": true, "default": false},
		}
		before := rightsOf(f)
		for fingerprint, has := range before {
			var may []Client
			for _, c := range f.Clients {
				listed := slices.Contains(f.Unrestricted, c.App) || slices.Contains(f.Unrestricted, c.Relation)
				bounded := len(c.Projects) > 0 && !slices.ContainsFunc(c.Projects, func(p string) bool { return !f.Projects[p] })
				if c.Fingerprint == fingerprint && (listed || bounded) {
					may = append(may, c)
				}
			}
			require.NotEmpty(t, may, "a client may have it")
			require.Equal(t, slices.ContainsFunc(may, func(c Client) bool { return len(c.Projects) == 0 }), has.all)
			for _, p := range has.projects {
				require.True(t, slices.ContainsFunc(may, func(c Client) bool { return slices.Contains(c.Projects, p) }), p)
			}
		}

		at := rapid.IntRange(0, len(f.Clients)).Draw(t, "where the next one is")
		f.Clients = slices.Insert(slices.Clone(f.Clients), at, client.Draw(t, "one more"))
		after := rightsOf(f)
		for fingerprint, had := range before {
			has, still := after[fingerprint]
			require.True(t, still)
			if has.all {
				continue
			}
			require.False(t, had.all)
			for _, p := range had.projects {
				require.Contains(t, has.projects, p)
			}
		}
	})
}
