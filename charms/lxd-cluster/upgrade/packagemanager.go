package upgrade

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dcib/dcib/charms/lxd-cluster/install"
)

// packageManager installs LXD on this machine.
type packageManager interface {
	// installed returns the installed version, and whether another one is available.
	installed(ctx context.Context) (version string, waiting bool, err error)
	upgrade(ctx context.Context) error
}

func packageManagerOf(source, channel string, c install.Commands) (packageManager, error) {
	switch source {
	case install.Snap:
		return snap{c, channel}, nil
	case install.Apt:
		return apt{c}, nil
	}
	return nil, errors.New("cannot upgrade LXD: this machine's LXD is neither a snap nor a package: upgrade it as it was installed")
}

// snap is LXD's snap.
type snap struct {
	install.Commands
	channel string // to follow; empty for the current one
}

func (s snap) installed(ctx context.Context) (string, bool, error) {
	out, err := s.Run(ctx, "snap", "list", "lxd")
	if err != nil {
		return "", false, err
	}
	// Name Version Rev Tracking Publisher Notes. The list cuts long names (…).
	there := line(out, "lxd")
	if len(there) < 4 {
		return "", false, fmt.Errorf("cannot read the list of snaps: output is %q", strings.TrimSpace(out))
	}
	version, tracks := fmt.Sprintf("%s (%s)", there[1], there[2]), there[3]
	if s.channel != "" && tracks != s.channel && !strings.HasPrefix(tracks, s.channel+"/") {
		return version, true, nil
	}
	if out, err = s.Run(ctx, "snap", "refresh", "--list"); err != nil {
		return "", false, err
	}
	return version, line(out, "lxd") != nil, nil
}

func (s snap) upgrade(ctx context.Context) error {
	// A cohort is one revision for all machines, however the store rolls it out.
	args := []string{"refresh", "lxd", "--cohort=+"}
	if s.channel != "" {
		args = append(args, "--channel="+s.channel)
	}
	_, err := s.Run(ctx, "snap", args...)
	return err
}

// apt is Debian's package.
type apt struct{ install.Commands }

// options are those of package install.
var options = []string{"-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold"}

func (a apt) installed(ctx context.Context) (string, bool, error) {
	if _, err := a.Run(ctx, "apt-get", append(options[:len(options):len(options)], "update")...); err != nil {
		return "", false, err
	}
	out, err := a.Run(ctx, "apt-cache", "policy", "lxd")
	if err != nil {
		return "", false, err
	}
	there, offered := line(out, "Installed:"), line(out, "Candidate:")
	if len(there) < 2 || len(offered) < 2 || there[1] == "(none)" {
		return "", false, errors.New("cannot read apt's versions of package lxd: see apt-cache policy lxd")
	}
	return there[1], there[1] != offered[1], nil
}

func (a apt) upgrade(ctx context.Context) error {
	_, err := a.Run(ctx, "apt-get", append(options[:len(options):len(options)], "install", "--only-upgrade", "lxd")...)
	return err
}

// line returns the fields of the first line that begins with a word; nil if there is none.
func line(text, word string) []string {
	for l := range strings.Lines(text) {
		if fields := strings.Fields(l); len(fields) > 0 && fields[0] == word {
			return fields
		}
	}
	return nil
}
