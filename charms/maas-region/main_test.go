package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/charms/maas-region/region"
)

func TestTheMetadataIsTrue(t *testing.T) {
	text, err := os.ReadFile("charmcraft.yaml")
	require.NoError(t, err)
	var source struct {
		Config struct {
			Options map[string]struct {
				Default any `yaml:"default"`
			} `yaml:"options"`
		} `yaml:"config"`
		Actions map[string]any `yaml:"actions"`
	}
	require.NoError(t, yaml.Unmarshal(text, &source))
	options := map[string]any{}
	for name, option := range source.Config.Options {
		if option.Default != nil {
			options[name] = option.Default
		}
	}
	c, problems := region.ParseConfig(options)
	require.Empty(t, problems)
	require.Equal(t, "ppa:maas/3.7", c.Source.PPA)
	for name := range source.Actions {
		require.Contains(t, region.Actions, name)
	}
	require.Len(t, source.Actions, len(region.Actions))
}
