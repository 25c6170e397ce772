//go:build box

package members

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/box/place"
)

// copyRuns is how often testContent moves its database.
const copyRuns = 20

// copies reports whether the members' LXD copies instances while they run.
func (s *stage) copies(t *testing.T) bool {
	return strings.Contains(s.run(t, "lxc query /1.0"), `"storage_volatile_uuid"`)
}

// contentUnit computes a checksum of every file and its metadata when all else has stopped, and before
// all else starts.
const contentUnit = `[Unit]
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target postgresql.service writer.service
[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutSec=120
ExecStart=/root/sum start
ExecStop=/root/sum stop
[Install]
WantedBy=sysinit.target
`

const contentScript = `#!/bin/sh
mkdir -p /sum
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /sum -o -path /var/log -o -path /var/lib/systemd -o -path /var/cache \) -prune -o -printf '%p %y %m %U %G %s %T@ %l\n' | sort >/sum/$1.new
find /etc /home /opt /root /srv /usr /var/lib -xdev -path /var/lib/systemd -prune -o -type f -print0 | sort -z | xargs -0 sha256sum >>/sum/$1.new
mv /sum/$1.new /sum/$1
`

// testContent drains and undrains a member with a database and a writer of small files at work. The
// content is the same after the start as it was after the stop, and the database needs no recovery.
func (s *stage) testContent(t *testing.T) {
	if !s.copies(t) {
		s.run(t, "lxc launch tiny plain --profile dcib --target %s", s.pet)
		plan := s.drain(t, "dry-run=true")["plan"]
		require.Contains(t, plan, "stops, moves to another member and starts there")
		return
	}
	s.launchDatabase(t)
	defer func() {
		if !t.Failed() {
			s.clean(t)
		}
	}()
	before := s.instances(t)
	for n := range copyRuns {
		var result map[string]any
		if n%2 == 0 {
			result = s.drain(t)
			require.Contains(t, result["plan"], "is copied to another member while it runs")
		} else {
			result = s.undrain(t)
		}
		t.Log(result["instances"], result["duration"])
		box.Eventually(t, 2*time.Minute, "the database to answer", func() (bool, string) {
			out, err := box.TryLXC(20*time.Second, "exec", s.acting, "--", "lxc", "exec", "db", "--", "su", "-c", "psql -qAtc 'select count(*) from pgbench_accounts'", "postgres")
			return err == nil && strings.TrimSpace(out) == "300000", out
		})
		difference := s.run(t, "lxc exec db -- sh -c 'diff /sum/stop /sum/start | head -20; wc -l </sum/start'")
		lines := strings.Fields(difference)
		require.Len(t, lines, 1, difference)
		log := s.run(t, "lxc exec db -- sh -c 'cat /var/log/postgresql/*.log | tac | sed /starting.PostgreSQL/q | tac'")
		require.Contains(t, log, "database system was shut down at", "run %d", n)
		require.NotContains(t, log, "recovery")
		require.Empty(t, strings.TrimSpace(s.run(t, "lxc list --all-projects --format csv --columns n | grep dcib- || true")), "a copy is left")
	}
	after := s.instances(t)
	require.Equal(t, places(before), places(after))
	requireUnchanged(t, before, after, "after the last undrain")
}

// launchDatabase starts an instance of Debian on the pet, with PostgreSQL that is written to and a writer
// of small files.
func (s *stage) launchDatabase(t *testing.T) {
	t.Helper()
	at, err := place.New("", box.Name)
	require.NoError(t, err)
	images, err := filepath.Glob(filepath.Join(at.Cache(), "image-24.04-*"))
	require.NoError(t, err)
	require.NotEmpty(t, images)
	for _, file := range []string{"metadata.tar", "rootfs.squashfs"} {
		box.LXC(t, "file", "push", filepath.Join(images[0], file), s.acting+"/root/"+file)
	}
	s.run(t, "lxc image show debian >/dev/null 2>&1 || lxc image import /root/metadata.tar /root/rootfs.squashfs --alias debian")
	s.run(t, "lxc launch debian db --profile dcib --target %s", s.pet)
	inside := func(line string) string {
		return s.run(t, "lxc exec db -- bash -euc '%s'", line)
	}
	box.Eventually(t, 2*time.Minute, "the instance to have an address", func() (bool, string) {
		out, err := box.TryLXC(20*time.Second, "exec", s.acting, "--", "lxc", "exec", "db", "--", "ip", "-4", "route", "show", "default")
		return err == nil && out != "", out
	})
	inside(`export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; apt-get install -qq -y --no-install-recommends postgresql postgresql-contrib >/dev/null`)
	push := func(path, mode, text string) {
		s.run(t, "cat >/root/pushed <<'EOF'\n%s\nEOF\nlxc file push --quiet --mode %s /root/pushed db%s", text, mode, path)
	}
	push("/root/sum", "0755", contentScript)
	push("/etc/systemd/system/content.service", "0644", contentUnit)
	push("/root/write", "0755", `#!/bin/bash
mkdir -p /srv/writes
for ((n = 0; ; n++)); do
	head -c 4096 /dev/urandom | dd of=/srv/writes/$((n % 400)) conv=notrunc status=none
	((n % 10)) || head -c 65536 /dev/urandom | dd of=/srv/large bs=65536 seek=$((RANDOM % 3200)) conv=notrunc status=none
done`)
	push("/etc/systemd/system/writer.service", "0644", "[Service]\nExecStart=/root/write\nTimeoutStopSec=5\n[Install]\nWantedBy=multi-user.target")
	push("/etc/systemd/system/load.service", "0644", "[Unit]\nAfter=postgresql.service postgresql@15-main.service\nRequires=postgresql.service\n[Service]\nUser=postgres\nRestart=always\nRestartSec=1\nExecStart=/usr/bin/pgbench -c 2 -T 100000 --rate 50 postgres\n[Install]\nWantedBy=multi-user.target")
	inside(`for n in $(seq 60); do su -c "psql -qc \"select 1\"" postgres >/dev/null 2>&1 && break; sleep 1; done; su -c "pgbench -q -i -s 3 postgres" postgres`)
	inside(`systemctl daemon-reload; systemctl enable --now content writer load`)
}
