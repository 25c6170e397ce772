package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Bounds on what is read, so that nobody's text can hurt who reads it.
const (
	MaxBytes = 64 << 10 // the whole text
	maxKeys  = 512      // keys of config, devices, and properties of a device
)

// Parse reads a profile from YAML: a mapping with `config` and `devices`, both optional.
// Empty text is an empty profile. Values may be text, whole numbers, true or false; they
// become LXD's strings. Aliases and merge keys are refused: a profile needs none, and they
// are how a small text becomes a large one.
//
// The error is a Problems with all that was found. Whether the keys exist and their values
// fit is for Validate.
func Parse(text []byte) (Profile, error) {
	if len(text) > MaxBytes {
		return Profile{}, Problems{{Says: fmt.Sprintf("is %d bytes long", len(text)), Want: fmt.Sprintf("at most %d", MaxBytes)}}
	}
	if !utf8.Valid(text) {
		return Profile{}, Problems{{Says: "is not text in UTF-8", Want: "YAML with config: and devices:"}}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, another yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return Profile{}, nil
	} else if err != nil {
		return Profile{}, Problems{{Says: "is not YAML: " + err.Error(), Want: "YAML with config: and devices:"}}
	}
	if err := decoder.Decode(&another); !errors.Is(err, io.EOF) {
		return Profile{}, Problems{{Says: "has a second YAML document", Want: "one"}}
	}
	var r reader
	p := r.profile(document.Content[0])
	return p, r.problems.err()
}

// reader walks the YAML and collects what is wrong with it.
type reader struct{ problems Problems }

func (r *reader) add(path, says, want string) {
	r.problems = append(r.problems, Problem{path, says, want})
}

func (r *reader) profile(node *yaml.Node) Profile {
	p := Profile{Config: map[string]string{}, Devices: map[string]map[string]string{}}
	r.mapping("", node, func(key string, value *yaml.Node) {
		switch key {
		case "config":
			r.strings("config", value, p.Config)
		case "devices":
			r.mapping("devices", value, func(name string, device *yaml.Node) {
				p.Devices[name] = map[string]string{}
				r.strings("devices."+name, device, p.Devices[name])
			})
		default:
			r.add(key, "is not a part of a profile", "config or devices")
		}
	})
	return p
}

// mapping calls each for every key of a mapping; a null one is empty.
func (r *reader) mapping(path string, node *yaml.Node, each func(key string, value *yaml.Node)) {
	switch {
	case node.Kind == yaml.AliasNode || node.Anchor != "":
		r.add(path, "uses a YAML alias", "the content itself")
		return
	case node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null":
		return
	case node.Kind != yaml.MappingNode:
		r.add(path, "is "+describe(node), "a mapping, one \"key: value\" on each line")
		return
	case len(node.Content) > 2*maxKeys:
		r.add(path, fmt.Sprintf("has %d keys", len(node.Content)/2), fmt.Sprintf("at most %d", maxKeys))
		return
	}
	seen := map[string]bool{}
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		at := join(path, key.Value)
		switch {
		case key.Kind != yaml.ScalarNode || key.Anchor != "" || key.Value == "":
			r.add(path, fmt.Sprintf("has a key that is %s, in line %d", describe(key), key.Line), "plain text")
		case key.ShortTag() == "!!merge":
			r.add(at, "is a YAML merge key", "the keys themselves")
		case seen[key.Value]:
			r.add(at, fmt.Sprintf("is there twice, again in line %d", key.Line), "each key once")
		default:
			seen[key.Value] = true
			each(key.Value, value)
		}
	}
}

// strings reads a mapping of scalars into LXD's strings.
func (r *reader) strings(path string, node *yaml.Node, into map[string]string) {
	r.mapping(path, node, func(key string, value *yaml.Node) {
		at := join(path, key)
		const want = "text, a whole number, true or false"
		if value.Kind != yaml.ScalarNode || value.Anchor != "" {
			r.add(at, "is "+describe(value), want)
			return
		}
		switch value.ShortTag() {
		case "!!str":
			into[key] = value.Value
		case "!!int":
			// YAML reads 010 and 0x10 as other numbers than people do.
			n, err := strconv.ParseInt(value.Value, 10, 64)
			if err != nil || strconv.FormatInt(n, 10) != value.Value {
				r.add(at, "is the number "+value.Value, "a plain decimal number, or text in quotes")
				return
			}
			into[key] = value.Value
		case "!!bool":
			b, err := strconv.ParseBool(value.Value)
			if err != nil {
				r.add(at, "is "+value.Value, "true or false")
				return
			}
			into[key] = strconv.FormatBool(b)
		case "!!null":
			r.add(at, "has no value", want+"; leave the key out to unset it")
		default:
			r.add(at, "is "+describe(value), want+"; put quotes around it to make it text")
		}
	})
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// describe says what a node is, in a reader's words.
func describe(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.AliasNode || node.Anchor != "":
		return "a YAML alias"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case node.ShortTag() == "!!null" || node.Value == "":
		return "empty"
	}
	return quote(node.Value)
}
