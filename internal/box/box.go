// Package box builds a data centre on one machine, and takes it away again.
//
// Every component below it has one reason to change; this package only says what comes after
// what.
package box

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/dcib/dcib/internal/box/apt"
	"github.com/dcib/dcib/internal/box/cloud"
	"github.com/dcib/dcib/internal/box/commands"
	"github.com/dcib/dcib/internal/box/controller"
	"github.com/dcib/dcib/internal/box/deploy"
	"github.com/dcib/dcib/internal/box/image"
	"github.com/dcib/dcib/internal/box/kernel"
	"github.com/dcib/dcib/internal/box/libdqlite"
	"github.com/dcib/dcib/internal/box/lxdbuild"
	"github.com/dcib/dcib/internal/box/lxdhost"
	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/box/preflight"
	"github.com/dcib/dcib/internal/box/subnet"
	"github.com/dcib/dcib/internal/steps"
)

// driver is the storage driver of the box's pool, chosen by measurement: see
// docs/how-to/box.md.
const driver = "btrfs"

// maxPoolGiB is how large the pool's sparse file may grow at most.
const maxPoolGiB = 100

const gib = 1 << 30

// Options are what `dcib box up` is told.
type Options struct {
	Place    place.Place
	Source   string       // the project's folder
	Subnet   netip.Prefix // the zero Prefix: pick one
	LXD      string       // of its machines, one of LXDVersions; "": what the box has, or the default
	Until    string       // the last step to run; "" for all
	Out      io.Writer
	Terminal bool // Out is a terminal
}

// record is what was chosen for one box.
type record struct {
	Subnet  netip.Prefix `json:"subnet"`
	Driver  string       `json:"driver"`
	PoolGiB int          `json:"pool-gib"`
	LXD     string       `json:"lxd,omitempty"` // one of LXDVersions; "" in records of before there were two
}

// machine is what was changed on the machine, for all its boxes together.
type machine struct {
	Kernel   map[string]kernel.Change `json:"kernel,omitempty"`
	Packages []string                 `json:"packages,omitempty"`
}

// builder has what the steps of one run share.
type builder struct {
	Options
	module string // the Go module that pins Juju's commands
	lxd    string // the LXD of the box's machines, one of LXDVersions; "" where snaps are used
	record record
}

// Up builds what is missing of the box.
func Up(ctx context.Context, o Options) error {
	b := &builder{Options: o, module: filepath.Join(o.Source, "tests", "testbed", "juju")}
	list, err := steps.Until(b.steps(), o.Until)
	if err != nil {
		return err
	}
	if err := b.chooseLXD(); err != nil {
		return err
	}
	started := time.Now()
	deploys := slices.ContainsFunc(list, func(s steps.Step) bool { return s.Name == "deploy" })
	if err := b.preflight(ctx, deploys); err != nil {
		return err
	}
	unlock, err := o.Place.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := o.Place.Make(); err != nil {
		return err
	}
	sweepCache(o.Place)
	if err := b.choose(ctx); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "box %s in %s\nlogs in %s/<step>.log\n", o.Place.Name, o.Place.Dir(), o.Place.Logs())
	runner := &steps.Runner{Out: o.Out, Terminal: o.Terminal, LogDir: o.Place.Logs(), TimesFile: o.Place.Times()}
	if _, err := runner.Run(ctx, list); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "ready in %s\n", time.Since(started).Round(100*time.Millisecond))
	if o.Until != "" {
		return nil
	}
	fmt.Fprintln(o.Out)
	status := ReadStatus(ctx, o.Place)
	if err := status.Print(o.Out); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "\nTry:\n%s\n15 minutes with it, step by step: %s\n", next(status), tutorial)
	return nil
}

// tutorial is the page for who has just made a box, in the project's folder.
const tutorial = "docs/tutorial.md"

// next are commands that show what the box is good for.
func next(s Status) string {
	box := "./box"
	if s.Name != place.DefaultName {
		box += " --name " + s.Name
	}
	metal := s.Models[controller.Model]
	members := metal.Applications[cloud.Application].Units
	pet := "MEMBER"
	for _, name := range slices.Sorted(maps.Keys(members)) {
		pet = metal.Machines[members[name].Machine].InstanceID // the last one
	}
	return fmt.Sprintf(`  %[1]s juju exec --unit lxd-cluster/0 -- lxc cluster list
  %[1]s juju run pet-scheduler/leader drain pet=%[2]s
  %[1]s juju status --relations
`, box, pet)
}

// StepNames returns the names of the steps of Up, in their order.
func StepNames() []string {
	var names []string
	for _, s := range (&builder{}).steps() {
		names = append(names, s.Name)
	}
	return names
}

func (b *builder) steps() []steps.Step {
	return append(b.ground().steps(), []steps.Step{
		{Name: "controller", Check: b.controllerUp, Do: b.bootstrap},
		{Name: "model", Check: b.modelThere, Do: b.addModel},
		{Name: "deploy", Check: b.deployed, Do: b.deploy},
		{Name: "units", Check: b.settled, Do: b.settle},
		{Name: "cloud", Check: b.cloudUp, Do: b.makeCloud},
	}...)
}

// ground is what a box stands on: how it comes to an LXD and to juju's commands.
type ground interface {
	steps() []steps.Step
}

func (b *builder) ground() ground {
	if b.Place.Snap != nil {
		return snaps{b}
	}
	return built{b}
}

// built is the ground on a machine that has nothing: all is installed, built and started
// for the box.
type built struct{ *builder }

func (b built) steps() []steps.Step {
	return []steps.Step{
		{Name: "packages", Check: b.hasPackages, Do: b.installPackages},
		{Name: "kernel", Check: b.kernelRaised, Do: b.raiseKernel},
		{Name: "juju", Check: b.hasCommands, Do: b.buildCommands},
		{Name: "machine-lxd", Check: b.hasMachineLXD, Do: b.buildMachineLXD},
		{Name: "image", Check: b.hasImage, Do: b.makeImage},
		{Name: "lxd", Check: b.lxdUp, Do: b.startLXD},
		{Name: "network", Check: b.lxdSet, Do: b.setLXD},
		{Name: "import", Check: b.imageImported, Do: b.importImage},
	}
}

// snaps is the ground on a machine with the snaps lxd and juju: they are used as they are,
// and the box has a project, a pool and a bridge in that LXD. Juju gets its images and
// agents where it always does.
type snaps struct{ *builder }

func (b snaps) steps() []steps.Step {
	return []steps.Step{
		{Name: "kernel", Check: b.kernelRaised, Do: b.raiseKernel},
		{Name: "lxd", Check: b.lxdUp, Do: b.startLXD},
		{Name: "network", Check: b.lxdSet, Do: b.setLXD},
	}
}

func (b *builder) packages() []string {
	all := slices.Concat(lxdhost.Packages, libdqlite.Packages)
	if b.lxd == LXD6 {
		all = append(all, lxdbuild.Packages...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// preflight says what is missing; deploys, whether the charms are needed.
func (b *builder) preflight(ctx context.Context, deploys bool) error {
	f := preflight.Observe(b.Place.Home)
	f.Driver = driver
	f.Snap = b.Place.Snap != nil
	f.Running = b.Place.Snap == nil && lxdhost.Running(b.Place)
	if used, err := b.used(); err != nil {
		f.SubnetErr = err
	} else if !b.Place.Exists() {
		_, f.SubnetErr = subnet.Pick(b.Subnet, used)
	}

	if deploys {
		d, err := b.deployment()
		if err != nil {
			return err
		}
		f.Charms = d.Bundle.Missing()
	}
	if f.Snap {
		f.Warm = true
		return preflight.Error(preflight.Check(f))
	}
	machine, lxd, err := b.image()
	if err != nil {
		return err
	}
	_, image := machine.In(b.Place.Cache())
	_, juju, err := commands.In(b.Place.Cache(), b.module)
	if err != nil {
		return err
	}
	f.Warm = image && juju && lxd
	var missing []string
	if f.Debian {
		if missing, err = apt.Missing(ctx, b.packages()); err != nil {
			return err
		}
		if !f.Warm || len(missing) > 0 {
			f.MirrorErr = reach(ctx)
		}
	}
	f.SubIDs = !slices.Contains(missing, "lxd")
	if (!juju || !lxd) && !f.Ubuntu {
		f.GoProxyErr = preflight.GoProxy(ctx)
	}
	return preflight.Error(preflight.Check(f))
}

func reach(ctx context.Context) error {
	mirror, err := apt.Mirror(ctx)
	if err != nil {
		return err
	}
	return apt.Reach(ctx, mirror, image.Suite)
}

// used are the subnets of the machine and of its other boxes, running or not.
func (b *builder) used() ([]subnet.Used, error) {
	used, err := subnet.Machine(b.Place.Bridge())
	if err != nil {
		return nil, err
	}
	others, err := b.Place.Others()
	if err != nil {
		return nil, err
	}
	for _, name := range others {
		var r record
		if err := place.ReadJSON(place.Place{Home: b.Place.Home, Name: name}.Record(), &r); err != nil {
			return nil, err
		}
		if r.Subnet.IsValid() {
			used = append(used, subnet.Used{Prefix: r.Subnet, By: "box " + name})
		}
	}
	return used, nil
}

// choose reads what was chosen for the box, or chooses it and writes it down.
func (b *builder) choose(ctx context.Context) error {
	if err := place.ReadJSON(b.Place.Record(), &b.record); err != nil {
		return err
	}
	if b.record.Subnet.IsValid() {
		if b.Subnet.IsValid() && b.Subnet != b.record.Subnet {
			return fmt.Errorf("cannot use in box %s the subnet %s: it has %s: run dcib box down first", b.Place.Name, b.Subnet, b.record.Subnet)
		}
		if _, err := net.InterfaceByName(b.Place.Bridge()); err == nil {
			return nil
		}
		// Chosen, but not in use yet: an operator may have taken it meanwhile.
		used, err := b.used()
		if err != nil {
			return err
		}
		if _, err := subnet.Pick(b.record.Subnet, used); err == nil {
			return nil
		}
	}
	return b.withMachine(ctx, nil, func() error {
		used, err := b.used()
		if err != nil {
			return err
		}
		chosen, err := subnet.Pick(b.Subnet, used)
		if err != nil {
			return err
		}
		disk := int(preflight.Observe(b.Place.Home).Disk / gib)
		b.record = record{Subnet: chosen, Driver: driver, PoolGiB: min(disk*9/10, maxPoolGiB), LXD: b.lxd}
		return place.WriteJSON(b.Place.Record(), b.record)
	})
}

// withMachine runs f while no other box changes what they share. Outside of a step there is no
// log: then Out has that it waits.
func (b *builder) withMachine(ctx context.Context, log *steps.Log, f func() error) error {
	const waits = "waiting for another box to finish its step"
	say := func() {}
	if log == nil {
		log = steps.Discard()
		say = sync.OnceFunc(func() { fmt.Fprintln(b.Out, waits) })
	}
	var unlock func()
	err := steps.Wait(ctx, log, 30*time.Minute, 500*time.Millisecond, func(context.Context) (bool, string, error) {
		var err error
		unlock, err = b.Place.LockMachine()
		if errors.Is(err, place.ErrBusy) {
			say()
			return false, waits, nil
		}
		return err == nil, "", err
	})
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

func (b *builder) changeMachine(f func(m *machine) error) error {
	var m machine
	if err := place.ReadJSON(b.Place.Machine(), &m); err != nil {
		return err
	}
	if m.Kernel == nil {
		m.Kernel = map[string]kernel.Change{}
	}
	return f(&m)
}

func (b *builder) hasPackages(ctx context.Context) (bool, string, error) {
	missing, err := apt.Missing(ctx, b.packages())
	if err != nil || len(missing) == 0 {
		return err == nil, fmt.Sprintf("%d installed", len(b.packages())), err
	}
	return false, fmt.Sprintf("%d missing: %v", len(missing), missing), nil
}

func (b *builder) installPackages(ctx context.Context, log *steps.Log) error {
	return b.withMachine(ctx, log, func() error {
		missing, err := apt.Missing(ctx, b.packages())
		if err != nil || len(missing) == 0 {
			return err
		}
		planned := func(new []string) error {
			return b.changeMachine(func(m *machine) error {
				m.Packages = append(m.Packages, new...)
				slices.Sort(m.Packages)
				m.Packages = slices.Compact(m.Packages)
				return place.WriteJSON(b.Place.Machine(), m)
			})
		}
		if err := apt.Install(ctx, missing, planned, log); err != nil {
			return err
		}
		// A package may have written root's id ranges: what preflight could not see yet.
		f := preflight.Observe(b.Place.Home)
		f.SubIDs, f.Driver, f.Running = true, driver, true
		return preflight.Error(preflight.Check(f))
	})
}

func (b *builder) kernelRaised(context.Context) (bool, string, error) {
	low, err := kernel.Settings{Root: "/proc/sys"}.Low()
	if err != nil || len(low) == 0 {
		return err == nil, "limits are high enough", err
	}
	return false, fmt.Sprintf("%d limits too low", len(low)), nil
}

func (b *builder) raiseKernel(ctx context.Context, log *steps.Log) error {
	return b.withMachine(ctx, log, func() error {
		return b.changeMachine(func(m *machine) error {
			return kernel.Settings{Root: "/proc/sys"}.Raise(m.Kernel, func(changes map[string]kernel.Change) error {
				for name, c := range changes {
					log.Printf("%s: %s -> %s", name, c.Was, c.Set)
				}
				return place.WriteJSON(b.Place.Machine(), m)
			})
		})
	})
}

func (b *builder) hasCommands(context.Context) (bool, string, error) {
	built, there, err := commands.In(b.Place.Cache(), b.module)
	if err != nil {
		return false, "", err
	}
	if !there {
		return false, "not built yet", nil
	}
	if to, err := os.Readlink(b.Place.Bin()); err != nil || to != built.Bin() {
		return false, "built", nil
	}
	return true, filepath.Base(built.Dir), nil
}

func (b *builder) buildCommands(ctx context.Context, log *steps.Log) error {
	return b.withMachine(ctx, log, func() error {
		built, there, err := commands.In(b.Place.Cache(), b.module)
		if err != nil {
			return err
		}
		if !there {
			mirror, err := apt.Mirror(ctx)
			if err != nil {
				return err
			}
			if err := commands.Build(ctx, b.Place.Cache(), b.module, mirror, log, log.Say); err != nil {
				return err
			}
		}
		return link(built.Bin(), b.Place.Bin())
	})
}

// link makes a symbolic link, in the place of an older one.
func link(to, at string) error {
	tmp := at + ".new"
	_ = os.Remove(tmp)
	err := os.Symlink(to, tmp)
	if err == nil {
		err = os.Rename(tmp, at)
	}
	if err != nil {
		return fmt.Errorf("cannot link %s: %w", at, err)
	}
	return nil
}

func (b *builder) hasImage(context.Context) (bool, string, error) {
	i, _, err := b.image()
	if err != nil {
		return false, "", err
	}
	if _, there := i.In(b.Place.Cache()); !there {
		return false, "not made yet", nil
	}
	return true, i.Key(), nil
}

func (b *builder) makeImage(ctx context.Context, log *steps.Log) error {
	return b.withMachine(ctx, log, func() error {
		i, _, err := b.image()
		if err != nil {
			return err
		}
		if _, there := i.In(b.Place.Cache()); there {
			return nil
		}
		mirror, err := apt.Mirror(ctx)
		if err != nil {
			return err
		}
		log.Say("debootstrap %s", image.Suite)
		return i.Make(ctx, b.Place.Cache(), mirror, log)
	})
}

func (b *builder) host() lxdhost.Host {
	return lxdhost.Host{Place: b.Place, Subnet: b.record.Subnet, Driver: b.record.Driver, PoolGiB: b.record.PoolGiB}
}

func (b *builder) lxdUp(ctx context.Context) (bool, string, error) { return b.host().Up(ctx) }
func (b *builder) startLXD(ctx context.Context, log *steps.Log) error {
	return b.host().Start(ctx, log)
}
func (b *builder) lxdSet(ctx context.Context) (bool, string, error) { return b.host().Set(ctx) }
func (b *builder) setLXD(ctx context.Context, log *steps.Log) error {
	// Minutes may have passed since the subnet was chosen.
	if err := b.choose(ctx); err != nil {
		return err
	}
	return b.host().Setup(ctx, log)
}
func (b *builder) imageImported(ctx context.Context) (bool, string, error) {
	c, err := lxdhost.Connect(ctx, b.Place)
	if err != nil {
		return false, "", err
	}
	i, _, err := b.image()
	if err != nil {
		return false, "", err
	}
	return lxdhost.HasImage(c, i)
}
func (b *builder) importImage(ctx context.Context, log *steps.Log) error {
	c, err := lxdhost.Connect(ctx, b.Place)
	if err != nil {
		return err
	}
	i, _, err := b.image()
	if err != nil {
		return err
	}
	files, _ := i.In(b.Place.Cache())
	return lxdhost.AddImage(ctx, c, i, files, log)
}

func (b *builder) controller() (controller.Controller, error) {
	if b.Place.Snap != nil {
		return controller.Controller{Place: b.Place, Base: image.Noble, Host: b.host()}, nil
	}
	built, _, err := commands.In(b.Place.Cache(), b.module)
	return controller.Controller{Place: b.Place, Commands: built, Base: image.Noble, Host: b.host()}, err
}

func (b *builder) controllerUp(ctx context.Context) (bool, string, error) {
	c, err := b.controller()
	if err != nil {
		return false, "", err
	}
	return c.Up(ctx)
}

func (b *builder) bootstrap(ctx context.Context, log *steps.Log) error {
	c, err := b.controller()
	if err != nil {
		return err
	}
	return c.Bootstrap(ctx, log)
}

func (b *builder) modelThere(ctx context.Context) (bool, string, error) {
	c, err := b.controller()
	if err != nil {
		return false, "", err
	}
	return c.HasModel(ctx)
}

func (b *builder) addModel(ctx context.Context, log *steps.Log) error {
	c, err := b.controller()
	if err != nil {
		return err
	}
	return c.AddModel(ctx, log)
}

// The bundle and its overlay, in the project's folder.
const (
	bundleFile  = "bundles/dcib.yaml"
	overlayFile = "overlays/box.yaml"
)

// settleLimit is how long the units may take to become active and idle.
const settleLimit = 15 * time.Minute

func (b *builder) deployment() (deploy.Deployment, error) {
	bundle, err := deploy.ReadBundle(b.Source, bundleFile, overlayFile)
	return deploy.Deployment{Place: b.Place, Model: controller.Model, Bundle: bundle}, err
}

func (b *builder) deployed(ctx context.Context) (bool, string, error) {
	d, err := b.deployment()
	if err != nil {
		return false, "", err
	}
	return d.Deployed(ctx)
}

func (b *builder) deploy(ctx context.Context, log *steps.Log) error {
	d, err := b.deployment()
	if err != nil {
		return err
	}
	return d.Deploy(ctx, log)
}

func (b *builder) settled(ctx context.Context) (bool, string, error) {
	d, err := b.deployment()
	if err != nil {
		return false, "", err
	}
	return d.Settled(ctx)
}

func (b *builder) settle(ctx context.Context, log *steps.Log) error {
	d, err := b.deployment()
	if err != nil {
		return err
	}
	return d.Settle(ctx, settleLimit, log)
}

// cloud returns nil when the bundle has no cluster.
func (b *builder) cloud() (*cloud.Cloud, error) {
	d, err := b.deployment()
	if err != nil {
		return nil, err
	}
	if _, ok := d.Bundle.Charms[cloud.Application]; !ok {
		return nil, nil
	}
	if b.Place.Snap != nil { // images come from where Juju always gets them
		return &cloud.Cloud{Place: b.Place, Model: controller.Model, Image: image.Image{Base: image.Noble}}, nil
	}
	i, _, err := b.image()
	if err != nil {
		return nil, err
	}
	files, _ := i.In(b.Place.Cache())
	return &cloud.Cloud{Place: b.Place, Model: controller.Model, Image: i, Files: files}, nil
}

func (b *builder) cloudUp(ctx context.Context) (bool, string, error) {
	c, err := b.cloud()
	if err != nil || c == nil {
		return err == nil, "the bundle has no " + cloud.Application, err
	}
	return c.Up(ctx)
}

func (b *builder) makeCloud(ctx context.Context, log *steps.Log) error {
	c, err := b.cloud()
	if err != nil || c == nil {
		return err
	}
	return c.Make(ctx, log)
}

// sweepCache removes what killed runs left half made, unless a run is at work now.
func sweepCache(p place.Place) {
	unlock, err := p.LockMachine()
	if err != nil {
		return
	}
	defer unlock()
	left, _ := filepath.Glob(filepath.Join(p.Cache(), "tmp-*"))
	for _, dir := range left {
		_ = os.RemoveAll(dir)
	}
}
