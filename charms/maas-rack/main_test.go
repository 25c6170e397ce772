package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/host/apt"
)

func TestTheDefaultSourceIsGood(t *testing.T) {
	text, err := os.ReadFile("charmcraft.yaml")
	require.NoError(t, err)
	var source struct {
		Config struct {
			Options map[string]struct {
				Default string `yaml:"default"`
			} `yaml:"options"`
		} `yaml:"config"`
	}
	require.NoError(t, yaml.Unmarshal(text, &source))
	s, err := apt.ParseSource(source.Config.Options["source"].Default)
	require.NoError(t, err)
	require.Equal(t, "ppa:maas/3.7", s.PPA)
}
