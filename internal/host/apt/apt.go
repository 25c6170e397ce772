// Package apt installs Debian packages without questions, and says in one line why it cannot.
// It removes no package that it was not told to replace.
package apt

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/command"
)

// Timeout bounds one installation; Juju tries again. updateTimeout bounds what only brings
// the package lists up to date, and queryTimeout what changes nothing.
const (
	Timeout       = 20 * time.Minute
	updateTimeout = 10 * time.Minute
	queryTimeout  = time.Minute
)

// within bounds what ctx is for; the error of what is out of time names it.
func within(ctx context.Context, what string, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, &command.TimeoutError{Program: what, Limit: limit})
}

// get is apt-get without questions; another client's apt may have the lock for a while. With a
// terminal of its own, dpkg would not say there what is wrong.
var get = []string{"-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", "-o", "Dpkg::Use-Pty=0", "-o", "Dpkg::Options::=--force-confold"}

// State is how far a package is, in dpkg's words: installed, half-configured, unpacked, …;
// "" for one that dpkg does not know.
type State struct{ Status, Version string }

// Installed reports whether it is there and configured.
func (s State) Installed() bool { return s.Status == "installed" }

// HalfDone reports whether dpkg began with it and has not finished.
func (s State) HalfDone() bool {
	switch s.Status {
	case "half-installed", "unpacked", "half-configured", "triggers-awaiting", "triggers-pending":
		return true
	}
	return false
}

// Query reports the states of packages; those that dpkg does not know are missing.
func Query(ctx context.Context, run command.Runner, packages ...string) map[string]State {
	ctx, cancel := within(ctx, "dpkg-query", queryTimeout)
	defer cancel()
	// It fails when it does not know one of them, and shows the others.
	out, _ := run.Run(ctx, "dpkg-query", append([]string{"--show", "--showformat", "${Package} ${db:Status-Status} ${Version}\n"}, packages...)...)
	states := map[string]State{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		s := State{Status: fields[1]}
		if len(fields) > 2 {
			s.Version = fields[2]
		}
		states[fields[0]] = s
	}
	return states
}

// Candidate returns the version of a package that apt would install; "" when it knows none.
func Candidate(ctx context.Context, run command.Runner, name string) string {
	ctx, cancel := within(ctx, "apt-cache", queryTimeout)
	defer cancel()
	out, err := run.Run(ctx, "apt-cache", "policy", name)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(out) {
		if version, ok := strings.CutPrefix(strings.TrimSpace(line), "Candidate: "); ok && version != "(none)" {
			return version
		}
	}
	return ""
}

// Update brings the package lists up to date. An archive that cannot be reached is an error,
// also one that is not needed; the others are up to date then.
func Update(ctx context.Context, run command.Runner) error {
	ctx, cancel := within(ctx, "apt-get update", updateTimeout)
	defer cancel()
	_, err := run.Run(ctx, "apt-get", append(slices.Clone(get), "--error-on=any", "update")...)
	return err
}

// Install brings the package lists up to date and installs packages, the first of which is
// the one that the others are for. missing says what to do where apt does not know it. Where apt
// would remove a package for them, nothing is installed.
// Errors are charm.Blocked and charm.Waiting, for a hook that is retried automatically.
func Install(ctx context.Context, run command.Runner, missing string, packages ...string) error {
	return InstallReplacing(ctx, run, missing, nil, packages...)
}

// InstallReplacing is Install, and apt may remove the packages whose names match one of the patterns in
// replaceable (path.Match).
func InstallReplacing(ctx context.Context, run command.Runner, missing string, replaceable []string, packages ...string) error {
	ctx, cancel := within(ctx, "the installation", Timeout)
	defer cancel()
	// Without error-on, an archive that cannot be reached is a warning. With it, one that
	// we do not need stops us: so the error counts only where the package is not known.
	updated := Update(ctx, run)
	if Candidate(ctx, run, packages[0]) == "" {
		if updated != nil {
			return status(updated)
		}
		return charm.Blocked("apt knows no package %s on this machine: %s", packages[0], missing)
	}
	args := append([]string{"install"}, packages...)
	err := change(ctx, run, replaceable, args...)
	if err != nil && (strings.Contains(err.Error(), "dpkg --configure -a") || strings.Contains(err.Error(), "--fix-broken")) {
		// A hook that was killed left it half done, or a full disk some packages without those
		// that they need.
		if err = Finish(ctx, run, replaceable...); err == nil {
			err = change(ctx, run, replaceable, args...)
		}
	}
	return status(err)
}

// Finish configures what dpkg has left half done, and brings what is missing for it. See
// InstallReplacing for replaceable.
func Finish(ctx context.Context, run command.Runner, replaceable ...string) error {
	ctx, cancel := within(ctx, "the installation", Timeout)
	defer cancel()
	// What it complains about is tried again, and said, by the next.
	_, _ = run.Run(ctx, "dpkg", "--force-confold", "--configure", "-a")
	return status(change(ctx, run, replaceable, "--fix-broken", "install"))
}

// change runs apt-get, unless it would remove what it may not.
func change(ctx context.Context, run command.Runner, replaceable []string, args ...string) error {
	plan, err := run.Run(ctx, "apt-get", slices.Concat(get, []string{"--simulate"}, args)...)
	if err != nil {
		return err
	}
	removed, others := removals(plan, replaceable)
	if len(others) > 0 {
		return charm.Blocked("cannot install packages: it would remove %s from this machine: use another machine, or remove them yourself (apt-get remove %s) (retried automatically)", strings.Join(others, ", "), strings.Join(others, " "))
	}
	if !removed {
		args = append([]string{"--no-remove"}, args...) // also not what another apt changed since
	}
	_, err = run.Run(ctx, "apt-get", slices.Concat(get, args)...)
	return err
}

// removals reads what apt-get --simulate prints: whether it would remove packages, and which of them
// match no pattern in replaceable.
func removals(plan string, replaceable []string) (removed bool, others []string) {
	for line := range strings.Lines(plan) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "Remv" && fields[0] != "Purg" {
			continue
		}
		removed = true
		may := slices.ContainsFunc(replaceable, func(pattern string) bool {
			ok, _ := path.Match(pattern, fields[1])
			return ok
		})
		if !may {
			others = append(others, fields[1])
		}
	}
	return removed, others
}

// status makes of an error what the unit says. What fails is often the network or a lock,
// and update-status comes around: so the unit waits; what wants an operator blocks it. Both
// are tried again.
func status(err error) error {
	if _, ok := charm.StatusOf(err); err == nil || ok {
		return err
	}
	said := err.Error()
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(said, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("No space left on device", "enough free space"):
		return charm.Blocked("the disk is full: %s: free some (retried automatically)", said)
	case has("Malformed", "NO_PUBKEY", "is not signed", "does not have a Release file", "sources could not be read", "PPA", "Invalid URI"):
		return charm.Blocked("%s: look at option source (retried automatically)", said)
	case has("dpkg: error", "Sub-process /usr/bin/dpkg", "unmet dependencies", "held broken packages"):
		return charm.Blocked("%s: fix that on the machine (retried automatically)", said)
	}
	return charm.Waiting("%s (retried automatically)", said)
}
