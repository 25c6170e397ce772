package profile

import (
	"maps"
	"regexp"
	"slices"

	"gopkg.in/yaml.v3"
)

// Layer is a profile with the name of where it is from: "preset docker".
type Layer struct {
	From    string
	Profile Profile
}

// Layered is layers laid over each other, see Merge.
type Layered struct {
	Profile Profile
	From    map[string]string // where each key and device is from, by its path
}

// Overlay merges layers, the later over the earlier, and keeps where each part is from.
func Overlay(layers ...Layer) Layered {
	out := Layered{Profile: Merge(), From: map[string]string{}}
	for _, layer := range layers {
		out.Profile = Merge(out.Profile, layer.Profile)
		for name := range layer.Profile.Config {
			out.From[join("config", name)] = layer.From
		}
		for name := range layer.Profile.Devices {
			out.From[join("devices", name)] = layer.From
		}
	}
	return out
}

// white finds what only quotes keep.
var white = regexp.MustCompile(`(?m)^\s|[^\S\n]$|\t|\n\n|^<<$`)

// YAML gives the profile as text that Parse reads, sorted, with a comment at each key and
// device that notes has one for by its path.
func (p Profile) YAML(notes map[string]string) string {
	text := func(s string) *yaml.Node {
		node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
		// What begins or ends a line of a block with white space is not read back.
		if white.MatchString(s) {
			node.Style = yaml.DoubleQuotedStyle
		}
		return node
	}
	strings := func(at string, m map[string]string) *yaml.Node {
		node := &yaml.Node{Kind: yaml.MappingNode}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			key := text(k)
			key.HeadComment = notes[join(at, k)]
			node.Content = append(node.Content, key, text(m[k]))
		}
		return node
	}
	devices := &yaml.Node{Kind: yaml.MappingNode}
	for _, name := range slices.Sorted(maps.Keys(p.Devices)) {
		key := text(name)
		key.HeadComment = notes[join("devices", name)]
		devices.Content = append(devices.Content, key, strings(join("devices", name), p.Devices[name]))
	}
	out, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{text("config"), strings("config", p.Config), text("devices"), devices}})
	if err != nil {
		panic(err) // of nodes made here
	}
	return string(out)
}
