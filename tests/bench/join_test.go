//go:build box

// Package bench measures on a real box, each thing beside what one would do without us, in
// one run. It asserts on what comes out, and on how long it took only beyond what Juju takes.
package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

// sizes are the clusters that are compared.
var sizes = []int{3, 5, 8}

const app = "lxd-cluster"

// TestJoining grows a cluster to eight members twice: by hand with `lxd init --preseed`, one
// after another, as LXD's documentation has it, and by the charm, on machines that are up
// already. What the charm takes beyond Juju's own latency is compared with what it takes by
// hand. Juju's latency is read off the same run: from one unit's word in the databag until
// the other unit's hook does something about it, there and back for each join.
func TestJoining(t *testing.T) {
	box := testbed.New(t, "bench")
	box.DCIB(t, 25*time.Minute, "up", "--until", "controller")
	most := sizes[len(sizes)-1]
	hand := byHand(t, box, most)
	total, latency := byCharm(t, box, most)
	box.DCIB(t, 5*time.Minute, "down")

	var table strings.Builder
	fmt.Fprintf(&table, "members  by hand  charm  of it Juju's latency  rest / by hand\n")
	for _, n := range sizes {
		rest := total[n] - latency[n]
		fmt.Fprintf(&table, "%7d  %6.1fs  %4.1fs  %20.1fs  %14.2f\n", n, hand[n].Seconds(), total[n].Seconds(), latency[n].Seconds(), rest.Seconds()/hand[n].Seconds())
	}
	t.Logf("forming a cluster, from the first member's founding to the last one online:\n%s", &table)
	require.NoError(t, os.WriteFile(filepath.Join(box.Repo, "dist/joining.txt"), []byte(table.String()), 0o644))
}

// byHand returns how long a cluster of that many members takes, by number of members.
func byHand(t *testing.T, box testbed.Box, most int) map[int]time.Duration {
	addresses := map[int]string{}
	for n := 1; n <= most; n++ {
		box.LXC(t, "launch", "juju/ubuntu@24.04/amd64", machine(n))
	}
	for n := 1; n <= most; n++ {
		box.Eventually(t, 2*time.Minute, "LXD and an address in "+machine(n), func() (bool, string) {
			out, err := box.TryLXC(time.Minute, "exec", machine(n), "--", "sh", "-c", "lxd waitready --timeout 30 && ip -4 -brief addr show br0")
			fields := strings.Fields(out)
			if err != nil || len(fields) < 3 {
				return false, fmt.Sprint(out, err)
			}
			addresses[n], _, _ = strings.Cut(fields[2], "/")
			return true, ""
		})
	}
	preseed := func(n int, yaml string) {
		box.Inside(t, machine(n), "cat <<'END' | lxd init --preseed\n"+yaml+"END\n")
	}
	took := map[int]time.Duration{}
	begin := time.Now()
	preseed(1, fmt.Sprintf(`config: {core.https_address: "%s:8443"}
storage_pools: [{name: local, driver: dir}]
networks: [{name: lxdbr0, type: bridge, config: {ipv4.address: 10.248.0.1/24, ipv4.nat: "true", ipv6.address: none}}]
profiles: [{name: default, devices: {root: {type: disk, path: /, pool: local}, eth0: {type: nic, network: lxdbr0, name: eth0}}}]
cluster: {server_name: %s, enabled: true}
`, addresses[1], machine(1)))
	for n := 2; n <= most; n++ {
		token := box.Inside(t, machine(1), "lxc cluster add --quiet "+machine(n)+" | tail -n 1")
		preseed(n, fmt.Sprintf("cluster: {enabled: true, server_address: \"%s:8443\", cluster_token: %s}\n", addresses[n], strings.TrimSpace(token)))
		took[n] = time.Since(begin)
	}
	require.Len(t, box.Members(t, machine(1)), most)
	for n := 1; n <= most; n++ {
		box.LXC(t, "delete", "--force", machine(n))
	}
	return took
}

func machine(n int) string { return fmt.Sprintf("hand-%d", n) }

var (
	founding = regexp.MustCompile(`juju-log .*(?:make LXD listen on|bootstrap the cluster) `)
	offering = regexp.MustCompile(`juju-log .*issue a join token to (\S+)`)
	joining  = regexp.MustCompile(`juju-log .*join the cluster as (\S+)`)
)

// byCharm returns the same for the charm, and how much of it is Juju's latency.
func byCharm(t *testing.T, box testbed.Box, most int) (total, latency map[int]time.Duration) {
	const model = "bench"
	box.AddModel(t, model)
	box.Juju(t, "add-machine", "-m", model, "-n", fmt.Sprint(most), "--base", "ubuntu@24.04")
	box.Eventually(t, 5*time.Minute, "the machines", func() (bool, string) {
		up := strings.Count(box.Juju(t, "status", "-m", model), " started ")
		return up == most, fmt.Sprintf("%d started", up)
	})
	to := make([]string, most)
	for n := range to {
		to[n] = fmt.Sprint(n)
	}
	box.Juju(t, "deploy", "-m", model, filepath.Join(box.Repo, "dist/lxd-cluster.charm"), app, "-n", fmt.Sprint(most),
		"--to", strings.Join(to, ","), "--base", "ubuntu@24.04", "--config", "bridge-address=10.248.0.1/24")
	box.WaitActive(t, model, app, most)
	box.RequireOneCluster(t, box.Machines(t, model, app))

	total, latency = map[int]time.Duration{}, map[int]time.Duration{}
	var begin, mark time.Time // mark is the last thing that happened
	var waited time.Duration
	members, busy := 0, ""
	for line := range strings.Lines(box.Juju(t, "debug-log", "-m", model, "--replay", "--no-tail", "--ms", "--date")) {
		unit, at, ok := stamp(line)
		if !ok {
			continue
		}
		if busy == unit {
			// What a unit logs next is after what it did.
			busy, mark = "", at
			members++
			total[members], latency[members] = at.Sub(begin), waited
		}
		switch {
		case founding.MatchString(line):
			if begin.IsZero() {
				begin = at
			}
			if strings.Contains(line, "bootstrap the cluster") {
				busy = unit
			}
		case offering.MatchString(line):
			if !mark.IsZero() {
				waited += at.Sub(mark)
			}
			mark = at
		case joining.MatchString(line):
			waited += at.Sub(mark)
			busy, mark = unit, at
		}
	}
	require.Equal(t, most, members, "members in the log")
	return total, latency
}

// stamp reads the unit's name and the time at the beginning of a log line.
func stamp(line string) (unit string, at time.Time, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 3 {
		return "", time.Time{}, false
	}
	at, err := time.Parse("2006-01-02 15:04:05.000", fields[1]+" "+fields[2])
	return fields[0], at, err == nil
}
