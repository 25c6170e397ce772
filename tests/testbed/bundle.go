package testbed

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juju/charm/v12"
	"github.com/stretchr/testify/require"
)

// Merged reads what Juju makes of a bundle and what is laid over it; the files are relative
// to the repository.
func (b Box) Merged(t testing.TB, files ...string) *charm.BundleData {
	t.Helper()
	var sources []charm.BundleDataSource
	for _, f := range files {
		src, err := charm.LocalBundleDataSource(filepath.Join(b.Repo, f))
		require.NoError(t, err)
		sources = append(sources, src)
	}
	data, err := charm.ReadAndMergeBundleData(sources...)
	require.NoError(t, err)
	return data
}

// related is the part of Juju's status that reports what belongs together.
type related struct {
	Applications map[string]struct {
		Units     map[string]Unit `json:"units"`
		Relations map[string][]struct {
			App string `json:"related-application"`
		} `json:"relations"`
	} `json:"applications"`
	Remote map[string]struct {
		URL string `json:"url"`
	} `json:"application-endpoints"`
	Offers map[string]struct {
		App       string              `json:"application"`
		Endpoints map[string]struct{} `json:"endpoints"`
	} `json:"offers"`
}

// Settle waits until a model is as the bundle says: all units, each active and idle, with its
// subordinates, each relation, what it offers and what it consumes.
func (b Box) Settle(t testing.TB, model string, want *charm.BundleData) {
	t.Helper()
	beside := subordinates(t, want)
	b.Eventually(t, 8*time.Minute, model+" to be as the bundle says", func() (bool, string) {
		var s related
		Decode(t, b.Juju(t, "status", "-m", model, "--format", "json", "--relations"), &s)
		missing := append(s.units(want, beside), s.relations(want)...)
		slices.Sort(missing)
		return len(missing) == 0, strings.Join(missing, "; ")
	})
}

func (s related) units(want *charm.BundleData, beside map[string][]string) []string {
	var missing []string
	busy := func(unit string, u Unit) {
		if u.Workload.Current != "active" || u.Agent.Current != "idle" {
			missing = append(missing, fmt.Sprintf("%s is %s (%s), its agent %s", unit, u.Workload.Current, u.Workload.Message, u.Agent.Current))
		}
	}
	for name, app := range want.Applications {
		got := s.Applications[name]
		if len(got.Units) != app.NumUnits {
			missing = append(missing, fmt.Sprintf("%s has %d units", name, len(got.Units)))
		}
		for unit, u := range got.Units {
			busy(unit, u)
			for sub, v := range u.Subordinates {
				busy(sub, v)
			}
			for _, sub := range beside[name] {
				if !slices.ContainsFunc(slices.Collect(maps.Keys(u.Subordinates)), func(s string) bool { return strings.HasPrefix(s, sub+"/") }) {
					missing = append(missing, sub+" is not beside "+unit)
				}
			}
		}
	}
	return missing
}

func (s related) relations(want *charm.BundleData) []string {
	var missing []string
	for _, r := range want.Relations {
		a, endpoint, _ := strings.Cut(r[0], ":")
		b, _, _ := strings.Cut(r[1], ":")
		found := false
		for _, other := range s.Applications[a].Relations[endpoint] {
			found = found || other.App == b
		}
		if !found {
			missing = append(missing, fmt.Sprintf("%s is not related with %s", r[0], r[1]))
		}
	}
	for name, saas := range want.Saas {
		if !strings.HasSuffix(s.Remote[name].URL, saas.URL) {
			missing = append(missing, fmt.Sprintf("%s is not consumed, but %q", saas.URL, s.Remote[name].URL))
		}
	}
	for app, spec := range want.Applications {
		for name, offer := range spec.Offers {
			for _, endpoint := range offer.Endpoints {
				if _, ok := s.Offers[name].Endpoints[endpoint]; !ok || s.Offers[name].App != app {
					missing = append(missing, fmt.Sprintf("%s:%s is not offered as %s", app, endpoint, name))
				}
			}
		}
	}
	return missing
}

// subordinates returns, by application, those that its units have beside them by a relation
// within their containers. The bundle's charms are archives.
func subordinates(t testing.TB, want *charm.BundleData) map[string][]string {
	t.Helper()
	beside := map[string][]string{}
	for _, r := range want.Relations {
		for i, end := range r {
			app, endpoint, _ := strings.Cut(end, ":")
			if want.Applications[app] == nil {
				continue
			}
			archive, err := charm.ReadCharmArchive(want.Applications[app].Charm)
			require.NoError(t, err)
			e := archive.Meta().CombinedRelations()[endpoint]
			if archive.Meta().Subordinate && e.Scope == charm.ScopeContainer {
				other, _, _ := strings.Cut(r[1-i], ":")
				beside[other] = append(beside[other], app)
			}
		}
	}
	return beside
}

// Restarted waits until every lxd-profile-sub of the model says what is in force, and that
// nothing waits for a restart.
func (b Box) Restarted(t testing.TB, model string) {
	t.Helper()
	b.Eventually(t, 5*time.Minute, "the containers to be restarted, one after another", func() (bool, string) {
		said, waits := "", 0
		for _, app := range b.Status(t, model).Applications {
			for _, u := range app.Units {
				for name, sub := range u.Subordinates {
					if !strings.Contains(name, "-profile/") {
						continue
					}
					said += name + " " + sub.Workload.Current + ": " + sub.Workload.Message + "\n"
					if !strings.HasPrefix(sub.Workload.Message, "in force: ") || strings.Contains(sub.Workload.Message, "restart needed") {
						waits++
					}
				}
			}
		}
		return said != "" && waits == 0, said
	})
}
