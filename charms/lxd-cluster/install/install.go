// Package install makes sure that the machine has an LXD, from the source of the options. An existing LXD
// is adopted and never replaced.
package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/lxd"
)

// The sources of an LXD, as option `source` names them.
const (
	Auto = "auto" // the existing one; else the snap if there is snapd, else the package
	Snap = "snap"
	Apt  = "apt"
)

// DefaultChannel is the snap channel without the option: the track with long-term support that Ubuntu 24.04
// follows. Members need the same version, so the store's own default, which changes, cannot be used.
const DefaultChannel = "5.21/stable"

// channel matches a snap channel with its track, and optionally a branch: 5.21/stable.
// https://snapcraft.io/docs/channels
var channel = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*/(stable|candidate|beta|edge)(/[a-zA-Z0-9][a-zA-Z0-9._-]*)?$`)

// Config has the application's options that this package reads.
type Config struct {
	Source  string // Auto, Snap or Apt
	Channel string // of the snap; empty: DefaultChannel, and any for an existing one
}

// ParseConfig reads the options. A problem names the option, its value and what is accepted.
func ParseConfig(options map[string]any) (Config, []string) {
	text := func(option string) string {
		s, _ := options[option].(string)
		return strings.TrimSpace(s)
	}
	c := Config{Source: text("source"), Channel: text("channel")}
	var problems []string
	if !slices.Contains([]string{Auto, Snap, Apt}, c.Source) {
		problems = append(problems, fmt.Sprintf("option source is %q, wanted auto, snap or apt", c.Source))
	}
	switch {
	case c.Channel == "":
	case !channel.MatchString(c.Channel):
		problems = append(problems, fmt.Sprintf("option channel is %q, wanted a snap channel with its track, like 5.21/stable, or nothing", c.Channel))
	case c.Source == Apt:
		problems = append(problems, fmt.Sprintf("option channel is %q, and option source is apt: a channel is the snap's: clear one of them", c.Channel))
	}
	return c, problems
}

// Env is what this package works on.
type Env struct {
	Tools    hooktool.Tools
	Commands Commands
	Root     string // "/" outside tests
}

// Facts are what a plan is made from.
type Facts struct {
	Config   Config
	Problems []string // with the options

	// Source is the source of the LXD that answers on this machine; empty if there is none.
	Source string
	// Tracking is the channel that its snap follows. It is only read if option channel names one.
	Tracking string

	// The following fields are only set without an LXD.

	Snapd bool // snapd is there
	// Downgraded is the result of Downgraded, for an LXD that ran here before.
	Downgraded string
	Stopped    string // the source of an LXD that is installed and has no socket
}

// LXD's socket by source, and snapd's command.
const (
	snapSocket = "var/snap/lxd/common/lxd/unix.socket"
	aptSocket  = "var/lib/lxd/unix.socket"
	snapdPath  = "usr/bin/snap"
)

// Observe gathers the facts and changes nothing.
func Observe(ctx context.Context, w Env) (Facts, error) {
	var f Facts
	options, err := w.Tools.Config(ctx)
	if err != nil {
		return f, err
	}
	f.Config, f.Problems = ParseConfig(options)
	switch {
	case w.has(snapSocket):
		f.Source = Snap
		if f.Config.Channel != "" {
			f.Tracking = tracking(ctx, w.Commands)
		}
		return f, nil
	case w.has(aptSocket):
		f.Source = Apt
		return f, nil
	}
	f.Snapd = w.has(snapdPath)
	switch {
	case f.Snapd && tracking(ctx, w.Commands) != "":
		f.Stopped = Snap
	case apt.Query(ctx, w.Commands, "lxd")["lxd"].Installed():
		f.Stopped = Apt
	}
	return f, nil
}

func (w Env) has(path string) bool {
	_, err := os.Stat(filepath.Join(w.Root, path))
	return err == nil
}

// JujuChannel is the snap channel from which Juju installs LXD, and to which it moves any other LXD snap,
// before it places the first container on a machine; unless the model's lxd-snap-channel is another
// (github.com/juju/juju/environs/config).
const JujuChannel = "5.0/stable"

// ModelNote returns what the model's lxd-snap-channel has to be before Juju places a container on this
// machine, whose LXD has that version; empty if Juju's default is right. A charm cannot read the setting.
func (f Facts) ModelNote(version string) string {
	want := f.Config.Channel
	if want == "" {
		want = lxd.SnapChannel(version)
	}
	if f.Source != Snap || want == "" || want == JujuChannel {
		return ""
	}
	return "before anything is placed on lxd:N: juju model-config lxd-snap-channel=" + want
}

// Downgraded reports that this machine's LXD snap is older than the LXD that ran here, and how to fix that;
// empty if it is not. LXD does not start on the database of a newer one.
func Downgraded(ctx context.Context, c Commands, ran string) string {
	out, err := c.Run(ctx, "snap", "list", "lxd")
	if err != nil {
		return ""
	}
	fields := snapFields(out)
	if len(fields) < 4 || !lxd.Older(fields[1], ran) {
		return ""
	}
	channel := lxd.SnapChannel(ran)
	return fmt.Sprintf("this machine ran LXD %s, its snap is now %s from %s: juju model-config lxd-snap-channel=%s, then snap refresh lxd --channel=%s --cohort=+", ran, fields[1], fields[3], channel, channel)
}

// snapFields returns LXD's line of snap's list: Name Version Rev Tracking Publisher Notes. The list cuts
// long names (…).
func snapFields(list string) []string {
	for line := range strings.Lines(list) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "lxd" {
			return fields
		}
	}
	return nil
}

// tracking returns the channel that the LXD snap follows; "" if it is not installed.
func tracking(ctx context.Context, c Commands) string {
	out, err := c.Run(ctx, "snap", "list", "lxd")
	if err != nil {
		return ""
	}
	if fields := snapFields(out); len(fields) > 3 {
		return fields[3]
	}
	return ""
}
