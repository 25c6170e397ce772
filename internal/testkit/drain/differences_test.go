package draintest

import (
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"
)

// full is an instance with all that a drain must not lose.
func full() api.InstanceFull {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	i := api.InstanceFull{Instance: api.Instance{
		Name: "web", Project: "lab", Type: "container", Location: "pet", Status: "Running", Architecture: "x86_64",
		Description: "shop front", Profiles: []string{"default", "web"},
		Config:  map[string]string{"user.x": "1", "volatile.uuid": "u", "volatile.eth0.hwaddr": "00:16:3e:00:00:01", "volatile.last_state.power": "RUNNING"},
		Devices: map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": "local", "size": "1GiB"}},
	}}
	i.Snapshots = []api.InstanceSnapshot{{Name: "s0", CreatedAt: noon, Config: map[string]string{"user.y": "2"}}}
	i.Backups = []api.InstanceBackup{{Name: "b0", CreatedAt: noon}}
	return i
}

func TestDifferences(t *testing.T) {
	require.Empty(t, Differences(full(), full()))
	for want, change := range map[string]func(*api.InstanceFull){
		`description: "shop front" is ""`:                                         func(i *api.InstanceFull) { i.Description = "" },
		`profiles: "default, web" is "web"`:                                       func(i *api.InstanceFull) { i.Profiles = i.Profiles[1:] },
		`ephemeral: "false" is "true"`:                                            func(i *api.InstanceFull) { i.Ephemeral = true },
		`architecture: "x86_64" is "aarch64"`:                                     func(i *api.InstanceFull) { i.Architecture = "aarch64" },
		`member: "pet" is "b"`:                                                    func(i *api.InstanceFull) { i.Location = "b" },
		`status: "Running" is "Stopped"`:                                          func(i *api.InstanceFull) { i.Status = "Stopped" },
		`config user.x: "1" is ""`:                                                func(i *api.InstanceFull) { delete(i.Config, "user.x") },
		`config cluster.evacuate: "" is "stop"`:                                   func(i *api.InstanceFull) { i.Config["cluster.evacuate"] = "stop" },
		`config volatile.evacuate.origin: "" is "pet"`:                            func(i *api.InstanceFull) { i.Config["volatile.evacuate.origin"] = "pet" },
		`config volatile.eth0.hwaddr: "00:16:3e:00:00:01" is "00:16:3e:00:00:02"`: func(i *api.InstanceFull) { i.Config["volatile.eth0.hwaddr"] = "00:16:3e:00:00:02" },
		`snapshot s0 config user.y: "2" is ""`:                                    func(i *api.InstanceFull) { i.Snapshots[0].Config = nil },
		`backup b0: "2026-01-02 12:00:00 +0000 UTC expires 0001-01-01 00:00:00 +0000 UTC instance only false optimized false" is ""`: func(i *api.InstanceFull) { i.Backups = nil },
	} {
		i := full()
		change(&i)
		require.Equal(t, []string{want}, Differences(full(), i))
	}
	i := full()
	i.LastUsedAt, i.Config["volatile.last_state.power"], i.Config["volatile.eth0.host_name"] = time.Now(), "", "veth1"
	require.Empty(t, Differences(full(), i), "a move and a start change these")
	i.Devices = nil
	require.Len(t, Differences(full(), i), 1)
}
