package region

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dcib/dcib/charms/maas-region/database"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/maas/node"
	"github.com/dcib/dcib/internal/relation"
	"github.com/dcib/dcib/internal/relation/maascontroller"
)

// Plan is what is done about the facts. It is pure.
func Plan(f Facts) charm.Plan[*Env] {
	var steps []charm.Step[*Env]
	var open []string // nil leaves the unit's ports as they are
	said := func(s charm.Status, more ...charm.Step[*Env]) charm.Plan[*Env] {
		return charm.Plan[*Env]{Steps: append(steps, more...), Status: s, Version: version(f.Packages[node.RegionPackage].Version), Ports: open}
	}
	if f.Peers == "" && f.Staying {
		return said(charm.Waitingf("waiting for the relation among the units"))
	}
	if !f.Staying {
		return leaving(f)
	}
	if len(f.Problems) > 0 {
		return said(charm.Blockedf("%s", strings.Join(f.Problems, "; ")))
	}
	chosen := f.databaseUnit()
	kept, lost := chosen.Unit, chosen.Gone
	if f.Leader && chosen.NeedsElection() && (kept == "" || !f.embedded()) {
		steps = append(steps, claimDatabase{f.Config})
	}
	if len(f.Leftovers) > 0 {
		steps = append(steps, removeLeftovers{f.Leftovers})
	}
	if f.Asks != "" {
		steps = append(steps, ask{f.Asks})
	}
	// What the others have to know of this unit, at once.
	if mine := f.mine(); !relation.Contains(f.Mine, mine) {
		steps = append(steps, publish{f.Peers, mine})
	}
	switch {
	case kept != "" && f.Shared[keyKind] != f.Config.Database:
		return said(charm.Blockedf("option database is %s: this MAAS has its database %s, and it does not move automatically: juju run %s create-backup, deploy another application with database=%s, and restore there; or set database=%s", f.Config.Database, f.Shared[keyKind], f.Unit, f.Config.Database, f.Shared[keyKind]))
	case lost && f.embedded():
		return said(charm.Blockedf("the database was on %s, which is gone: deploy another application and restore a backup there (action restore)", kept))
	case !f.HasSource:
		return said(charm.Maintenancef("setting the source of packages"), setSource{f.Config.Source})
	}
	for _, name := range f.packages() {
		switch p := f.Packages[name]; {
		case p.HalfDone():
			return said(charm.Maintenancef("finishing an installation"), finish{})
		case !p.Installed():
			return said(charm.Maintenancef("installing MAAS"), install{f.Config.Source, f.packages()})
		}
	}
	switch {
	case f.Copied && f.SameName:
		steps = append(steps, recordIdentity{}) // another network card, see the rack's plan
	case f.Copied:
		return said(charm.Maintenancef("taking an identity of its own"), renew{})
	}
	if f.Connection == nil {
		return said(charm.Waitingf("%s", f.Unknown))
	}
	if f.isDatabaseUnit() && f.embedded() {
		if f.Unusable != "" {
			return said(charm.Blockedf("%s", f.Unusable))
		}
		if f.Mute || !f.Listening {
			steps = append(steps, startDatabase{f.Connection.Password})
		}
		if !f.Allows {
			steps = append(steps, allow{f.Address, f.clients()})
		}
		if !f.Ready {
			steps = append(steps, create{f.Connection})
		}
	} else if !f.Listening {
		return said(charm.Waitingf("waiting for the database on %s port %d, which does not answer", f.Connection.Host, f.Connection.Port))
	}
	if f.url() == "" {
		return said(charm.Waitingf("waiting for %s to say where it is", kept))
	}
	stopped := node.Differs(f.Conf, f.conf()) || f.Record != "" && f.Record != f.place()
	switch {
	case stopped:
		steps = append(steps, configure{f.conf(), f.place(), f.Record != "" && f.Record != f.place()})
	case f.Record == "":
		steps = append(steps, recordDatabase{f.place()})
	}
	if !f.Migrated {
		if !f.isDatabaseUnit() {
			if f.Runs {
				steps = append(steps, stop{})
			}
			return said(charm.Waitingf("%s", f.unmigrated()))
		}
		return said(charm.Maintenancef("migrating the database to MAAS %s", version(f.Packages[node.RegionPackage].Version)), migrate{f}, start{})
	}
	if stopped || !f.Runs {
		return said(charm.Maintenancef("starting MAAS"), start{})
	}
	if len(f.Inactive) > 0 || !f.Lives {
		return said(charm.Maintenancef("starting MAAS: %s", silence(f.Inactive, f.Down)), start{})
	}
	open = f.openPorts()
	if f.Version == "" {
		return said(charm.Waitingf("MAAS runs, and the charm cannot use its API: %s (retried automatically)", f.Failure))
	}
	if f.SystemID != "" && !f.Recorded {
		steps = append(steps, recordIdentity{})
	}
	if f.Leader {
		steps = append(steps, leading(f)...)
	}
	switch {
	case len(f.Alike) > 0:
		return said(charm.Blockedf("%s", strings.Join(f.Alike, "; ")))
	case f.Leader && f.Shared[keyAdmin] != f.Config.Admin && f.Password == "":
		return said(charm.Waitingf("waiting for Juju to note the administrator's password"))
	case f.TLSProblem != "":
		return said(charm.Blockedf("%s", f.TLSProblem))
	case f.Leader:
		text := fmt.Sprintf("MAAS %s at %s, %d racks related", f.Version, f.endpoint(), len(f.Present))
		return said(charm.Active("%s", strings.Join(append([]string{text}, f.trouble()...), "; ")))
	}
	return said(charm.Active("%s", strings.Join(append([]string{fmt.Sprintf("MAAS %s at %s", f.Version, f.endpoint())}, down(f.Down)...), "; ")))
}

// ports are what a region listens on for machines, racks, users and other regions (src/maasserver, and
// docs/reference/configuration-guides/configuration-tables.md in MAAS's source): DNS, time, the API,
// the API of agents, the log of machines, RPC, Temporal, and the proxy.
var ports = []string{
	"53/tcp", "53/udp", "123/udp", "5240/tcp", "5242/tcp", "5247/tcp", "5247/udp", "5250-5270/tcp", "5271-5274/tcp", "5281-5284/tcp", "8000/tcp",
}

// openPorts are those that this unit has open.
func (f Facts) openPorts() []string {
	if f.TLSPort == "" {
		return ports
	}
	return append(slices.Clone(ports), f.TLSPort+"/tcp")
}

// trouble is what the leader's status says besides.
func (f Facts) trouble() []string {
	all := slices.Concat(f.Trouble, down(f.Down))
	if crowded := f.crowded(); crowded != "" {
		all = append(all, crowded)
	}
	return all
}

// silence says why MAAS does not answer on this unit, of whose services some do not run.
func silence(inactive, beside []string) string {
	if down := down(slices.Concat(inactive, beside)); len(down) > 0 {
		return strings.Join(down, "; ")
	}
	return "maas-regiond runs, and does not answer yet (journalctl -u maas-regiond)"
}

// down says of each service that it does not run, and where its log is.
func down(services []string) []string {
	var all []string
	for _, s := range services {
		all = append(all, fmt.Sprintf("%[1]s does not run (journalctl -u %[1]s)", s))
	}
	return all
}

// unmigrated says what a unit waits for that may not touch the database yet.
func (f Facts) unmigrated() string {
	kept, has := f.databaseUnit().Unit, f.Packages[node.RegionPackage].Version
	text := fmt.Sprintf("waiting for %s to migrate the database to MAAS %s", kept, version(has))
	if other := f.Others[kept][keyVersion]; other != "" && other != has {
		text += fmt.Sprintf("; it has %s: juju run %s upgrade-maas (or %s, where this one is behind)", version(other), kept, f.Unit)
	}
	return text
}

// mine is what this unit publishes to the others.
func (f Facts) mine() map[string]string {
	mine := map[string]string{keyAddress: f.Address, keyHostname: f.Hostname}
	if p := f.Packages[node.RegionPackage]; p.Installed() {
		mine[keyVersion] = p.Version
	}
	if f.SystemID != "" && !f.Copied {
		mine[keySystemID] = f.SystemID
	}
	if migrated := f.Mine[keyMigrated]; migrated != "" {
		mine[keyMigrated] = migrated
		if f.Connection != nil && !f.embedded() && migrated == f.addressed() {
			mine[keyMigrated] = f.wants() // before the primary moves
		}
	}
	return mine
}

// leaving is the plan of a unit that goes.
func leaving(f Facts) charm.Plan[*Env] {
	p := charm.Plan[*Env]{Status: charm.Maintenancef("left"), Ports: []string{}}
	if f.isDatabaseUnit() && f.embedded() && len(f.Units) > 0 {
		p.Steps = append(p.Steps, refuse{})
	}
	if f.Runs {
		p.Steps = append(p.Steps, stop{})
	}
	return p
}

// leading is what the leader does once the region answers. Racks need nothing of what MAAS may
// refuse, so they come first; what MAAS may refuse is tried one at a time.
func leading(f Facts) []charm.Step[*Env] {
	steps := enrolling(f)
	if f.On != f.place() {
		steps = append(steps, noteDatabase{f.Peers, f.place(), f.On != ""})
	}
	if f.Shared[keyAdmin] != f.Config.Admin {
		if f.Password == "" {
			if f.Config.AdminPassword == "" && f.Shared[keyPassword] == "" {
				steps = append(steps, makePassword{f.Config.Admin})
			}
			return steps
		}
		steps = append(steps, createAdmin{f.Peers, f.Config.Admin, f.Password, f.Shared[keyRestored] != ""})
	}
	if f.Shared[keyRestored] != "" && f.SystemID != "" {
		steps = append(steps, adopt{f.Peers, f.SystemID})
	}
	var asked each
	settings, images := f.Config.settingsDigest(), f.Config.imagesDigest()
	if f.Shared[keySettings] != f.Config.digest() || f.Shared[keyImages] != "" { // of an earlier version: one digest for both
		if f.Shared[keySettings] != settings {
			asked.of = append(asked.of, []charm.Step[*Env]{set{f.Peers, settings, f.Config}})
		}
	}
	if gone := striking(f); len(gone) > 0 {
		asked.of = append(asked.of, gone)
	}
	if gone := deleting(f); len(gone) > 0 {
		asked.of = append(asked.of, gone)
	}
	if f.Shared[keyImages] != images && (images == "" || f.Shared[keySettings] != f.Config.digest() || f.Shared[keyImages] != "") {
		asked.of = append(asked.of, []charm.Step[*Env]{selectImages{f.Peers, images, f.Config}})
	}
	if secured := securing(f); len(secured) > 0 {
		asked.of = append(asked.of, secured)
	}
	if len(asked.of) > 0 {
		steps = append(steps, asked)
	}
	return steps
}

// enrolling is what the racks of each relation are told.
func enrolling(f Facts) []charm.Step[*Env] {
	var steps []charm.Step[*Env]
	for _, id := range slices.Sorted(maps.Keys(f.Offers)) {
		told := f.Offers[id]
		want := maascontroller.Offer{URL: f.url(), Regions: f.hostnames(), SecretID: told.id}
		switch {
		case f.Secret == "":
		case told.id == "":
			// Granted in a later hook: see hooktool.Tools.
			steps = append(steps, makeEnrolment{f.Peers, id, f.Secret})
		case told.secret != f.Secret || !told.granted || !maps.Equal(told.Encode(), want.Encode()):
			steps = append(steps, publishToRacks{id, want, f.Secret, told})
		}
	}
	if known := f.known(); !maps.Equal(known, f.Known) {
		steps = append(steps, remember{f.Peers, "remember which racks there are", known})
	}
	return steps
}

// known are the racks that there are or were.
func (f Facts) known() map[string]Rack {
	known := maps.Clone(f.Known)
	for unit, r := range f.Present {
		if r.SystemID == "" && known[unit].Hostname == r.Hostname {
			continue // it enrols again; until then it is what it was
		}
		known[unit] = r
	}
	return known
}

// deleting deletes the regions whose units have gone, or have another identity. MAAS counts an
// image as complete when each region that it lists has it, and asks all of them in each sync
// (src/maastemporalworker/workflow/bootresource.py): a dead one ends that.
func deleting(f Facts) []charm.Step[*Env] {
	now := map[string]Region{}
	if id := f.Mine[keySystemID]; id != "" && id == f.SystemID && !f.Copied {
		now[id] = Region{f.Unit, f.Hostname}
	}
	silent := map[string]bool{} // units that have not said who they are
	for unit, other := range f.Others {
		if !slices.Contains(f.Units, unit) && unit != f.databaseUnit().Unit {
			continue // it leaves, or was removed by force: then the relation may list it for ever
		}
		if id := other[keySystemID]; id != "" {
			now[id] = Region{unit, other[keyHostname]}
		} else {
			silent[unit] = true
		}
	}
	if len(now) == 0 || f.Mine[keySystemID] != f.SystemID || f.Shared[keyRestored] != "" {
		return nil // not all is known yet
	}
	known := maps.Clone(f.Regions)
	maps.Copy(known, now)
	var steps []charm.Step[*Env]
	if !maps.Equal(known, f.Regions) {
		steps = append(steps, rememberRegions{f.Peers, "remember which regions there are", known})
	}
	stay := maps.Clone(known)
	for _, id := range slices.Sorted(maps.Keys(known)) {
		if _, here := now[id]; here || silent[known[id].Unit] {
			continue
		}
		delete(stay, id)
		steps = append(steps, deleteRegion{id, known[id]})
	}
	if !maps.Equal(stay, known) {
		steps = append(steps, rememberRegions{f.Peers, "forget the regions that have left", stay})
	}
	return steps
}

// striking deletes the racks whose units have gone.
func striking(f Facts) []charm.Step[*Env] {
	var steps []charm.Step[*Env]
	known := f.known()
	stay := maps.Clone(known)
	for _, unit := range slices.Sorted(maps.Keys(known)) {
		if _, here := f.Present[unit]; !here {
			delete(stay, unit)
			steps = append(steps, strike{unit, known[unit], slices.Collect(maps.Values(f.Present))})
		}
	}
	if !maps.Equal(stay, known) {
		steps = append(steps, remember{f.Peers, "forget the racks that have left", stay})
	}
	return steps
}

// hostnames are those of the region's units.
func (f Facts) hostnames() []string {
	all := []string{f.Hostname}
	for unit, other := range f.Others {
		if other[keyHostname] != "" && slices.Contains(f.Units, unit) {
			all = append(all, other[keyHostname])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// settingsDigest distinguishes one set of MAAS's settings from another; "" for none. They are set when
// the options change, and not each time they are different: an operator may change them in
// MAAS, too.
func (c Config) settingsDigest() string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		fmt.Fprintf(&text, "%s=%s\n", name, c.Settings[name])
	}
	return digest(text.String())
}

// imagesDigest is the same for the images.
func (c Config) imagesDigest() string {
	var text strings.Builder
	for _, s := range c.Images {
		fmt.Fprintln(&text, s)
	}
	return digest(text.String())
}

// digest is that of both, which earlier versions of this charm wrote.
func (c Config) digest() string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		fmt.Fprintf(&text, "%s=%s\n", name, c.Settings[name])
	}
	for _, s := range c.Images {
		fmt.Fprintln(&text, s)
	}
	return digest(text.String())
}

func digest(text string) string {
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// version makes 3.7.3 of a package's 1:3.7.3-0ubuntu1.
func version(pkg string) string {
	if _, after, ok := strings.Cut(pkg, ":"); ok {
		pkg = after
	}
	v, _, _ := strings.Cut(pkg, "-")
	return v
}

type (
	// claimDatabase makes this unit the coordinator, and creates the passwords.
	claimDatabase struct{ config Config }
	ask           struct{ relation string }
	publish       struct {
		relation string
		values   map[string]string
	}
	removeLeftovers struct{ paths []string }
	setSource       struct{ source apt.Source }
	finish          struct{}
	install         struct {
		source   apt.Source
		packages []string
	}
	renew          struct{}
	recordIdentity struct{}
	startDatabase  struct{ password string }
	allow          struct {
		listen  string
		clients []string
	}
	create struct{ c *database.Connection }
	// configure writes regiond.conf for the database place; other states that MAAS's files on this
	// machine are of another one.
	configure struct {
		conf  map[string]any
		place string
		other bool
	}
	recordDatabase struct{ place string }
	// noteDatabase has the application's databag be about the database place.
	noteDatabase struct {
		peers, place string
		other        bool
	}
	migrate      struct{ f Facts }
	start        struct{}
	stop         struct{}
	refuse       struct{}
	makePassword struct{ admin string }
	// createAdmin sets the password of one that there is already where reset says so.
	createAdmin struct {
		relation, name, password string
		reset                    bool
	}
	// adopt finds the regions that a restored database brought along.
	adopt        struct{ relation, own string }
	deleteRegion struct {
		id     string
		region Region
	}
	rememberRegions struct {
		relation, what string
		regions        map[string]Region
	}
	set struct {
		relation, digest string
		config           Config
	}
	selectImages struct {
		relation, digest string
		config           Config
	}
	// each takes several groups of steps; one that fails keeps no other from being taken.
	each           struct{ of [][]charm.Step[*Env] }
	makeEnrolment  struct{ peers, relation, secret string }
	publishToRacks struct {
		relation string
		offer    maascontroller.Offer
		secret   string
		was      offer
	}
	strike struct {
		unit string
		rack Rack
		keep []Rack
	}
	remember struct {
		relation, what string
		racks          map[string]Rack
	}
)
