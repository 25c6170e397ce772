// Package region installs a MAAS region controller on each unit. The units share one
// database; one of them, the database unit, migrates it and, where it is embedded, has it.
//
// Who that is goes like this: the leader writes a name into the application's databag, and
// a unit acts as the database unit only when it reads its own name back, so that Juju had committed it
// before anything was done. A new leader respects a database unit until Juju no longer knows that
// unit. Passwords go the same way: nothing is made with one that Juju could still throw away.
package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dcib/dcib/charms/maas-region/database"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/node"
	"github.com/dcib/dcib/internal/relation/coordinator"
	"github.com/dcib/dcib/internal/relation/maascontroller"
	"github.com/dcib/dcib/internal/relation/postgresql"
)

// Endpoints.
const (
	Peers    = "cluster"
	Racks    = "maas"
	Database = "maas-db"
)

// API is where a unit reaches its own region.
const API = "http://localhost:5240/MAAS"

// Env is what the charm works on.
type Env struct {
	node.Machine
	Tools     hooktool.Tools
	Unit, App string
	CharmDir  string
	StateDir  string // backups are written there, readable by root only
	API       string // API outside tests
	Now       func() time.Time
	Random    func() string                              // a new password, of letters and digits
	Dial      func(ctx context.Context, at string) error // reports whether a program listens there
	Wait      func(ctx context.Context, done func() bool)

	migrated string // what this very hook has migrated
	key      string // to the API, once it was asked for
}

// Keys of the peer relation's databags: the application's, and a unit's.
const (
	keyCoordinator = "coordinator"
	keyKind        = "database"
	keyDBSecret    = "database-secret"
	keyPassword    = "admin-secret"
	keyAdmin       = "admin"
	keySettings    = "settings"
	keyImages      = "images"
	keyRacks       = "racks"
	keyRegions     = "regions"
	keyOn          = "on"       // the database that these keys are about
	keyTLS         = "tls"      // the digest of the certificate that option tls-secret had MAAS serve
	keyRestored    = "restored" // a backup was restored, and MAAS's users and regions are others

	keyAddress  = "address"
	keyHostname = "hostname"
	keyVersion  = "version"
	keyMigrated = "migrated"
	keySystemID = "system-id"
)

// keyOf is where the id of the secret for a relation's racks is kept, until they are told.
func keyOf(relation string) string { return "enroll-" + strings.ReplaceAll(relation, ":", "-") }

// Rack is a rack as the region's charm remembers it.
type Rack struct {
	SystemID string `json:"system-id"`
	Hostname string `json:"hostname"`
}

// Region is a region controller as the leader remembers it.
type Region struct {
	Unit     string `json:"unit"` // empty for one of no unit, to be deleted
	Hostname string `json:"hostname"`
}

// Facts are everything a plan is made from.
type Facts struct {
	Unit, App string
	Hostname  string
	Address   string
	Config    Config
	Problems  []string
	Leader    bool
	Staying   bool
	Units     []string
	Peers     string // the relation; empty before it is there

	Shared map[string]string            // the application's databag
	Mine   map[string]string            // this unit's
	Others map[string]map[string]string // the others'

	Leftovers []string // folders that killed actions have left
	HasSource bool
	Packages  map[string]apt.State
	Conf      map[string]any

	Connection *database.Connection // nil while it is not known
	On         string               // the database that the application's databag is about; empty before it is noted
	Record     string               // the one that this machine's files belong to; likewise
	Limit      int                  // of connections that PostgreSQL takes; 0 while it is not known
	ServerApp  string               // the application on the other side of that relation
	Server     string               // the relation that the database comes by; empty for an embedded one
	Unknown    string               // why not
	Asks       string               // the relation in which the database has to be asked for yet
	Listening  bool                 // a program listens there
	Ready      bool                 // role and database are there; on the database unit's own machine
	Mute       bool                 // PostgreSQL does not answer its superuser there
	Allows     bool
	Unusable   string // why its configuration cannot be changed, for an operator
	Migrated   bool

	Answer            // how the region answers
	Inactive []string // services that should run
	Down     []string // services that regiond starts again itself, and that do not run
	Runs     bool     // some service does
	Secret   string   // MAAS's, for racks; secret
	SystemID string
	Copied   bool
	SameName bool
	Recorded bool

	Password string // the administrator's, while it is to be made; secret

	// Of the leader.
	Offers  map[string]offer  // by relation
	Present map[string]Rack   // by unit, as Juju names it here
	Known   map[string]Rack   // as remembered
	Alike   []string          // what is wrong with racks, like two that MAAS takes for one
	Regions map[string]Region // by system id, as remembered
	Trouble []string          // racks that MAAS lists as dead or degraded, in words

	TLS        *Certificate // that option tls-secret names; nil without
	TLSProblem string       // why that cannot be used
}

// offer is what a relation's racks are told now.
type offer struct {
	maascontroller.Offer
	id      string // of the secret that is theirs, told or not; empty before it is made
	secret  string // its content
	granted bool
}

// isDatabaseUnit reports whether this unit is the coordinator.
func (f Facts) isDatabaseUnit() bool { return f.databaseUnit().Is(f.Unit) }

// databaseUnit returns the unit that has the database, or migrates it.
func (f Facts) databaseUnit() coordinator.Choice {
	return coordinator.New(f.Shared[keyCoordinator], f.Units)
}

// embedded reports whether the database is on the database unit's machine.
func (f Facts) embedded() bool { return f.Shared[keyKind] == Embedded }

// url is where MAAS is; the same on each unit. Empty while it is not known.
func (f Facts) url() string {
	if f.Config.URL != "" {
		return f.Config.URL
	}
	if f.isDatabaseUnit() {
		return urlOf(f.Address)
	}
	if address := f.Others[f.databaseUnit().Unit][keyAddress]; address != "" {
		return urlOf(address)
	}
	return ""
}

// wants is what has to be migrated: this version of MAAS, on this database. A database over a
// relation is known by the relation, not by an address: PostgreSQL's primary moves.
func (f Facts) wants() string {
	return f.Packages[node.RegionPackage].Version + " on " + f.place()
}

// place names the database, whatever its address is.
func (f Facts) place() string {
	at := f.databaseUnit().Unit
	if !f.embedded() {
		at = "relation " + f.Server
	}
	return at + "/" + f.Connection.Name
}

// ofDatabase are the keys of the application's databag that say what was done in a database.
var ofDatabase = []string{keyAdmin, keySettings, keyImages, keyTLS, keyRegions, keyRestored}

// forget drops what is remembered of another database than the one that MAAS is on now.
func (f *Facts) forget() {
	f.On = f.Shared[keyOn]
	if f.Connection == nil || f.On == "" || f.On == f.place() {
		return
	}
	f.Shared = maps.Clone(f.Shared)
	for _, key := range ofDatabase {
		delete(f.Shared, key)
	}
}

// addressed is what earlier versions of this charm wrote for wants: with the primary's address.
func (f Facts) addressed() string {
	c := f.Connection
	return f.Packages[node.RegionPackage].Version + " on " + net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) + "/" + c.Name
}

// conf is what regiond.conf has to have.
func (f Facts) conf() map[string]any {
	conf := f.Connection.Conf()
	if url, _ := f.Conf["vault_url"].(string); url != "" {
		// With Vault regiond moves these out of the file each time that it starts
		// (migrate_db_credentials_if_necessary in src/maasserver/start_up.py).
		for _, key := range []string{"database_user", "database_pass", "database_name"} {
			delete(conf, key)
		}
	}
	conf["maas_url"] = f.url()
	// What Temporal's servers reach each other at. MAAS looks maas_url up otherwise, which may be a
	// name that this machine does not know, or an address that moves.
	conf["broadcast_address"] = f.Address
	return conf
}

// packages are those that this unit needs.
func (f Facts) packages() []string {
	switch {
	case f.databaseUnit().Unit == "":
		return []string{node.RegionPackage}
	case f.isDatabaseUnit() && f.embedded():
		return []string{node.RegionPackage, database.Package}
	default:
		return []string{node.RegionPackage, database.Client}
	}
}

// databaseRecord is which database MAAS's files on this machine belong to.
const databaseRecord = "var/lib/dcib/maas-database"

// services are a region's, in the order that they start in. Older lines have fewer.
var services = []string{"maas-regiond", "maas-apiserver", "maas-temporal", "maas-temporal-worker"}

// supervised are services of a region besides, which regiond starts again every 30 seconds
// (src/maasserver/service_monitor.py): nginx, DNS, time, and the log of machines.
var supervised = []string{"maas-http", "named", "chrony", "maas-syslog"}

// Observe gathers the facts and changes nothing.
func Observe(ctx context.Context, event hooktool.Event, w *Env) (f Facts, err error) {
	f = Facts{Unit: w.Unit, App: w.App, Hostname: w.Hostname, Staying: event.Hook != "stop" && event.Hook != "remove"}
	options, err := w.Tools.Config(ctx)
	if err != nil {
		return f, err
	}
	f.Config, f.Problems = ParseConfig(options)
	if f.Leader, err = w.Tools.IsLeader(ctx); err != nil {
		return f, err
	}
	if err := f.observePeers(ctx, w); err != nil || f.Peers == "" {
		return f, err
	}
	f.Leftovers = w.leftovers()
	f.HasSource = apt.Sources{Run: w.Run, Root: w.Root, Name: "dcib-" + w.App}.Has(f.Config.Source)
	f.Packages = apt.Query(ctx, w.Run, f.packages()...)
	if f.Copied, f.SameName, err = w.Copied(); err != nil {
		return f, err
	}
	f.SystemID, f.Recorded = w.Text(node.SystemIDFile), w.Recorded()
	if err := f.observeDatabase(ctx, w); err != nil {
		return f, err
	}
	f.forget()
	f.Record = w.Text(databaseRecord)
	if !f.Packages[node.RegionPackage].Installed() {
		return f, nil
	}
	if f.Conf, err = w.Conf(node.RegionConf); err != nil {
		f.Problems = append(f.Problems, err.Error())
		return f, nil
	}
	has := w.services()
	f.Inactive = w.Inactive(ctx, has...)
	f.Runs = len(f.Inactive) < len(has)
	if beside := w.installed(supervised); len(beside) > 0 {
		f.Down = w.Inactive(ctx, beside...)
	}
	f.Answer = w.answer(ctx)
	if f.Connection != nil {
		f.observeReadiness(ctx, w)
	}
	f.Secret = w.Text(node.SecretFile)
	if !f.Leader {
		return f, nil
	}
	if err := f.observeAdmin(ctx, w); err != nil {
		return f, err
	}
	if err := f.observeRacks(ctx, w); err != nil {
		return f, err
	}
	f.observeTrouble(ctx, w)
	f.observeLimit(ctx, w)
	f.observeTLS(ctx, w)
	return f, nil
}

// observeTrouble asks MAAS which racks are dead or degraded. Without an administrator, or where
// MAAS does not answer, nothing is known: the plan says so already.
func (f *Facts) observeTrouble(ctx context.Context, w *Env) {
	if len(f.Present) == 0 || f.Version == "" || f.Shared[keyAdmin] != f.Config.Admin {
		return
	}
	c, err := w.client(ctx)
	var racks []maas.Controller
	if err == nil {
		racks, err = c.Racks(ctx)
	}
	if err != nil {
		f.Trouble = []string{"cannot see whether they run: " + err.Error()}
		return
	}
	for _, r := range racks {
		if wrong := r.Trouble(); len(wrong) > 0 {
			f.Trouble = append(f.Trouble, fmt.Sprintf("%s (%s): %s", r.Hostname, r.SystemID, strings.Join(wrong, ", ")))
		}
	}
	slices.Sort(f.Trouble)
}

// How many connections a region takes at most, and how many PostgreSQL needs besides; margin is what the
// advice has per region (as in canonical/maas-terraform-modules).
const perRegion, reserved, margin = 40, 10, 50

// observeLimit asks a related PostgreSQL how many connections it takes, where several regions share it.
// An embedded one is configured for them.
func (f *Facts) observeLimit(ctx context.Context, w *Env) {
	if f.embedded() || f.Connection == nil || f.Version == "" || len(f.Units) < 2 {
		return
	}
	work, err := w.workDir(workDirs[3])
	if err == nil {
		defer os.RemoveAll(work)
		f.Limit, err = f.Connection.MaxConnections(ctx, w.Machine, work)
	}
	if err != nil {
		_ = w.Tools.Log(ctx, "WARNING", err.Error())
	}
}

// crowded states that PostgreSQL takes too few connections for the regions; "" where it takes enough, or
// that is not known.
func (f Facts) crowded() string {
	regions := len(f.Units)
	need := reserved + perRegion*regions
	if f.Limit == 0 || f.Limit >= need {
		return ""
	}
	return fmt.Sprintf("PostgreSQL allows %d connections, and %d regions take up to %d: juju config %s experimental-max-connections=%d", f.Limit, regions, need, f.ServerApp, reserved+margin*regions)
}

// services lists those that the installed packages have.
func (w *Env) services() []string { return w.installed(services) }

// installed returns those of the services that the machine has.
func (w *Env) installed(names []string) []string {
	var has []string
	for _, s := range names {
		if w.Has("usr/lib/systemd/system/"+s+".service") || w.Has("lib/systemd/system/"+s+".service") {
			has = append(has, s)
		}
	}
	return has
}

// isIPv4 reports whether text is an IPv4 address.
func isIPv4(text string) bool {
	at, err := netip.ParseAddr(text)
	return err == nil && at.Is4()
}

func (f *Facts) observePeers(ctx context.Context, w *Env) error {
	ids, err := w.Tools.RelationIDs(ctx, Peers)
	if err != nil || len(ids) == 0 {
		return err
	}
	addresses, err := w.Tools.Addresses(ctx, Racks)
	if err != nil {
		return err
	}
	f.Address = addresses[0]
	if at := slices.IndexFunc(addresses, isIPv4); at >= 0 {
		f.Address = addresses[at]
	} else {
		f.Problems = append(f.Problems, fmt.Sprintf("cannot run MAAS on this unit: its address %s of endpoint %s is an IPv6 address, and MAAS's Temporal servers reach each other by IPv4 alone: juju bind %s %s=SPACE, where SPACE has IPv4", f.Address, Racks, f.App, Racks))
	}
	if f.Units, err = w.Tools.Units(ctx); err != nil {
		return err
	}
	f.Staying = f.Staying && slices.Contains(f.Units, w.Unit)
	f.Peers, f.Others = ids[0], map[string]map[string]string{}
	if f.Shared, err = w.Tools.RelationGet(ctx, f.Peers, w.App); err != nil {
		return err
	}
	if f.Mine, err = w.Tools.RelationGet(ctx, f.Peers, w.Unit); err != nil {
		return err
	}
	others, err := w.Tools.RelationUnits(ctx, f.Peers)
	if err != nil {
		return err
	}
	for _, other := range others {
		if f.Others[other], err = w.Tools.RelationGet(ctx, f.Peers, other); err != nil {
			return err
		}
	}
	return nil
}

// observeDatabase finds out where the database is and how to get in.
func (f *Facts) observeDatabase(ctx context.Context, w *Env) error {
	if f.databaseUnit().Unit == "" {
		f.Unknown = "waiting for Juju to note which unit keeps the database"
		return nil
	}
	if !f.embedded() {
		return f.observeServer(ctx, w)
	}
	content, err := w.Tools.Secret(ctx, f.Shared[keyDBSecret])
	if err != nil || content["password"] == "" {
		f.Unknown = "waiting for the database's password"
		return nil
	}
	c := database.Connection{Host: "localhost", Port: database.Port, Name: database.Name, User: database.Role, Password: content["password"]}
	if !f.isDatabaseUnit() {
		if c.Host = f.Others[f.databaseUnit().Unit][keyAddress]; c.Host == "" {
			f.Unknown = "waiting for " + f.databaseUnit().Unit + ", which has the database"
			return nil
		}
	}
	f.Connection = &c
	return nil
}

// observeServer looks at relation maas-db.
func (f *Facts) observeServer(ctx context.Context, w *Env) error {
	ids, err := w.Tools.RelationIDs(ctx, Database)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		f.Problems = append(f.Problems, fmt.Sprintf("option database is %s: juju integrate %s:%s postgresql", Relation, f.App, Database))
		return nil
	}
	f.Server = ids[0]
	// As upstream's charm names it.
	name := strings.ReplaceAll(f.App, "-", "_") + "_db"
	f.Unknown = "waiting for relation " + Database + " to name a database"
	if f.Leader {
		mine, err := w.Tools.RelationGet(ctx, ids[0], f.App)
		if err != nil {
			return err
		}
		if !postgresql.Asked(mine, name) {
			f.Asks = ids[0]
			return nil
		}
	}
	server, err := w.Tools.RelationApp(ctx, ids[0])
	if err != nil {
		return err
	}
	f.ServerApp = server
	bag, err := w.Tools.RelationGet(ctx, ids[0], server)
	if err != nil {
		return err
	}
	s, ok, err := postgresql.Decode(bag, name)
	if err == nil && ok && s.TLS {
		// That charm then has hostssl lines alone (canonical/postgresql-operator,
		// templates/patroni.yml.j2); see database.Local for MAAS.
		err = fmt.Errorf("cannot use the database on %s: it requires TLS, and MAAS's Temporal server cannot use it: juju remove-relation the certificate authority from %s", s.Host, server)
	}
	var user, password string
	if ok && err == nil {
		var content map[string]string
		if s.SecretID != "" {
			if content, err = w.Tools.Secret(ctx, s.SecretID); err != nil {
				return nil // granted a moment later
			}
		}
		user, password, err = s.User(content)
	}
	if err == nil && ok {
		f.Connection = &database.Connection{Host: s.Host, Port: s.Port, Name: s.Database, User: user, Password: password}
		err = f.Connection.Check()
	}
	if err != nil {
		f.Connection = nil
		f.Problems = append(f.Problems, err.Error())
	}
	return nil
}

// observeReadiness looks how far the database is.
func (f *Facts) observeReadiness(ctx context.Context, w *Env) {
	listens := func(host string) bool {
		return w.Dial(ctx, net.JoinHostPort(host, strconv.Itoa(f.Connection.Port))) == nil
	}
	f.Listening = listens(f.Connection.Host)
	if f.isDatabaseUnit() && f.embedded() && f.Packages[database.Package].Installed() {
		local := database.Local{Machine: w.Machine}
		var err error
		if f.Allows, err = local.Allows(f.Address, f.clients()); err != nil {
			f.Unusable = err.Error()
		}
		if f.Allows && len(f.clients()) > 0 && !listens(f.Address) {
			// It started before the machine had the address that the others reach it at.
			f.Listening = false
		}
		if f.Ready = f.Version != "" && f.Listening; !f.Ready {
			// Asking costs two programs; who answers has a database.
			var err error
			f.Ready, err = local.Ready(ctx, f.Connection.Password)
			f.Mute = err != nil
		}
	}
	f.Migrated = f.migrated(w)
}

// migrated reports whether some unit has migrated the database to what is installed here.
func (f *Facts) migrated(w *Env) bool {
	want := []string{f.wants()}
	if !f.embedded() {
		want = append(want, f.addressed())
	}
	for _, other := range f.Others {
		if slices.Contains(want, other[keyMigrated]) {
			return true
		}
	}
	return slices.Contains(want, f.Mine[keyMigrated]) || w.migrated == f.wants()
}

// clients are the addresses of the other units.
func (f Facts) clients() []string {
	var all []string
	for _, other := range f.Others {
		if net.ParseIP(other[keyAddress]) != nil {
			all = append(all, other[keyAddress])
		}
	}
	slices.Sort(all)
	return all
}

// observeAdmin reads the administrator's password while there is none in MAAS.
func (f *Facts) observeAdmin(ctx context.Context, w *Env) error {
	id := f.Config.AdminPassword
	if f.Shared[keyAdmin] == f.Config.Admin || id == "" && f.Shared[keyPassword] == "" {
		return nil
	}
	if id == "" {
		id = f.Shared[keyPassword]
	}
	content, err := w.Tools.Secret(ctx, id)
	f.Password = content["password"]
	switch {
	case err != nil && id == f.Config.AdminPassword:
		f.Problems = append(f.Problems, fmt.Sprintf("option admin-password is %s: %s: juju grant-secret %s %s", id, err, id, f.App))
	case err != nil:
		return err
	case f.Password == "" || strings.ContainsAny(f.Password, "\r\n\x00"):
		f.Password = ""
		f.Problems = append(f.Problems, fmt.Sprintf("option admin-password is %s: its field password is empty or has several lines: juju update-secret %s password=…", id, id))
	}
	return nil
}

// observeRacks looks at the racks, as the leader sees them.
func (f *Facts) observeRacks(ctx context.Context, w *Env) error {
	f.Offers, f.Present, f.Known = map[string]offer{}, map[string]Rack{}, map[string]Rack{}
	if text := f.Shared[keyRacks]; text != "" {
		if err := json.Unmarshal([]byte(text), &f.Known); err != nil {
			return fmt.Errorf("cannot read which racks there were: key %s of the peer relation: %w", keyRacks, err)
		}
	}
	f.Regions = map[string]Region{}
	if text := f.Shared[keyRegions]; text != "" {
		if err := json.Unmarshal([]byte(text), &f.Regions); err != nil {
			return fmt.Errorf("cannot read which regions there were: key %s of the peer relation: %w", keyRegions, err)
		}
	}
	ids, err := w.Tools.RelationIDs(ctx, Racks)
	if err != nil {
		return err
	}
	byID := map[string]string{}
	for _, id := range ids {
		bag, err := w.Tools.RelationGet(ctx, id, f.App)
		if err != nil {
			return err
		}
		told, _, _ := maascontroller.DecodeOffer(bag)
		o := offer{Offer: told, id: told.SecretID}
		if o.id == "" {
			o.id = f.Shared[keyOf(id)]
		}
		if o.id != "" {
			content, err := w.Tools.Secret(ctx, o.id)
			if err == nil {
				o.secret = content[maascontroller.SecretField]
				o.granted, err = w.Tools.Granted(ctx, o.id)
			}
			if errors.Is(err, hooktool.ErrNotFound) {
				o.id, err = "", nil
			}
			if err != nil {
				return err
			}
		}
		f.Offers[id] = o
		units, err := w.Tools.RelationUnits(ctx, id)
		if err != nil {
			return err
		}
		for _, unit := range units {
			bag, err := w.Tools.RelationGet(ctx, id, unit)
			if err != nil {
				return err
			}
			r, ok, err := maascontroller.DecodeRack(bag)
			if err != nil {
				f.Alike = append(f.Alike, err.Error())
			}
			if !ok {
				continue
			}
			hostname, _, _ := strings.Cut(r.FQDN, ".")
			f.Present[unit] = Rack{r.SystemID, hostname}
			if other := byID[r.SystemID]; r.SystemID != "" && other != "" {
				f.Alike = append(f.Alike, fmt.Sprintf("%s and %s are one rack (%s) in MAAS: their machines have a host name or a network address in common: rename one, then juju run %s reset-identity force=true", other, unit, r.SystemID, unit))
			}
			byID[r.SystemID] = unit
		}
	}
	slices.Sort(f.Alike)
	return nil
}
