// Package catalog knows what this project has to know of other people's charms: their
// endpoints, options, storage, bases and channels. Facts of our own charms are in their
// charmcraft.yaml.
package catalog

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/juju/charm/v12"
	"gopkg.in/yaml.v3"
)

//go:embed catalog.yaml
var data []byte

// Charm is what is known of a charm. One that differs from track to track is there once
// for each.
type Charm struct {
	Name          string              `yaml:"charm"`
	Channel       string              `yaml:"channel"` // what our bundles deploy, as track/risk
	Tracks        []string            `yaml:"tracks"`  // those that these facts hold for
	Bases         []string            `yaml:"bases"`   // as ubuntu@24.04
	Subordinate   bool                `yaml:"subordinate"`
	Source        []string            `yaml:"source"` // owner/repository:path@commit
	Provides      map[string]Endpoint `yaml:"provides"`
	Requires      map[string]Endpoint `yaml:"requires"`
	Peers         map[string]Endpoint `yaml:"peers"`
	Required      []string            `yaml:"required"` // endpoints without which it does not come up
	ExtraBindings []string            `yaml:"extra-bindings"`
	Storage       map[string]Storage  `yaml:"storage"`
	Resources     map[string]string   `yaml:"resources"` // name to type
	Options       map[string]string   `yaml:"options"`   // name to type
	Actions       []string            `yaml:"actions"`   // those that our how-tos run
}

// Endpoint is one end of a relation.
type Endpoint struct {
	Interface string `yaml:"interface"`
	Scope     string `yaml:"scope,omitempty"` // container, or empty for global
	Limit     int    `yaml:"limit,omitempty"`
	Optional  *bool  `yaml:"optional,omitempty"` // nil where the charm does not say
}

// UnmarshalYAML takes the interface's name alone, too.
func (e *Endpoint) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&e.Interface)
	}
	type plain Endpoint
	return n.Decode((*plain)(e))
}

// Storage is what a charm asks for.
type Storage struct {
	Type        string `yaml:"type"`
	Count       string `yaml:"count"` // as Juju's multiple.range: 1, 0-1, 0-
	MinimumSize string `yaml:"minimum-size"`
	Location    string `yaml:"location"`
}

var all = sync.OnceValues(func() ([]Charm, error) { return parse(data) })

func parse(text []byte) ([]Charm, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var charms []Charm
	if err := d.Decode(&charms); err != nil {
		return nil, fmt.Errorf("cannot read the catalogue of charms: %w", err)
	}
	return charms, nil
}

// All returns every charm, sorted by name. Do not change what it returns.
func All() ([]Charm, error) { return all() }

// Names returns the charms' names, sorted, each once.
func Names() ([]string, error) {
	charms, err := all()
	var names []string
	for _, c := range charms {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// Find returns the charm of that name whose facts hold for the channel (track/risk, or a
// track alone; empty for the one that our bundles deploy), and all tracks that are
// known of it. For a risk alone they hold where the charm has no tracks but latest: which track
// that is else, its publisher says. Where none holds it returns the one that our bundles deploy, and ok is false;
// tracks is empty where the charm is unknown.
func Find(name, channel string) (c Charm, tracks []string, ok bool) {
	charms, err := all()
	if err != nil {
		return Charm{}, nil, false
	}
	track := Track(channel)
	if track == "" && channel != "" {
		track = "latest"
	}
	for _, candidate := range charms {
		if candidate.Name != name {
			continue
		}
		first := len(tracks) == 0
		tracks = append(tracks, candidate.Tracks...)
		holds := track == "" || slices.Contains(candidate.Tracks, track)
		if first || holds && !ok {
			c = candidate
		}
		ok = ok || holds
	}
	return c, tracks, ok
}

// Risks are the risks of a channel, from the safest on.
var Risks = []string{"stable", "candidate", "beta", "edge"}

// Track returns the track of a channel; empty where it names a risk alone.
func Track(channel string) string {
	track, _, _ := strings.Cut(channel, "/")
	if slices.Contains(Risks, track) {
		return ""
	}
	return track
}

// Files returns the charm's metadata as the files that Juju reads it from: metadata.yaml,
// config.yaml and actions.yaml (none for a charm without) and manifest.yaml, for the
// architecture.
func (c Charm) Files(arch string) (map[string][]byte, error) {
	type m = map[string]any
	meta := m{
		"name": c.Name, "summary": "Stand-in for " + c.Name + ".",
		"description": "What the catalogue knows of " + c.Name + ".",
		"provides":    c.Provides, "requires": c.Requires, "peers": c.Peers,
	}
	if c.Subordinate {
		meta["subordinate"] = true
	}
	bindings, storage, resources, options := m{}, m{}, m{}, m{}
	for _, b := range c.ExtraBindings {
		bindings[b] = nil
	}
	for name, s := range c.Storage {
		one := m{"type": s.Type}
		if s.Count != "1" {
			one["multiple"] = m{"range": s.Count}
		}
		if s.MinimumSize != "" {
			one["minimum-size"] = s.MinimumSize
		}
		if s.Location != "" {
			one["location"] = s.Location
		}
		storage[name] = one
	}
	for name, kind := range c.Resources {
		one := m{"type": kind}
		if kind == "file" {
			one["filename"] = name
		}
		resources[name] = one
	}
	for name, kind := range c.Options {
		options[name] = m{"type": kind, "description": name}
	}
	meta["extra-bindings"], meta["storage"], meta["resources"] = bindings, storage, resources
	for k, v := range meta {
		if part, ok := v.(m); ok && len(part) == 0 {
			delete(meta, k) // Juju refuses some of them where they are empty
		}
	}
	var bases []m
	for _, b := range c.Bases {
		name, channel, _ := strings.Cut(b, "@")
		bases = append(bases, m{"name": name, "channel": channel, "architectures": []string{arch}})
	}
	docs := m{"metadata.yaml": meta, "manifest.yaml": m{"bases": bases}}
	if len(options) > 0 {
		docs["config.yaml"] = m{"options": options}
	}
	if len(c.Actions) > 0 {
		actions := m{}
		for _, name := range c.Actions {
			actions[name] = m{"description": name}
		}
		docs["actions.yaml"] = actions
	}
	files := map[string][]byte{}
	for name, doc := range docs {
		text, err := yaml.Marshal(doc)
		if err != nil {
			return nil, fmt.Errorf("cannot write %s of %s: %w", name, c.Name, err)
		}
		files[name] = text
	}
	return files, nil
}

// Juju returns the charm as Juju's own parsers read it.
func (c Charm) Juju() (charm.Charm, error) {
	files, err := c.Files("amd64")
	if err != nil {
		return nil, err
	}
	fail := func(err error) error { return fmt.Errorf("cannot read the catalogue's %s: %w", c.Name, err) }
	p := parsed{config: charm.NewConfig()}
	if p.meta, err = charm.ReadMeta(bytes.NewReader(files["metadata.yaml"])); err != nil {
		return nil, fail(err)
	}
	if p.manifest, err = charm.ReadManifest(bytes.NewReader(files["manifest.yaml"])); err != nil {
		return nil, fail(err)
	}
	if text, ok := files["config.yaml"]; ok {
		if p.config, err = charm.ReadConfig(bytes.NewReader(text)); err != nil {
			return nil, fail(err)
		}
	}
	return p, nil
}

// parsed is a charm that has no archive.
type parsed struct {
	meta     *charm.Meta
	manifest *charm.Manifest
	config   *charm.Config
}

func (p parsed) Meta() *charm.Meta         { return p.meta }
func (p parsed) Manifest() *charm.Manifest { return p.manifest }
func (p parsed) Config() *charm.Config     { return p.config }
func (p parsed) Metrics() *charm.Metrics   { return nil }
func (p parsed) Actions() *charm.Actions   { return charm.NewActions() }
func (p parsed) Revision() int             { return 0 }
