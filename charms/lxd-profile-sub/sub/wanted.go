package sub

import (
	"fmt"
	"strings"

	"github.com/dcib/dcib/internal/hooktool"
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

// cephCluster is the name under which Ceph's own tools look for a cluster.
const cephCluster = "ceph"

func optionsOf(config map[string]any, self lxdprofile.Claim) Options {
	text := func(name string) string {
		s, _ := config[name].(string)
		return s
	}
	cluster := cephCluster
	if text("cephfs-monitors") != "" {
		cluster = lxdprofile.CephCluster(self.ModelUUID, hooktool.AppOf(self.Principal))
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
