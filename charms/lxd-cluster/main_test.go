package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/charms/lxd-cluster/ceph"
	"github.com/dcib/dcib/charms/lxd-cluster/cluster"
	"github.com/dcib/dcib/charms/lxd-cluster/install"
	"github.com/dcib/dcib/charms/lxd-cluster/maas"
	"github.com/dcib/dcib/charms/lxd-cluster/trust"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/policy"
	"github.com/dcib/dcib/internal/profile/preset"
)

// defaults are the options' defaults in the metadata, as Juju passes them to the charm.
func defaults(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile("charmcraft.yaml")
	require.NoError(t, err)
	var source struct {
		Config struct {
			Options map[string]struct {
				Default any `yaml:"default"`
			} `yaml:"options"`
		} `yaml:"config"`
	}
	require.NoError(t, yaml.Unmarshal(text, &source))
	options := map[string]any{}
	for name, option := range source.Config.Options {
		switch value := option.Default.(type) {
		case nil: // a secret, which has none
		case int:
			options[name] = float64(value)
		default:
			options[name] = value
		}
	}
	return options
}

// What an operator reads as the default is what holds without the option.
func TestTheDefaultPolicyIsTheOneInTheMetadata(t *testing.T) {
	require.Equal(t, policy.Default, defaults(t)[policy.Option])
}

// The offer for all allows Docker and not Kubernetes, with which root in a container is root on
// its host; that is for the offer of its own.
func TestThePoliciesOfTheOverlay(t *testing.T) {
	text, err := os.ReadFile("../../overlays/offers.yaml")
	require.NoError(t, err)
	var overlay struct {
		Applications map[string]struct {
			Options map[string]string `yaml:"options"`
			Offers  map[string]struct {
				Endpoints []string `yaml:"endpoints"`
			} `yaml:"offers"`
		} `yaml:"applications"`
	}
	require.NoError(t, yaml.Unmarshal(text, &overlay))
	cluster := overlay.Applications["lxd-cluster"]
	policies, err := policy.Parse(cluster.Options[policy.Option])
	require.NoError(t, err)
	refused := func(offer, names string) []string {
		require.Len(t, cluster.Offers[offer].Endpoints, 1)
		list, err := preset.List(names)
		require.NoError(t, err)
		layers, err := preset.Layers(list, preset.CephFS{})
		require.NoError(t, err)
		return policies.For(policy.Requester{Endpoint: cluster.Offers[offer].Endpoints[0], Relation: "1"}).Refuse(profile.Overlay(layers...).Profile)
	}
	require.Empty(t, refused("lxd-profiles", "docker"))
	require.Empty(t, refused("lxd-profiles-trusted", "docker"))
	require.Empty(t, refused("lxd-profiles-trusted", "kubernetes"))
	require.Empty(t, refused("lxd-profiles-trusted", "docker kubernetes"))
	for _, key := range []string{"raw.lxc", "security.privileged"} {
		require.Contains(t, strings.Join(refused("lxd-profiles", "kubernetes"), "\n"), "config."+key+": profile-policy (default) does not allow it")
	}
	require.NotEmpty(t, refused("lxd-profiles-trusted", "nested-kvm"))
}

func TestTheDefaultsAreGood(t *testing.T) {
	options := defaults(t)
	_, inCluster := cluster.ParseConfig(options)
	_, inInstall := install.ParseConfig(options)
	_, inCeph := ceph.ParseConfig(options)
	_, inMAAS := maas.ParseConfig(options)
	require.Empty(t, slices.Concat(inCluster, inInstall, inCeph, inMAAS))
}

// A client that may not have what it asks for blocks the unit, and keeps no other component
// from its work.
func TestAClientThatIsRefusedStopsNothingElse(t *testing.T) {
	config, problems := cluster.ParseConfig(defaults(t))
	require.Empty(t, problems)
	f := facts{
		Cluster: cluster.Facts{Config: config, Relation: "cluster:0", LXD: cluster.ServerState{Present: true, Clustered: true, Member: "m1", Members: []cluster.Member{{Name: "m1", Status: "Online"}}, Pools: []string{"local"}, Networks: map[string]bool{"lxdbr0": true}}},
		Ceph:    ceph.Facts{Relation: "ceph:1", Key: "k", Files: []ceph.File{{Name: "ceph.conf"}}},
		Trust: trust.Facts{
			Acts:    true,
			Clients: []trust.Client{{Relation: "https:3", App: "x", Owner: "x/0", Fingerprint: "aa"}, {Relation: "https:4", App: "y", Owner: "y/0", Fingerprint: "bb"}},
			Refused: map[string]string{"bb": "LXD refuses y/0"}, Unrestricted: []string{"y"},
		},
	}
	p := newCharm().PlanOf(f)
	var names []string
	for _, step := range p.Steps {
		names = append(names, step.Name())
	}
	require.Contains(t, names, "write Ceph's ceph.conf")
	f.Ceph = ceph.Facts{}
	p = newCharm().PlanOf(f)
	require.Equal(t, charm.LevelBlocked, p.Status.Level)
	require.Contains(t, p.Status.Message, "x/0 (relation https:3) requests all of LXD")
	require.Contains(t, p.Status.Message, "LXD refuses y/0")

	f.Trust.Unrestricted, f.Trust.Refused = []string{"x", "y"}, nil
	require.Equal(t, charm.Active("member m1, alone in its cluster; unrestricted clients: x/0, y/0"), newCharm().PlanOf(f).Status)
}
