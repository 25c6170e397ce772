package howto_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The pages deploy our charms from where make charms writes them: on Charmhub there are none,
// or others of the same name. They name no repository to clone, since there is no public one.
func TestPagesDeployFromPaths(t *testing.T) {
	charms, err := filepath.Glob("../../charms/*/charmcraft.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, charms)
	var names []string
	for _, c := range charms {
		names = append(names, regexp.QuoteMeta(filepath.Base(filepath.Dir(c))))
	}
	ours := "(" + strings.Join(names, "|") + ")"
	bad := regexp.MustCompile(`juju deploy ` + ours + `\b|git clone https?:`)
	path := regexp.MustCompile(`(\S*)\b` + ours + `\.charm\b`)
	pages := 0
	for _, pattern := range []string{"../../*.md", "../../charms/*/*.md", "../../docs/*.md", "../../docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, page := range found {
			pages++
			text, err := os.ReadFile(page)
			require.NoError(t, err)
			for n, line := range strings.Split(string(text), "\n") {
				assert.NotRegexp(t, bad, line, "%s:%d", page, n+1)
				for _, m := range path.FindAllStringSubmatch(line, -1) {
					if strings.Contains(line, "juju deploy") || strings.Contains(line, "juju refresh") {
						assert.True(t, strings.HasSuffix(m[1], "dist/"), "%s:%d: %s", page, n+1, line)
					}
				}
			}
		}
	}
	assert.Greater(t, pages, len(charms))
}
