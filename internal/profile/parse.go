package profile

import (
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/document"
)

// Size limits for untrusted input.
const (
	MaxBytes = 64 << 10 // the whole text
	maxKeys  = 512      // keys of config, devices, and properties of a device
)

// Parse reads a profile from YAML: a mapping with `config` and `devices`, both optional. Empty text is an
// empty profile. Values may be text, whole numbers, true or false; they become LXD's strings. Aliases and
// merge keys are refused: a profile does not need them, and they can make a small text large.
//
// The error is a document.Problems with all problems. Validate checks whether the keys exist and the values
// are valid.
func Parse(text []byte) (Profile, error) {
	root, problems := document.Parse(text, MaxBytes)
	if root == nil {
		return Profile{}, problems.Err()
	}
	var r reader
	p := r.profile(root)
	return p, r.Problems.Err()
}

// reader walks the YAML and collects problems.
type reader struct{ document.Reader }

func (r *reader) profile(node *yaml.Node) Profile {
	p := Profile{Config: map[string]string{}, Devices: map[string]map[string]string{}}
	r.mapping("", node, func(key string, keyNode, value *yaml.Node) {
		switch key {
		case "config":
			r.strings("config", value, p.Config)
		case "devices":
			r.mapping("devices", value, func(name string, _, device *yaml.Node) {
				p.Devices[name] = map[string]string{}
				r.strings("devices."+name, device, p.Devices[name])
			})
		default:
			r.Add(keyNode, key, "is not a part of a profile", "config or devices")
		}
	})
	return p
}

// mapping calls each for each key of a mapping; a null mapping is empty.
func (r *reader) mapping(at string, node *yaml.Node, each func(key string, keyNode, value *yaml.Node)) {
	if !document.Null(node) {
		r.Mapping(at, node, maxKeys, each)
	}
}

// strings reads a mapping of scalars into LXD's strings.
func (r *reader) strings(path string, node *yaml.Node, into map[string]string) {
	r.mapping(path, node, func(key string, _, value *yaml.Node) {
		at := document.Join(path, key)
		const want = "text, a whole number, true or false"
		if value.Kind != yaml.ScalarNode || value.Anchor != "" {
			r.Add(value, at, "is "+document.Describe(value), want)
			return
		}
		switch value.ShortTag() {
		case "!!str":
			into[key] = value.Value
		case "!!int":
			// YAML reads 010 and 0x10 as other numbers than people do.
			n, err := strconv.ParseInt(value.Value, 10, 64)
			if err != nil || strconv.FormatInt(n, 10) != value.Value {
				r.Add(value, at, "is the number "+value.Value, "a plain decimal number, or text in quotes")
				return
			}
			into[key] = value.Value
		case "!!bool":
			b, err := strconv.ParseBool(value.Value)
			if err != nil {
				r.Add(value, at, "is "+value.Value, "true or false")
				return
			}
			into[key] = strconv.FormatBool(b)
		case "!!null":
			r.Add(value, at, "has no value", want+"; leave the key out to unset it")
		default:
			r.Add(value, at, "is "+document.Describe(value), want+"; put quotes around it to make it text")
		}
	})
}
