package brokered

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/preset"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// Options are what the operator asks for, as in charmcraft.yaml.
type Options struct {
	Presets string
	Profile string
	CephFS  preset.CephFS

	// For a CephFS of which the hosts do not know.
	Monitors, CephSecret string

	// For the direct mode.
	Endpoint, Credential, Project string
}

// The names of Ceph clusters on LXD's hosts: the one that Ceph's own tools look for, and the one
// that stands for the relation's own cluster until the broker has named it.
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

// Wanted lays the presets and then the option profile over each other. The error names the
// option that has to be mended.
func (o Options) Wanted() (profile.Layered, error) {
	names, err := preset.List(o.Presets)
	if err != nil {
		return profile.Layered{}, fmt.Errorf("cannot use option preset: it %w", err)
	}
	if o.Endpoint != "" && o.handsOverAccess() {
		return profile.Layered{}, errors.New("cannot use option cephfs-monitors with option endpoint: only an lxd-cluster hands the key to the hosts: put it into their /etc/ceph and leave cephfs-monitors empty")
	}
	layers, err := preset.Layers(names, o.CephFS)
	if err != nil {
		return profile.Layered{}, fmt.Errorf("cannot use preset %s: option %w", preset.CephFSName, err)
	}
	own, err := profile.Parse([]byte(o.Profile))
	if err == nil {
		// By itself first, so that what is wrong is named where it is.
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
