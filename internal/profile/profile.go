// Package profile is the content of an LXD profile that a user may request: its text, its problems, and
// when each key is in force. It is pure: it uses neither LXD nor Juju, and imports only package document of
// this project.
package profile

import (
	"maps"
	"slices"
	"strings"
)

// Profile is the content of an LXD profile, in LXD's own strings.
type Profile struct {
	Config  map[string]string            `json:"config,omitempty"`
	Devices map[string]map[string]string `json:"devices,omitempty"`
}

// IsEmpty reports whether the profile has no content.
func (p Profile) IsEmpty() bool { return len(p.Config) == 0 && len(p.Devices) == 0 }

// Equal reports whether both have the same content.
func (p Profile) Equal(other Profile) bool {
	return maps.Equal(p.Config, other.Config) && maps.EqualFunc(p.Devices, other.Devices, maps.Equal)
}

// Merge merges profiles as LXD does with an instance's list: a later key replaces an earlier one, and a
// device is replaced as a whole. https://documentation.ubuntu.com/lxd/en/latest/profiles/
func Merge(layers ...Profile) Profile {
	out := Profile{Config: map[string]string{}, Devices: map[string]map[string]string{}}
	for _, layer := range layers {
		maps.Copy(out.Config, layer.Config)
		for name, device := range layer.Devices {
			out.Devices[name] = maps.Clone(device)
		}
	}
	return out
}

// Summary returns the content in one line: "limits.memory=512MiB, gpu0 (gpu)". It shows no free text, which
// may be a secret.
func (p Profile) Summary() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(p.Config)) {
		if row, ok := findKey(name); ok && !row.value.free {
			name += "=" + p.Config[name]
		}
		parts = append(parts, name)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Devices)) {
		parts = append(parts, name+" ("+p.Devices[name]["type"]+")")
	}
	return strings.Join(parts, ", ")
}
