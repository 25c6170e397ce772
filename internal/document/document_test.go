package document_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/document"
)

func TestWhatIsNoDocument(t *testing.T) {
	for text, says := range map[string]string{
		strings.Repeat("#", 101): "line 1: the text is 101 bytes long, wanted at most 100",
		"a: \xff":                "line 1: the text is not in UTF-8",
		"a: 1\nb: [":             "line 2: the text is not YAML: did not find expected node content",
		"a: 1\n---\nb: 2":        "line 2: a second YAML document begins, wanted one",
		"\tx":                    "line 1: the text is not YAML: found character that cannot start any token",
	} {
		node, problems := document.Parse([]byte(text), 100)
		assert.Nil(t, node)
		assert.EqualError(t, problems.Err(), says, text)
	}
	for _, empty := range []string{"", "# nothing\n"} {
		node, problems := document.Parse([]byte(empty), 100)
		assert.Nil(t, node)
		assert.NoError(t, problems.Err())
	}
}

// read is a reader of a mapping of lists of text.
func read(text string) (map[string][]string, error) {
	node, problems := document.Parse([]byte(text), 1000)
	if node == nil {
		return nil, problems.Err()
	}
	var r document.Reader
	got := map[string][]string{}
	r.Mapping("", node, 3, func(key string, _, value *yaml.Node) {
		for _, item := range r.Sequence(key, value, 2) {
			got[key] = append(got[key], r.Text(document.Join(key, "x"), item, "a name"))
		}
	})
	return got, r.Problems.Err()
}

func TestReader(t *testing.T) {
	got, err := read("a: [x, y]\nb:\nc: []")
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"a": {"x", "y"}}, got)

	for text, says := range map[string]string{
		"[a]":                         `line 1: the text is a list, wanted a mapping, one "key: value" on each line`,
		"a: [1]\nb: []\nc: []\nd: []": "line 1: the text has 4 keys, wanted at most 3",
		"a: [x]\na: [y]":              "line 2: a is there twice, wanted each key once",
		"a: [x, y, z]":                "line 1: a has 3 entries, wanted at most 2",
		"a: x":                        `line 1: a is "x", wanted a list, one "- …" on each line`,
		"a: {b: c}":                   `line 1: a is a mapping, wanted a list, one "- …" on each line`,
		"a: [[x]]":                    "line 1: a.x is a list, wanted a name",
		"a: ['  ']":                   "line 1: a.x is empty, wanted a name",
		"a: [null]":                   "line 1: a.x is empty, wanted a name",
		"a: &a [x]\nb: *a":            "line 1: a is a YAML alias, wanted the content itself; line 2: b is a YAML alias, wanted the content itself",
		"a: []\n<<: {b: [c]}":         "line 2: << is a YAML merge key, wanted the keys themselves",
		"[a]: [b]":                    "line 1: the text has a key that is a list, wanted plain text",
		"'': [b]":                     "line 1: the text has a key that is empty, wanted plain text",
	} {
		_, err := read(text)
		assert.EqualError(t, err, says, text)
	}
}

func TestProblemsAsAnError(t *testing.T) {
	assert.NoError(t, document.Problems(nil).Err())

	err := document.Problems{document.At(7, "a", "is late", ""), document.At(2, "b", "is early", "tea")}.Err()
	assert.EqualError(t, err, "line 2: b is early, wanted tea; line 7: a is late")
	err = document.Problems{{Path: "z", Says: "is last"}, {Path: "a", Says: "is first"}}.Err()
	assert.EqualError(t, err, "a is first; z is last")

	var many document.Problems
	for line := range 25 {
		many = append(many, document.At(line+1, "a", "is late", ""))
	}
	assert.True(t, strings.HasSuffix(many.Err().Error(), "; and 5 more"))
	var back document.Problems
	assert.True(t, errors.As(many.Err(), &back))
	assert.Len(t, back, 25)

	long := document.Quote(strings.Repeat("ü", 100))
	assert.Equal(t, 60, strings.Count(long, "ü"))
}

// What is found in two ways is said once.
func TestProblemsOnce(t *testing.T) {
	ps := document.Problems{document.At(2, "b", "is wrong", ""), document.At(1, "a", "is wrong", "x"), document.At(2, "b", "is wrong", ""), document.At(2, "b", "is wrong", "y")}
	assert.EqualError(t, ps.Err(), "line 1: a is wrong, wanted x; line 2: b is wrong; line 2: b is wrong, wanted y")
}
