package profile

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/document"
)

// Layer is a profile with its origin: "preset docker".
type Layer struct {
	From    string
	Profile Profile
}

// Layered is the result of merged layers, see Merge.
type Layered struct {
	Profile Profile
	From    map[string]string // the origin of each key and device, by its path
}

// Overlay merges layers, the later over the earlier, and records the origin of each part.
func Overlay(layers ...Layer) Layered {
	out := Layered{Profile: Merge(), From: map[string]string{}}
	for _, layer := range layers {
		out.Profile = Merge(out.Profile, layer.Profile)
		for name := range layer.Profile.Config {
			out.From[document.Join("config", name)] = layer.From
		}
		for name := range layer.Profile.Devices {
			out.From[document.Join("devices", name)] = layer.From
		}
	}
	return out
}

// white matches white space that only quotes keep.
var white = regexp.MustCompile(`(?m)^\s|[^\S\n]$|\t|\n\n|^<<$`)

// YAML returns the profile as text that Parse reads, sorted, with the note for its path as a comment at
// each key and device.
func (p Profile) YAML(notes map[string]string) string {
	text := func(s string) *yaml.Node {
		node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
		// White space at the begin or end of a line of a block is not read back.
		if white.MatchString(s) {
			node.Style = yaml.DoubleQuotedStyle
		}
		return node
	}
	strings := func(at string, m map[string]string) *yaml.Node {
		node := &yaml.Node{Kind: yaml.MappingNode}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			key := text(k)
			key.HeadComment = notes[document.Join(at, k)]
			node.Content = append(node.Content, key, text(m[k]))
		}
		return node
	}
	devices := &yaml.Node{Kind: yaml.MappingNode}
	for _, name := range slices.Sorted(maps.Keys(p.Devices)) {
		key := text(name)
		key.HeadComment = notes[document.Join("devices", name)]
		devices.Content = append(devices.Content, key, strings(document.Join("devices", name), p.Devices[name]))
	}
	out, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{text("config"), strings("config", p.Config), text("devices"), devices}})
	if err != nil {
		panic(err) // of nodes made here
	}
	return string(out)
}

// Changes returns the paths of the keys and devices that differ between two profiles, sorted.
func Changes(a, b Profile) []string {
	changed := map[string]bool{}
	for name := range Merge(a, b).Config {
		av, inA := a.Config[name]
		bv, inB := b.Config[name]
		changed[document.Join("config", name)] = inA != inB || av != bv
	}
	for name := range Merge(a, b).Devices {
		changed[document.Join("devices", name)] = !maps.Equal(a.Devices[name], b.Devices[name])
	}
	maps.DeleteFunc(changed, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(changed))
}

// EffectOf returns the effect of changing the key or device at a path from one profile to another: the
// worse of the two.
func EffectOf(path string, from, to Profile) Effect {
	return max(Classify(from)[path], Classify(to)[path])
}

// Conflicts returns the paths of the keys and devices that both profiles set, to different values, sorted.
func Conflicts(a, b Profile) []string {
	return slices.DeleteFunc(Changes(a, b), func(path string) bool { return !a.has(path) || !b.has(path) })
}

// Differences returns, by path, the short actual value of what differs from wanted, "" for none. Free text,
// which may be a secret, is not shown.
func Differences(wanted, actual Profile) map[string]string {
	differences := map[string]string{}
	for _, path := range Changes(wanted, actual) {
		if wanted.has(path) {
			differences[path] = actual.short(path)
		}
	}
	return differences
}

// has reports whether the profile has a key or device at a path.
func (p Profile) has(path string) bool {
	if name, ok := strings.CutPrefix(path, "config."); ok {
		_, ok = p.Config[name]
		return ok
	}
	_, ok := p.Devices[strings.TrimPrefix(path, "devices.")]
	return ok
}

// short returns a short form of what is at a path; "" if nothing is.
func (p Profile) short(path string) string {
	if !p.has(path) {
		return ""
	}
	if name, ok := strings.CutPrefix(path, "config."); ok {
		if row, ok := findKey(name); ok && !row.value.free {
			return document.Quote(p.Config[name])
		}
		return "another text"
	}
	return "another device, of type " + document.Quote(p.Devices[strings.TrimPrefix(path, "devices.")]["type"])
}

// Shown returns a short form of what is at a path, "none" if nothing is. Of free text, which may be a
// secret, it only shows that there is some.
func (p Profile) Shown(path string) string {
	name, isKey := strings.CutPrefix(path, "config.")
	switch row, ok := findKey(name); {
	case !p.has(path):
		return "none"
	case isKey && ok && !row.value.free:
		return document.Quote(p.Config[name])
	case isKey:
		return "some text"
	}
	return "a device of type " + document.Quote(p.Devices[strings.TrimPrefix(path, "devices.")]["type"])
}

// Without returns the profile without what is at the paths.
func (p Profile) Without(paths []string) Profile {
	rest := Merge(p)
	for _, path := range paths {
		if name, ok := strings.CutPrefix(path, "config."); ok {
			delete(rest.Config, name)
		} else {
			delete(rest.Devices, strings.TrimPrefix(path, "devices."))
		}
	}
	return rest
}

// Names returns paths in the form for messages: "limits.memory, gpu0".
func Names(paths []string) string {
	short := make([]string, len(paths))
	for i, path := range paths {
		short[i] = strings.TrimPrefix(strings.TrimPrefix(path, "config."), "devices.")
	}
	return strings.Join(short, ", ")
}
