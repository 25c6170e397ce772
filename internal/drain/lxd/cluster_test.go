package drainlxd

import (
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
)

func TestMemberOf(t *testing.T) {
	m := api.ClusterMember{ServerName: "pet", Status: "Online", Architecture: "x86_64"}
	require.Equal(t, drain.Member{Name: "pet", Status: drain.Online, Architectures: []string{"x86_64", "i686"}}, memberOf(m))
	require.True(t, memberOf(m).AcceptsInstances())
	m.Roles, m.Groups = []string{"database-leader", "control-plane"}, []string{"gpu"}
	require.Equal(t, drain.Member{Name: "pet", Status: drain.Online, Architectures: []string{"x86_64", "i686"}, Groups: []string{"gpu"}, Voter: true, ControlPlane: true}, memberOf(m))
	m.Roles = []string{"database-standby"}
	require.True(t, memberOf(m).Standby)
	for _, scheduler := range []string{"manual", "group"} {
		m.Config = map[string]string{"scheduler.instance": scheduler}
		require.False(t, memberOf(m).AcceptsInstances())
	}
}

func TestInstanceOf(t *testing.T) {
	i := api.Instance{
		Name: "c1", Project: "lab", Location: "pet", Architecture: "x86_64", Type: "container", StatusCode: api.Running,
		Config: map[string]string{"volatile.uuid": "1", "volatile.evacuate.origin": "b", "volatile.last_state.power": "RUNNING"},
	}
	require.Equal(t, drain.Instance{
		Ref: drain.Ref{Project: "lab", Name: "c1"}, ID: "1", Member: "pet", Running: true, Architecture: "x86_64", Origin: "b", ShouldRun: true,
	}, instanceOf(i, nil))

	i.Config[groupKey] = "@gpu"
	require.Equal(t, "gpu", instanceOf(i, nil).Group)
	i.ExpandedConfig = map[string]string{"migration.stateful": "true"}
	require.False(t, instanceOf(i, nil).LiveMovable, "only virtual machines move while they run on their own")
	i.Type = "virtual-machine"
	require.True(t, instanceOf(i, nil).LiveMovable)
	i.ExpandedConfig["cluster.evacuate"] = "migrate"
	require.False(t, instanceOf(i, nil).LiveMovable)
	i.StatusCode = api.Frozen
	require.True(t, instanceOf(i, nil).Running)
	i.StatusCode = api.Stopped
	require.False(t, instanceOf(i, nil).Running)
}

func TestRecordsOf(t *testing.T) {
	record := drain.Record{Phase: drain.Drained, By: "x/0", Entries: []drain.Entry{}}
	records, err := RecordsOf([]api.ClusterMember{
		{ServerName: "a", Config: map[string]string{RecordKey: record.Encode()}},
		{ServerName: "b", Config: map[string]string{"user.other": "x"}},
	})
	require.NoError(t, err)
	require.Equal(t, map[string]drain.Record{"a": record}, records)
	_, err = RecordsOf([]api.ClusterMember{{ServerName: "a", Config: map[string]string{RecordKey: "x"}}})
	require.ErrorContains(t, err, "`lxc cluster get a user.dcib.drain`")
	require.True(t, sameRecord(record.Encode(), &record))
	require.True(t, sameRecord("", nil))
	require.False(t, sameRecord("", &record))
	require.False(t, sameRecord(record.Encode(), nil))
}

func TestDeniedProjects(t *testing.T) {
	for _, c := range []struct {
		config map[string]string
		groups []string
		bars   bool
	}{
		{nil, []string{"default"}, false},
		{map[string]string{"restricted": "true"}, []string{"default"}, false},
		{map[string]string{"restricted.cluster.groups": "gpu"}, []string{"default"}, false},
		{map[string]string{"restricted": "true", "restricted.cluster.groups": "gpu, web"}, []string{"default"}, true},
		{map[string]string{"restricted": "true", "restricted.cluster.groups": "gpu, web"}, []string{"default", "web"}, false},
		{map[string]string{"restricted": "1", "restricted.cluster.groups": "gpu"}, nil, true},
	} {
		require.Equal(t, c.bars, denies(c.config, c.groups), c)
	}
	require.Equal(t, []string{"default", "lab"}, projectsOf([]drain.Instance{{Ref: drain.Ref{Project: "lab"}}, {Ref: drain.Ref{Project: "default"}}, {Ref: drain.Ref{Project: "lab"}}, {}}))
}

func TestRequirementsOf(t *testing.T) {
	i := api.Instance{
		ExpandedConfig:  map[string]string{"limits.memory": "2GiB", "limits.cpu": "4"},
		ExpandedDevices: map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": "local", "size": "10GiB"}, "data": {"type": "disk", "path": "/data", "pool": "other"}},
	}
	require.Equal(t, drain.Requirements{Memory: 2 << 30, CPUs: 4, Pool: "local", Disk: 10 << 30}, requirementsOf(i))
	require.Zero(t, requirementsOf(api.Instance{ExpandedConfig: map[string]string{"limits.memory": "50%"}}), "of whatever member it is on")
	for limit, want := range map[string]int{"": 0, "2": 2, "0-3": 4, "1,7,3": 8, "0-1,4-5": 6, "all": 0} {
		require.Equal(t, want, cpuCount(limit), limit)
	}
	require.Equal(t, map[string]int64{"local": -1, "old": -1},
		poolsOf("a", []api.StoragePool{{Name: "local", Locations: []string{"a", "b"}}, {Name: "fast", Locations: []string{"b"}}, {Name: "old"}}))
}
