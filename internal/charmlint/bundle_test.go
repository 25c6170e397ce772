package charmlint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/juju/charm/v12"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charmlint"
	"github.com/dcib/dcib/internal/charmpack"
)

const goodBundle = `
default-base: ubuntu@24.04/stable
applications:
  web:
    charm: ../dist/fixture.charm
    num_units: 3
    constraints: cores=2 mem=4G arch=amd64 tags=pet,^old
    options:
      floor: 2
      greeting: hello
    storage:
      data: pool,10G
    bindings:
      public: alpha
  db:
    charm: postgresql
    channel: 16/stable
    num_units: 1
    options:
      profile: testing
  proxy:
    charm: haproxy
    channel: 2.8/stable
    num_units: 1
  watch:
    charm: ntp
    channel: latest/stable
relations:
  - [web:database, db:database]
  - [proxy:reverseproxy, web:website]
  - [watch:juju-info, web:juju-info]
  - [watch:juju-info, db:juju-info]
  - [db:certificates, proxy:certificates]
`

// write puts text into a file of its own and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func ours(t *testing.T) map[string]charm.Charm {
	t.Helper()
	ch, problems := charmlint.Folder(fixture)
	require.Empty(t, lines(problems))
	return map[string]charm.Charm{"fixture": ch}
}

func TestBundleIsGood(t *testing.T) {
	assert.Empty(t, lines(charmlint.Bundle(write(t, "b.yaml", goodBundle), nil, ours(t))))
}

// Each fault is laid over a good bundle, and has to be found.
func TestBundleFaults(t *testing.T) {
	for _, tc := range []struct{ name, overlay, want string }{
		{"unknown option", "applications: {web: {options: {flor: 2}}}", `configuration option "flor" not found in charm "fixture"`},
		{"option of another type", "applications: {web: {options: {floor: two}}}", `option "floor" expected int, got "two"`},
		{"unknown endpoint of ours", "relations: [[web:databse, 'db:database']]", `does not define relation "databse"`},
		{"both require", "applications: {web2: {charm: fixture}}\nrelations: [['web:database', 'web2:database']]", "relates requirer to requirer"},
		{"interfaces differ", "applications: {web2: {charm: fixture}}\nrelations: [['web:website', 'web2:database']]", "mismatched interface"},
		{"endpoint left to guess", "relations: [[web, 'db:x']]", `expected application:endpoint, got "web"`},
		{"unknown application", "relations: [['web:database', 'bd:database']]", `"bd" not defined in this bundle`},
		{"unknown binding", "applications: {web: {bindings: {publik: alpha}}}", `wants to bind endpoint "publik"`},
		{"unknown storage", "applications: {web: {storage: {dada: 10G}}}", "applications.web.storage.dada: charm fixture has no such storage"},
		{"bad storage", "applications: {web: {storage: {data: '10 GB'}}}", `expected pool, size (such as 10G) or count, got "10 GB"`},
		{"unknown resource", "applications: {web: {resources: {blob: 1}}}", "applications.web.resources.blob: charm fixture has no such resource"},
		{"unknown constraint", "applications: {web: {constraints: cpus=2}}", `unknown constraint "cpus"`},
		{"bad constraint", "applications: {web: {constraints: mem=4GG}}", `bad value "4GG" for constraint "mem"`},
		{"offer of nothing", "applications: {web: {offers: {o: {endpoints: [webside]}}}}", `applications.web.offers.o: charm fixture has no endpoint "webside"`},
		{"series", "series: noble", "series: expected base instead"},
		{"series of an application", "applications: {db: {series: noble}}", "applications.db.series: expected base instead"},
		{"base that the charm does not run on", "applications: {web: {base: ubuntu@20.04/stable}}", "applications.web.base: expected a base of charm fixture"},
		{"misspelt field", "applications: {web: {nun_units: 3}}", "field nun_units not found"},
		{"placement on no machine", "applications: {web: {to: ['7']}}", "machine not defined in this bundle"},
		{"machine for nobody", "machines: {'0': {constraints: cores=4}}", `machine "0" is not referred to`},
		{"machine series", "machines: {'0': {series: noble}}", "machines.0.series: expected base"},
		{"charm that is nowhere", "applications: {x: {charm: ./no.charm}}", `applications.x.charm: expected an archive at`},
		{"second document of an overlay", "applications: {web: {num_units: 1}}\n---\napplications: {web: {options: {flor: 1}}}", `option "flor" not found`},
		{"not YAML", "a: [", "cannot read bundle"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path, overlay := write(t, "b.yaml", goodBundle), write(t, "o.yaml", tc.overlay)
			problems := charmlint.Bundle(path, []string{overlay}, ours(t))
			assert.Contains(t, lines(problems), tc.want)
			assert.Contains(t, lines(problems), overlay, "it says where")
		})
	}
}

// What an overlay puts right is right, and what it removes is gone.
func TestBundleOverlayIsMerged(t *testing.T) {
	path := write(t, "b.yaml", "applications: {web: {charm: fixture, options: {floor: two}}}")
	assert.NotEmpty(t, charmlint.Bundle(path, nil, ours(t)))
	overlay := write(t, "o.yaml", "applications: {web: {options: {floor: 2}, offers: {site: {endpoints: [website]}}}}")
	assert.Empty(t, lines(charmlint.Bundle(path, []string{overlay}, ours(t))))
}

// An archive that is not among those to check is read from where the bundle says.
func TestBundleReadsArchives(t *testing.T) {
	p, err := charmpack.Pack(t.Context(), fixture, t.TempDir(), charmpack.Options{})
	require.NoError(t, err)
	text := "applications: {web: {charm: %s, options: {%s: 2}}}"
	assert.Empty(t, lines(charmlint.Bundle(write(t, "b.yaml", fmt.Sprintf(text, p.Path, "floor")), nil, nil)))
	assert.Contains(t, lines(charmlint.Bundle(write(t, "b.yaml", fmt.Sprintf(text, p.Path, "flor")), nil, nil)), `option "flor" not found`)
}

func TestKindOf(t *testing.T) {
	bundle := write(t, "bundle.yaml", "")
	for path, want := range map[string]charmlint.Kind{
		fixture:                               charmlint.CharmDir,
		fixture + "/charmcraft.yaml":          charmlint.CharmDir,
		write(t, "x.charm", ""):               charmlint.CharmArchive,
		bundle:                                charmlint.BundleFile,
		filepath.Dir(bundle):                  charmlint.BundleFile,
		write(t, "x.txt", ""):                 0,
		t.TempDir():                           0,
		filepath.Join(t.TempDir(), "nowhere"): 0,
	} {
		kind, _, err := charmlint.KindOf(path)
		assert.Equal(t, want, kind, path)
		assert.Equal(t, want == 0, err != nil, path)
	}
}
