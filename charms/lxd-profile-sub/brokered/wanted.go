package brokered

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/preset"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// Options are the options in charmcraft.yaml.
type Options struct {
	Presets string
	Profile string
	CephFS  preset.CephFS

	// For a CephFS that the hosts do not know.
	Monitors, CephSecret string

	// For direct mode.
	Endpoint, Credential, Project string
}

// The names of Ceph clusters on LXD's hosts: the default of Ceph's tools, and the placeholder until the
// broker has named the relation's cluster.
const (
	cephCluster    = "ceph"
	pendingCluster = lxdprofile.CephPrefix + "pending"
)

func optionsOf(config map[string]any) Options {
	text := func(name string) string {
		s, _ := config[name].(string)
		return s
	}
	cluster := cephCluster
	if text("cephfs-monitors") != "" {
		cluster = pendingCluster
	}
	return Options{
		Monitors:   strings.TrimSpace(text("cephfs-monitors")),
		CephSecret: text("cephfs-secret"),

		Presets: text("preset"),
		Profile: text("profile"),
		CephFS: preset.CephFS{
			HostPath: text("cephfs-host-path"), FileSystem: text("cephfs-filesystem"), Path: text("cephfs-path"),
			Cluster: cluster, User: text("cephfs-user"), Mount: text("cephfs-mount"),
		},
		Endpoint:   strings.TrimSpace(text("endpoint")),
		Credential: text("credential"),
		Project:    text("project"),
	}
}

// Wanted merges the presets and then option profile. The error names the option to fix.
func (o Options) Wanted() (profile.Layered, error) {
	names, err := preset.List(o.Presets)
	if err != nil {
		return profile.Layered{}, fmt.Errorf("cannot use option preset: it %w", err)
	}
	if o.Endpoint != "" && o.hasShareAccess() {
		return profile.Layered{}, errors.New("cannot use option cephfs-monitors with option endpoint: put the key into the hosts' /etc/ceph and clear cephfs-monitors")
	}
	layers, err := preset.Layers(names, o.CephFS)
	if err != nil {
		return profile.Layered{}, fmt.Errorf("cannot use preset %s: option %w", preset.CephFSName, err)
	}
	own, err := profile.Parse([]byte(o.Profile))
	if err == nil {
		// Checked alone first, so that the error names the right option.
		err = profile.Validate(own)
	}
	if err != nil {
		return profile.Layered{}, fmt.Errorf("cannot use option profile: %w", err)
	}
	wanted := profile.Overlay(append(layers, profile.Layer{From: "option profile", Profile: own})...)
	if err := profile.Validate(wanted.Profile); err != nil {
		return profile.Layered{}, fmt.Errorf("cannot use the presets and the profile together: %w", err)
	}
	return wanted, nil
}
