package brokered

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// ShowProfile is the action show-profile: the merged profile as YAML, with the origin of each key and
// device.
func ShowProfile(_ context.Context, f Facts, _ Env, _ charm.Call) (map[string]string, error) {
	wanted, err := f.Options.Wanted()
	if err != nil {
		return nil, err
	}
	return map[string]string{"profile": wanted.Profile.YAML(wanted.From)}, nil
}

// Diff is the action diff: for each unit, what its instance has instead of what is wanted, as the broker
// last saw it.
func Diff(_ context.Context, f Facts, _ Env, _ charm.Call) (map[string]string, error) {
	layered, err := f.Options.Wanted()
	if err != nil {
		return nil, err
	}
	if len(f.Relations) == 0 {
		return nil, fmt.Errorf("cannot show what is in force without relation %s: integrate with lxd-cluster, or with its offer", Endpoint)
	}
	r, wanted := f.Relations[0], layered.Profile
	if r.Unreadable != "" {
		return nil, errors.New(r.Unreadable)
	}
	results := map[string]string{}
	if r.rolledBack(wanted) {
		wanted = *r.Status.Profile
		results["rolled-back"] = "until the options change"
	}
	for unit, s := range r.Status.Units {
		results[strings.ReplaceAll(unit, "/", "-")] = diff(wanted, r.Status.Profile, s)
	}
	if len(r.Status.Units) == 0 {
		results["units"] = r.Broker + " has published no status yet"
	}
	return results, nil
}

// diff returns in lines what one unit's instance has instead of what is wanted.
func diff(wanted profile.Profile, inForce *profile.Profile, s lxdprofile.State) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if s.State != lxdprofile.Applied {
		add("%s: %s", s.State, s.Message)
	}
	has := profile.Profile{}
	if s.Profile != "" && inForce != nil {
		has = *inForce
	}
	seen := map[string]bool{}
	for _, path := range profile.Changes(wanted, has) {
		seen[path] = true
		add("%s: wanted %s, LXD profile %s has %s", path, wanted.Shown(path), s.Profile, has.Shown(path))
	}
	for _, path := range slices.Sorted(maps.Keys(s.Differs)) {
		if value := s.Differs[path]; !seen[path] {
			if value == "" {
				value = "none"
			}
			add("%s: wanted %s, the instance itself has %s", path, wanted.Shown(path), value)
		}
	}
	for _, path := range s.Restart {
		add("%s: waits for a restart", path)
	}
	for _, path := range s.Ignored {
		add("%s: ignored by a virtual machine", path)
	}
	if len(lines) == 0 {
		return "instance " + s.Instance + ": as wanted"
	}
	return "instance " + s.Instance + ":\n  " + strings.Join(lines, "\n  ")
}

// ApplyRestart is the action apply-restart. It requests that the broker restarts the instances for which a
// key waits. The units' status shows the progress.
func ApplyRestart(ctx context.Context, f Facts, w Env, call charm.Call) (map[string]string, error) {
	r, err := f.broker()
	if err != nil {
		return nil, err
	}
	request, err := lxdprofile.NewRestart(call.Int("batch"), call.String("wait-healthy"))
	if err != nil {
		return nil, err
	}
	if last := r.Status.Restart; last.State == lxdprofile.Running {
		return nil, fmt.Errorf("cannot restart: request %s is still running: %s", last.ID, last.Message)
	}
	units := r.waitForRestart()
	if len(units) == 0 {
		return map[string]string{"units": "none: nothing waits for a restart"}, nil
	}
	if err := w.publish(ctx, r.ID, r.Status.NotifyAddress, request.Encode()); err != nil {
		return nil, err
	}
	return map[string]string{
		"request": request.ID,
		"units":   strings.Join(units, " "),
		"next":    r.Broker + " restarts them now; juju status and the action diff show the progress",
	}, nil
}
