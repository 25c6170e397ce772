package lint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// place is a piece of a bundle's text, and the file that it is in.
type place struct {
	file string
	*yaml.Node
}

// is reports whether there is something other than null.
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
func (p place) table() table { return p.tableTo(map[*yaml.Node]table{}) }

// tableTo returns the entries of a mapping with those that are merged into it, by a mapping or
// by a list of them (<<: [*a, *b]), of which the first one that has a key counts. It looks into
// each mapping once: one can name itself there.
func (p place) tableTo(seen map[*yaml.Node]table) table {
	if !p.is() || p.Kind != yaml.MappingNode {
		return nil
	}
	if t, ok := seen[p.Node]; ok {
		return t
	}
	t := table{}
	seen[p.Node] = nil
	var merged []place
	for i := 0; i+1 < len(p.Content); i += 2 {
		key, value := p.Content[i], place{p.file, follow(p.Content[i+1])}
		if key.Tag == "!!merge" {
			merged = append(merged, value)
			merged = append(merged, value.items()...)
			continue
		}
		t[key.Value] = entry{place{p.file, key}, value}
	}
	for _, m := range merged {
		for name, e := range m.tableTo(seen) {
			if _, ok := t[name]; !ok {
				t[name] = e
			}
		}
	}
	seen[p.Node] = t
	return t
}

func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// documents reads the YAML documents of a file's text.
func documents(path string, data []byte) ([]place, error) {
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

var (
	errorLine     = regexp.MustCompile(`^(?:yaml: )*line ([0-9]+): `)
	unknownAnchor = regexp.MustCompile(`^yaml: unknown anchor '([^']+)' referenced$`)
)

// notYAML is the problem of a file that the YAML library cannot read. The line is in the
// library's text, or, for an anchor that there is not, that of its first use.
func notYAML(path string, data []byte, err error) Problem {
	p := Problem{File: path, Says: "cannot read bundle: " + oneLine(err)}
	if m := errorLine.FindStringSubmatch(oneLine(err)); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Says = "cannot read bundle: yaml: " + strings.TrimPrefix(oneLine(err), m[0])
	} else if m := unknownAnchor.FindStringSubmatch(oneLine(err)); m != nil {
		use := regexp.MustCompile(`\*` + regexp.QuoteMeta(m[1]) + `(?:[\s,\]}]|$)`)
		if at := use.FindIndex(data); at != nil {
			p.Line = 1 + bytes.Count(data[:at[0]], []byte("\n"))
		}
	}
	return p
}

// Over reads what an overlay is to be laid over, from the comments that it begins with:
//
//	# over: ../bundles/dcib.yaml ceph.yaml
//
// It returns the bundle and the overlays under this one, as paths; none for a file without
// such a line.
func (fs *Files) Over(path string) ([]string, error) {
	data, err := fs.read(path)
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
