package direct

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd/profiles"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// Diff is the action diff: what this unit's instance has instead of what is wanted.
func Diff(f Facts, wanted profile.Profile) map[string]string {
	own := f.Instances[f.Self.Instance]
	name, _ := f.ours()
	var lines []string
	wanted, rolledBack := profileInForce(f.Profiles[name], wanted)
	for path, has := range profile.Differences(wanted, own.InForce) {
		if has == "" {
			has = "none"
		}
		lines = append(lines, fmt.Sprintf("%s: wanted %s, the instance has %s", path, wanted.Shown(path), has))
	}
	slices.Sort(lines)
	for _, path := range own.Pending(f.Profiles[name]) {
		lines = append(lines, path+": waits for a restart")
	}
	text := "instance " + f.Self.Instance + ": as wanted"
	if len(lines) > 0 {
		text = "instance " + f.Self.Instance + ":\n  " + strings.Join(lines, "\n  ")
	}
	results := map[string]string{strings.ReplaceAll(f.Self.Unit, "/", "-"): text}
	if rolledBack {
		results["rolled-back"] = "until the options change"
	}
	return results
}

// Rollback is the action rollback. It writes the last fully applied profile that is not the current one,
// until the options change.
func Rollback(ctx context.Context, f Facts, w *Env, wanted profile.Profile) (map[string]string, error) {
	if !f.Self.Leader {
		return nil, fmt.Errorf("cannot do this on %s, which is not the leader: run it on %s/leader", f.Self.Unit, hooktool.AppOf(f.Self.Unit))
	}
	name, exists := f.ours()
	now := f.Profiles[name]
	asked, _ := profileInForce(now, wanted)
	earlier, ok := now.State.History.Before(asked)
	if !exists || !ok {
		return nil, errors.New("cannot roll back: no other profile was fully applied on every instance before")
	}
	write := f.write(earlier)
	write.State.RolledBack = &profiles.RolledBack{Until: lxdprofile.Revision(wanted), Profile: earlier}
	if err := write.Apply(ctx, &w.Env); err != nil {
		return nil, err
	}
	if reason := w.Failed()[write.Name()]; reason != "" {
		return nil, fmt.Errorf("cannot roll back: the LXD at %s refused to %s: %s", f.Options.Endpoint, write.Name(), reason)
	}
	return map[string]string{"profile": earlier.YAML(nil), "until": "the options change"}, nil
}

// ApplyRestart is the action apply-restart. It restarts the application's instances for which a key waits,
// in batches, and its own when all others are back. That happens after the action, which it would end.
func ApplyRestart(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
	asked, err := lxdprofile.NewRestart(call.Int("batch"), call.String("wait-healthy"))
	if err != nil {
		return nil, err
	}
	request := profiles.Request{Relation: f.relation(), Restart: asked}
	own := f.Self.Instance
	for _, u := range f.units() {
		if f.Instances[u.Instance].Restarting() {
			return nil, fmt.Errorf("cannot restart: another request is restarting instance %s: try again when it is back; if none is: lxc config unset %s %s", u.Instance, u.Instance, profiles.RestartKey(f.relation()))
		}
	}
	forget := func() error {
		for _, step := range profiles.ClearNotes(f.relation(), f.Instances) {
			if err := step.Apply(ctx, &w.Env); err != nil {
				return err
			}
		}
		return nil
	}
	if err := forget(); err != nil {
		return nil, err
	}
	restarted := map[string]bool{}
	results := func() map[string]string {
		return map[string]string{"request": request.ID, "restarted": strings.Join(slices.Sorted(maps.Keys(restarted)), " ")}
	}
	held := w.Now() // since when nothing could be done
	for {
		if err := f.observe(w); err != nil {
			return results(), err
		}
		others := slices.DeleteFunc(f.units(), func(u profiles.Unit) bool { return u.Instance == own })
		now := w.Now()
		step, progress := request.Next(others, f.Instances, w.Failed(), now, f.restartingInstance)
		switch {
		case progress.State == lxdprofile.Failed:
			return results(), errors.New(progress.Message)
		case step != nil:
			call.Progress("%s", step.Name())
			if err := step.Apply(ctx, &w.Env); err != nil {
				return results(), err
			}
			for _, name := range step.Instances() {
				restarted[name] = true
			}
			held = w.Now()
			continue
		case progress.State == lxdprofile.Done:
			if err := forget(); err != nil {
				return results(), err
			}
			return f.restartOwn(ctx, w, request, results())
		case now.Sub(held) > extraWait+time.Duration(request.WaitHealthy):
			return results(), fmt.Errorf("cannot restart: %s", progress.Message)
		}
		if err := w.Pause(ctx, time.Second); err != nil {
			return results(), err
		}
	}
}

// extraWait is how long the action waits for another application's request, beyond wait-healthy.
const extraWait = time.Minute

// restartOwn restarts the unit's own instance after the action has ended.
func (f Facts) restartOwn(ctx context.Context, w *Env, request profiles.Request, results map[string]string) (map[string]string, error) {
	name, _ := f.ours()
	own := f.Instances[f.Self.Instance]
	if len(own.Pending(f.Profiles[name])) == 0 {
		return results, nil
	}
	if other := f.restartingInstance(f.Self.Instance); other != "" {
		return results, fmt.Errorf("cannot restart this unit's own instance %s: %s is being restarted: try again when it is back", f.Self.Instance, other)
	}
	err := w.NoteRestart(ctx, f.Self.Instance, f.relation(), request.ID, own.Own[profiles.StartedKey(f.relation())])
	if err == nil {
		if err = w.Reboot(ctx); err != nil {
			err = errors.Join(err, profiles.Release{Instance: f.Self.Instance, Keys: []string{profiles.RestartKey(f.relation())}}.Apply(ctx, &w.Env))
		}
	}
	if err != nil {
		return results, fmt.Errorf("cannot restart this unit's own instance %s: %w", f.Self.Instance, err)
	}
	results["next"] = "this unit's own instance " + f.Self.Instance + " restarts in a minute"
	return results, nil
}

// units returns the instances with the application's profile, by Juju's numbers.
func (f Facts) units() []profiles.Unit {
	profile, _ := f.ours()
	var units []profiles.Unit
	for name, i := range f.Instances {
		if i.Own[jujuModel] == f.Self.ModelUUID && slices.Contains(i.Profiles, profile) {
			units = append(units, profiles.Unit{
				Name: name, Instance: name, Started: i.Own[profiles.StartedKey(f.relation())],
				Waits: len(i.Pending(f.Profiles[profile])) > 0,
			})
		}
	}
	slices.SortFunc(units, func(a, b profiles.Unit) int {
		if len(a.Name) != len(b.Name) {
			return len(a.Name) - len(b.Name)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return units
}

// restartingInstance returns an instance of the same model that another application's request is
// restarting; "" if there is none.
func (f Facts) restartingInstance(string) string {
	for _, name := range slices.Sorted(maps.Keys(f.Instances)) {
		i := f.Instances[name]
		if _, ours := i.Own[profiles.RestartKey(f.relation())]; i.Own[jujuModel] == f.Self.ModelUUID && !ours && i.Restarting() {
			return name
		}
	}
	return ""
}
