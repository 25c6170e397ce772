package region

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/charms/maas-region/database"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/node"
	"github.com/dcib/dcib/internal/relation/coordinator"
	"github.com/dcib/dcib/internal/relation/maascontroller"
	"github.com/dcib/dcib/internal/relation/postgresql"
)

func (claimDatabase) Name() string { return "let this unit have the database" }

func (s claimDatabase) Apply(ctx context.Context, w *Env) error {
	ids, err := w.Tools.RelationIDs(ctx, Peers)
	if err != nil || len(ids) == 0 {
		return err
	}
	values := map[string]string{keyKind: s.config.Database}
	if s.config.Database == Embedded {
		if values[keyDBSecret], err = w.Tools.AddSecret(ctx, "database", map[string]string{"password": w.Random()}); err != nil {
			return err
		}
	}
	return coordinator.Elect(ctx, w.Tools, ids[0], keyCoordinator, w.Unit, values)
}

func (ask) Name() string { return "ask for a database" }

func (s ask) Apply(ctx context.Context, w *Env) error {
	return w.Tools.RelationSetApp(ctx, s.relation, postgresql.Encode(strings.ReplaceAll(w.App, "-", "_")+"_db"))
}

func (s publish) Name() string {
	return strings.TrimSpace("publish to the other units " + s.values[keyVersion])
}

func (s publish) Apply(ctx context.Context, w *Env) error {
	return w.Tools.RelationSet(ctx, s.relation, s.values)
}

func (removeLeftovers) Name() string { return "remove what a killed action has left of the database" }

func (s removeLeftovers) Apply(context.Context, *Env) error { return removeAll(s.paths) }

func (s setSource) Name() string { return "have packages from " + s.source.String() }

func (s setSource) Apply(ctx context.Context, w *Env) error {
	return apt.Sources{Run: w.Run, Root: w.Root, Name: "dcib-" + w.App}.Set(ctx, s.source)
}

func (finish) Name() string { return "finish what dpkg left half done" }

func (finish) Apply(ctx context.Context, w *Env) error {
	return apt.Finish(ctx, w.Run, node.Replaceable...)
}

func (s install) Name() string { return "install " + strings.Join(s.packages, " and ") }

func (s install) Apply(ctx context.Context, w *Env) error {
	return apt.InstallReplacing(ctx, w.Run, "option source is "+s.source.String()+": set it to where MAAS's packages are, like ppa:maas/3.7", node.Replaceable, s.packages...)
}

func (renew) Name() string { return "reset the identity of this copy" }

func (renew) Apply(ctx context.Context, w *Env) error { return w.Forget(ctx) }

func (recordIdentity) Name() string { return "note whose identity this is" }

func (recordIdentity) Apply(ctx context.Context, w *Env) error { return w.Record() }

func (startDatabase) Name() string { return "start PostgreSQL" }

func (s startDatabase) Apply(ctx context.Context, w *Env) error {
	_, err := w.Run.Run(ctx, "systemctl", "restart", "postgresql")
	if err == nil {
		// That service stands for all clusters of the machine, and counts as started without one.
		_, err = database.Local{Machine: w.Machine}.Ready(ctx, s.password)
	}
	if err != nil {
		return charm.Blocked("PostgreSQL does not start: %s: look at journalctl -u 'postgresql*' (retried automatically)", err)
	}
	return nil
}

func (s allow) Name() string { return "let the region's other units into PostgreSQL" }

func (s allow) Apply(ctx context.Context, w *Env) error {
	err := database.Local{Machine: w.Machine}.Allow(ctx, s.listen, s.clients)
	if errors.Is(err, database.ErrUnusable) {
		return charm.Blocked("%s", err)
	}
	return retried(err)
}

func (create) Name() string { return "make MAAS's database" }

func (s create) Apply(ctx context.Context, w *Env) error {
	return retried(database.Local{Machine: w.Machine}.Create(ctx, s.c.Password))
}

// retried makes of an error that will pass, or that an operator has to fix meanwhile, what
// the unit says.
func retried(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "No space left on device"):
		return charm.Blocked("the disk is full: %s: free some (retried automatically)", err)
	}
	return charm.Waiting("%s (retried automatically)", err)
}

func (configure) Name() string { return "write regiond.conf" }

func (s configure) Apply(ctx context.Context, w *Env) error {
	// Stopped first: who runs has read the old one, and does not show it.
	if err := w.stop(ctx); err != nil {
		return err
	}
	if s.other {
		// regiond keeps the files that it finds (src/maasserver/start_up.py), and makes those of this
		// database when there are none; with others its services refuse each other.
		if err := w.Remove(fromDatabase...); err != nil {
			return retried(err)
		}
	}
	if err := w.SetConf(node.RegionConf, s.conf); err != nil {
		return retried(err)
	}
	return retried(w.Write(databaseRecord, s.place, false))
}

// fromDatabase are MAAS's files that regiond makes of what is in its database.
var fromDatabase = []string{node.SecretFile, "var/lib/maas/maas_uuid", "var/lib/maas/certificates", node.SystemIDFile}

func (recordDatabase) Name() string { return "note whose database this machine's files are of" }

func (s recordDatabase) Apply(_ context.Context, w *Env) error {
	return w.Write(databaseRecord, s.place, false)
}

func (noteDatabase) Name() string { return "note which database MAAS is on" }

func (s noteDatabase) Apply(ctx context.Context, w *Env) error {
	values := map[string]string{keyOn: s.place}
	if s.other {
		for _, key := range ofDatabase {
			values[key] = ""
		}
	}
	return w.Tools.RelationSetApp(ctx, s.peers, values)
}

// stop stops the region. regiond is first: it starts the others again that it finds stopped
// (service_monitor in MAAS's source), and one that runs on would do so with the old code.
func (w *Env) stop(ctx context.Context) error {
	has := w.services()
	for range 2 {
		if err := w.Stop(ctx, has...); err != nil {
			return err
		}
		if len(w.Inactive(ctx, has...)) == len(has) {
			return nil
		}
	}
	return charm.Waiting("cannot stop MAAS: one of %s runs again: look at journalctl -u maas-regiond (retried automatically)", strings.Join(has, ", "))
}

func (s migrate) Name() string {
	return "migrate the database to MAAS " + version(s.f.Packages[node.RegionPackage].Version)
}

// Bound implements charm.Bounded.
func (migrate) Bound() time.Duration { return node.MigrationLimit + 5*time.Minute }

func (s migrate) Apply(ctx context.Context, w *Env) error {
	// Packages start the new code on the old schema when they are upgraded.
	if err := w.stop(ctx); err != nil {
		return err
	}
	if _, err := w.Run.Run(ctx, "maas-region", "dbupgrade"); err != nil {
		return retried(err)
	}
	w.migrated = s.f.wants()
	return w.Tools.RelationSet(ctx, s.f.Peers, map[string]string{keyMigrated: w.migrated})
}

// masked reports whether a service is held down until the machine restarts.
func (w *Env) masked() bool {
	return slices.ContainsFunc(services, func(s string) bool { return w.Has("run/systemd/system/" + s + ".service") })
}

// idleTime is how long a hook waits for a region that it has not started: its machine may have
// restarted just before.
const idleTime = 30 * time.Second

func (start) Name() string { return "start MAAS" }

func (start) Apply(ctx context.Context, w *Env) error {
	if w.masked() {
		// A refresh that was killed held them down.
		if _, err := w.Run.Run(ctx, "systemctl", append([]string{"unmask", "--runtime"}, w.services()...)...); err != nil {
			return err
		}
	}
	started := false
	wait := func() {
		limited := ctx
		if !started {
			var cancel context.CancelFunc
			limited, cancel = context.WithTimeout(ctx, idleTime)
			defer cancel()
		}
		w.Wait(limited, func() bool { return w.answer(limited).Lives })
	}
	for n, service := range w.services() {
		if n == 2 {
			// regiond writes what Temporal reads, some time after it has started.
			wait()
		}
		if len(w.Inactive(ctx, service)) == 0 {
			continue
		}
		if _, err := w.Run.Run(ctx, "systemctl", "enable", "--now", service); err != nil {
			return charm.Waiting("%s: look at journalctl -u %s (retried automatically)", err, service)
		}
		started = true
	}
	wait()
	inactive := w.Inactive(ctx, w.services()...)
	if len(inactive) == 0 && w.answer(ctx).Lives {
		return nil
	}
	var beside []string
	if names := w.installed(supervised); len(names) > 0 {
		beside = w.Inactive(ctx, names...)
	}
	return charm.Waiting("%s (retried automatically)", silence(inactive, beside))
}

func (stop) Name() string { return "stop MAAS" }

func (stop) Apply(ctx context.Context, w *Env) error {
	for _, service := range w.services() {
		if _, err := w.Run.Run(ctx, "systemctl", "disable", "--now", service); err != nil {
			return err
		}
	}
	return nil
}

func (refuse) Name() string { return "leave the others" }

func (refuse) Apply(context.Context, *Env) error {
	// Only a hook that fails keeps Juju from taking the machine away.
	return errors.New("this unit has the database of all: remove the other units first, or the application as a whole; or juju remove-unit --force, which loses the database")
}

func (makePassword) Name() string { return "make up the administrator's password" }

func (s makePassword) Apply(ctx context.Context, w *Env) error {
	ids, err := w.Tools.RelationIDs(ctx, Peers)
	if err != nil || len(ids) == 0 {
		return err
	}
	id, err := w.Tools.AddSecret(ctx, "maas-admin", map[string]string{"username": s.admin, "password": w.Random()})
	if err != nil {
		return err
	}
	return w.Tools.RelationSetApp(ctx, ids[0], map[string]string{keyPassword: id})
}

func (s createAdmin) Name() string { return "make administrator " + s.name }

func (s createAdmin) Apply(ctx context.Context, w *Env) error {
	err := w.createAdmin(ctx, s.name, s.name+"@maas", "", s.password)
	if err != nil && strings.Contains(err.Error(), "already exists") {
		if err = nil; s.reset {
			// As a restored backup has it; it is to be what the secret says.
			_, err = w.Run.Feed(ctx, []byte(s.password+"\n"+s.password+"\n"), "maas", "changepassword", s.name)
		}
	}
	if err != nil {
		return retried(err)
	}
	return w.Tools.RelationSetApp(ctx, s.relation, map[string]string{keyAdmin: s.name})
}

// createAdmin makes an administrator. MAAS asks for the password, twice, and reads it from
// its input where there is no terminal (createadmin.py in MAAS's source).
func (w *Env) createAdmin(ctx context.Context, name, email, sshImport, password string) error {
	_, err := w.Run.Feed(ctx, []byte(password+"\n"+password+"\n"), "maas", "createadmin", "--username", name, "--email", email, "--ssh-import", sshImport)
	return err
}

// apiKey returns a user's key to the API.
func (w *Env) apiKey(ctx context.Context, user string) (string, error) {
	out, err := w.Run.Run(ctx, "maas", "apikey", "--username", user)
	if err != nil {
		return "", err
	}
	key, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if strings.Count(key, ":") != 2 {
		return "", fmt.Errorf("cannot read the API key of %s: maas apikey printed none: make one with maas apikey --generate --username %s", user, user)
	}
	return strings.TrimSpace(key), nil
}

// client returns MAAS's API as its administrator.
func (w *Env) client(ctx context.Context) (*maas.Client, error) {
	if w.key == "" {
		options, err := w.Tools.Config(ctx)
		if err != nil {
			return nil, err
		}
		c, _ := ParseConfig(options)
		if w.key, err = w.apiKey(ctx, c.Admin); err != nil {
			return nil, err
		}
	}
	return w.connect(ctx, w.key)
}

func (s each) Name() string {
	var names []string
	for _, steps := range s.of {
		for _, step := range steps {
			names = append(names, step.Name())
		}
	}
	return strings.Join(names, ", ")
}

// Apply takes all groups and returns the first error; the others are logged.
func (s each) Apply(ctx context.Context, w *Env) error {
	var first error
	for _, steps := range s.of {
		for _, step := range steps {
			err := step.Apply(ctx, w)
			if err == nil {
				continue
			}
			if first != nil {
				_ = w.Tools.Log(ctx, "WARNING", step.Name()+": "+err.Error())
			}
			if first == nil {
				first = err
			}
			break
		}
	}
	return first
}

func (set) Name() string { return "set what the options say in MAAS" }

func (s set) Apply(ctx context.Context, w *Env) error {
	if err := s.apply(ctx, w); err != nil {
		if maas.IsStatus(err, http.StatusBadRequest) {
			return charm.Blocked("%s: look at options http-proxy, use-peer-proxy, boot-images-no-proxy, ntp-servers and dns-forwarders (retried automatically)", err)
		}
		return retried(err)
	}
	return w.Tools.RelationSetApp(ctx, s.relation, map[string]string{keySettings: s.digest})
}

// apply sets all settings, also where MAAS refuses one. The proxy is first: MAAS fetches by it.
func (s set) apply(ctx context.Context, w *Env) error {
	c, err := w.client(ctx)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(s.config.Settings))
	if at := slices.Index(names, "http_proxy"); at > 0 {
		names = slices.Insert(slices.Delete(names, at, at+1), 0, "http_proxy")
	}
	var refused error
	for _, name := range names {
		err := c.SetConfig(ctx, name, s.config.Settings[name])
		if err != nil && !maas.IsStatus(err, http.StatusBadRequest) {
			return err
		}
		if err != nil && refused == nil {
			refused = fmt.Errorf("cannot set %s: %w", name, err)
		}
	}
	return refused
}

func (selectImages) Name() string { return "select the images of option boot-resources" }

func (s selectImages) Apply(ctx context.Context, w *Env) error {
	if err := s.apply(ctx, w); err != nil {
		if maas.IsStatus(err, http.StatusBadRequest) {
			// MAAS refuses what it has not read in its source's stream, and it reads that some
			// minutes after it was made (BootSourceSelectionForm.clean in MAAS's source).
			return charm.Waiting("MAAS does not know an image of option boot-resources yet: %s: check the option, and that MAAS reaches its source of images (retried automatically)", err)
		}
		return retried(err)
	}
	return w.Tools.RelationSetApp(ctx, s.relation, map[string]string{keyImages: s.digest})
}

func (s selectImages) apply(ctx context.Context, w *Env) error {
	if len(s.config.Images) == 0 {
		return nil
	}
	c, err := w.client(ctx)
	if err != nil {
		return err
	}
	changed, err := c.Select(ctx, s.config.Images)
	if changed {
		err = errors.Join(err, c.Import(ctx))
	}
	return err
}

func (s makeEnrolment) Name() string { return "keep a secret for the racks of " + s.relation }

func (s makeEnrolment) Apply(ctx context.Context, w *Env) error {
	id, err := w.Tools.AddSecret(ctx, maascontroller.SecretLabel(s.relation), map[string]string{maascontroller.SecretField: s.secret})
	if err != nil {
		return err
	}
	return w.Tools.RelationSetApp(ctx, s.peers, map[string]string{keyOf(s.relation): id})
}

func (s publishToRacks) Name() string {
	return "publish the address of MAAS to the racks of " + s.relation
}

func (s publishToRacks) Apply(ctx context.Context, w *Env) error {
	if s.was.secret != s.secret {
		if err := w.Tools.SetSecret(ctx, s.was.id, map[string]string{maascontroller.SecretField: s.secret}); err != nil {
			return err
		}
	}
	if !s.was.granted {
		if err := w.Tools.GrantSecret(ctx, s.was.id, s.relation); err != nil {
			return err
		}
	}
	return w.Tools.RelationSetApp(ctx, s.relation, s.offer.Encode())
}

func (s strike) Name() string { return "strike rack " + s.rack.Hostname + " of " + s.unit + " off" }

// stopTime is how long MAAS may take to see that a rack which has left has stopped.
const stopTime = time.Minute

// Apply deletes a rack that has left. What a rack says of itself is a claim: only the one
// that has both its identity and its name is deleted, none that is still related, and none
// that runs. A unit that leaves stops its rack before, so one that runs is another's, or was
// taken from Juju by force.
func (s strike) Apply(ctx context.Context, w *Env) error {
	c, err := w.client(ctx)
	if err != nil {
		return retried(err)
	}
	meant, err := s.find(ctx, c)
	if err != nil {
		return retried(err)
	}
	if slices.ContainsFunc(meant, alive) {
		limited, cancel := context.WithTimeout(ctx, stopTime)
		w.Wait(limited, func() bool {
			racks, err := s.find(limited, c)
			if err == nil {
				meant = racks
			}
			return err == nil && !slices.ContainsFunc(racks, alive)
		})
		cancel()
	}
	for _, r := range meant {
		if alive(r) {
			_ = w.Tools.Log(ctx, "WARNING", fmt.Sprintf("rack %s (%s), which %s was, runs and stays in MAAS: if it is to go, stop it, and juju run %s remove-controller system-id=%s", r.Hostname, r.SystemID, s.unit, w.Unit, r.SystemID))
			continue
		}
		err := c.DeleteRack(ctx, r.SystemID, false)
		if maas.IsStatus(err, http.StatusBadRequest) {
			return charm.Blocked("%s: assign its VLANs another rack in MAAS (retried automatically), or juju run %s remove-controller system-id=%s force=true, which ends DHCP there", err, w.Unit, r.SystemID)
		}
		if err != nil {
			return retried(err)
		}
	}
	return nil
}

// find returns the racks of MAAS that the unit which left may have been.
func (s strike) find(ctx context.Context, c *maas.Client) ([]maas.Controller, error) {
	racks, err := c.Racks(ctx)
	return slices.DeleteFunc(racks, func(r maas.Controller) bool {
		named := r.Hostname == s.rack.Hostname && (s.rack.SystemID == "" || s.rack.SystemID == r.SystemID)
		kept := slices.ContainsFunc(s.keep, func(k Rack) bool { return k.SystemID == r.SystemID || k.Hostname == r.Hostname })
		return !named || kept
	}), err
}

// alive reports whether MAAS is connected to a rack.
func alive(c maas.Controller) bool { return c.State() == "running" || c.State() == "degraded" }

func (adopt) Name() string { return "find the regions that the backup brought along" }

func (s adopt) Apply(ctx context.Context, w *Env) error {
	c, err := w.client(ctx)
	if err != nil {
		return retried(err)
	}
	list, err := c.Regions(ctx)
	if err != nil {
		return retried(err)
	}
	regions := map[string]Region{}
	for _, r := range list {
		if r.SystemID != s.own {
			regions[r.SystemID] = Region{Hostname: r.Hostname}
		}
	}
	text, err := json.Marshal(regions)
	if err != nil {
		return err
	}
	return w.Tools.RelationSetApp(ctx, s.relation, map[string]string{keyRegions: string(text), keyRestored: ""})
}

func (s deleteRegion) Name() string {
	return "delete region " + s.region.Hostname + " (" + s.id + ") of " + cmp.Or(s.region.Unit, "no unit")
}

// Apply deletes a region. MAAS refuses until another region has seen that its processes ended.
func (s deleteRegion) Apply(ctx context.Context, w *Env) error {
	c, err := w.client(ctx)
	if err != nil {
		return retried(err)
	}
	if err = c.DeleteRegion(ctx, s.id); maas.IsStatus(err, http.StatusBadRequest) {
		limited, cancel := context.WithTimeout(ctx, stopTime)
		w.Wait(limited, func() bool {
			err = c.DeleteRegion(limited, s.id)
			return !maas.IsStatus(err, http.StatusBadRequest)
		})
		cancel()
	}
	if maas.IsStatus(err, http.StatusBadRequest) {
		return charm.Waiting("%s: region %s (%s) of %s has left; MAAS syncs no images until it is deleted: stop its services if its machine still runs (retried automatically)", err, s.region.Hostname, s.id, cmp.Or(s.region.Unit, "no unit"))
	}
	return retried(err)
}

func (s rememberRegions) Name() string { return s.what }

func (s rememberRegions) Apply(ctx context.Context, w *Env) error {
	text, err := json.Marshal(s.regions)
	if err != nil {
		return err
	}
	return w.Tools.RelationSetApp(ctx, s.relation, map[string]string{keyRegions: string(text)})
}

func (s remember) Name() string { return s.what }

func (s remember) Apply(ctx context.Context, w *Env) error {
	text, err := json.Marshal(s.racks)
	if err != nil {
		return err
	}
	return w.Tools.RelationSetApp(ctx, s.relation, map[string]string{keyRacks: string(text)})
}
