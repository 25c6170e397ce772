package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/charms/lxd-cluster/broker"
)

// What an operator reads as the default is what holds without the option.
func TestTheDefaultPolicyIsTheOneInTheMetadata(t *testing.T) {
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
	require.Equal(t, broker.DefaultPolicy, source.Config.Options[broker.PolicyOption].Default)
}
