package charmlint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// place is a piece of a bundle's text, and the file that it is in.
type place struct {
	file string
	*yaml.Node
}

// is tells whether there is something other than null.
func (p place) is() bool { return p.Node != nil && p.Tag != "!!null" }

// text is the text of a scalar; empty for anything else.
func (p place) text() string {
	if !p.is() || p.Kind != yaml.ScalarNode {
		return ""
	}
	return p.Value
}

// value is what Juju reads there. Its parser still takes yes, no, on and off for booleans.
func (p place) value() any {
	if p.Node == nil {
		return nil
	}
	if p.Kind == yaml.ScalarNode && p.Style == 0 {
		switch strings.ToLower(p.Value) {
		case "yes", "on":
			return true
		case "no", "off":
			return false
		}
	}
	var v any
	if err := p.Decode(&v); err != nil {
		return nil
	}
	return v
}

// items are those of a list.
func (p place) items() []place {
	var all []place
	if p.is() && p.Kind == yaml.SequenceNode {
		for _, n := range p.Content {
			all = append(all, place{p.file, follow(n)})
		}
	}
	return all
}

// entry is a key of a mapping with its value.
type entry struct{ key, value place }

// table is a mapping's entries by their key.
type table map[string]entry

func (t table) names() []string { return slices.Sorted(maps.Keys(t)) }

// table returns the entries of a mapping; nil for anything else.
func (p place) table() table { return p.tableTo(maxMerges) }

// maxMerges is how deep mappings are taken into each other (<<: *anchor), since one can name
// itself there.
const maxMerges = 8

func (p place) tableTo(merges int) table {
	if !p.is() || p.Kind != yaml.MappingNode {
		return nil
	}
	t := table{}
	for i := 0; i+1 < len(p.Content); i += 2 {
		key, value := p.Content[i], follow(p.Content[i+1])
		if key.Tag == "!!merge" {
			if merges > 0 {
				for name, e := range (place{p.file, value}).tableTo(merges - 1) {
					if _, ok := t[name]; !ok {
						t[name] = e
					}
				}
			}
			continue
		}
		t[key.Value] = entry{place{p.file, key}, place{p.file, value}}
	}
	return t
}

func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// documents reads a file's YAML documents.
func documents(path string) ([]place, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var docs []place
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
			docs = append(docs, place{path, follow(n.Content[0])})
		}
	}
}

// Over reads what an overlay is to be laid over, from the comments that it begins with:
//
//	# over: ../bundles/dcib.yaml ceph.yaml
//
// It returns the bundle and the overlays under this one, as paths; none for a file without
// such a line.
func Over(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot check %s: %w", path, err)
	}
	for line := range strings.Lines(string(data)) {
		comment, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		if files, ok := strings.CutPrefix(strings.TrimSpace(comment), "over:"); ok {
			var under []string
			for _, f := range strings.Fields(files) {
				under = append(under, filepath.Join(filepath.Dir(path), f))
			}
			return under, nil
		}
	}
	return nil, nil
}
