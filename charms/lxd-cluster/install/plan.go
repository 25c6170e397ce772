package install

import (
	"context"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/apt"
)

// Plan returns what to do about the facts. It is pure. Its status has no level if the machine has the LXD
// that the options require.
func Plan(f Facts) charm.Plan[Env] {
	withStatus := func(s charm.Status, steps ...charm.Step[Env]) charm.Plan[Env] {
		return charm.Plan[Env]{Steps: steps, Status: s}
	}
	switch c := f.Config; {
	case len(f.Problems) > 0:
		return withStatus(charm.Blockedf("%s", strings.Join(f.Problems, "; ")))
	case f.Source != "" && c.Source != Auto && c.Source != f.Source:
		return withStatus(charm.Blockedf("option source is %s: this machine has an LXD from %s, which is kept: set source=%s or source=auto", c.Source, f.Source, f.Source))
	case f.Source == Apt && c.Channel != "":
		return withStatus(charm.Blockedf("option channel is %s: this machine's LXD is from apt, and is kept: clear the option", c.Channel))
	case f.Source == Snap && f.Tracking != "" && !follows(f.Tracking, c.Channel):
		return withStatus(charm.Blockedf("option channel is %s: this machine's LXD follows %s: run snap refresh lxd --channel=%s --cohort=+ on all machines, or set channel=%s", c.Channel, f.Tracking, c.Channel, f.Tracking))
	case f.Source != "":
		return charm.Plan[Env]{}
	case f.Downgraded != "":
		return withStatus(charm.Blockedf("cannot reach LXD: %s", f.Downgraded))
	case f.Stopped != "":
		return withStatus(charm.Blockedf("cannot reach LXD: it is installed (from %s) but has no socket: start it (%s)", f.Stopped, startHint[f.Stopped]))
	case f.fromSnap() && !f.Snapd:
		return withStatus(charm.Blockedf("cannot install LXD: option source is snap, and this machine has no snapd: install it (apt-get install snapd), or set source=apt"))
	case f.fromSnap():
		return withStatus(charm.Maintenancef("installing LXD"), installSnap{c.channel()})
	}
	return withStatus(charm.Maintenancef("installing LXD"), installPackage{})
}

var startHint = map[string]string{Snap: "snap start lxd", Apt: "systemctl restart lxd.socket"}

// fromSnap reports whether the LXD to install is the snap.
func (f Facts) fromSnap() bool {
	return f.Config.Source == Snap || f.Config.Source == Auto && (f.Snapd || f.Config.Channel != "")
}

// channel returns the channel from which the snap is installed.
func (c Config) channel() string {
	if c.Channel == "" {
		return DefaultChannel
	}
	return c.Channel
}

// follows reports whether a snap that tracks one channel is on the wanted one. Ubuntu's own snaps follow a
// branch of it (5.21/stable/ubuntu-24.04), which the list shows cut.
func follows(tracks, want string) bool {
	return tracks == want || strings.HasPrefix(tracks, want+"/")
}

// installTimeout is how long one command may take; Juju retries the hook after that.
const (
	installTimeout = 20 * time.Minute
	readySeconds   = "120"
)

// installSnap installs LXD's snap.
type installSnap struct{ channel string }

func (s installSnap) Name() string { return "install LXD from snap channel " + s.channel }

// Bound implements charm.Bounded: the time of the commands, and of the report of a failure.
func (s installSnap) Bound() time.Duration { return installTimeout + time.Minute }

func (s installSnap) Apply(ctx context.Context, w Env) error {
	return run(ctx, w, [][]string{
		// A machine that has just started refuses to install before this.
		{"snap", "wait", "system", "seed.loaded"},
		// A cohort is one revision for all machines, however the store rolls it out.
		{"snap", "install", "lxd", "--channel=" + s.channel, "--cohort=+"},
		{"/snap/bin/lxd", "waitready", "--timeout=" + readySeconds},
	})
}

// installPackage installs Debian's package.
type installPackage struct{}

func (s installPackage) Name() string { return "install LXD from apt" }

// Bound implements charm.Bounded.
func (s installPackage) Bound() time.Duration { return apt.Timeout + installTimeout + time.Minute }

func (s installPackage) Apply(ctx context.Context, w Env) error {
	if err := apt.Install(ctx, w.Commands, "Ubuntu has none since 24.04, Debian does: set source=snap, or add an archive that has it", "lxd"); err != nil {
		return err
	}
	var ready [][]string
	if !w.has(aptSocket) {
		// After a package was purged, systemd still counts its socket as listening.
		ready = append(ready, []string{"systemctl", "restart", "lxd.socket"})
	}
	return run(ctx, w, append(ready, []string{"lxd", "waitready", "--timeout=" + readySeconds}))
}

// run runs commands one after another. Failures are often the network or a lock, and update-status retries
// them: so the unit waits and reports the reason.
func run(ctx context.Context, w Env, commands [][]string) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	for _, c := range commands {
		if _, err := w.Commands.Run(ctx, c[0], c[1:]...); err != nil {
			return charm.Waiting("%s (retried automatically)", err)
		}
	}
	return nil
}
