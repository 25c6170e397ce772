package preset_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/preset"
)

var share = preset.CephFS{FileSystem: "cephfs", Path: "/volumes/web", Cluster: "ceph", User: "admin", Mount: "/mnt/cephfs"}

func TestEveryPresetIsAGoodProfile(t *testing.T) {
	for _, name := range preset.Names() {
		layers, err := preset.Layers([]string{name}, share)
		require.NoError(t, err, name)
		require.Len(t, layers, 1)
		assert.Equal(t, "preset "+name, layers[0].From)
		assert.False(t, layers[0].Profile.IsEmpty(), name)
		assert.NoError(t, profile.Validate(layers[0].Profile), name)
	}
}

func TestList(t *testing.T) {
	for text, want := range map[string][]string{
		"":                        nil,
		"docker":                  {"docker"},
		"docker, nested-kvm":      {"docker", "nested-kvm"},
		" nested-kvm docker\n":    {"nested-kvm", "docker"},
		"kubernetes,,\tcephfs , ": {"kubernetes", "cephfs"},
	} {
		names, err := preset.List(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, append([]string(nil), names...), text)
	}
	for text, says := range map[string]string{
		"dokcer":        `has "dokcer", wanted some of cephfs, docker, kubernetes, nested-kvm`,
		"../docker":     `has "../docker"`,
		"docker docker": `has "docker" twice`,
	} {
		_, err := preset.List(text)
		assert.ErrorContains(t, err, says)
	}
}

// No preset takes a kernel module from another.
func TestModulesAddUp(t *testing.T) {
	layers, err := preset.Layers([]string{"docker", "kubernetes"}, share)
	require.NoError(t, err)
	assert.Equal(t, "overlay,br_netfilter,nf_nat,xt_conntrack,vxlan,ip_vs,ip_vs_rr,ip_vs_wrr,ip_vs_sh,ip_tables,ip6_tables,netlink_diag",
		profile.Overlay(layers...).Profile.Config["linux.kernel_modules"])
}

func TestCephFS(t *testing.T) {
	device := func(c preset.CephFS) map[string]string {
		layers, err := preset.Layers([]string{"cephfs"}, c)
		require.NoError(t, err)
		return layers[0].Profile.Devices["cephfs"]
	}
	assert.Equal(t, map[string]string{
		"type": "disk", "source": "cephfs:cephfs/volumes/web", "path": "/mnt/cephfs", "ceph.cluster_name": "ceph", "ceph.user_name": "admin",
	}, device(share))
	mounted := share
	mounted.HostPath = "/srv/share"
	assert.Equal(t, map[string]string{"type": "disk", "source": "/srv/share", "path": "/mnt/cephfs"}, device(mounted))

	for says, edit := range map[string]func(*preset.CephFS){
		`cephfs-host-path is "/srv/../etc", wanted a whole path`: func(c *preset.CephFS) { c.HostPath = "/srv/../etc" },
		`cephfs-path is "volumes"`:                               func(c *preset.CephFS) { c.Path = "volumes" },
		`cephfs-path is "/../x"`:                                 func(c *preset.CephFS) { c.Path = "/../x" },
		`cephfs-mount is "/mnt/"`:                                func(c *preset.CephFS) { c.Mount = "/mnt/" },
		`cephfs-mount is the root`:                               func(c *preset.CephFS) { c.Mount = "/" },
		`cephfs-user is "../x"`:                                  func(c *preset.CephFS) { c.User = "../x" },
		`cephfs-filesystem is ""`:                                func(c *preset.CephFS) { c.FileSystem = "" },
	} {
		bad := share
		edit(&bad)
		_, err := preset.Layers([]string{"cephfs"}, bad)
		assert.ErrorContains(t, err, says)
	}
}
