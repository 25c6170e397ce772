package lint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/juju/charm/v12"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charmtool/lint"
	"github.com/dcib/dcib/internal/charmtool/pack"
)

const goodBundle = `default-base: ubuntu@24.04/stable
machines:
  "0": {constraints: cores=4}
  "1":
applications:
  web:
    charm: ../dist/fixture.charm
    num_units: 3
    to: ["0", lxd:1, new]
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
  mon:
    charm: ceph-mon
    channel: squid/stable
    num_units: 1
    to: [lxd:db]
    options:
      monitor-count: 1
  osd:
    charm: ceph-osd
    channel: squid/stable
    num_units: 1
  otel:
    charm: opentelemetry-collector
    channel: 2/stable
saas:
  loki:
    url: admin/cos.loki-logging
relations:
  - [web:database, db:database]
  - [osd:mon, mon:osd]
  - [otel:juju-info, web:juju-info]
  - [otel:cos-agent, mon:cos-agent]
  - [otel:send-loki-logs, loki:logging]
---
applications:
  mon:
    offers:
      ceph: {endpoints: [client], acl: {admin: admin, bob: consume}}
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
	ch, problems := lint.Folder(fixture)
	require.Empty(t, lines(problems))
	return map[string]charm.Charm{"fixture": ch}
}

func TestBundleIsGood(t *testing.T) {
	assert.Empty(t, lines(new(lint.Files).Bundle(write(t, "b.yaml", goodBundle), nil, ours(t))))
}

// Each fault is seeded into a good bundle, and has to be found in its line (that of the
// comment HERE), alone.
func TestBundleFaults(t *testing.T) {
	for _, tc := range []struct{ name, old, new, want, near string }{
		{"unknown option", "floor: 2", "flor: 2 # HERE", "applications.web.options.flor: charm fixture has no such option", "floor"},
		{"unknown option of a charm from Charmhub", "monitor-count: 1", "monitor-cuont: 1 # HERE", "charm ceph-mon has no such option", "monitor-count"},
		{"text for a number", "floor: 2", "floor: two # HERE", `web.options.floor: expected int, got "two"`, ""},
		{"a number for text", "profile: testing", "profile: 7 # HERE", "db.options.profile: expected string, got 7: put it in quotes", ""},
		{"yes for text", "greeting: hello", "greeting: yes # HERE", "web.options.greeting: expected string, got", ""},
		{"charm of the charm store", "charm: ceph-mon", "charm: cs:~openstack/ceph-mon-55 # HERE", "mon.charm: expected the charm's name on Charmhub: Juju 3 and later know no charm store (cs:)", "ceph-mon"},
		{"revision in the charm's name", "charm: ceph-mon", "charm: ch:ceph-mon-12 # HERE", "mon.charm: expected the name alone, and a field revision: 12 beside it", "ceph-mon"},
		{"charm that is no reference", "charm: ceph-mon", "charm: 'github:ceph-mon' # HERE", "mon.charm: expected the charm's name on Charmhub, or the path of an archive", ""},
		{"charm with a user", "charm: ceph-mon", "charm: ~me/ceph-mon # HERE", "mon.charm: expected the charm's name on Charmhub", ""},
		{"archive that is nowhere", "../dist/fixture.charm", "../dist/fixtrue.charm # HERE", "applications.web.charm: expected an archive at", "fixture"},
		{"no channel", "    channel: 16/stable\n", "", "expected a channel beside it", ""},
		{"channel of a local charm", "    num_units: 3\n", "    num_units: 3\n    channel: stable # HERE\n", "applications.web.channel: expected none", ""},
		{"unknown risk", "16/stable", "16/stabel # HERE", "expected a risk of stable, candidate, beta, edge", "stable"},
		{"unknown risk with a branch", "16/stable", "16/stabel/fix # HERE", "expected a risk of stable, candidate, beta, edge", "stable"},
		{"unknown risk of an unknown charm", "saas:\n", "  odd: {charm: odd, channel: 1/stabel} # HERE\nsaas:\n", "applications.odd.channel: expected a risk of", "stable"},
		{"channel with an empty part", "16/stable", "16/ # HERE", "expected [track/]risk[/branch], got 16/", ""},
		{"channel of four parts", "16/stable", "16/stable/a/b # HERE", "expected [track/]risk[/branch]", ""},
		{"base that the charm does not run on", "    num_units: 3\n", "    num_units: 3\n    base: ubuntu@20.04/stable # HERE\n", "applications.web.base: expected a base of charm fixture (", "ubuntu@22.04"},
		{"base that is none", "ubuntu@24.04/stable", "noble # HERE", "expected a base such as", ""},
		{"another base than the principal's", "charm: opentelemetry-collector\n", "charm: opentelemetry-collector\n    base: ubuntu@22.04/stable # HERE\n", "it lives on web, whose base is ubuntu@24.04", "ubuntu@24.04"},
		{"unknown application", "web:database, db:database]", "web:database, bd:database] # HERE", `there is no application "bd"`, "db"},
		{"unknown endpoint", "mon:osd]", "mon:ods] # HERE", `charm ceph-mon has no endpoint "ods"`, "osd"},
		{"unknown endpoint of ours", "web:database, db:database]", "web:databse, db:database] # HERE", `charm fixture has no endpoint "databse"`, "database"},
		{"interfaces differ", "[osd:mon, mon:osd]", "[osd:mon, mon:osd]\n  - [osd:secrets-storage, mon:client] # HERE", "expected the same interface", ""},
		{"interfaces differ, one fits", "[web:database, db:database]", "[web:database, db:cos-agent] # HERE", "web:database is postgresql_client, db:cos-agent is cos_agent: expected the same", "db:database"},
		{"both require", "[web:database, db:database]", "[web:database, db:database]\n  - [db:client-certificates, otel:receive-server-cert] # HERE", "both ends require tls-certificates", ""},
		{"a peer endpoint", "[web:database, db:database]", "[web:database, db:database]\n  - [mon:mon, osd:mon] # HERE", "relates the units of mon with each other", "osd"},
		{"endpoint left to guess", "[web:database, db:database]", "[web, db:database] # HERE", "expected web:endpoint: a guess", "database"},
		{"related twice", "[osd:mon, mon:osd]", "[osd:mon, mon:osd]\n  - [mon:osd, osd:mon] # HERE", "are related twice", ""},
		{"related with itself", "[osd:mon, mon:osd]", "[osd:mon, mon:osd]\n  - [web:website, web:database] # HERE", "cannot be related with itself", ""},
		{"more relations than the limit", "---\napplications:\n", "---\nrelations: [[web:database, db2:database]]\napplications:\n  db2: {charm: postgresql, channel: 16/stable, num_units: 1}\n", "endpoint database has 2 relations: charm fixture takes 1", ""},
		{"missing required relation", "  - [osd:mon, mon:osd]\n", "", "applications.osd: expected a relation of its endpoint mon (ceph-osd)", "mon:osd"},
		{"subordinate that lives on nothing", "saas:\n", "  csi: # HERE\n    charm: ceph-csi\n    channel: 1.35/stable\nsaas:\n", "charm ceph-csi is a subordinate: expected a relation", ""},
		{"units of a subordinate", "channel: 2/stable\n", "channel: 2/stable\n    num_units: 2 # HERE\n", "otel.num_units: charm opentelemetry-collector is a subordinate", ""},
		{"placement on no machine", "lxd:1, new]", "lxd:7, new] # HERE", "there is no machine 7: the bundle has 0, 1", ""},
		{"placement on no application", "to: [lxd:db]", "to: [lxd:bd] # HERE", `there is no application "bd"`, "db"},
		{"placement on no unit", "to: [lxd:db]", "to: [lxd:db/3] # HERE", "db has 1 units: expected one below 1", ""},
		{"placement in a kvm", "to: [lxd:db]", "to: [kvm:db] # HERE", "no containers of type kvm", "lxd"},
		{"placement that is none", "to: [lxd:db]", "to: ['lxd:db:x'] # HERE", "expected a machine, lxd:machine", ""},
		{"circle of places", "    options:\n      profile: testing", "    to: [mon] # HERE\n    options:\n      profile: testing", "a circle of places: db on mon on db", ""},
		{"more places than units", "to: [lxd:db]", "to: [lxd:db, lxd:db] # HERE", "expected no more places than units, 1, got 2", ""},
		{"machine for no one", "  \"1\":\n", "  \"1\":\n  \"2\": # HERE\n", "machines.2: nothing is placed on it", ""},
		{"offer of nothing", "[client]", "[cleint]", `charm ceph-mon has no endpoint "cleint"`, "client"},
		{"offer of a peer endpoint", "[client]", "[mon]", "mon cannot be offered", ""},
		{"access that is none", "bob: consume", "bob: consum", "expected read, consume or admin", "consume"},
		{"offer in a bundle's first document", "    storage:\n", "    offers: {o: {endpoints: [website]}} # HERE\n    storage:\n", "Juju takes it in an overlay only", ""},
		{"bad offer URL", "admin/cos.loki-logging", "admin/cos/loki-logging # HERE", "expected [controller:][user/]model.offer", ""},
		{"saas without a URL", "url: admin", "ulr: admin", "Juju knows no such field", "url"},
		{"misspelt field", "num_units: 3", "nun_units: 3 # HERE", "applications.web.nun_units: Juju knows no such field", "num_units"},
		{"misspelt field of the bundle", "saas:", "sass: # HERE", "sass: Juju knows no such field", "saas"},
		{"a key twice", "    options:\n      floor: 2", "    num_units: 2 # HERE\n    options:\n      floor: 2", "num_units stands here for the second time", ""},
		{"units that are no number", "num_units: 3", "num_units: three # HERE", "expected a number, 0 or more", ""},
		{"unknown constraint", "constraints: cores=4", "constraints: cpus=4", `unknown constraint "cpus"`, ""},
		{"bad constraint", "mem=4G", "mem=4GG", `bad value "4GG" for constraint "mem"`, ""},
		{"unknown storage", "data: pool", "dada: pool", "charm fixture knows no such name under storage", "data"},
		{"bad storage", "pool,10G", "10 GB", `expected pool, size (such as 10G) or count`, ""},
		{"unknown binding", "public: alpha", "publik: alpha", "charm fixture knows no such name under bindings", "public"},
		{"relation of three", "[osd:mon, mon:osd]", "[osd:mon, mon:osd]\n  - [a:b, c:d, e:f] # HERE", "expected two ends", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Contains(t, goodBundle, tc.old, "the seed fits")
			text := strings.Replace(goodBundle, tc.old, tc.new, 1)
			path := write(t, "b.yaml", text)
			problems := new(lint.Files).Bundle(path, nil, ours(t))
			i := slices.IndexFunc(problems, func(p lint.Problem) bool { return strings.Contains(p.String(), tc.want) })
			require.GreaterOrEqual(t, i, 0, "found %s", lines(problems))
			found := problems[i]
			assert.Equal(t, path, found.File)
			assert.False(t, found.Note)
			line := 0
			for n, l := range strings.Split(text, "\n") {
				if strings.Contains(l, "HERE") || line == 0 && !strings.Contains(text, "HERE") && tc.new != "" && strings.Contains(l, tc.new) {
					line = n + 1
				}
			}
			if line > 0 {
				assert.Equal(t, line, found.Line, found)
			} else {
				assert.Positive(t, found.Line)
			}
			if tc.near != "" {
				assert.Equal(t, tc.near, found.Near, found)
			}
		})
	}
}

// What is laid over a bundle is read as Juju reads it, and each problem names its own file.
func TestBundleOverlays(t *testing.T) {
	for _, tc := range []struct {
		name, overlay, want string
		line                int
	}{
		{"good", "applications: {web: {options: {floor: 2}, offers: {site: {endpoints: [website]}}}}", "", 0},
		{"takes an application out, with its relations and offers", "applications: {mon: , osd: }", "", 0},
		{"takes out what others need", "applications:\n  mon:\n", "applications.osd: expected a relation of its endpoint mon", 31},
		{"takes out what is not there", "applications:\n  mom:\n", "is taken out, but there is none of that name below this overlay (nearest: mon)", 2},
		{"takes out what a relation of its own needs", "applications:\n  mon:\n  osd:\n  db:\nrelations:\n  - [web:database, db:database]", `there is no application "db"`, 6},
		{"takes all options", "applications: {web: {options: {}}}", "", 0},
		{"puts machines in the place of machines", "machines: {'0': }", "there is no machine 1", 9},
		{"a base for all is not heard", "default-base: ubuntu@22.04/stable", "Juju ignores it in an overlay", 1},
		{"a second document", "applications: {web: {num_units: 4}}\n---\napplications:\n  web:\n    options: {flor: 1}\n", "applications.web.options.flor", 5},
		{"adds what the bundle refers to", "applications: {late: {charm: fixture, num_units: 1}}\nrelations: []", "", 0},
		{"not YAML", "a: 1\nb: [", "cannot read bundle: yaml: did not find", 2},
		{"a list", "[]", "expected a bundle's fields", 1},
		{"an anchor that there is not", "a: 1\nb: [*x]", "unknown anchor 'x' referenced", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path, overlay := write(t, "b.yaml", goodBundle), write(t, "o.yaml", tc.overlay+"\n")
			problems := new(lint.Files).Bundle(path, []string{overlay}, ours(t))
			if tc.want == "" {
				assert.Empty(t, lines(problems))
				return
			}
			i := slices.IndexFunc(problems, func(p lint.Problem) bool { return strings.Contains(p.String(), tc.want) })
			require.GreaterOrEqual(t, i, 0, lines(problems))
			assert.Equal(t, tc.line, problems[i].Line, problems[i])
			if tc.line < 9 {
				assert.Equal(t, overlay, problems[i].File)
			}
		})
	}
}

// What is not wrong is not said to be: each change of the good bundle has no problem, and the
// notes that it names.
func TestBundleTakes(t *testing.T) {
	for _, tc := range []struct{ name, old, new, note string }{
		{"a charm whose name resembles another", "saas:\n", "  nfs: {charm: ceph-nfs, channel: squid/stable, num_units: 1}\nsaas:\n", "the catalogue has no charm ceph-nfs (nearest: ceph-fs)"},
		{"a track that the catalogue does not have", "channel: 16/stable", "channel: 18/edge\n    base: ubuntu@26.04", "applications.db.channel: the catalogue has no such track of charm postgresql"},
		{"a branch", "16/stable", "16/stable/fix-1", ""},
		{"a risk alone, of a charm with tracks", "16/stable", "stable", "applications.db.channel: the channel names no track: the catalogue has 14, 16 of charm postgresql"},
		{"a risk and a branch, of a charm without tracks", "saas:\n", "  u: {charm: ubuntu, channel: stable/fix-1, num_units: 1}\nsaas:\n", ""},
		{"a series", "default-base: ubuntu@24.04/stable", "series: noble", "series: Juju 4 ignores it: expected default-base instead"},
		{"a series beside a base, as Juju 3 takes it", "default-base:", "series: noble\ndefault-base:", ""},
		{"a series of an application", "    channel: 16/stable\n", "    channel: 16/stable\n    series: noble\n", "applications.db.series: Juju 4 ignores it: expected base instead"},
		{"a series of a machine", "default-base: ubuntu@24.04/stable\nmachines:\n  \"0\": {constraints: cores=4}", "machines:\n  \"0\": {constraints: cores=4, series: noble}", "machines.0.series: Juju 4 ignores it: expected base instead"},
		{"fields that are the writer's own", "    channel: 16/stable\n", "    channel: 16/stable\n    _repository: x/y\n", ""},
		{"an alias of a constraint", "constraints: cores=4", "constraints: cpu-cores=4", ""},
		{"merged mappings", "    channel: 16/stable\n    num_units: 1\n", "    <<: [*a, *b]\n", ""},
		{"fields of Charmhub", "default-base:", "name: my-bundle\ndocs: https://x\nissues: https://x\nsource: https://x\nwebsite: [https://x]\ndefault-base:", ""},
		{"a field that Juju ignores", "default-base:", "zebra: 1\ndefault-base:", "zebra: Juju ignores this field"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Contains(t, goodBundle, tc.old, "the seed fits")
			text := "variables: [&a {channel: 16/stable}, &b {num_units: 1, channel: 2/stable}]\n" + strings.Replace(goodBundle, tc.old, tc.new, 1)
			problems := new(lint.Files).Bundle(write(t, "b.yaml", text), nil, ours(t))
			if tc.note == "" {
				assert.Empty(t, lines(problems))
				return
			}
			require.Len(t, problems, 1, lines(problems))
			assert.True(t, problems[0].Note)
			assert.Contains(t, problems[0].String(), tc.note)
		})
	}
}

// Facts of one track are not applied to another.
func TestBundleOtherTrack(t *testing.T) {
	text := "default-base: ubuntu@26.04\napplications:\n  mon: {charm: ceph-mon, channel: tentacle/edge, num_units: 3, options: {new-option: 1}}\n"
	problems := new(lint.Files).Bundle(write(t, "b.yaml", text), nil, nil)
	require.Len(t, problems, 1, lines(problems))
	assert.True(t, problems[0].Note)
	assert.Equal(t, 3, problems[0].Line)
}

// Juju verifies a bundle before it reads the overlays.
func TestBundleAlone(t *testing.T) {
	const overlay = "applications:\n  disks: {charm: ceph-osd, channel: squid/stable, num_units: 3}\nrelations: [[mon:osd, disks:mon]]\n"
	const mon = "default-base: ubuntu@24.04\napplications:\n  mon: {charm: ceph-mon, channel: squid/stable, num_units: 3}\n"
	for name, tc := range map[string]struct {
		base, overlay, want string
		line                int
	}{
		"good":                          {mon, overlay, "", 0},
		"relation to the overlay":       {mon + "relations:\n- [mon:osd, disks:mon]\n", strings.Replace(overlay, "[[mon:osd, disks:mon]]", "[]", 1), `relations[0]: there is no application "disks": Juju verifies`, 5},
		"place on the overlay's":        {strings.Replace(mon, "num_units: 3", "num_units: 1, to: [disks]", 1), overlay, `applications.mon.to: there is no application "disks": Juju verifies`, 3},
		"machine for the overlay":       {mon + "machines: {'0': {}}\n", strings.Replace(overlay, "num_units: 3", "num_units: 1, to: ['0']", 1), "machines.0: nothing is placed on it: Juju verifies", 4},
		"charm in the overlay":          {mon + "  disks: {num_units: 3}\n", overlay, "applications.disks: expected a field charm: Juju verifies", 4},
		"an end that the charm reports": {strings.Replace(mon, "applications:\n", "relations: [[mon, 'x:y']]\napplications:\n  x: {charm: odd, channel: 1/stable, num_units: 1}\n", 1), "applications:\n  x:\n" + overlay[len("applications:\n"):], "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			base, over := write(t, "b.yaml", tc.base), write(t, "o.yaml", tc.overlay)
			problems := new(lint.Files).Bundle(base, []string{over}, ours(t))
			if tc.want == "" {
				assert.Empty(t, lines(problems))
				return
			}
			require.Len(t, problems, 1, lines(problems))
			assert.Contains(t, problems[0].String(), tc.want)
			assert.Equal(t, base, problems[0].File)
			assert.Equal(t, tc.line, problems[0].Line)
		})
	}
}

// An overlay that is checked without a bundle is told how to name it, once.
func TestBundleIsAnOverlay(t *testing.T) {
	path := write(t, "o.yaml", "applications:\n  a: {num_units: 1}\n  b: {num_units: 1}\nrelations: [[a:x, c:y]]\n")
	problems := new(lint.Files).Bundle(path, nil, nil)
	require.Len(t, problems, 1, lines(problems))
	assert.Contains(t, problems[0].String(), "--overlay")

	// One that has applications of its own may be a bundle with a slip: a note says so.
	for _, text := range []string{
		"applications:\n  a: {charm: odd, channel: 1/stable, num_units: 1}\nrelations: [[a:x, cache:y], [a:z, cache:y]]\n",
		"applications:\n  a: {charm: odd, channel: 1/stable, num_units: 1}\n  cache:\n",
		"applications:\n  a: {charm: odd, channel: 1/stable, num_units: 1}\n  cache: {num_units: 2}\n",
		"applications:\n  a: {charm: odd, channel: 1/stable, num_units: 1, to: [lxd:cache]}\n",
		"applications:\n  a: {charm: odd, channel: 1/stable, num_units: 1, to: ['0']}\n",
		"machines: {'0': {}}\n",
	} {
		problems := new(lint.Files).Bundle(write(t, "o.yaml", text), nil, nil)
		hints := slices.DeleteFunc(slices.Clone(problems), func(p lint.Problem) bool { return !strings.Contains(p.Says, "--overlay") })
		require.Len(t, hints, 1, text+lines(problems))
		assert.True(t, hints[0].Note, text)
	}
}

// A field of another type, which Juju leaves out, is a problem of its line, and what follows
// from leaving it out is none.
func TestBundleTypes(t *testing.T) {
	const text = "applications:\n  rsa:\n    charm: easyrsa\n    channel: 1.35/stable\n    base: ubuntu@22.04\n"
	for name, tc := range map[string]struct {
		more, want string
		line       int
	}{
		"a place for a list":        {"    num_units: 1\n    to: '0'\nmachines: {'0': {}}\n", `applications.rsa.to: expected a list, got "0"`, 7},
		"a list for a channel":      {"    constraints: [mem=4G]\n", "applications.rsa.constraints: expected a plain value, got a list or a mapping", 6},
		"a mapping for a list":      {"relations: {a: b}\n", "relations: expected a list", 6},
		"a list for machines":       {"machines: [a]\n", "machines: expected a mapping", 6},
		"a mapping for annotations": {"    annotations: {a: {b: c}}\n", "cannot unmarshal", 6},
	} {
		t.Run(name, func(t *testing.T) {
			problems := new(lint.Files).Bundle(write(t, "b.yaml", text+tc.more), nil, nil)
			require.Len(t, problems, 1, lines(problems))
			assert.Contains(t, problems[0].String(), tc.want)
			assert.Equal(t, tc.line, problems[0].Line)
			assert.False(t, problems[0].Note)
		})
	}
}

// What follows from a problem is not another one.
func TestBundleSaysTheFirstAlone(t *testing.T) {
	for name, tc := range map[string]struct{ old, new, want string }{
		"an end left out":                     {"[osd:mon, mon:osd]", "[osd, 'mon:osd']", "expected osd:endpoint"},
		"an end of a subordinate left out":    {"[otel:juju-info, web:juju-info]\n  - [otel:cos-agent, mon:cos-agent]", "[otel, 'web:juju-info']", "expected otel:endpoint"},
		"an application that there is not":    {"[osd:mon, mon:osd]", "[osd:mon, 'mno:osd']", "there is no application"},
		"applications by their old name":      {"applications:\n  web:", "services:\n  web:", "services: Juju knows no such field any more"},
		"a channel left out":                  {"charm: ceph-mon\n    channel: squid/stable", "charm: ceph-mon", "expected a channel beside it"},
		"a channel left out, and no charm":    {"charm: ceph-mon\n    channel: squid/stable", "charm: ceph-nom", "expected a channel beside it"},
		"a container that Juju does not make": {"lxd:1", "lxc:1", "Juju 4 makes no containers of type lxc"},
		"a container of another type":         {"lxd:1", "kvm:1", "no containers of type kvm"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, goodBundle, tc.old, "the seed fits")
			problems := new(lint.Files).Bundle(write(t, "b.yaml", strings.Replace(goodBundle, tc.old, tc.new, 1)), nil, ours(t))
			require.Len(t, problems, 1, lines(problems))
			assert.Contains(t, problems[0].String(), tc.want)
		})
	}
}

// Mappings that are merged into each other, and into themselves, end.
func TestBundleMergesEnd(t *testing.T) {
	text := "a0: &a0 {x: 1}\n"
	for i := range 60 {
		text += fmt.Sprintf("a%d: &a%d {<<: [*a%d, *a%d, *a%d]}\n", i+1, i+1, i, i, i)
	}
	assert.NotEmpty(t, new(lint.Files).Bundle(write(t, "b.yaml", text+"applications: {<<: *a60}\n"), nil, nil))
}

// A charm that no one knows is taken at its word, and a note says so.
func TestBundleUnknownCharm(t *testing.T) {
	path := write(t, "b.yaml", strings.Replace(goodBundle, "saas:\n", "  odd: {charm: wordpress, channel: latest/stable, num_units: 1, options: {x: 1}}\nsaas:\n", 1)+"\n")
	problems := new(lint.Files).Bundle(path, nil, ours(t))
	require.Len(t, problems, 1, lines(problems))
	assert.True(t, problems[0].Note)
	assert.Contains(t, problems[0].String(), "note: applications.odd.charm: the catalogue has no charm wordpress")
}

// An archive that is not among those to check is read from where the bundle says.
func TestBundleReadsArchives(t *testing.T) {
	p, err := pack.Pack(t.Context(), fixture, t.TempDir(), pack.Options{})
	require.NoError(t, err)
	text := "applications: {web: {charm: %s, options: {%s: 2}}}"
	assert.Empty(t, lines(new(lint.Files).Bundle(write(t, "b.yaml", fmt.Sprintf(text, p.Path, "floor")), nil, nil)))
	assert.Contains(t, lines(new(lint.Files).Bundle(write(t, "b.yaml", fmt.Sprintf(text, p.Path, "flor")), nil, nil)), "has no such option (nearest: floor)")
}

// Our own bundles and overlays are right, each over what its first lines name.
func TestOwnBundles(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../../bundles/*.yaml", "../../../overlays/*.yaml"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			under, err := new(lint.Files).Over(file)
			require.NoError(t, err)
			if filepath.Base(filepath.Dir(file)) == "overlays" {
				require.NotEmpty(t, under, "a line # over: says what it is laid over")
			}
			all := append(under, file)
			assert.Empty(t, lines(new(lint.Files).Bundle(all[0], all[1:], nil)))
		})
	}
}

// So are they together, as docs/how-to/deploy.md and docs/reference/bundles.md have them.
func TestOwnCombinations(t *testing.T) {
	for _, files := range []string{
		"dcib box offers",
		"dcib offers ceph ceph-offers",
		"dcib offers ceph ceph-offers ceph-pool observability",
		"dcib zfs offers maas-dns observability",
		"dcib lvm offers ceph ceph-pool",
		"kubernetes ha observability-kubernetes kubernetes-offers swarm",
		"kubernetes no-ceph swarm",
		"kubernetes small-kubernetes no-ceph",
		"kubernetes kubernetes-offers no-ceph",
	} {
		t.Run(files, func(t *testing.T) {
			var paths []string
			for i, name := range strings.Fields(files) {
				dir := "overlays"
				if i == 0 {
					dir = "bundles"
				}
				paths = append(paths, filepath.Join("../../..", dir, name+".yaml"))
			}
			assert.Empty(t, lines(new(lint.Files).Bundle(paths[0], paths[1:], nil)))
		})
	}
}

func TestOver(t *testing.T) {
	for text, want := range map[string][]string{
		"# Text.\n# over: ../b.yaml c.yaml\na: 1\n": {"../b.yaml", "c.yaml"},
		"a: 1\n# over: b.yaml\n":                    nil,
		"":                                          nil,
	} {
		path := write(t, "o.yaml", text)
		under, err := new(lint.Files).Over(path)
		require.NoError(t, err)
		require.Len(t, under, len(want))
		for i := range want {
			assert.Equal(t, filepath.Join(filepath.Dir(path), want[i]), under[i])
		}
	}
	_, err := new(lint.Files).Over("nowhere.yaml")
	require.Error(t, err)
}

func TestProblemText(t *testing.T) {
	p := lint.Problem{File: "bundles/kubernetes.yaml", Line: 12, Field: "applications.kubernetes-worker.options.chanel", Says: "charm kubernetes-worker has no such option", Near: "channel"}
	text := p.Text(80)
	for l := range strings.Lines(text) {
		assert.LessOrEqual(t, len(strings.TrimSuffix(l, "\n")), 80)
	}
	assert.Contains(t, text, "\n    ")
	assert.Equal(t, strings.Fields(p.String()), strings.Fields(text))
	assert.Equal(t, p.String(), p.Text(0))
	p = lint.Problem{File: "my  bundle.yaml", Line: 1, Says: "x"}
	assert.Equal(t, "my  bundle.yaml:1: x", p.Text(80))
}

// Whatever is in a file, checking it ends with problems at worst.
func FuzzBundle(f *testing.F) {
	f.Add(goodBundle)
	f.Add("applications: {a: {charm: etcd, to: [a], options: [], offers: {o: }}}\nrelations: [[a, b], x]\n---\n[]\n---\n")
	f.Add("applications: &a {<<: *a}\nrelations: &r [*r]\n")
	f.Add("a: &a {b: 1}\napplications:\n  <<: *a\n")
	f.Fuzz(func(t *testing.T, text string) {
		new(lint.Files).Bundle(write(t, "b.yaml", text), nil, nil)
	})
}

func TestKindOf(t *testing.T) {
	bundle := write(t, "bundle.yaml", "")
	for path, want := range map[string]lint.Kind{
		fixture:                               lint.CharmDir,
		fixture + "/charmcraft.yaml":          lint.CharmDir,
		write(t, "x.charm", ""):               lint.CharmArchive,
		bundle:                                lint.BundleFile,
		filepath.Dir(bundle):                  lint.BundleFile,
		write(t, "x.txt", ""):                 0,
		write(t, "x.YAML", ""):                lint.BundleFile,
		"-":                                   lint.BundleFile,
		t.TempDir():                           0,
		filepath.Join(t.TempDir(), "nowhere"): 0,
	} {
		kind, _, err := lint.KindOf(path)
		assert.Equal(t, want, kind, path)
		assert.Equal(t, want == 0, err != nil, path)
	}
}
