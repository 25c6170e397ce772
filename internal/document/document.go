// Package document reads the YAML that people write into an option or a file, strictly, and
// collects everything that is wrong with it: where, what is there, and what would be right.
//
// Aliases and merge keys are refused: what is read here needs none, and they are how a small
// text becomes a large one.
package document

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Problem is one thing that is wrong with a text.
type Problem struct {
	Line int    // in the text, from 1; 0 when it is not known
	Path string // where: "pets.gpu-1.windows[0]"; may be empty
	Says string // what is wrong: `is "Fri 25:00–Sat 05:00"`
	Want string // what would be right; may be empty
}

// At is a Problem of a line of the text.
func At(line int, path, says, want string) Problem {
	return Problem{Line: line, Path: path, Says: says, Want: want}
}

// String returns it as one line without an end.
func (p Problem) String() string {
	s := strings.TrimSpace(p.Path + " " + p.Says)
	if p.Line > 0 {
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	if p.Want != "" {
		s += ", wanted " + p.Want
	}
	return s
}

// Problems is everything that is wrong with a text, as an error.
type Problems []Problem

// maxShown is how many problems an error's text lists.
const maxShown = 20

// Error lists the first of them.
func (ps Problems) Error() string { return strings.Join(ps.Lines(), "; ") }

// Lines returns the first of them, each as one line, and a line that says how many more there are. A
// problem may itself have "; " in it, such as a rule that it quotes.
func (ps Problems) Lines() []string {
	var lines []string
	for i, p := range ps {
		if i == maxShown {
			lines = append(lines, fmt.Sprintf("and %d more", len(ps)-maxShown))
			break
		}
		lines = append(lines, p.String())
	}
	return lines
}

// Err returns the problems as an error in the order of lines, and of paths where no line is
// known, each once; nil when there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.Line == 0 && b.Line == 0 {
			return strings.Compare(a.Path, b.Path)
		}
		return cmp.Compare(a.Line, b.Line)
	})
	return slices.Compact(ps)
}

// Parse reads the one YAML document of a text of at most so many bytes. The node is nil when
// there is nothing in it, or something is wrong with it.
func Parse(text []byte, most int) (*yaml.Node, Problems) {
	if len(text) > most {
		return nil, Problems{{Line: 1, Says: fmt.Sprintf("the text is %d bytes long", len(text)), Want: fmt.Sprintf("at most %d", most)}}
	}
	if !utf8.Valid(text) {
		return nil, Problems{{Line: 1, Says: "the text is not in UTF-8"}}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	if err := decoder.Decode(&first); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, notYAML(err)
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, Problems{{Line: second.Line, Says: "a second YAML document begins", Want: "one"}}
	} else if !errors.Is(err, io.EOF) {
		return nil, notYAML(err)
	}
	return first.Content[0], nil
}

// notYAML takes the line out of what the YAML library says, which has it only in its text.
func notYAML(err error) Problems {
	line, says := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if number, rest, ok := strings.Cut(strings.TrimPrefix(says, "line "), ": "); ok && strings.HasPrefix(says, "line ") {
		if n, err := strconv.Atoi(number); err == nil {
			line, says = n, rest
		}
	}
	return Problems{{Line: line, Says: "the text is not YAML: " + says}}
}

// Reader walks a document and collects what is wrong with it.
type Reader struct{ Problems Problems }

// Add notes that something is wrong with a node.
func (r *Reader) Add(node *yaml.Node, path, says, want string) {
	r.Problems = append(r.Problems, At(node.Line, path, says, want))
}

// otherwise notes that a node is something else than is wanted.
func (r *Reader) otherwise(at string, node *yaml.Node, want string) {
	if alias(node) {
		want = "the content itself"
	}
	r.Add(node, at, "is "+Describe(node), want)
}

func alias(node *yaml.Node) bool { return node.Kind == yaml.AliasNode || node.Anchor != "" }

// Null reports whether a node is there and empty: "key:" with nothing after it.
func Null(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null" && node.Anchor == ""
}

// Mapping calls each for every key of a mapping of at most so many keys.
func (r *Reader) Mapping(at string, node *yaml.Node, most int, each func(key string, keyNode, value *yaml.Node)) {
	where := cmp.Or(at, "the text")
	switch {
	case node.Kind != yaml.MappingNode || node.Anchor != "":
		r.otherwise(where, node, `a mapping, one "key: value" on each line`)
		return
	case len(node.Content) > 2*most:
		r.Add(node, where, fmt.Sprintf("has %d keys", len(node.Content)/2), fmt.Sprintf("at most %d", most))
		return
	}
	seen := map[string]bool{}
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.ShortTag() == "!!merge":
			r.Add(key, Join(at, key.Value), "is a YAML merge key", "the keys themselves")
		case key.Kind != yaml.ScalarNode || key.Anchor != "" || key.Value == "":
			r.Add(key, where, "has a key that is "+Describe(key), "plain text")
		case seen[key.Value]:
			r.Add(key, Join(at, key.Value), "is there twice", "each key once")
		default:
			seen[key.Value] = true
			each(key.Value, key, value)
		}
	}
}

// Sequence returns the items of a list of at most so many; none when there is a problem with it.
func (r *Reader) Sequence(at string, node *yaml.Node, most int) []*yaml.Node {
	switch {
	case Null(node):
		return nil
	case node.Kind != yaml.SequenceNode || node.Anchor != "":
		r.otherwise(at, node, `a list, one "- …" on each line`)
		return nil
	case len(node.Content) > most:
		r.Add(node, at, fmt.Sprintf("has %d entries", len(node.Content)), fmt.Sprintf("at most %d", most))
		return nil
	}
	return node.Content
}

// Text reads a scalar; it is empty when there is a problem with it.
func (r *Reader) Text(at string, node *yaml.Node, want string) string {
	if node.Kind != yaml.ScalarNode || node.Anchor != "" || node.ShortTag() == "!!null" || strings.TrimSpace(node.Value) == "" {
		r.otherwise(at, node, want)
		return ""
	}
	return node.Value
}

// Join returns the path of a key: "config" and "limits.memory" are config.limits.memory.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Describe says what a node is, in a reader's words.
func Describe(node *yaml.Node) string {
	switch {
	case alias(node):
		return "a YAML alias"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case node.ShortTag() == "!!null" || strings.TrimSpace(node.Value) == "":
		return "empty"
	}
	return Quote(node.Value)
}

// Quote shows a value, not more of it than a status line bears.
func Quote(v string) string {
	const short = 60
	if r := []rune(v); len(r) > short {
		v = string(r[:short]) + "…"
	}
	return strconv.Quote(v)
}
