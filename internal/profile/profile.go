// Package profile is what a user may ask for in an LXD profile: the text they write, what
// is wrong with it, and what it takes for each key to be in force. It is pure: it asks
// neither LXD nor Juju, and imports nothing of this project.
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

// IsEmpty tells whether the profile asks for nothing.
func (p Profile) IsEmpty() bool { return len(p.Config) == 0 && len(p.Devices) == 0 }

// Equal tells whether both ask for the same.
func (p Profile) Equal(other Profile) bool {
	return maps.Equal(p.Config, other.Config) && maps.EqualFunc(p.Devices, other.Devices, maps.Equal)
}

// Merge lays profiles over each other as LXD does with an instance's list: a later one's
// key replaces an earlier one's, and a device is replaced as a whole.
// https://documentation.ubuntu.com/lxd/en/latest/profiles/
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

// Problem is one thing that is wrong with a profile.
type Problem struct {
	Path string // where, as in the text: "config.limits.memory", "devices.tun.type"; may be empty
	Says string // what is wrong: `is "lots"`
	Want string // what would be right: "a size such as 512MiB"; may be empty
}

func (p Problem) String() string {
	s := strings.TrimSpace(p.Path + " " + p.Says)
	if p.Want != "" {
		s += ", wanted " + p.Want
	}
	return s
}

// Problems is everything that is wrong with a profile, as an error, sorted by path.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "; ")
}

// err gives the problems as an error, nil when there are none.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return ps
}
