// Package rack installs a MAAS rack controller and enrols it with the region that relation
// maas names.
package rack

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/maas/node"
	"github.com/dcib/dcib/internal/relation/maascontroller"
)

// Endpoint is the relation to the region.
const Endpoint = "maas"

// service is the rack controller's.
const service = "maas-rackd"

// certificates are what a rack has from the region, which keeps them for the next region, too.
const certificates = "var/lib/maas/certificates"

// Env is what the charm works on.
type Env struct {
	node.Machine
	Tools     hooktool.Tools
	Unit, App string
	CharmDir  string
	Wait      func(ctx context.Context, done func() bool) // until done, or long enough
}

// Facts are everything a plan is made from.
type Facts struct {
	Unit    string
	Source  apt.Source
	Problem string // with options, or with what the region says

	HasSource bool
	Package   apt.State
	Colocated bool // a region is on this machine; secret and identity are its, too

	Staying  bool   // Juju means to keep this unit
	Relation string // to the region; empty without one
	Offer    maascontroller.Offer
	Offered  bool
	Secret   string              // the region's; secret
	Told     maascontroller.Rack // what the region was told

	Hostname string
	URLs     bool // rackd.conf has the region's address
	Enrolled bool // the machine has this region's secret
	Once     bool // the machine has some region's secret
	SystemID string
	Copied   bool // what identity there is, is another machine's
	SameName bool
	Recorded bool
	Active   bool     // the service runs
	Down     []string // services of the rack besides it that should run, and do not
}

// Observe gathers the facts and changes nothing.
func Observe(ctx context.Context, event hooktool.Event, w Env) (Facts, error) {
	f := Facts{Unit: w.Unit, Hostname: w.Hostname}
	options, err := w.Tools.Config(ctx)
	if err != nil {
		return f, err
	}
	text, _ := options["source"].(string)
	if f.Source, err = apt.ParseSource(text); err != nil {
		f.Problem = "option source: " + err.Error()
	}
	f.Staying = event.Hook != "stop" && event.Hook != "remove"
	if err := f.observeRelation(ctx, w); err != nil {
		return f, err
	}
	packages := apt.Query(ctx, w.Run, node.RackPackage, node.RegionPackage)
	f.Package, f.Colocated = packages[node.RackPackage], packages[node.RegionPackage].Status != "" && w.Has(node.RegionConf)
	f.HasSource = w.sources().Has(f.Source)
	if !f.Package.Installed() {
		return f, nil
	}
	conf, err := w.Conf(node.RackConf)
	if err != nil {
		f.Problem = err.Error()
		return f, nil
	}
	has := w.Text(node.SecretFile)
	f.URLs = f.Offered && !node.Differs(conf, f.conf())
	f.Once, f.Enrolled = has != "", f.Offered && (f.Colocated || has == f.Secret)
	f.SystemID, f.Recorded = w.Text(node.SystemIDFile), w.Recorded()
	f.Down = w.Inactive(ctx, append([]string{service}, w.expected()...)...)
	if f.Active = !slices.Contains(f.Down, service); !f.Active {
		f.Down = nil // rackd starts them
	}
	f.Copied, f.SameName, err = w.Copied()
	return f, err
}

// supervised are the services that rackd starts once it has enrolled (AlwaysOnService in
// src/provisioningserver/service_monitor.py). Since MAAS 3.5 the agent serves boot files and
// power, and since 3.7 it configures DHCP. Older lines have fewer.
var supervised = []string{"maas-agent", "maas-http"}

// dhcp are the DHCP servers, each with the configuration that it has only on a rack that serves
// DHCP.
var dhcp = map[string]string{"maas-dhcpd": "var/lib/maas/dhcpd.conf", "maas-dhcpd6": "var/lib/maas/dhcpd6.conf"}

// expected lists the services that should run besides rackd on a rack that has enrolled.
func (w Env) expected() []string {
	var names []string
	has := func(name string) bool {
		return w.Has("usr/lib/systemd/system/"+name+".service") || w.Has("lib/systemd/system/"+name+".service")
	}
	for _, name := range supervised {
		if has(name) {
			names = append(names, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dhcp)) {
		if has(name) && w.Text(dhcp[name]) != "" {
			names = append(names, name)
		}
	}
	return names
}

// hexadecimal is what MAAS's secret is (src/provisioningserver/security.py).
var hexadecimal = regexp.MustCompile(`^[0-9a-fA-F]{2,256}$`)

func (f *Facts) observeRelation(ctx context.Context, w Env) error {
	ids, err := w.Tools.RelationIDs(ctx, Endpoint)
	if err != nil || len(ids) == 0 {
		return err
	}
	f.Relation = ids[0]
	region, err := w.Tools.RelationApp(ctx, f.Relation)
	if err != nil {
		return err
	}
	bag, err := w.Tools.RelationGet(ctx, f.Relation, region)
	if err != nil {
		return err
	}
	mine, err := w.Tools.RelationGet(ctx, f.Relation, w.Unit)
	if err != nil {
		return err
	}
	f.Told, _, _ = maascontroller.DecodeRack(mine)
	f.Offer, f.Offered, err = maascontroller.DecodeOffer(bag)
	if err != nil {
		f.Problem = err.Error()
		return nil
	}
	if !f.Offered {
		return nil
	}
	content, err := w.Tools.Secret(ctx, f.Offer.SecretID)
	f.Secret = strings.TrimSpace(content[maascontroller.SecretField])
	switch {
	case err != nil:
		// The grant may come a moment after its name.
		f.Offered = false
	case !hexadecimal.MatchString(f.Secret):
		f.Offered, f.Secret = false, ""
		f.Problem = fmt.Sprintf("cannot enrol with %s: field %s of secret %s is not a MAAS secret (hexadecimal): on the region it is in /%s", region, maascontroller.SecretField, f.Offer.SecretID, node.SecretFile)
	}
	return nil
}

// conf is what rackd.conf has to have.
func (f Facts) conf() map[string]any { return map[string]any{"maas_url": []string{f.Offer.URL}} }

// rack is what the region is told.
func (f Facts) rack(systemID string) maascontroller.Rack {
	return maascontroller.Rack{Unit: f.Unit, FQDN: f.Hostname, SystemID: systemID, Version: f.Package.Version}
}

func (w Env) sources() apt.Sources {
	return apt.Sources{Run: w.Run, Root: w.Root, Name: "dcib-" + w.App}
}
