package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/host/atomicfile"
)

type programs struct{ ran []string }

func (p *programs) Run(_ context.Context, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	if name == "systemctl" && args[0] == "is-active" {
		return "active\ninactive\n", nil
	}
	p.ran = append(p.ran, strings.ReplaceAll(line, os.TempDir(), ""))
	return "", nil
}

func (p *programs) Feed(ctx context.Context, _ []byte, name string, args ...string) (string, error) {
	return p.Run(ctx, name, args...)
}

func machine(t *testing.T) (Machine, *programs) {
	p := &programs{}
	return Machine{Run: p, Root: t.TempDir(), Hostname: "rack0", MACs: func() ([]string, error) { return []string{"00:16:3e:00:00:01"}, nil }, User: func(string) (atomicfile.Owner, error) {
		return atomicfile.Owner{UID: os.Getuid(), GID: os.Getgid()}, nil
	}}, p
}

func TestConf(t *testing.T) {
	m, _ := machine(t)
	conf, err := m.Conf(RegionConf)
	require.NoError(t, err)
	require.Empty(t, conf)
	want := map[string]any{"maas_url": "http://a/MAAS", "database_port": 5432}
	require.True(t, Differs(conf, want))
	require.NoError(t, m.Write(RegionConf, "num_workers: 8\nmaas_url: http://localhost/MAAS\n", true))
	require.NoError(t, m.SetConf(RegionConf, want))
	conf, err = m.Conf(RegionConf)
	require.NoError(t, err)
	require.False(t, Differs(conf, want))
	require.Equal(t, 8, conf["num_workers"], "an operator's own stays")
	info, err := os.Stat(m.path(RegionConf))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
	require.NoError(t, m.Write(RegionConf, "database_pass: hunter2: x\n- y", true))
	_, err = m.Conf(RegionConf)
	require.ErrorContains(t, err, "it is no YAML")
	require.NotContains(t, err.Error(), "hunter2")
	left, err := filepath.Glob(m.path("etc/maas/.*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestInactive(t *testing.T) {
	m, _ := machine(t)
	require.Equal(t, []string{"b", "c"}, m.Inactive(t.Context(), "a", "b", "c"))
}

func TestACopyIsNoticed(t *testing.T) {
	m, p := machine(t)
	copied, _, err := m.Copied()
	require.NoError(t, err)
	require.False(t, copied, "nothing is recorded")
	require.True(t, m.Recorded(), "there is no identity yet")
	require.ErrorContains(t, m.PrepareClone(t.Context(), "/nowhere"), "no identity yet")

	require.NoError(t, m.Write(SystemIDFile, "abc123\n", true))
	require.NoError(t, m.Write(SecretFile, "5ec7e7", true))
	require.NoError(t, m.Write(RegionConf, "broadcast_address: 10.0.0.1\nnum_workers: 4\n", true))
	require.NoError(t, m.Write("etc/systemd/system/jujud-machine-7.service", "", false))
	require.NoError(t, m.Write("etc/systemd/system/jujuagentd-machine-8.service", "", false)) // as Juju 4 calls it
	require.NoError(t, m.Write("etc/cloud/cloud.cfg", "", false))
	const original = "0123456789abcdef0123456789abcdef"
	require.NoError(t, m.Write("etc/machine-id", original+"\n", false))
	require.NoError(t, m.Write("var/lib/dbus/machine-id", original+"\n", false))
	require.False(t, m.Recorded())
	program := filepath.Join(t.TempDir(), "dispatch")
	require.NoError(t, os.WriteFile(program, []byte("program"), 0o600))
	require.NoError(t, m.PrepareClone(t.Context(), program))
	require.True(t, m.Recorded())
	require.Equal(t, "program", m.Text(helper))
	require.Contains(t, m.Text(helperUnit), "Before=maas-regiond.service maas-rackd.service maas-apiserver.service cloud-init-local.service systemd-networkd.service jujud-machine-7.service jujuagentd-machine-8.service\n")
	require.Contains(t, p.ran, "systemctl enable dcib-maas-identity.service")

	// The same container, restored or restarted.
	require.NoError(t, m.ResetIfClone(t.Context()))
	require.Equal(t, "abc123", m.Text(SystemIDFile))
	require.False(t, m.Has(cloudConfig))

	// A copy that has the original's addresses, under another name: it stays down.
	p.ran, m.Hostname = nil, "rack9"
	require.ErrorContains(t, m.ResetIfClone(t.Context()), "unset hwaddr")
	require.Equal(t, "abc123", m.Text(SystemIDFile))
	require.Contains(t, p.ran, "systemctl disable jujud-machine-7.service")
	require.Contains(t, p.ran, "systemctl stop --no-block jujud-machine-7.service")
	require.True(t, m.Has(cloudConfig))
	m.Hostname = "rack0"

	// A copy that has the name still.
	m.MACs = func() ([]string, error) { return []string{"00:16:3e:00:00:02"}, nil }
	require.ErrorContains(t, m.ResetIfClone(t.Context()), "hostnamectl set-hostname")
	require.Equal(t, "abc123", m.Text(SystemIDFile))

	require.Equal(t, original, m.Text("etc/machine-id"), "it may be the original still")
	p.ran, m.Hostname = nil, "rack1"
	require.NoError(t, m.ResetIfClone(t.Context()))
	// Or the two have one DHCP lease: networkd's client id is made of it.
	require.Regexp(t, "^[0-9a-f]{32}$", m.Text("etc/machine-id"))
	require.NotEqual(t, original, m.Text("etc/machine-id"))
	require.Equal(t, m.Text("etc/machine-id"), m.Text("var/lib/dbus/machine-id"))
	require.Contains(t, p.ran, "systemctl try-restart --no-block systemd-journald.service")
	require.Empty(t, m.Text(SystemIDFile))
	require.Equal(t, "5ec7e7", m.Text(SecretFile), "it comes back to the same MAAS")
	require.Equal(t, "num_workers: 4", m.Text(RegionConf))
	for _, agent := range []string{"jujud-machine-7.service", "jujuagentd-machine-8.service"} {
		require.Contains(t, p.ran, "systemctl disable "+agent)
		require.Contains(t, p.ran, "systemctl stop --no-block "+agent)
	}
	require.Equal(t, "cloud_final_modules: []", m.Text(cloudConfig), "or cloud-init would bring the agent back")
	require.NoError(t, m.ResetIfClone(t.Context()))

	// A network card that was added is no copy.
	require.NoError(t, m.Write(SystemIDFile, "def456\n", true))
	require.NoError(t, m.Record())
	m.MACs = func() ([]string, error) { return []string{"00:16:3e:00:00:02", "00:16:3e:00:00:03"}, nil }
	copied, _, err = m.Copied()
	require.NoError(t, err)
	require.False(t, copied)
	require.False(t, m.Recorded())
}

func TestInterfaces(t *testing.T) {
	macs, err := Interfaces()
	require.NoError(t, err)
	require.NotContains(t, macs, "")
}

// MAAS's folders are user maas': nothing there leads root to another file, and owner and mode
// are those of what was written, whatever has its name by then.
func TestFoldersOfUserMAAS(t *testing.T) {
	m, p := machine(t)
	owner := atomicfile.Owner{UID: os.Getuid(), GID: os.Getgid()}
	if owner.UID == 0 { // only root can change the owner of a file
		owner = atomicfile.Owner{UID: 12345, GID: 23456}
	}
	m.User = func(name string) (atomicfile.Owner, error) {
		require.Equal(t, "maas", name)
		return owner, nil
	}
	victim := m.path("etc/shadow")
	require.NoError(t, os.MkdirAll(m.path("var/lib/maas"), 0o755))
	require.NoError(t, os.MkdirAll(m.path("etc/maas"), 0o755))
	require.NoError(t, os.WriteFile(victim, []byte("root:x\n"), 0o600))
	for _, name := range []string{SecretFile, RegionConf} {
		require.NoError(t, os.Symlink(victim, m.path(name)))
		require.Empty(t, m.Text(name))
	}
	_, err := m.Conf(RegionConf)
	require.ErrorContains(t, err, "no regular file")
	for _, name := range []string{SecretFile, RegionConf} {
		require.NoError(t, m.Write(name, "new", true))
		info, err := os.Lstat(m.path(name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o640), info.Mode())
		stat := info.Sys().(*syscall.Stat_t)
		require.Equal(t, owner, atomicfile.Owner{UID: int(stat.Uid), GID: int(stat.Gid)})
	}
	info, err := os.Stat(victim)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.EqualValues(t, os.Getuid(), info.Sys().(*syscall.Stat_t).Uid)
	text, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "root:x\n", string(text))
	require.Empty(t, p.ran, "no program is told a name")

	m.User = func(string) (atomicfile.Owner, error) { return owner, errors.New("unknown user maas") }
	require.ErrorContains(t, m.Write(SecretFile, "newer", true), "unknown user maas")
	require.Equal(t, "new", m.Text(SecretFile))

	// What is removed is MAAS's own.
	require.NoError(t, os.MkdirAll(m.path("etc/dhcp"), 0o755))
	require.NoError(t, os.WriteFile(m.path("etc/dhcp/dhcpd.leases"), nil, 0o600))
	require.NoError(t, os.Symlink("../../../etc/dhcp", m.path("var/lib/maas/dhcp")))
	require.Error(t, m.Remove("var/lib/maas/dhcp/dhcpd.leases"))
	require.FileExists(t, m.path("etc/dhcp/dhcpd.leases"))
	require.NoError(t, m.Remove("var/lib/maas/dhcp", "var/lib/maas/none/none"))
	require.FileExists(t, m.path("etc/dhcp/dhcpd.leases"))

	// What a crash has emptied is none, and is written again.
	require.NoError(t, os.Truncate(m.path(RegionConf), 0))
	conf, err := m.Conf(RegionConf)
	require.NoError(t, err)
	require.Empty(t, conf)
}

// A copy has the original's network configuration: with a static address there both would have it.
func TestAStaticAddressIsNotCopied(t *testing.T) {
	m, p := machine(t)
	require.NoError(t, m.Write(SystemIDFile, "abc123\n", true))
	program := filepath.Join(t.TempDir(), "dispatch")
	require.NoError(t, os.WriteFile(program, []byte("program"), 0o600))
	file := "etc/netplan/50-cloud-init.yaml"
	for _, text := range []string{
		"network:\n  version: 2\n  ethernets:\n    eth0:\n      addresses: [10.0.0.7/24]\n",
		"network:\n  bridges:\n    br0: {interfaces: [eth0], dhcp6: true, addresses: [{10.0.0.7/24: {label: a}}]}\n",
	} {
		require.NoError(t, m.Write(file, text, false))
		err := m.PrepareClone(t.Context(), program)
		require.ErrorContains(t, err, "/etc/netplan/50-cloud-init.yaml")
		require.ErrorContains(t, err, "10.0.0.7/24")
		require.ErrorContains(t, err, "juju add-unit")
		require.False(t, m.Has(helper))
		require.Empty(t, p.ran)
	}
	require.NoError(t, m.Write(file, "network: [", false))
	require.ErrorContains(t, m.PrepareClone(t.Context(), program), "no YAML")
	require.NoError(t, m.Write(file, "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    eth0: {dhcp4: true}\n    lo: {addresses: [127.0.0.5/8]}\n", false))
	require.NoError(t, m.PrepareClone(t.Context(), program))
}
