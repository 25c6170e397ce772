package database

import (
	"context"
	"os"
	"path/filepath"
	"strings"
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
	require.NoError(t, c.Dump(t.Context(), l.Machine, "/x/database.dump"))
	require.NoError(t, c.Restore(t.Context(), l.Machine, "/x/database.dump"))
	require.NotContains(t, strings.Join(append(p.ran, p.fed...), "\n"), "hunter2", "nor in SQL, which PostgreSQL may log")
	_, file, _ := strings.Cut(p.ran[2], "passfile=")
	_, err = os.Stat(file)
	require.ErrorIs(t, err, os.ErrNotExist, "the file with it is gone")
}

func TestAllow(t *testing.T) {
	p := &programs{}
	l := Local{node.Machine{Run: p, Root: t.TempDir()}}
	require.False(t, l.Allows(nil))
	require.ErrorContains(t, l.Allow(t.Context(), nil), "expected its configuration")
	hba := filepath.Join(l.Root, "etc/postgresql/16/main/pg_hba.conf")
	require.NoError(t, os.MkdirAll(filepath.Dir(hba), 0o755))
	const own = "local all postgres peer\nhost all all 127.0.0.1/32 scram-sha-256\n"
	require.NoError(t, os.WriteFile(hba, []byte(own), 0o640))
	read := func() string {
		text, err := os.ReadFile(hba)
		require.NoError(t, err)
		return string(text)
	}
	allow := func(how string, clients ...string) {
		t.Helper()
		p.ran = nil
		require.False(t, l.Allows(clients))
		require.NoError(t, l.Allow(t.Context(), clients))
		require.True(t, l.Allows(clients))
		require.Equal(t, []string{"systemctl " + how + " postgresql"}, p.ran)
	}
	allow("restart")
	require.Equal(t, own, read())
	require.NotContains(t, l.Text("etc/postgresql/16/main/conf.d/dcib-maas.conf"), "listen_addresses")
	allow("restart", "10.0.0.2")
	require.Equal(t, own+begin+"host maasdb maas 10.0.0.2/32 scram-sha-256\n"+end, read())
	allow("reload", "fd00::2", "10.0.0.2")
	require.Contains(t, read(), "host maasdb maas fd00::2/128 scram-sha-256\n")
	// A hook that died before PostgreSQL was told.
	require.NoError(t, l.Remove(inForce))
	allow("restart", "fd00::2", "10.0.0.2")
	allow("restart")
	require.Equal(t, own, read())
}
