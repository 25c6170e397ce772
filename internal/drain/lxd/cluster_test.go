package drainlxd

import (
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
)

func TestMember(t *testing.T) {
	m := api.ClusterMember{ServerName: "pet", Status: "Online", Architecture: "x86_64"}
	require.Equal(t, drain.Member{Name: "pet", Status: drain.Online, Runs: []string{"x86_64", "i686"}}, member(m))
	require.True(t, member(m).Takes())
	m.Roles, m.Groups = []string{"database-leader", "control-plane"}, []string{"gpu"}
	require.Equal(t, drain.Member{Name: "pet", Status: drain.Online, Runs: []string{"x86_64", "i686"}, Groups: []string{"gpu"}, Votes: true, Controls: true}, member(m))
	m.Roles = []string{"database-standby"}
	require.True(t, member(m).StandsBy)
	for _, scheduler := range []string{"manual", "group"} {
		m.Config = map[string]string{"scheduler.instance": scheduler}
		require.False(t, member(m).Takes())
	}
}

func TestInstance(t *testing.T) {
	i := api.Instance{
		Name: "c1", Project: "lab", Location: "pet", Architecture: "x86_64", Type: "container", StatusCode: api.Running,
		Config: map[string]string{"volatile.uuid": "1", "volatile.evacuate.origin": "b", "volatile.last_state.power": "RUNNING"},
	}
	require.Equal(t, drain.Instance{
		Ref: drain.Ref{Project: "lab", Name: "c1"}, ID: "1", Member: "pet", Running: true, Architecture: "x86_64", Origin: "b", Wanted: true,
	}, instance(i, nil))

	i.Config[groupKey] = "@gpu"
	require.Equal(t, "gpu", instance(i, nil).Group)
	i.ExpandedConfig = map[string]string{"migration.stateful": "true"}
	require.False(t, instance(i, nil).Live, "only virtual machines move while they run by themselves")
	i.Type = "virtual-machine"
	require.True(t, instance(i, nil).Live)
	i.ExpandedConfig["cluster.evacuate"] = "migrate"
	require.False(t, instance(i, nil).Live)
	i.StatusCode = api.Frozen
	require.True(t, instance(i, nil).Running)
	i.StatusCode = api.Stopped
	require.False(t, instance(i, nil).Running)
}

func TestRecordsOf(t *testing.T) {
	record := drain.Record{Phase: drain.Drained, By: "x/0", Entries: []drain.Entry{}}
	records, err := RecordsOf([]api.ClusterMember{
		{ServerName: "a", Config: map[string]string{Key: record.Encode()}},
		{ServerName: "b", Config: map[string]string{"user.other": "x"}},
	})
	require.NoError(t, err)
	require.Equal(t, map[string]drain.Record{"a": record}, records)
	_, err = RecordsOf([]api.ClusterMember{{ServerName: "a", Config: map[string]string{Key: "x"}}})
	require.ErrorContains(t, err, "`lxc cluster get a user.dcib.drain`")
	require.True(t, same(record.Encode(), &record))
	require.True(t, same("", nil))
	require.False(t, same("", &record))
	require.False(t, same(record.Encode(), nil))
}

func TestBars(t *testing.T) {
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
		require.Equal(t, c.bars, bars(c.config, c.groups), c)
	}
	require.Equal(t, []string{"default", "lab"}, projectsOf([]drain.Instance{{Ref: drain.Ref{Project: "lab"}}, {Ref: drain.Ref{Project: "default"}}, {Ref: drain.Ref{Project: "lab"}}, {}}))
}

func TestNeeds(t *testing.T) {
	i := api.Instance{
		ExpandedConfig:  map[string]string{"limits.memory": "2GiB", "limits.cpu": "4"},
		ExpandedDevices: map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": "local", "size": "10GiB"}, "data": {"type": "disk", "path": "/data", "pool": "other"}},
	}
	require.Equal(t, drain.Needs{Memory: 2 << 30, CPUs: 4, Pool: "local", Disk: 10 << 30}, needs(i))
	require.Zero(t, needs(api.Instance{ExpandedConfig: map[string]string{"limits.memory": "50%"}}), "of whatever member it is on")
	for limit, want := range map[string]int{"": 0, "2": 2, "0-3": 4, "1,7,3": 8, "0-1,4-5": 6, "all": 0} {
		require.Equal(t, want, processors(limit), limit)
	}
	require.Equal(t, map[string]int64{"local": -1, "old": -1},
		poolsOf("a", []api.StoragePool{{Name: "local", Locations: []string{"a", "b"}}, {Name: "fast", Locations: []string{"b"}}, {Name: "old"}}))
}
