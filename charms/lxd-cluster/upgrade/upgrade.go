// Package upgrade brings one machine's LXD to a newer version, as the action upgrade-lxd. It checks the
// other members, evacuates the member if requested, upgrades, waits until LXD is back, and restores the
// member.
//
// Members of different versions do not work together: LXD blocks the newer ones until the last is upgraded
// (its documentation, "Update or upgrade cluster members"). So a member that does not come back after a
// change of version may only be waiting.
package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/charms/lxd-cluster/cluster"
	"github.com/dcib/dcib/charms/lxd-cluster/install"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/host/atomicfile"
)

// Facts are what the action observes before it changes anything.
type Facts struct {
	Unit    string
	Source  string // where this machine's LXD is from: install.Snap or install.Apt
	Version string // LXD's
	Member  string // this machine's
	Members []cluster.Member
	// Versions are LXD's versions that other units have published, by unit.
	Versions map[string]string
}

// FactsOf returns the facts from those of other components.
func FactsOf(c cluster.Facts, i install.Facts) Facts {
	f := Facts{Unit: c.Unit, Source: i.Source, Version: c.LXD.Version, Member: c.LXD.Member, Members: c.LXD.Members, Versions: map[string]string{}}
	for unit, peer := range c.Peers {
		if peer.Request.Cluster == c.LXD.Identity {
			f.Versions[unit] = peer.Request.LXD
		}
	}
	return f
}

// Env is what this package works on.
type Env struct {
	Commands install.Commands
	StateDir string // for the note that the action evacuated the member
	// Observe observes LXD, also while it starts.
	Observe func(ctx context.Context) (cluster.ServerState, error)
	// Evacuate and Restore change the state of the member in parameter `member`.
	Evacuate, Restore func(ctx context.Context, call charm.Call) (map[string]string, error)
	// Settled waits until LXD neither evacuates nor restores a member, and returns the member's status and
	// what runs on it then.
	Settled func(ctx context.Context, member string) (drain.MemberStatus, []string, error)
	// ReadyTimeout limits the wait for LXD after the upgrade; PollInterval is the time between two checks.
	ReadyTimeout, PollInterval time.Duration
}

// The defaults, outside tests.
const (
	ReadyTimeout = 3 * time.Minute
	PollInterval = time.Second
)

// installTimeout is how long the installation of a package or a snap may take.
const installTimeout = 20 * time.Minute

// noteFile is a file in the state directory. It notes that the action evacuated the member: a member that
// an operator has evacuated is not restored.
const noteFile = "upgrade.evacuated"

// Upgrade is the action upgrade-lxd, on its unit's own machine. Parameters: `evacuate`, whether LXD first
// moves the member's instances away; `channel` for the snap; `continue`, whether to go on although another
// member is not online or runs another version. Run again after a failure, it continues.
func Upgrade(ctx context.Context, f Facts, w Env, call charm.Call) (map[string]string, error) {
	if f.Member == "" {
		return nil, errors.New("cannot upgrade LXD: this machine's LXD is in no cluster: see the unit's status")
	}
	channel := call.String("channel")
	p, err := packageManagerOf(f.Source, channel, w.Commands)
	if err != nil {
		return nil, err
	}
	if _, problems := install.ParseConfig(map[string]any{"source": f.Source, "channel": channel}); len(problems) > 0 {
		return nil, fmt.Errorf("cannot upgrade LXD: parameter channel is %q, and this machine's LXD is from %s: wanted a channel with its track, like 5.21/stable, or nothing", channel, f.Source)
	}
	if why := f.preconditionFailures(); len(why) > 0 && !call.Bool("continue") {
		return nil, fmt.Errorf("cannot upgrade %s: %s: fix that first, or set continue=true while all members are being upgraded", f.Member, strings.Join(why, ", "))
	}
	before, waiting, err := p.installed(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot upgrade LXD: %w", err)
	}
	results := map[string]string{"member": f.Member, "old-version": before, "new-version": before, "state": "nothing to upgrade"}
	if waiting {
		// LXD lists a member as evacuated as soon as its evacuation begins.
		status, runs, err := w.Settled(ctx, f.Member)
		if err == nil && call.Bool("evacuate") {
			err = f.evacuate(ctx, w, call, status, runs)
		}
		if err != nil {
			return results, err
		}
		call.Progress("%s: upgrading LXD %s", f.Member, before)
		limited, cancel := context.WithTimeout(ctx, installTimeout)
		err = p.upgrade(limited)
		cancel()
		if err != nil {
			results["state"] = "not upgraded"
			return results, fmt.Errorf("cannot upgrade LXD: %w: fix that, then run the action again", err)
		}
		if results["new-version"], _, err = p.installed(ctx); err != nil {
			return results, fmt.Errorf("cannot see what was installed: %w", err)
		}
		if before != results["new-version"] {
			results["state"] = "upgraded"
		}
	}
	if err := f.await(ctx, w, call); err != nil {
		if upstream(before) == upstream(results["new-version"]) {
			return results, err
		}
		results["state"] = "waiting for the others"
		results["next"] = fmt.Sprintf("upgrade the other members now, with continue=true: LXD %s may wait for them; then run the action here again", upstream(results["new-version"]))
		return results, nil
	}
	restored, err := f.restore(ctx, w, call)
	if restored {
		results["restored"] = "true"
	}
	return results, err
}

// preconditionFailures returns the reasons against an upgrade.
func (f Facts) preconditionFailures() []string {
	var why []string
	for _, m := range f.Members {
		if m.Name != f.Member && m.Status != "Online" {
			why = append(why, fmt.Sprintf("member %s is %s", m.Name, strings.ToLower(m.Status)))
		}
	}
	for unit, version := range f.Versions {
		if version != f.Version {
			why = append(why, fmt.Sprintf("%s has LXD %s, this machine %s", unit, version, f.Version))
		}
	}
	slices.Sort(why)
	return why
}

func (f Facts) status() string {
	at := slices.IndexFunc(f.Members, func(m cluster.Member) bool { return m.Name == f.Member })
	if at < 0 {
		return ""
	}
	return f.Members[at].Status
}

// own returns a call about this machine's member.
func (f Facts) own(call charm.Call) charm.Call {
	return charm.Call{Params: map[string]any{"member": f.Member}, Progress: call.Progress}
}

func (f Facts) evacuate(ctx context.Context, w Env, call charm.Call, status drain.MemberStatus, runs []string) error {
	switch {
	case status == drain.Evacuated && len(runs) > 0:
		return fmt.Errorf("cannot upgrade LXD: %s is evacuated, but these still run there: %s: run restore-member member=%s, or set evacuate=false", f.Member, strings.Join(runs, ", "), f.Member)
	case status == drain.Evacuated:
		return nil // by an operator, or by an earlier run, which has noted it
	}
	if err := os.MkdirAll(w.StateDir, 0o700); err != nil {
		return err
	}
	// Before LXD begins, since the action may be killed any time.
	if err := atomicfile.Write(filepath.Join(w.StateDir, noteFile), nil, atomicfile.Options{}); err != nil {
		return fmt.Errorf("cannot note that %s is evacuated: %w", f.Member, err)
	}
	_, err := w.Evacuate(ctx, f.own(call))
	return err
}

// restore restores the member if the action has evacuated it.
func (f Facts) restore(ctx context.Context, w Env, call charm.Call) (bool, error) {
	note := filepath.Join(w.StateDir, noteFile)
	if _, err := os.Stat(note); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if _, err := w.Restore(ctx, f.own(call)); err != nil {
		return false, err
	}
	return true, atomicfile.Remove(note)
}

// await returns when LXD answers and lists its own member as alive.
func (f Facts) await(ctx context.Context, w Env, call charm.Call) error {
	ctx, cancel := context.WithTimeout(ctx, w.ReadyTimeout)
	defer cancel()
	tick := time.NewTicker(w.PollInterval)
	defer tick.Stop()
	reported := ""
	for {
		local, err := w.Observe(ctx)
		f.Members = local.Members
		now := ""
		switch status := f.status(); {
		case err != nil:
			now = err.Error()
		case status == "Online" || status == "Evacuated":
			return nil
		default:
			now = fmt.Sprintf("LXD lists it as %q", status)
		}
		if now != reported {
			reported = now
			call.Progress("%s: waiting: %s", f.Member, reported)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot see that %s is back: %s: look at LXD's log on this machine", f.Member, reported)
		}
	}
}

// upstream returns LXD's own version from that of a package or snap: 5.0.2 for 5.0.2-5+deb12u1, 5.21.3 for
// 5.21.3-c5ae129 (33110).
func upstream(version string) string {
	version, _, _ = strings.Cut(version, " ")
	version, _, _ = strings.Cut(version, "-")
	version, _, _ = strings.Cut(version, "+")
	return version
}
