// Package charmpack makes a charm archive from a charm folder.
//
// A charm folder holds charmcraft.yaml, the one source of everything that Juju is told
// about the charm, and a Go program that becomes its dispatch. The package splits the
// first, builds the second and zips both, the same bytes from the same inputs.
package pack

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// SourceFile is the name of the file that describes a charm in its folder.
const SourceFile = "charmcraft.yaml"

// Source is a charm's charmcraft.yaml, in charmcraft 3's unified form. Whatever Juju
// reads is kept as it was written; a field that is not known here is an error.
type Source struct {
	Type        string `yaml:"type"`
	Name        string `yaml:"name"`
	Title       string `yaml:"title"`
	Summary     string `yaml:"summary"`
	Description string `yaml:"description"`
	Links       Links  `yaml:"links"`

	Base      string              `yaml:"base"`
	Platforms map[string]Platform `yaml:"platforms"`
	Parts     map[string]Part     `yaml:"parts"`

	Assumes       []any          `yaml:"assumes"`
	Subordinate   bool           `yaml:"subordinate"`
	Requires      map[string]any `yaml:"requires"`
	Provides      map[string]any `yaml:"provides"`
	Peers         map[string]any `yaml:"peers"`
	ExtraBindings map[string]any `yaml:"extra-bindings"`
	Storage       map[string]any `yaml:"storage"`
	Devices       map[string]any `yaml:"devices"`
	Resources     map[string]any `yaml:"resources"`
	Terms         []string       `yaml:"terms"`
	CharmUser     string         `yaml:"charm-user"`

	Config  map[string]any `yaml:"config"`
	Actions map[string]any `yaml:"actions"`
}

// Links are the addresses that a charm shows to its users.
type Links struct {
	Contact       Strings `yaml:"contact"`
	Documentation string  `yaml:"documentation"`
	Issues        Strings `yaml:"issues"`
	Source        Strings `yaml:"source"`
	Website       Strings `yaml:"website"`
}

// Platform is where a charm is built and where it runs: architectures ("amd64"), or bases
// and architectures ("ubuntu@24.04:amd64").
type Platform struct {
	BuildOn  Strings `yaml:"build-on"`
	BuildFor Strings `yaml:"build-for"`
}

// Part is how charmcraft builds a piece of the charm. Only the parts with the go plugin are
// of interest here, and of them only what changes the program that comes out.
type Part struct {
	Plugin           string              `yaml:"plugin"`
	Source           string              `yaml:"source"`
	Subdir           string              `yaml:"source-subdir"`
	Organize         map[string]string   `yaml:"organize"`
	BuildPackages    Strings             `yaml:"build-packages"`
	BuildTags        []string            `yaml:"go-buildtags"`
	BuildEnvironment []map[string]string `yaml:"build-environment"`
	Rest             map[string]any      `yaml:",inline"`
}

// Strings is a list of strings; a single one may be written without the list.
type Strings []string

// UnmarshalYAML reads a string or a list of strings.
func (s *Strings) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		*s = Strings{n.Value}
		return nil
	}
	return n.Decode((*[]string)(s))
}

// ReadSource reads dir's charmcraft.yaml. The error names the file and, where there is
// one, the line.
func ReadSource(dir string) (*Source, error) {
	path := filepath.Join(dir, SourceFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read charm: expected a charm folder with a %s: %w", SourceFile, err)
	}
	s, err := ParseSource(data)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return s, nil
}

// ParseSource reads the text of a charmcraft.yaml. Unknown fields are errors, because a
// misspelt one would otherwise be missing from the charm without a word.
func ParseSource(data []byte) (*Source, error) {
	var s Source
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&s); err != nil {
		return nil, friendly(err)
	}
	if s.Type != "charm" {
		return nil, fmt.Errorf("type: expected charm, got %q", s.Type)
	}
	if !charmName.MatchString(s.Name) {
		return nil, fmt.Errorf("name: expected lower-case letters, digits and hyphens, got %q", s.Name)
	}
	return &s, nil
}

// charmName is what a charm may be called; the name also becomes a file's.
var charmName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

var unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)

// friendly says in charmcraft's words what the decoder says in Go's.
func friendly(err error) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		return err
	}
	lines := slices.Clone(te.Errors)
	for i, l := range lines {
		lines[i] = unknownField.ReplaceAllString(l, `field "$1" is not one of charmcraft.yaml's`)
	}
	return errors.New(strings.Join(lines, "; "))
}

// Documents splits the source into the files that Juju reads from an archive, by name:
// metadata.yaml and manifest.yaml always, config.yaml and actions.yaml where they say
// something (Juju refuses an empty config.yaml). The manifest lists the bases that the
// charm's platforms name for arch, in Go's spelling ("amd64", "arm64").
func (s *Source) Documents(arch string) (map[string][]byte, error) {
	bases, err := s.bases(arch)
	if err != nil {
		return nil, err
	}
	docs := map[string]any{
		"metadata.yaml": s.metadata(),
		"manifest.yaml": map[string]any{"bases": bases},
	}
	if options, _ := s.Config["options"].(map[string]any); len(options) > 0 {
		docs["config.yaml"] = s.Config
	}
	if len(s.Actions) > 0 {
		docs["actions.yaml"] = s.Actions
	}
	out := make(map[string][]byte, len(docs))
	for name, doc := range docs {
		if out[name], err = yaml.Marshal(doc); err != nil {
			return nil, fmt.Errorf("cannot write %s: %w", name, err)
		}
	}
	return out, nil
}

// metadata is the part of the source that belongs into metadata.yaml, under the names
// that it has from charmcraft.
func (s *Source) metadata() any {
	return struct {
		Name          string         `yaml:"name"`
		DisplayName   string         `yaml:"display-name,omitempty"`
		Summary       string         `yaml:"summary"`
		Description   string         `yaml:"description"`
		Maintainers   Strings        `yaml:"maintainers,omitempty"`
		Docs          string         `yaml:"docs,omitempty"`
		Issues        Strings        `yaml:"issues,omitempty"`
		Source        Strings        `yaml:"source,omitempty"`
		Website       Strings        `yaml:"website,omitempty"`
		Assumes       []any          `yaml:"assumes,omitempty"`
		CharmUser     string         `yaml:"charm-user,omitempty"`
		Subordinate   bool           `yaml:"subordinate,omitempty"`
		Requires      map[string]any `yaml:"requires,omitempty"`
		Provides      map[string]any `yaml:"provides,omitempty"`
		Peers         map[string]any `yaml:"peers,omitempty"`
		ExtraBindings map[string]any `yaml:"extra-bindings,omitempty"`
		Storage       map[string]any `yaml:"storage,omitempty"`
		Devices       map[string]any `yaml:"devices,omitempty"`
		Resources     map[string]any `yaml:"resources,omitempty"`
		Terms         []string       `yaml:"terms,omitempty"`
	}{
		s.Name, s.Title, s.Summary, s.Description,
		s.Links.Contact, s.Links.Documentation, s.Links.Issues, s.Links.Source, s.Links.Website,
		s.Assumes, s.CharmUser, s.Subordinate, s.Requires, s.Provides, s.Peers, s.ExtraBindings,
		s.Storage, s.Devices, s.Resources, s.Terms,
	}
}

// base is one entry of manifest.yaml.
type base struct {
	Name          string   `yaml:"name"`
	Channel       string   `yaml:"channel"`
	Architectures []string `yaml:"architectures"`
}

// bases returns the bases of the platforms that are built for arch, in order of name and
// channel.
func (s *Source) bases(arch string) ([]base, error) {
	seen := map[string]bool{}
	for name, p := range s.Platforms {
		targets := p.BuildFor
		if len(targets) == 0 {
			targets = Strings{name}
		}
		for _, target := range targets {
			b, a, ok := strings.Cut(target, ":")
			if !ok {
				b, a = s.Base, target
			}
			if !strings.Contains(b, "@") {
				return nil, fmt.Errorf("platforms: %s: expected a base and an architecture such as ubuntu@24.04:amd64", target)
			}
			if a == arch || a == "all" {
				seen[b] = true
			}
		}
	}
	if len(seen) == 0 {
		return nil, fmt.Errorf("platforms: expected one for architecture %s, such as ubuntu@24.04:%s", arch, arch)
	}
	var out []base
	for _, b := range slices.Sorted(maps.Keys(seen)) {
		name, channel, _ := strings.Cut(b, "@")
		out = append(out, base{name, channel, []string{arch}})
	}
	return out, nil
}

// BuildPackages lists the Debian packages that a machine needs for building the charm's
// programs, beside Go. As with charmcraft, what they link statically is among them.
func (s *Source) BuildPackages() []string {
	var packages []string
	for _, p := range s.goParts() {
		packages = append(packages, p.BuildPackages...)
	}
	return packages
}

// dispatch is the program that Juju runs.
const dispatch = "dispatch"

// goParts returns the parts that the go plugin builds, by name; without one, an empty part.
func (s *Source) goParts() []Part {
	var parts []Part
	for _, name := range slices.Sorted(maps.Keys(s.Parts)) {
		if p := s.Parts[name]; p.Plugin == "go" {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		parts = []Part{{}}
	}
	return parts
}

// program is the name in the archive of what the part builds: what its organize says of
// the go plugin's bin/, else dispatch.
func (p Part) program() string {
	for _, from := range slices.Sorted(maps.Keys(p.Organize)) {
		if strings.HasPrefix(from, "bin/") {
			return p.Organize[from]
		}
	}
	return dispatch
}

// folder is where the part's program is, in the charm folder dir: charmcraft builds the
// source-subdir of the source.
func (p Part) folder(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	folder, err := filepath.Rel(dir, filepath.Join(dir, p.Source, p.Subdir))
	if err != nil || !filepath.IsLocal(folder) {
		return "", fmt.Errorf("parts: expected source and source-subdir to lead into the charm's folder, got %q and %q", p.Source, p.Subdir)
	}
	return folder, nil
}

// checkPrograms returns an error unless each program has a name of its own, at the archive's
// root, and one is the dispatch.
func checkPrograms(parts []Part) error {
	seen := map[string]bool{}
	for _, p := range parts {
		name := p.program()
		if name != filepath.Base(name) || name == "." || name == ".." {
			return fmt.Errorf("parts: organize: expected the name of a program, got %q", name)
		}
		if seen[name] {
			return fmt.Errorf("parts: two with plugin: go make %s: rename one of them with organize", name)
		}
		seen[name] = true
	}
	if !seen[dispatch] {
		return fmt.Errorf("parts: expected one with plugin: go that makes dispatch")
	}
	return nil
}
