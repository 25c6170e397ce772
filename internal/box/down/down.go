// Package down takes a box away: everything that it made on the machine, found by facts
// and not from memory, so that it works from any half-made state.
package down

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	lxd "github.com/canonical/lxd/client"

	"github.com/dcib/dcib/internal/box/apt"
	"github.com/dcib/dcib/internal/box/kernel"
	"github.com/dcib/dcib/internal/box/lxdhost"
	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/box/proc"
	"github.com/dcib/dcib/internal/steps"
)

// Remover takes one box away.
type Remover struct {
	Place place.Place
	// Kernel are the changed kernel settings, and Forget drops the record of them once
	// they are put back.
	Kernel map[string]kernel.Change
	Forget func() error
}

// kind is one kind of thing that a box leaves on a machine.
type kind struct {
	name   string // the step
	what   string // what is counted, in the plural
	find   func(ctx context.Context) ([]string, error)
	remove func(ctx context.Context, log *steps.Log) error
}

// Steps returns the steps of taking the box away. Each looks for what is there of its
// kind, removes it, and looks again.
func (r Remover) Steps() []steps.Step {
	var list []steps.Step
	for _, k := range r.kinds() {
		list = append(list, steps.Step{
			Name: k.name,
			Check: func(ctx context.Context) (bool, string, error) {
				left, err := k.find(ctx)
				if err != nil || len(left) == 0 {
					return err == nil, "no " + k.what, err
				}
				return false, fmt.Sprintf("%d %s: %s", len(left), k.what, strings.Join(left, ", ")), nil
			},
			Do: k.remove,
		})
	}
	return list
}

// Verify looks for everything once more, and prints what it looked for. What is left is
// the error.
func (r Remover) Verify(ctx context.Context, out io.Writer) error {
	var looked []string
	var errs []error
	for _, k := range r.kinds() {
		left, err := k.find(ctx)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("cannot take box %s away completely: %s left: %s", r.Place.Name, k.what, strings.Join(left, ", "))
		}
		errs = append(errs, err)
		looked = append(looked, "no "+k.what)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintf(out, "checked: %s\n", strings.Join(looked, ", "))
	return nil
}

func (r Remover) kinds() []kind {
	k := kinder{r}
	return []kind{
		{"instances", "instances", k.instances, k.removeInstances},
		{"project", "things in the machine's LXD", k.ours, k.removeOurs},
		{"processes", "processes", k.processes, k.endProcesses},
		{"mounts", "mounts", k.mounts, k.unmount},
		{"loops", "loop devices", k.loops, k.detach},
		{"network", "bridges or veths", k.links, k.removeLinks},
		{"firewall", "nft chains", k.chains, k.removeChains},
		{"cgroups", "cgroups", k.cgroups, k.removeCgroups},
		{"kernel", "kernel settings of ours", k.settings, k.putBack},
		{"folder", "files", k.files, k.removeFiles},
	}
}

// kinder finds and removes each kind.
type kinder struct{ Remover }

func (k kinder) mark() (proc.Mark, error) {
	mark := lxdhost.Mark(k.Place)
	loops, err := loops("/sys/block", k.Place.Dir())
	for _, l := range loops {
		mark.Devices = append(mark.Devices, l.number)
	}
	return mark, err
}

// instances asks the daemon; without one there are no instances, but perhaps processes.
func (k kinder) instances(ctx context.Context) ([]string, error) {
	if !lxdhost.Running(k.Place) {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	all, err := lxdhost.Instances(ctx, k.Place)
	if err != nil {
		return nil, nil //nolint:nilerr // one that does not answer is ended by the next step
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names, nil
}

// removeInstances lets the daemon do what it can: it knows its firewall and its pools
// best. Whatever it fails at is left to the steps that follow, which need no daemon.
func (k kinder) removeInstances(ctx context.Context, log *steps.Log) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	all, err := lxdhost.Instances(ctx, k.Place)
	if err == nil {
		err = lxdhost.Remove(ctx, k.Place, all, log.Say)
	}
	if err != nil {
		log.Printf("%v", err)
		return k.stopDaemon(ctx, log)
	}
	return nil
}

// ours are what the box has in an LXD that is not its own.
func (k kinder) ours(ctx context.Context) ([]string, error) { return lxdhost.Ours(ctx, k.Place) }

func (k kinder) removeOurs(ctx context.Context, log *steps.Log) error {
	return lxdhost.RemoveOurs(ctx, k.Place, log)
}

func (k kinder) processes(context.Context) ([]string, error) {
	mark, err := k.mark()
	if err != nil {
		return nil, err
	}
	found, err := proc.Find("/proc", mark)
	var names []string
	for _, p := range found {
		names = append(names, p.String())
	}
	return names, err
}

func (k kinder) stopDaemon(ctx context.Context, log *steps.Log) error {
	pid := lxdhost.Pid(k.Place)
	if pid == 0 {
		return nil
	}
	if c, err := lxdhost.Connect(ctx, k.Place); err == nil {
		if err := removeNetwork(c, k.Place.Bridge()); err != nil {
			log.Printf("%v", err)
		}
	}
	log.Say("stop the LXD daemon, pid %d", pid)
	proc.Stop(ctx, pid, 20*time.Second)
	return nil
}

// removeNetwork has the daemon remove its bridge, and with it its firewall rules, for
// which it may have used iptables.
func removeNetwork(c lxd.InstanceServer, bridge string) error {
	profiles, err := c.GetProfiles()
	if err != nil {
		return err
	}
	for _, p := range profiles {
		put := p.Writable()
		maps.DeleteFunc(put.Devices, func(_ string, d map[string]string) bool { return d["type"] == "nic" })
		op, err := c.UpdateProfile(p.Name, put, "")
		if err == nil {
			err = op.Wait()
		}
		if err != nil {
			return err
		}
	}
	return c.DeleteNetwork(bridge)
}

func (k kinder) endProcesses(ctx context.Context, log *steps.Log) error {
	if err := k.stopDaemon(ctx, log); err != nil {
		return err
	}
	mark, err := k.mark()
	if err != nil {
		return err
	}
	left, err := proc.KillAll(ctx, mark, 30*time.Second, log.Printf)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("cannot end %v: they are deaf to SIGKILL: is a disk or network mount of theirs stuck?", left)
	}
	return nil
}

func (k kinder) settings(context.Context) ([]string, error) {
	others, err := k.Place.Others()
	if err != nil || len(others) > 0 { // they still need them
		return nil, err
	}
	policy := []string{}
	if data, err := os.ReadFile(apt.PolicyFile); err == nil && apt.OurPolicy(string(data)) {
		policy = append(policy, apt.PolicyFile)
	}
	return append(slices.Sorted(maps.Keys(k.Kernel)), policy...), nil
}

func (k kinder) putBack(_ context.Context, log *steps.Log) error {
	back, err := kernel.Settings{Root: "/proc/sys"}.PutBack(k.Kernel)
	if err != nil {
		return err
	}
	log.Printf("put back: %v", back)
	if err := apt.RemovePolicy(apt.PolicyFile); err != nil {
		return err
	}
	clear(k.Kernel)
	return k.Forget()
}

func (k kinder) files(context.Context) ([]string, error) {
	var left []string
	for _, path := range k.folders() {
		if _, err := os.Lstat(path); err == nil {
			left = append(left, path)
		}
	}
	return left, nil
}

// folders are what is removed last.
func (k kinder) folders() []string {
	folders := []string{k.Place.Dir(), lockFolder(k.Place)}
	if k.Place.Snap != nil { // else it lies in the first
		folders = append(folders, k.Place.Juju())
	}
	return folders
}

// lockFolder is where liblxc locks the containers below a folder.
func lockFolder(p place.Place) string { return filepath.Join("/run/lxc/lock", p.LXD()) }

func (k kinder) removeFiles(ctx context.Context, _ *steps.Log) error {
	// What is mounted below would lose its files.
	if mounts, err := k.mounts(ctx); err != nil || len(mounts) > 0 {
		return errors.Join(err, fmt.Errorf("cannot remove %s: still mounted: %v", k.Place.Dir(), mounts))
	}
	if err := os.RemoveAll(k.Place.Dir()); err != nil {
		return fmt.Errorf("cannot remove the box folder: %w", err)
	}
	if err := os.RemoveAll(k.Place.Juju()); err != nil {
		return fmt.Errorf("cannot remove juju's folder: %w", err)
	}
	if err := os.RemoveAll(lockFolder(k.Place)); err != nil {
		return fmt.Errorf("cannot remove the containers' locks: %w", err)
	}
	// The folders above go when nothing else is in them; LXD's packages make none of these.
	for dir := filepath.Dir(lockFolder(k.Place)); strings.HasPrefix(dir, "/run/lxc"); dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil {
			break
		}
	}
	_ = os.Remove(k.Place.Boxes())
	return nil
}
