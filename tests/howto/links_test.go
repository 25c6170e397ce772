package howto_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	code    = regexp.MustCompile("(?s)```.*?```|`[^`\n]+`")
	block   = regexp.MustCompile(`(?m)^ {4,}.*$`)
)

// Each link from a page to another file of the repository leads to a file, and to a heading of it
// where it names one.
func TestLinksLeadSomewhere(t *testing.T) {
	const root = "../.."
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "-co", "--exclude-standard", "--", "*.md").Output()
	require.NoError(t, err)
	pages, links := strings.Fields(string(out)), 0
	require.NotEmpty(t, pages)
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(root, page))
		if os.IsNotExist(err) {
			continue // it was removed and not committed yet
		}
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(block.ReplaceAllString(code.ReplaceAllString(string(text), ""), ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			links++
			file, anchor, named := strings.Cut(m[1], "#")
			target := filepath.Join(root, page)
			if file != "" {
				target = filepath.Join(root, filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); !assert.NoError(t, err, "%s: %s", page, m[1]) || !named {
				continue
			}
			there, err := os.ReadFile(target)
			require.NoError(t, err, "%s: %s", page, m[1])
			var anchors []string
			for _, h := range heading.FindAllStringSubmatch(string(there), -1) {
				anchors = append(anchors, slug(h[1]))
			}
			assert.Contains(t, anchors, anchor, "%s: %s", page, m[1])
		}
	}
	require.Greater(t, links, 50, "links were found")
}

// slug is the anchor that GitHub makes of a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}
