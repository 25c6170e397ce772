package main

import (
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/charms/lxd-cluster/ceph"
	"github.com/dcib/dcib/charms/lxd-cluster/cluster"
	"github.com/dcib/dcib/charms/lxd-cluster/install"
	"github.com/dcib/dcib/charms/lxd-cluster/maas"
	"github.com/dcib/dcib/internal/profile/policy"
)

// defaults are the options' defaults in the metadata, as Juju gives them to the charm.
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

func TestTheDefaultsAreGood(t *testing.T) {
	options := defaults(t)
	_, inCluster := cluster.ParseConfig(options)
	_, inInstall := install.ParseConfig(options)
	_, inCeph := ceph.ParseConfig(options)
	_, inMAAS := maas.ParseConfig(options)
	require.Empty(t, slices.Concat(inCluster, inInstall, inCeph, inMAAS))
}
