package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/profile"
)

// The endpoints of charm lxd-cluster for requests of profiles. They do the same; an operator offers the
// second only to applications that may have more.
const (
	Endpoint        = "lxd-profile"
	TrustedEndpoint = "lxd-profile-trusted"
)

// Endpoints returns them.
func Endpoints() []string { return []string{Endpoint, TrustedEndpoint} }

// Requester is an application that requests a profile, by facts that it cannot choose: Juju assigns
// endpoint and number to the provider's side of a relation, and the model is that of an instance that a
// unit of the relation has proven.
type Requester struct {
	Endpoint string
	Relation string // the number in the provider's id of it: 7 for "lxd-profile:7"
	Model    string // UUID; "" until it is proven
}

// Set is the whole option: a policy for each requester.
type Set struct {
	Default    Policy
	Requesters []Entry
}

// Entry is the policy for the requesters that match each of its selectors.
type Entry struct {
	Endpoint string `yaml:"endpoint"`
	Relation string `yaml:"relation"`
	Model    string `yaml:"model"`
	Policy   `yaml:",inline"`
}

// For returns the policy of a requester: that of the first entry that it matches, else the default.
func (s Set) For(r Requester) Policy {
	for _, e := range s.Requesters {
		if (e.Endpoint == "" || e.Endpoint == r.Endpoint) && (e.Relation == "" || e.Relation == r.Relation) && (e.Model == "" || e.Model == r.Model) {
			return e.Policy
		}
	}
	return s.Default
}

// contents is the option's YAML: either one policy, or one for each requester.
type contents struct {
	Policy     `yaml:",inline"`
	Default    *Policy `yaml:"default"`
	Requesters []Entry `yaml:"requesters"`
}

// modelUUID matches Juju's form of a model's UUID.
var modelUUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Parse reads the option's YAML; empty text is Default. The error names the invalid part.
func Parse(text string) (Set, error) {
	s, err := parse(text)
	if err != nil {
		return Set{}, fmt.Errorf("cannot use option %s: %w", Option, err)
	}
	return s, nil
}

func parse(text string) (Set, error) {
	if strings.TrimSpace(text) == "" {
		text = Default
	}
	if len(text) > profile.MaxBytes {
		return Set{}, fmt.Errorf("it is %d bytes long, wanted at most %d", len(text), profile.MaxBytes)
	}
	var d contents
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&d); err != nil && !errors.Is(err, io.EOF) {
		return Set{}, fmt.Errorf("wanted YAML with lists at keys, devices and host-paths, or such a policy at default and for each of requesters: %w", err)
	}
	root := &yaml.Node{}
	if err := yaml.Unmarshal([]byte(text), root); err != nil {
		return Set{}, err
	}
	if len(root.Content) > 0 {
		root = root.Content[0]
	}
	plain := d.Keys != nil || d.Devices != nil || d.HostPaths != nil
	switch {
	case d.Default == nil && d.Requesters == nil:
		d.lines = sections(root)
		return Set{Default: d.Policy}, d.check()
	case plain:
		return Set{}, errors.New("it has both a policy and default or requesters beside it: move keys, devices and host-paths into default")
	}
	s := Set{Requesters: d.Requesters}
	if d.Default != nil {
		s.Default = *d.Default
		s.Default.lines = sections(child(root, "default"))
	} else if own, err := parse(Default); err == nil {
		s.Default = own.Default
		s.Default.lines = nil // they are not in this text
	}
	s.Default.name = "default"
	if err := s.Default.check(); err != nil {
		return Set{}, fmt.Errorf("default: %w", err)
	}
	for i := range s.Requesters {
		e := &s.Requesters[i]
		entry := item(child(root, "requesters"), i)
		if err := e.label(entry.Line); err != nil {
			return Set{}, err
		}
		e.lines = sections(entry)
		if err := e.check(); err != nil {
			return Set{}, fmt.Errorf("%s: %w", e.Policy.name, err)
		}
		for _, other := range s.Requesters[:i] {
			if other.Endpoint == e.Endpoint && other.Relation == e.Relation && other.Model == e.Model {
				return Set{}, fmt.Errorf("%s: an earlier entry is for the same requesters", e.Policy.name)
			}
		}
	}
	return s, nil
}

// label checks the selectors of an entry, and returns the policy's name.
func (e *Entry) label(line int) error {
	relation := e.Relation
	if _, number, found := strings.Cut(e.Relation, ":"); found {
		relation = number
	}
	if n, err := strconv.ParseUint(relation, 10, 32); err == nil {
		e.Relation = strconv.FormatUint(n, 10)
	} else if e.Relation != "" {
		return fmt.Errorf("line %d: a requester has relation %.40q, wanted the number that action list-requesters shows", line, e.Relation)
	}
	var parts []string
	for _, selector := range []struct{ name, value string }{{"endpoint", e.Endpoint}, {"relation", e.Relation}, {"model", e.Model}} {
		if selector.value != "" {
			parts = append(parts, selector.name+" "+selector.value)
		}
	}
	e.Policy.name = strings.Join(parts, ", ")
	wrong := func(says, want string) error {
		return fmt.Errorf("line %d: a requester %s, wanted %s", line, says, want)
	}
	switch {
	case len(parts) == 0:
		return wrong("is not named", "endpoint, relation or model beside its policy")
	case e.Endpoint != "" && !slices.Contains(Endpoints(), e.Endpoint):
		return wrong(fmt.Sprintf("has endpoint %q", e.Endpoint), "one of "+strings.Join(Endpoints(), ", "))
	case e.Model != "" && !modelUUID.MatchString(e.Model):
		return wrong(fmt.Sprintf("has model %q", e.Model), "the model's UUID, as juju show-model shows it: names can be chosen by others")
	}
	return nil
}

// child returns the node of a mapping at a key, and item that of a list at an index; an empty node if it is
// from a YAML alias or merge key, which have no place of their own.
func child(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; mapping.Kind == yaml.MappingNode && i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return &yaml.Node{}
}

func item(list *yaml.Node, i int) *yaml.Node {
	if list.Kind == yaml.SequenceNode && i < len(list.Content) {
		return list.Content[i]
	}
	return &yaml.Node{}
}

// sections returns the line of each part of a policy.
func sections(mapping *yaml.Node) map[string]int {
	lines := map[string]int{}
	if mapping.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(mapping.Content); i += 2 {
			lines[mapping.Content[i].Value] = mapping.Content[i].Line
		}
	}
	return lines
}
