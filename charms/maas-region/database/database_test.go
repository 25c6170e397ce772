package database

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dcib/dcib/internal/maas/node"
)

// This is RFC 7677's example, whose salt is given; ours differs in salt alone.
func TestVerifier(t *testing.T) {
	a, err := Verifier("pencil")
	require.NoError(t, err)
	require.Regexp(t, `^SCRAM-SHA-256\$4096:[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$`, a)
	again, err := Verifier("pencil")
	require.NoError(t, err)
	require.Equal(t, a, again)
	b, err := Verifier("pencil2")
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}

func TestCheck(t *testing.T) {
	good := Connection{Host: "h", Port: 5432, Name: "maas_region_db", User: "relation-7", Password: "Ab1.-_~"}
	require.NoError(t, good.Check())
	rapid.Check(t, func(t *rapid.T) {
		c := good
		c.Password = rapid.String().Draw(t, "password")
		if c.Check() == nil && strings.ContainsAny(c.Password, "@/:%?#[] '\"\\\n") {
			t.Fatalf("MAAS would put %q into a URL as it is", c.Password)
		}
	})
	good.Password = "hunter2@"
	require.NotContains(t, good.Check().Error(), "hunter2")
}

// programs are what was run, and what was fed to it.
type programs struct{ ran, fed []string }

func (p *programs) Run(ctx context.Context, name string, args ...string) (string, error) {
	return p.Feed(ctx, nil, name, args...)
}

func (p *programs) Feed(_ context.Context, input []byte, name string, args ...string) (string, error) {
	p.ran = append(p.ran, strings.Join(append([]string{name}, args...), " "))
	p.fed = append(p.fed, string(input))
	return "", nil
}

func TestNoPasswordIsSeen(t *testing.T) {
	p := &programs{}
	l := Local{node.Machine{Run: p, Root: t.TempDir()}}
	require.NoError(t, l.Create(t.Context(), "hunter2"))
	_, err := l.Ready(t.Context(), "hunter2")
	require.NoError(t, err)
	c := Connection{Host: "localhost", Port: 5432, Name: Name, User: Role, Password: "hunter2"}
	dump := filepath.Join(t.TempDir(), "database.dump")
	require.NoError(t, c.Dump(t.Context(), l.Machine, dump))
	require.NoError(t, c.Restore(t.Context(), l.Machine, dump))
	require.NotContains(t, strings.Join(append(p.ran, p.fed...), "\n"), "hunter2", "nor in SQL, which PostgreSQL may log")
	_, file, _ := strings.Cut(p.ran[2], "passfile=")
	require.Equal(t, filepath.Dir(dump), filepath.Dir(file), "a killed run leaves it where it is removed")
	_, err = os.Stat(file)
	require.ErrorIs(t, err, os.ErrNotExist, "the file with it is gone")
}

const own = "local all postgres peer\nhost all all 127.0.0.1/32 scram-sha-256\n"

// cluster is a machine with PostgreSQL's configuration.
func cluster(t *testing.T) (l Local, p *programs, hba string) {
	p = &programs{}
	l = Local{node.Machine{Run: p, Root: t.TempDir()}}
	hba = filepath.Join(l.Root, "etc/postgresql/16/main/pg_hba.conf")
	require.NoError(t, os.MkdirAll(filepath.Dir(hba), 0o755))
	require.NoError(t, os.WriteFile(hba, []byte(own), 0o600))
	require.NoError(t, os.Chmod(hba, 0o640))
	return l, p, hba
}

func allows(t *testing.T, l Local, clients ...string) bool {
	t.Helper()
	ok, err := l.Allows("10.0.0.1", clients)
	require.NoError(t, err)
	return ok
}

func TestAllow(t *testing.T) {
	none := Local{node.Machine{Run: &programs{}, Root: t.TempDir()}}
	require.False(t, allows(t, none))
	require.ErrorContains(t, none.Allow(t.Context(), "10.0.0.1", nil), "expected its configuration")
	l, p, hba := cluster(t)
	owner := os.Getuid()
	if owner == 0 { // only root can change the owner of a file
		owner = 12345
		require.NoError(t, os.Chown(hba, owner, owner))
	}
	read := func() string {
		text, err := os.ReadFile(hba)
		require.NoError(t, err)
		return string(text)
	}
	const conf = "etc/postgresql/16/main/conf.d/dcib-maas.conf"
	allow := func(how string, clients ...string) {
		t.Helper()
		p.ran = nil
		require.False(t, allows(t, l, clients...))
		require.NoError(t, l.Allow(t.Context(), "10.0.0.1", clients))
		require.True(t, allows(t, l, clients...))
		require.Equal(t, []string{"systemctl " + how + " postgresql"}, p.ran)
		info, err := os.Stat(hba)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o640), info.Mode())
		require.EqualValues(t, owner, info.Sys().(*syscall.Stat_t).Uid, "it stays PostgreSQL's")
		require.Regexp(t, `^[0-9a-f]{64} [0-9a-f]{64}$`, l.Text(inForce), "nothing of the text is kept")
	}
	allow("restart")
	require.Equal(t, own, read())
	require.NotContains(t, l.Text(conf), "listen_addresses")
	allow("restart", "10.0.0.2")
	require.Equal(t, own+begin+"host maasdb maas 10.0.0.2/32 scram-sha-256\n"+end, read())
	require.Contains(t, l.Text(conf), "listen_addresses = 'localhost,10.0.0.1'", "at no other address")
	allow("reload", "fd00::2", "10.0.0.2")
	require.Contains(t, read(), "host maasdb maas fd00::2/128 scram-sha-256\n")
	// A hook that died before PostgreSQL was told.
	require.NoError(t, l.Remove(inForce))
	allow("restart", "fd00::2", "10.0.0.2")
	// The unit's address changes.
	require.NoError(t, l.Allow(t.Context(), "10.0.0.9", []string{"10.0.0.2"}))
	require.Contains(t, l.Text(conf), "'localhost,10.0.0.9'")
	require.False(t, allows(t, l, "10.0.0.2"))
	require.ErrorContains(t, l.Allow(t.Context(), "region'", []string{"10.0.0.2"}), "an IP address to listen on")
	allow("restart")
	require.Equal(t, own, read())
	// Without a line break at its end, it is what it is.
	require.NoError(t, os.WriteFile(hba, []byte(strings.TrimSpace(own)), 0o640))
	allow("reload")
	require.Equal(t, strings.TrimSpace(own), read())
}

// Whatever is lost of pg_hba.conf, the superuser's way in is not closed by this charm.
func TestConfigurationWithoutLocalIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "ours alone": begin + "host maasdb maas 10.0.0.2/32 scram-sha-256\n" + end,
		"a comment": "# local all postgres peer\nhost all all 127.0.0.1/32 scram-sha-256\n", "no space": "localhost all\n",
	} {
		l, p, hba := cluster(t)
		require.NoError(t, os.WriteFile(hba, []byte(text), 0o640), name)
		_, err := l.Allows("10.0.0.1", []string{"10.0.0.2"})
		require.ErrorIs(t, err, ErrUnusable, name)
		require.ErrorIs(t, l.Allow(t.Context(), "10.0.0.1", []string{"10.0.0.2"}), ErrUnusable, name)
		has, err := os.ReadFile(hba)
		require.NoError(t, err)
		require.Equal(t, text, string(has), name)
		require.Empty(t, p.ran)
		require.NoFileExists(t, filepath.Join(l.Root, inForce))
	}
	l, _, hba := cluster(t)
	require.NoError(t, os.WriteFile(hba, []byte("include_dir pg_hba.d\n"), 0o640))
	require.NoError(t, l.Allow(t.Context(), "10.0.0.1", nil), "it may be there")
}

// The folder is user postgres': what it links to is neither read, nor copied, nor written.
func TestSymlinksInTheClustersFolderAreNotFollowed(t *testing.T) {
	const secret = "local root:secret:1:0:99999:7:::\n"
	for name, plant := range map[string]func(main, victim string) error{
		"pg_hba.conf": func(main, victim string) error {
			hba := filepath.Join(main, "pg_hba.conf")
			return errors.Join(os.Remove(hba), os.Symlink(victim, hba))
		},
		"the folder": func(main, victim string) error {
			return errors.Join(os.RemoveAll(main), os.Symlink(filepath.Dir(victim), main))
		},
		"conf.d": func(main, victim string) error {
			return os.Symlink(filepath.Dir(victim), filepath.Join(main, "conf.d"))
		},
		"our file in conf.d": func(main, victim string) error {
			conf := filepath.Join(main, "conf.d")
			return errors.Join(os.Mkdir(conf, 0o755), os.Symlink(victim, filepath.Join(conf, "dcib-maas.conf")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, _, hba := cluster(t)
			dir := filepath.Join(l.Root, "etc/victim")
			victim := filepath.Join(dir, "pg_hba.conf")
			require.NoError(t, os.MkdirAll(dir, 0o755))
			require.NoError(t, os.WriteFile(victim, []byte(secret), 0o600))
			require.NoError(t, plant(filepath.Dir(hba), victim))
			err := l.Allow(t.Context(), "10.0.0.1", []string{"10.0.0.2"})
			if name == "our file in conf.d" {
				require.NoError(t, err, "it is replaced")
			} else {
				require.Error(t, err)
			}
			require.NotContains(t, fmt.Sprint(err), "secret:1")
			text, err := os.ReadFile(victim)
			require.NoError(t, err)
			require.Equal(t, secret, string(text))
			info, err := os.Stat(victim)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode())
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, left, 1)
			require.NotContains(t, l.Text(inForce), "secret")
		})
	}
}
