package apt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/charm"
)

const key = keyBegin + "\n\nmQINBF\n" + keyEnd

func TestParseSource(t *testing.T) {
	for text, want := range map[string]Source{
		"":                                      {},
		" \n":                                   {},
		"ppa:maas/3.7":                          {PPA: "ppa:maas/3.7"},
		"deb https://a.example/maas noble main": {Line: "deb https://a.example/maas noble main"},
		"deb [trusted=yes] file:/srv/maas ./":   {Line: "deb [trusted=yes] file:/srv/maas ./"},
		"deb http://a.example/maas noble main x\r\n" + key:                      {Line: "deb http://a.example/maas noble main x", Key: key},
		"deb [signed-by=/usr/share/keyrings/a.gpg] http://a.example noble main": {Line: "deb [signed-by=/usr/share/keyrings/a.gpg] http://a.example noble main"},
		"deb [trusted=no] http://a.example noble main\n" + key:                  {Line: "deb [trusted=no] http://a.example noble main", Key: key},
		"deb [trusted=yes] copy:/srv/maas ./":                                   {Line: "deb [trusted=yes] copy:/srv/maas ./"},
		"deb file:/srv/maas ./":                                                 {Line: "deb file:/srv/maas ./"},
		"deb [arch=amd64] http://a.example noble main\n" + key:                  {Line: "deb [arch=amd64] http://a.example noble main", Key: key},
	} {
		got, err := ParseSource(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for text, why := range map[string]string{
		"maas/3.7":                                   "use a PPA like",
		"ppa:maas":                                   "use a PPA like",
		"ppa:maas/3.7; rm -rf /":                     "use a PPA like",
		"deb https://a.example/maas":                 "use a PPA like",
		"deb https://a.example/maas noble":           "no component",
		"deb file:/srv ./ main":                      "one after a path",
		"deb ftp://a.example noble main":             "use a PPA like",
		"deb https://u:p@a.example n main":           "auth.conf.d",
		"deb https://a.example n main\nkey":          "no armoured key",
		"deb [signed-by=/k] http://a n main\n" + key: "use one of them",

		// Who is between the machine and the archive would be root.
		"deb http://a.example noble main":                                           "it has no key",
		"deb [arch=amd64] http://a.example noble main":                              "it has no key",
		"deb [trusted=yes] http://a.example noble main":                             "option trusted lets anyone",
		"deb [trusted=yes] http://a.example noble main\n" + key:                     "option trusted lets anyone",
		"deb [trusted=yes] https://a.example noble main":                            "option trusted lets anyone",
		"deb [arch=amd64 Trusted=1] https://a.example noble main":                   "option trusted lets anyone",
		"deb [allow-insecure=yes] https://a.example noble main":                     "option allow-insecure lets anyone",
		"deb [allow-weak=yes] http://a.example noble main\n" + key:                  "option allow-weak lets anyone",
		"deb [allow-downgrade-to-insecure=yes] http://a.example noble main\n" + key: "option allow-downgrade-to-insecure lets anyone",
		"deb [tru%73ted=yes] https://a.example noble main":                          "is not an option of a line",
		"deb [trusted =yes] https://a.example noble main":                           "is not an option of a line",
		"deb [\"trusted\"=yes] https://a.example noble main":                        "is not an option of a line",
		"deb [trusted=\"yes\"] https://a.example noble main":                        "is not an option of a line",
		"deb [trusted+=yes] https://a.example noble main":                           "option trusted lets anyone",
		"deb [trusted] https://a.example noble main":                                "is not an option of a line",
	} {
		_, err := ParseSource(text)
		require.ErrorContains(t, err, why, text)
		require.NotContains(t, err.Error(), "u:p")
	}
}

// programs are what was run, and what they answer.
type programs struct {
	ran   []string
	fails map[string]string // what a command has in it → what it complains about
	out   map[string]string
	does  func(line string)
}

func (p *programs) Run(_ context.Context, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	p.ran = append(p.ran, line)
	if p.does != nil {
		p.does(line)
	}
	for part, why := range p.fails {
		if strings.Contains(line, part) {
			return "", errors.New("cannot run " + name + ": " + why)
		}
	}
	return p.out[name], nil
}

func TestSources(t *testing.T) {
	root := t.TempDir()
	read := func(path string) string {
		text, _ := os.ReadFile(filepath.Join(root, path))
		return string(text)
	}
	p := &programs{}
	l := Sources{Run: p, Root: root, Name: "dcib-maas-region"}
	p.does = func(line string) {
		if strings.HasPrefix(line, "add-apt-repository") {
			require.NoError(t, os.MkdirAll(filepath.Dir(l.list()), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(root, "etc/apt/sources.list.d/maas-ubuntu-3_7-noble.sources"), nil, 0o600))
		}
	}
	set := func(text string) {
		s, err := ParseSource(text)
		require.NoError(t, err)
		require.False(t, l.Has(s), text)
		require.NoError(t, l.Set(t.Context(), s))
		require.True(t, l.Has(s), text)
	}
	require.True(t, l.Has(Source{}))
	set("deb http://a.example/maas noble main\n" + key)
	path := "etc/apt/keyrings/" + filepath.Base(l.keyring(key))
	require.Equal(t, "deb [signed-by=/"+path+"] http://a.example/maas noble main\n", read("etc/apt/sources.list.d/dcib-maas-region.list"))
	require.Equal(t, key+"\n", read(path))
	// Another application on the machine has the same: apt refuses two paths for one archive.
	other := Sources{Run: p, Root: root, Name: "dcib-maas-rack"}
	require.NoError(t, other.Set(t.Context(), Source{Line: "deb http://a.example/maas noble main", Key: key}))
	require.Equal(t, read("etc/apt/sources.list.d/dcib-maas-region.list"), read("etc/apt/sources.list.d/dcib-maas-rack.list"))
	set("deb [arch=amd64] http://a.example noble main\n" + key)
	require.Equal(t, "deb [signed-by=/"+path+" arch=amd64] http://a.example noble main\n", read("etc/apt/sources.list.d/dcib-maas-region.list"))
	set("deb [trusted=yes] file:/srv/maas ./")
	require.NotEmpty(t, read(path), "the other's")
	require.NoError(t, other.Set(t.Context(), Source{}))
	require.Empty(t, read(path))
	set("ppa:maas/3.7")
	require.Empty(t, read("etc/apt/sources.list.d/dcib-maas-region.list"))
	require.Equal(t, []string{"add-apt-repository -y --no-update ppa:maas/3.7"}, p.ran)
}

func TestQuery(t *testing.T) {
	p := &programs{out: map[string]string{"dpkg-query": "maas-region-api installed 1:3.7.3-0ubuntu1\npostgresql half-configured 16\nx not-installed \n"}}
	got := Query(t.Context(), p, "maas-region-api", "postgresql", "x", "y")
	require.True(t, got["maas-region-api"].Installed())
	require.Equal(t, "1:3.7.3-0ubuntu1", got["maas-region-api"].Version)
	require.True(t, got["postgresql"].HalfDone())
	for _, name := range []string{"x", "y"} {
		require.False(t, got[name].Installed() || got[name].HalfDone())
	}
}

func TestWhatIsSaidWhenItCannotInstall(t *testing.T) {
	for why, want := range map[string]string{
		"Failed to fetch http://a.example/x: Could not connect":                                     "retried automatically",
		"You don't have enough free space in /var/cache/apt/archives/.":                             "the disk is full",
		"dpkg: error processing archive x: failed to write (No space left on device)":               "the disk is full",
		"dpkg: error processing package x (--configure): post-installation script returned error 1": "fix that on the machine",
		"The following packages have unmet dependencies":                                            "fix that on the machine",
	} {
		p := &programs{fails: map[string]string{" install ": why}, out: map[string]string{"apt-cache": "  Candidate: 1\n"}}
		err := Install(t.Context(), p, "set option source", "maas-region-api", "postgresql")
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, why)
	}
	p := &programs{fails: map[string]string{" update": "Malformed entry 1 in list file /etc/apt/sources.list.d/x.list (URI)"}}
	require.ErrorContains(t, Install(t.Context(), p, "", "x"), "look at option source")
	p.fails = nil
	require.ErrorContains(t, Install(t.Context(), p, "set option source", "x"), "apt knows no package x on this machine: set option source")
	p.out = map[string]string{"apt-cache": "  Candidate: 1\n"}
	p.fails = map[string]string{" update": "another archive is away"}
	require.NoError(t, Install(t.Context(), p, "", "x", "y"), "the package is known, the other archive is not ours")
	require.True(t, strings.HasSuffix(p.ran[len(p.ran)-1], " install x y"))
	// Some packages are there, and not those that they need.
	p.fails, p.ran = map[string]string{" install x": "Unmet dependencies. Try 'apt --fix-broken install' with no packages"}, nil
	p.does = func(line string) {
		if strings.HasSuffix(line, "--fix-broken install") {
			clear(p.fails)
		}
	}
	require.NoError(t, Install(t.Context(), p, "", "x"))
	require.True(t, strings.HasSuffix(p.ran[len(p.ran)-1], " install x"))
	p.does = nil
	p.fails = map[string]string{"dpkg": "dpkg: error processing package x"}
	require.NoError(t, Finish(t.Context(), p), "apt has fixed it")
	p.fails["--fix-broken"] = "dpkg: error processing archive y: No space left on device"
	require.ErrorContains(t, Finish(t.Context(), p), "the disk is full", "what is wrong is what the last one says")
}

// Packages conflict with others, which apt-get -y removes without a word.
func TestOtherPackagesAreNotRemoved(t *testing.T) {
	p := &programs{out: map[string]string{"apt-cache": "  Candidate: 1\n"}, fails: map[string]string{}}
	installs := func() (lines []string) {
		for _, line := range p.ran {
			if strings.Contains(line, " install") && !strings.Contains(line, "--simulate") {
				lines = append(lines, line[strings.LastIndex(line, "--force-confold")+len("--force-confold "):])
			}
		}
		p.ran = nil
		return lines
	}
	may := []string{"systemd-timesyncd", "maas-*"}
	p.out["apt-get"] = "Reading package lists...\nRemv dnsmasq [2.90-2]\nPurg ntp [1:4.2]\nRemv systemd-timesyncd [255.4] [chrony:amd64 ]\nRemv maas-dns [1]\nInst chrony (4.5 Ubuntu:24.04 [amd64])\n"
	err := InstallReplacing(t.Context(), p, "", may, "maas-region-api")
	require.ErrorContains(t, err, "it would remove dnsmasq, ntp from this machine")
	said, blocked := charm.StatusOf(err)
	require.True(t, blocked)
	require.Equal(t, charm.LevelBlocked, said.Level)
	require.Empty(t, installs())
	require.ErrorContains(t, Finish(t.Context(), p, may...), "it would remove dnsmasq, ntp from this machine")
	require.Empty(t, installs())

	p.out["apt-get"] = "Remv systemd-timesyncd [255.4]\nInst chrony\n"
	require.NoError(t, InstallReplacing(t.Context(), p, "", may, "maas-region-api", "postgresql"))
	require.Equal(t, []string{"install maas-region-api postgresql"}, installs())
	require.ErrorContains(t, Install(t.Context(), p, "", "maas-region-api"), "it would remove systemd-timesyncd")
	require.Empty(t, installs())

	p.out["apt-get"] = "Inst chrony\n"
	require.NoError(t, Install(t.Context(), p, "", "lxd"))
	require.Equal(t, []string{"--no-remove install lxd"}, installs(), "nor what another apt changed since")
}

// hanging is a machine on which no program ends.
type hanging struct{}

func (hanging) Run(ctx context.Context, name string, _ ...string) (string, error) {
	<-ctx.Done()
	return "", fmt.Errorf("cannot run %s: %w", name, context.Cause(ctx))
}

// A hook holds the machine's lock: whatever apt waits for, it ends, and the unit waits.
func TestNothingIsWaitedForWithoutEnd(t *testing.T) {
	for name, do := range map[string]func(ctx context.Context) error{
		"the installation": func(ctx context.Context) error { return Install(ctx, hanging{}, "", "x") },
		"finish":           func(ctx context.Context) error { return Finish(ctx, hanging{}) },
		"update":           func(ctx context.Context) error { return Update(ctx, hanging{}) },
		"a PPA": func(ctx context.Context) error {
			return Sources{Run: hanging{}, Root: t.TempDir(), Name: "dcib-x"}.Set(ctx, Source{PPA: "ppa:maas/3.7"})
		},
		"queries": func(ctx context.Context) error {
			if len(Query(ctx, hanging{}, "x")) > 0 || Candidate(ctx, hanging{}, "x") != "" {
				return errors.New("that is known")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := do(t.Context())
				require.LessOrEqual(t, time.Since(start), Timeout)
				if name != "queries" {
					require.ErrorContains(t, err, "has not ended within")
				}
			})
		})
	}
}

func FuzzParseSource(f *testing.F) {
	f.Add("deb [trusted=yes] file:/srv/maas ./")
	f.Add("ppa:maas/3.7")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSource(text)
		if err != nil {
			return
		}
		require.NotContains(t, s.Line+s.PPA, "\n", "what goes into one line of a file is one line")
		if s.Line != "" {
			again, err := ParseSource(s.Line + "\n" + s.Key)
			require.NoError(t, err)
			require.Equal(t, s, again)
		}
	})
}

func TestTheModelsProxiesAreForAddAptRepository(t *testing.T) {
	juju := map[string]string{"JUJU_CHARM_HTTPS_PROXY": "http://proxy.example:3128", "JUJU_CHARM_NO_PROXY": "10.0.0.0/8", "https_proxy": "other"}
	require.Equal(t, []string{
		"https_proxy=http://proxy.example:3128", "HTTPS_PROXY=http://proxy.example:3128", "no_proxy=10.0.0.0/8", "NO_PROXY=10.0.0.0/8",
	}, Proxies(func(name string) string { return juju[name] }))
	require.Empty(t, Proxies(func(string) string { return "" }))
}
