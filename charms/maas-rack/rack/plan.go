package rack

import (
	"context"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/maas/node"
	"github.com/dcib/dcib/internal/relation/maascontroller"
)

// Plan is what is done about the facts. It is pure.
func Plan(f Facts) charm.Plan[Env] {
	var open []string // nil leaves the unit's ports as they are
	if !f.Staying || f.Relation == "" {
		open = []string{}
	}
	said := func(s charm.Status, steps ...charm.Step[Env]) charm.Plan[Env] {
		return charm.Plan[Env]{Steps: steps, Status: s, Version: version(f.Package.Version), Ports: open}
	}
	switch {
	case f.Package.Installed() && (!f.Staying || f.Relation == "") && (f.Active || f.Once && !f.Colocated):
		return said(charm.Maintenancef("leaving its region"), leave{f.Colocated})
	case !f.Staying:
		return said(charm.Maintenancef("left its region"))
	case f.Problem != "":
		return said(charm.Blockedf("%s", f.Problem))
	case !f.HasSource:
		return said(charm.Maintenancef("setting the source of packages"), setSource{f.Source})
	case f.Package.HalfDone():
		return said(charm.Maintenancef("finishing an installation"), finish{})
	case !f.Package.Installed():
		return said(charm.Maintenancef("installing MAAS"), install{f.Source, f.Offer.URL})
	case f.Copied && f.SameName && !f.Colocated:
		// Juju's unit is this one alone, so the name is its own: another network card.
		return said(charm.Maintenancef("noting its network addresses"), recordIdentity{})
	case f.Copied && !f.Colocated:
		return said(charm.Maintenancef("taking an identity of its own"), renew{})
	case f.Relation == "":
		return said(charm.Blockedf("no region: juju integrate %s:%s maas-region:maas", strings.Split(f.Unit, "/")[0], Endpoint))
	case !f.Offered:
		return said(charm.Waitingf("waiting for the region's address and secret"))
	}
	var steps []charm.Step[Env]
	switch {
	case !f.Enrolled || !f.URLs:
		steps = append(steps, enrol{f})
	case !f.Active:
		steps = append(steps, start{})
	}
	if f.SystemID != "" && !f.Recorded {
		steps = append(steps, recordIdentity{})
	}
	if told := f.rack(f.SystemID); f.Told != told {
		steps = append(steps, publish{f.Relation, told})
	}
	if f.SystemID == "" {
		return said(charm.Waitingf("waiting for the region at %s to take this rack in (journalctl -u maas-rackd)", f.Offer.URL), steps...)
	}
	open = f.openPorts()
	if len(f.Down) > 0 {
		steps = append(steps, startBeside{f.Down})
		return said(charm.Waitingf("rack %s of %s: %s: look at journalctl -u %s (retried automatically)", f.SystemID, f.Offer.URL, down(f.Down), f.Down[0]), steps...)
	}
	return said(charm.Active("rack %s of %s", f.SystemID, f.Offer.URL), steps...)
}

// ports are what a rack listens on for machines: boot files and proxied requests by HTTP, DHCP and TFTP;
// shared are those that a region has too, and Juju lets one unit of a machine alone open a port.
var (
	ports  = []string{"67/udp", "69/udp", "5248/tcp"}
	shared = []string{"53/tcp", "53/udp", "123/udp", "5247/tcp", "5247/udp", "8000/tcp"}
)

// openPorts are those that this unit has open.
func (f Facts) openPorts() []string {
	if f.Colocated {
		return ports
	}
	return slices.Concat(ports, shared)
}

// version makes 3.7.3 of a package's 1:3.7.3-0ubuntu1.
func version(pkg string) string {
	if _, after, ok := strings.Cut(pkg, ":"); ok {
		pkg = after
	}
	v, _, _ := strings.Cut(pkg, "-")
	return v
}

type setSource struct{ source apt.Source }

func (s setSource) Name() string { return "have packages from " + s.source.String() }

func (s setSource) Apply(ctx context.Context, w Env) error { return w.sources().Set(ctx, s.source) }

type finish struct{}

func (finish) Name() string { return "finish what dpkg left half done" }

func (finish) Apply(ctx context.Context, w Env) error {
	return apt.Finish(ctx, w.Run, node.Replaceable...)
}

type install struct {
	source apt.Source
	url    string // the region's; empty while it is not known
}

func (install) Name() string { return "install " + node.RackPackage }

func (s install) Apply(ctx context.Context, w Env) error {
	url := s.url
	if url == "" {
		url = "http://localhost:5240/MAAS" // the package's own default
	}
	// So that nothing asks. No secret goes this way: debconf would keep it.
	if err := w.Write(preseed, node.RackPackage+" maas-rack-controller/maas-url string "+url+"\n", false); err != nil {
		return err
	}
	if _, err := w.Run.Run(ctx, "debconf-set-selections", w.Root+"/"+preseed); err != nil {
		return charm.Waiting("%s (retried automatically)", err)
	}
	return apt.InstallReplacing(ctx, w.Run, "option source is "+s.source.String()+": set it to where MAAS's packages are, like ppa:maas/3.7", node.Replaceable, node.RackPackage)
}

// preseed is what debconf is told before the package asks.
const preseed = "var/lib/dcib/maas-rack.debconf"

type renew struct{}

func (renew) Name() string { return "reset the identity of this copy" }

func (renew) Apply(ctx context.Context, w Env) error { return w.Forget(ctx) }

type recordIdentity struct{}

func (recordIdentity) Name() string { return "note whose identity this is" }

func (recordIdentity) Apply(ctx context.Context, w Env) error { return w.Record() }

// enrol does what `maas-rack register` does (src/provisioningserver/register_command.py),
// without a secret among its arguments, and keeps the identity where the MAAS is the same.
type enrol struct{ f Facts }

func (s enrol) Name() string { return "enrol with the region at " + s.f.Offer.URL }

func (s enrol) Apply(ctx context.Context, w Env) error {
	if err := w.Stop(ctx, service); err != nil {
		return err
	}
	if !s.f.Enrolled {
		// Another MAAS, or one that was made again: nothing of the old one may stay, or rackd
		// takes its certificates for the new one's. The secret comes last: until then this
		// is done again.
		if err := w.Forget(ctx); err != nil {
			return err
		}
		if err := w.Remove(certificates, "var/lib/maas/maas_uuid"); err != nil {
			return err
		}
	}
	if err := w.SetConf(node.RackConf, s.f.conf()); err != nil {
		return err
	}
	if !s.f.Enrolled {
		if err := w.Write(node.SecretFile, s.f.Secret, true); err != nil {
			return err
		}
	}
	return start{}.Apply(ctx, w)
}

type start struct{}

func (start) Name() string { return "start " + service }

func (start) Apply(ctx context.Context, w Env) error {
	if _, err := w.Run.Run(ctx, "systemctl", "enable", "--now", service); err != nil {
		return charm.Blocked("%s: look at journalctl -u %s (retried automatically)", err, service)
	}
	w.Wait(ctx, func() bool { return w.Text(node.SystemIDFile) != "" })
	return nil
}

// down says which services do not run.
func down(services []string) string {
	if len(services) == 1 {
		return services[0] + " does not run"
	}
	return strings.Join(services, ", ") + " do not run"
}

// startBeside starts services that rackd starts again, too, every 30 seconds.
type startBeside struct{ services []string }

func (s startBeside) Name() string { return "start " + strings.Join(s.services, ", ") }

func (s startBeside) Apply(ctx context.Context, w Env) error {
	for _, name := range s.services {
		if _, err := w.Run.Run(ctx, "systemctl", "start", name); err != nil {
			return charm.Waiting("%s: %s: look at journalctl -u %s (retried automatically)", down(s.services), err, name)
		}
	}
	return nil
}

type publish struct {
	relation string
	rack     maascontroller.Rack
}

func (s publish) Name() string { return "publish to the region rack " + s.rack.SystemID }

func (s publish) Apply(ctx context.Context, w Env) error {
	return w.Tools.RelationSet(ctx, s.relation, s.rack.Encode())
}

// leave stops the rack and takes the region's secret away; the region strikes it off its
// list. Packages stay. Of a machine that is a region, too, nothing is taken.
type leave struct{ colocated bool }

func (leave) Name() string { return "leave the region" }

func (s leave) Apply(ctx context.Context, w Env) error {
	if _, err := w.Run.Run(ctx, "systemctl", "disable", "--now", service); err != nil {
		return err
	}
	if s.colocated {
		return nil
	}
	if err := w.Forget(ctx); err != nil {
		return err
	}
	return w.Remove(certificates, "var/lib/maas/maas_uuid", node.SecretFile)
}
