package preflight

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func good() Facts {
	return Facts{
		Arch: "amd64", Memory: 20 * gib, Disk: 80 * gib, Home: "/var/lib/dcib", UserNS: 1000,
		SubUID: "_lxd:100000:10000001\nroot:100000:10000001\n", SubGID: "root:100000:10000001\n", SubIDs: true,
		Cgroups: true, Filesystems: "nodev\ttmpfs\n\text4\n\tbtrfs\n", LoopControl: true, OS: "Debian GNU/Linux 12", Debian: true, Go: "go1.26.0", Driver: "btrfs",
	}
}

func TestCheck(t *testing.T) {
	require.Empty(t, Check(good()))
	for name, c := range map[string]struct {
		change func(*Facts)
		want   string
	}{
		"not root":      {func(f *Facts) { f.UID = 1000 }, "not root (user id 1000)"},
		"architecture":  {func(f *Facts) { f.Arch = "arm64" }, "architecture arm64"},
		"memory":        {func(f *Facts) { f.Memory = gib }, "memory: 1.0 GiB available, 6.0 GiB needed"},
		"disk":          {func(f *Facts) { f.Disk = 15 * gib }, "disk: 15.0 GiB free in /var/lib/dcib, 20.0 GiB needed"},
		"no userns":     {func(f *Facts) { f.UserNS = -1 }, "no user namespaces"},
		"userns off":    {func(f *Facts) { f.UserNS = 0 }, "no user namespaces"},
		"subuid small":  {func(f *Facts) { f.SubUID = "root:100000:65536\n" }, "/etc/subuid assigns root 65536 ids"},
		"subgid none":   {func(f *Facts) { f.SubGID = "me:100000:10000001\n" }, "/etc/subgid assigns root 0 ids"},
		"closed folder": {func(f *Facts) { f.Closed = "/root" }, "/root is closed to others"},
		"charms":        {func(f *Facts) { f.Charms = []string{"dist/a.charm"} }, "charm archives are missing: dist/a.charm: run make charms"},
		"cgroup":        {func(f *Facts) { f.Cgroups = false }, "no memory cgroup"},
		"loop":          {func(f *Facts) { f.LoopControl = false }, "no loop devices"},
		"btrfs":         {func(f *Facts) { f.Filesystems = "\text4\n" }, "no btrfs"},
		"apt":           {func(f *Facts) { f.Debian = false }, "Debian GNU/Linux 12 is not Debian or has no apt-get"},
		"another":       {func(f *Facts) { f.Debian, f.OS = false, "Fedora Linux 42" }, "Fedora Linux 42 is not Debian"},
		"ubuntu": {func(f *Facts) {
			f.Debian, f.Ubuntu, f.OS, f.Go, f.SubUID = false, true, "Ubuntu 24.04.1 LTS", "", ""
		}, "the snaps lxd and juju are not both installed, from which the box on Ubuntu 24.04.1 LTS is made: snap install lxd"},
		"go":     {func(f *Facts) { f.Go = "" }, "no go command"},
		"subnet": {func(f *Facts) { f.SubnetErr = errors.New("10.1.1.0/24 is in use by eth0") }, "in use by eth0: name a free one with --subnet"},
		"mirror": {func(f *Facts) { f.MirrorErr = errors.New("no route") }, "packages cannot be downloaded: no route"},
		"proxy":  {func(f *Facts) { f.GoProxyErr = errors.New("no route") }, "Go modules cannot be downloaded: no route"},
	} {
		t.Run(name, func(t *testing.T) {
			f := good()
			c.change(&f)
			got := Check(f)
			require.Len(t, got, 1)
			require.Contains(t, got[0].String(), c.want)
			require.NotEmpty(t, got[0].Do)
		})
	}
}

func TestCheckAllowsWhatComesLater(t *testing.T) {
	f := good()
	f.SubIDs, f.SubUID, f.SubGID = false, "", "" // a package will write them
	f.Warm, f.Disk = true, 15*gib
	f.Filesystems, f.Modules = "\text4\n", true
	require.Empty(t, Check(f))
}

func TestSystem(t *testing.T) {
	for release, want := range map[string][3]any{
		"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n":            {"Debian GNU/Linux 12 (bookworm)", true, false},
		"PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nID=ubuntu\nID_LIKE=debian\n":        {"Ubuntu 24.04.1 LTS", false, true},
		"PRETTY_NAME='Linux Mint 22'\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n": {"Linux Mint 22", false, true},
		"ID=raspbian\nID_LIKE=debian\n":                                          {"raspbian", true, false},
		"ID=fedora\n":                                                            {"fedora", false, false},
		"":                                                                       {"an unknown system", false, false},
	} {
		name, debian, ubuntu := system(release)
		require.Equal(t, want, [3]any{name, debian, ubuntu}, release)
	}
}

func TestErrorSaysAllAtOnce(t *testing.T) {
	require.NoError(t, Error(nil))
	f := good()
	f.UID, f.Arch, f.Go = 5, "riscv64", ""
	err := Error(Check(f))
	require.ErrorContains(t, err, "nothing was changed")
	require.Equal(t, 3, strings.Count(err.Error(), "\n"))
}

func TestObserve(t *testing.T) {
	require.EqualValues(t, 2048*1024, memory("MemTotal: 99 kB\nMemAvailable:    2048 kB\n"))
	require.Zero(t, memory(""))
	f := Observe(t.TempDir() + "/not/yet")
	require.NotZero(t, f.Memory)
	require.NotZero(t, f.Disk)
	require.Positive(t, f.UserNS)
}

func TestClosed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	require.Equal(t, dir, closed(dir+"/not/yet"))
	require.NoError(t, os.Chmod(dir, 0o711))
	require.NotEqual(t, dir, closed(dir+"/not/yet"))
	require.Empty(t, closed("/var/lib/not-yet"))
}
