// Package preset has named LXD profiles for common uses of containers. The YAML file of each name has its
// content and its sources; only cephfs is made from options, see CephFS. It is pure.
package preset

import (
	"embed"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/document"
	"github.com/dcib/dcib/internal/profile"
)

// CephFSName is the preset that is made from options.
const CephFSName = "cephfs"

//go:embed *.yaml
var files embed.FS

// Names returns the names of the presets.
func Names() []string { return []string{CephFSName, "docker", "kubernetes", "nested-kvm"} }

// List reads a list of presets, separated by commas or spaces. The error names an unknown one, or one that
// is there twice.
func List(text string) ([]string, error) {
	names := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
	for i, name := range names {
		if !slices.Contains(Names(), name) {
			return nil, document.Problems{{Says: fmt.Sprintf("has %.40q", name), Want: "some of " + strings.Join(Names(), ", ")}}
		}
		if slices.Contains(names[:i], name) {
			return nil, document.Problems{{Says: fmt.Sprintf("has %q twice", name), Want: "each once"}}
		}
	}
	return names, nil
}

// Layers returns the presets of a list as layers of a profile, in its order. A later list of kernel modules
// also has the earlier modules: loading one unloads none.
func Layers(names []string, cephFS CephFS) ([]profile.Layer, error) {
	var layers []profile.Layer
	var modules []string
	for _, name := range names {
		layer := profile.Layer{From: "preset " + name}
		var err error
		if name == CephFSName {
			layer.Profile, err = cephFS.profile()
		} else {
			layer.Profile, err = read(name)
		}
		if err != nil {
			return nil, err
		}
		const key = "linux.kernel_modules"
		if more := layer.Profile.Config[key]; more != "" {
			for module := range strings.SplitSeq(more, ",") {
				if !slices.Contains(modules, module) {
					modules = append(modules, module)
				}
			}
			layer.Profile.Config = maps.Clone(layer.Profile.Config)
			layer.Profile.Config[key] = strings.Join(modules, ",")
		}
		layers = append(layers, layer)
	}
	return layers, nil
}

func read(name string) (profile.Profile, error) {
	text, err := files.ReadFile(name + ".yaml")
	if err != nil {
		return profile.Profile{}, fmt.Errorf("cannot read preset %s: %w", name, err)
	}
	return profile.Parse(text)
}

// CephFS is what the preset cephfs mounts, and where. A share has a file system and a path. LXD's own
// client reads monitors and key from the host's /etc/ceph by the names of cluster and user; or the share is
// mounted on each host already. https://documentation.ubuntu.com/lxd/en/stable-5.0/reference/devices_disk/
type CephFS struct {
	HostPath   string // where the hosts have it mounted; the next four are then ignored
	FileSystem string // its name in Ceph
	Path       string // of what is shared, in it
	Cluster    string // the hosts have /etc/ceph/<Cluster>.conf
	User       string // and <Cluster>.client.<User>.keyring
	Mount      string // the path in the containers
}

func (c CephFS) profile() (profile.Profile, error) {
	for _, p := range []struct{ option, path string }{{"cephfs-host-path", c.HostPath}, {"cephfs-path", c.Path}, {"cephfs-mount", c.Mount}} {
		if p.option == "cephfs-host-path" && p.path == "" {
			continue
		}
		if !strings.HasPrefix(p.path, "/") || path.Clean(p.path) != p.path || strings.ContainsRune(p.path, 0) {
			return profile.Profile{}, document.Problems{{Path: p.option, Says: fmt.Sprintf("is %.40q", p.path), Want: "a whole path such as /srv/share, without .. in it"}}
		}
	}
	if c.Mount == "/" {
		return profile.Profile{}, document.Problems{{Path: "cephfs-mount", Says: "is the root of the container", Want: "another path, such as /mnt/cephfs"}}
	}
	disk := map[string]string{"type": "disk", "path": c.Mount}
	if c.HostPath != "" {
		disk["source"] = c.HostPath
	} else {
		for _, name := range []struct{ option, name string }{{"cephfs-filesystem", c.FileSystem}, {"cephfs-user", c.User}, {"the cluster's name", c.Cluster}} {
			if name.name == "" || strings.Trim(name.name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") != "" || name.name[0] == '.' {
				return profile.Profile{}, document.Problems{{Path: name.option, Says: fmt.Sprintf("is %.40q", name.name), Want: "a name of letters, digits, dots, hyphens and underscores"}}
			}
		}
		disk["source"] = "cephfs:" + c.FileSystem + c.Path
		disk["ceph.cluster_name"], disk["ceph.user_name"] = c.Cluster, c.User
	}
	return profile.Profile{Devices: map[string]map[string]string{"cephfs": disk}}, nil
}
