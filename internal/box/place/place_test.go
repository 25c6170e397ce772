package place

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNew(t *testing.T) {
	t.Setenv("DCIB_HOME", "")
	for _, c := range []struct {
		home, name, want, err string
	}{
		{"", "box", "/var/lib/dcib/boxes/box", ""},
		{"/x/", "t1", "/x/boxes/t1", ""},
		{"x", "box", "", "absolute path"},
		{"/x", "", "", "cannot use box name"},
		{"/x", "Box", "", "cannot use box name"},
		{"/x", "../up", "", "cannot use box name"},
		{"/x", "elevenchars", "", "cannot use box name"},
		{"/" + strings.Repeat("x", 60), "box", "", "shorter DCIB_HOME"},
	} {
		p, err := New(c.home, c.name)
		if c.err != "" {
			require.ErrorContains(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, p.Dir())
		require.LessOrEqual(t, len(p.Bridge()), 15)
	}
	t.Setenv("DCIB_HOME", "/elsewhere")
	p, err := New("", "box")
	require.NoError(t, err)
	require.Equal(t, "/elsewhere/boxes/box", p.Dir())
}

func TestLockIsExclusivePerBox(t *testing.T) {
	a, b := Place{Home: t.TempDir(), Name: "a"}, Place{Name: "b"}
	b.Home = a.Home
	unlock, err := a.Lock()
	require.NoError(t, err)
	_, err = a.Lock()
	require.ErrorIs(t, err, ErrBusy)
	unlockB, err := b.Lock()
	require.NoError(t, err)
	unlockB()
	unlock()
	unlock, err = a.Lock()
	require.NoError(t, err)
	unlock()
}

func TestOthersAndJSON(t *testing.T) {
	p := Place{Home: t.TempDir(), Name: "a"}
	others, err := p.Others()
	require.NoError(t, err)
	require.Empty(t, others)
	require.False(t, p.Exists())
	require.NoError(t, p.Make())
	require.NoError(t, Place{Home: p.Home, Name: "b"}.Make())
	require.True(t, p.Exists())
	others, err = p.Others()
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, others)

	var v map[string]string
	require.NoError(t, ReadJSON(p.Record(), &v))
	require.Nil(t, v)
	require.NoError(t, WriteJSON(p.Record(), map[string]string{"subnet": "10.0.0.0/24"}))
	require.NoError(t, ReadJSON(p.Record(), &v))
	require.Equal(t, "10.0.0.0/24", v["subnet"])
	require.NoError(t, os.WriteFile(p.Record(), []byte("{"), 0o600))
	require.ErrorContains(t, ReadJSON(p.Record(), &v), p.Record())
	left, err := filepath.Glob(filepath.Join(p.Dir(), ".record*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestSnapKeepsToItself(t *testing.T) {
	own := Place{Home: "/h", Name: "a"}
	require.Equal(t, "/h/boxes/a/lxd/unix.socket", own.Socket())
	require.Equal(t, "default", own.Project())
	require.Contains(t, own.Env(), "LXD_DIR=/h/boxes/a/lxd")

	snap := Place{Home: "/h", Name: "a", Snap: &Snap{Bin: "/snap/bin", Socket: "/s", Data: "/root/snap/juju/common"}}
	require.Equal(t, "/s", snap.Socket())
	require.Equal(t, "dcib-a", snap.Project())
	require.Equal(t, "dcib-a", snap.Pool())
	require.Equal(t, "/root/snap/juju/common/dcib-a", snap.Juju())
	require.Contains(t, snap.Env(), "JUJU_DATA=/root/snap/juju/common/dcib-a")
	require.NotContains(t, snap.Env(), "LXD_DIR=/h/boxes/a/lxd")
}

func TestUpIsTheCommandForThatBox(t *testing.T) {
	require.Equal(t, "make box", Up(DefaultName))
	require.Equal(t, "make charms && bin/dcib box --name t1 up", Up("t1"))
}
