package region

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/node"
)

// Actions by name.
var Actions = map[string]charm.Action[Facts, *Env]{
	"create-admin":          createAdministrator,
	"get-api-key":           getAPIKey,
	"get-api-endpoint":      getAPIEndpoint,
	"list-controllers":      listControllers,
	"remove-controller":     removeController,
	"import-boot-resources": importBootResources,
	"list-machines":         listMachines,
	"plan-machines":         planMachines,
	"apply-machines":        applyMachines,
	"commission":            commission,
	"deploy":                deploy,
	"show-plan":             showPlan,
	"create-backup":         backUp,
	"restore-backup":        restore,
	"upgrade-maas":          upgradeMAAS,
	"reset-identity":        resetIdentity,
	"prepare-clone":         prepareClone,
}

// running is what most actions want.
func running(f Facts, what string) error {
	if f.Version == "" {
		return fmt.Errorf("cannot %s: MAAS does not answer on this unit: see its status", what)
	}
	return nil
}

func createAdministrator(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
	name, email, id := call.String("username"), call.String("email"), call.String("password")
	sshImport := call.String("ssh-import")
	if err := running(f, "make an administrator"); err != nil {
		return nil, err
	}
	if !userName.MatchString(name) {
		return nil, fmt.Errorf("cannot make administrator %q: use a username of letters, digits and @ . + - _", name)
	}
	if email == "" {
		email = name + "@maas"
	}
	if strings.HasPrefix(email, "-") || strings.HasPrefix(sshImport, "-") {
		return nil, errors.New("cannot make an administrator: email or ssh-import begins with a hyphen")
	}
	results := map[string]string{"username": name}
	var password string
	if id != "" {
		content, err := w.Tools.Secret(ctx, id)
		if password = content["password"]; err != nil || password == "" || strings.ContainsAny(password, "\r\n\x00") {
			return nil, fmt.Errorf("cannot make administrator %s: parameter password has to be the id of a Juju secret with a field password, granted to %s", name, f.App)
		}
	} else {
		if !f.Leader {
			return nil, errors.New("cannot make up a password: only the leader may keep it in a secret: run this on the leader, or pass a secret's id as password")
		}
		password = w.Random()
		var err error
		label := fmt.Sprintf("maas-user-%s-%d", name, w.Now().UnixNano())
		if results["secret"], err = w.Tools.AddSecret(ctx, label, map[string]string{"username": name, "password": password}); err != nil {
			return nil, err
		}
		results["show"] = "juju show-secret --reveal " + results["secret"]
	}
	if err := w.createAdmin(ctx, name, email, sshImport, password); err != nil {
		return nil, fmt.Errorf("cannot make administrator %s: %w", name, err)
	}
	return results, nil
}

func getAPIKey(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
	user := call.String("username")
	if user == "" {
		user = f.Config.Admin
	}
	if !userName.MatchString(user) {
		return nil, fmt.Errorf("cannot get the API key of %q: use the name of a MAAS user", user)
	}
	if !f.Leader && !call.Bool("reveal") {
		return nil, errors.New("cannot put the key into a secret: only the leader may: run this on the leader, or set reveal=true")
	}
	key, err := w.apiKey(ctx, user)
	if err != nil {
		return nil, err
	}
	if call.Bool("reveal") {
		return nil, w.Tools.ActionSetSecret(ctx, map[string]string{"api-key": key})
	}
	id, err := w.Tools.AddSecret(ctx, fmt.Sprintf("maas-key-%s-%d", user, w.Now().UnixNano()), map[string]string{"api-key": key})
	if err != nil {
		return nil, err
	}
	return map[string]string{"secret": id, "show": "juju show-secret --reveal " + id}, nil
}

func getAPIEndpoint(_ context.Context, f Facts, _ *Env, _ charm.Call) (map[string]string, error) {
	if f.Peers == "" || f.url() == "" {
		return nil, errors.New("cannot determine the API's address: the units have not agreed on it: see their status")
	}
	return map[string]string{"api-url": f.endpoint()}, nil
}

func listControllers(ctx context.Context, f Facts, w *Env, _ charm.Call) (map[string]string, error) {
	if err := running(f, "list controllers"); err != nil {
		return nil, err
	}
	c, err := w.client(ctx)
	if err != nil {
		return nil, err
	}
	regions, err := c.Regions(ctx)
	if err != nil {
		return nil, err
	}
	racks, err := c.Racks(ctx)
	if err != nil {
		return nil, err
	}
	lines := func(all []maas.Controller) string {
		var lines []string
		for _, one := range all {
			lines = append(lines, strings.TrimSpace(strings.Join([]string{one.SystemID, one.Hostname, one.Version, one.State()}, " ")))
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	return map[string]string{"regions": lines(regions), "racks": lines(racks)}, nil
}

func removeController(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
	id, force := call.String("system-id"), call.Bool("force")
	if err := running(f, "remove a controller"); err != nil {
		return nil, err
	}
	c, err := w.client(ctx)
	if err != nil {
		return nil, err
	}
	racks, err := c.Racks(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(racks, func(r maas.Controller) bool { return r.SystemID == id })
	if at < 0 {
		if err := c.DeleteRegion(ctx, id); err != nil {
			return nil, fmt.Errorf("cannot remove %s: %w: a region has to be stopped before", id, err)
		}
		return map[string]string{"removed": id}, nil
	}
	// One that lives forgets the secret by it, and its unit would have it enrol again.
	if racks[at].State() == "running" && !force {
		return nil, fmt.Errorf("cannot remove rack %s (%s): it runs, and would forget the region's secret: remove its unit instead; force=true does it all the same", racks[at].Hostname, id)
	}
	err = c.DeleteRack(ctx, id, force)
	if maas.IsStatus(err, http.StatusBadRequest) {
		err = fmt.Errorf("%w: assign its VLANs another rack in MAAS; force=true ends DHCP there", err)
	}
	if err != nil {
		return nil, err
	}
	return map[string]string{"removed": id}, nil
}

func importBootResources(ctx context.Context, f Facts, w *Env, _ charm.Call) (map[string]string, error) {
	if err := running(f, "import images"); err != nil {
		return nil, err
	}
	c, err := w.client(ctx)
	if err != nil {
		return nil, err
	}
	if len(f.Config.Images) > 0 {
		if _, err := c.Select(ctx, f.Config.Images); err != nil {
			return nil, err
		}
	}
	if err := c.Import(ctx); err != nil {
		return nil, err
	}
	return map[string]string{"import": "started: MAAS shows how far it is"}, nil
}

func showPlan(_ context.Context, f Facts, w *Env, _ charm.Call) (map[string]string, error) {
	p := Plan(f)
	var todo []string
	for _, step := range p.Steps {
		todo = append(todo, step.Name())
	}
	results := map[string]string{
		"status": string(p.Status.Level) + ": " + p.Status.Message, "to-do": strings.Join(todo, "\n"),
		"version": f.Version, "package": f.Packages[node.RegionPackage].Version, "system-id": f.SystemID, "coordinator": f.databaseUnit().Unit,
		"not-running": strings.Join(f.Inactive, " "),
	}
	if f.Connection != nil {
		results["database"] = fmt.Sprintf("%s port %d, %s", f.Connection.Host, f.Connection.Port, map[bool]string{true: "answers", false: "does not answer"}[f.Listening])
	}
	return results, nil
}

func resetIdentity(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
	switch {
	case f.SystemID == "":
		return nil, errors.New("cannot renew the region's identity: it has none yet: see the unit's status")
	case !call.Bool("force"):
		return nil, fmt.Errorf("cannot renew the region's identity: %s would stay in MAAS as a dead controller, and MAAS assigns the same identity back as long as host name or a network address are the same: force=true does it", f.SystemID)
	}
	if err := w.Forget(ctx); err != nil {
		return nil, err
	}
	if err := (start{}).Apply(ctx, w); err != nil {
		return nil, err
	}
	return map[string]string{"old-id": f.SystemID, "new-id": w.Text(node.SystemIDFile)}, nil
}

func prepareClone(ctx context.Context, f Facts, w *Env, _ charm.Call) (map[string]string, error) {
	if f.embedded() {
		return nil, errors.New("cannot prepare for copying: the database is on a unit (option database is embedded): a copy of that would be a second MAAS, and a copy of another unit would not be let into it: use database=relation")
	}
	if err := w.PrepareClone(ctx, filepath.Join(w.CharmDir, "dispatch")); err != nil {
		return nil, err
	}
	return map[string]string{"next": "lxc copy " + w.Hostname + " NAME [--target MEMBER]; lxc start NAME: the copy is a region of its own on the same database, without a Juju agent"}, nil
}

// behind lists the other units, by name, whose packages are not of that version.
func (f Facts) behind(to string) []string {
	var names []string
	for _, unit := range slices.Sorted(maps.Keys(f.Others)) {
		if has := f.Others[unit][keyVersion]; has != "" && has != to && slices.Contains(f.Units, unit) {
			names = append(names, unit)
		}
	}
	return names
}

// upgradeMAAS is the action upgrade-maas: this unit's packages become what the source has.
// A package that is upgraded starts the new code on the old schema, so its services are held
// down until the database is migrated. The database unit does that, as the last: then no one's old
// code runs on the new schema either.
func upgradeMAAS(ctx context.Context, f Facts, w *Env, call charm.Call) (map[string]string, error) {
	was := f.Packages[node.RegionPackage].Version
	switch {
	case f.Connection == nil || !f.Listening || !f.Packages[node.RegionPackage].Installed():
		return nil, errors.New("cannot refresh MAAS: it is not installed on this unit, or its database does not answer: see the unit's status")
	}
	apt.Update(ctx, w.Run)
	to := apt.Candidate(ctx, w.Run, node.RegionPackage)
	if behind := f.behind(to); f.isDatabaseUnit() && to != was && len(behind) > 0 {
		return nil, fmt.Errorf("cannot refresh MAAS: %s have MAAS %s and would run on the database as %s wants it: refresh them first: they stop, and wait for this unit, which migrates it", strings.Join(behind, " and "), version(was), version(to))
	}
	results := map[string]string{"old-version": was}
	if f.isDatabaseUnit() {
		saved, err := backUp(ctx, f, w, call)
		if err != nil {
			return nil, err
		}
		results["backup"] = saved["path"]
		if lacks := saved["not-saved"]; lacks != "" {
			results["not-saved"] = lacks
		}
	}
	call.Progress("stopping MAAS")
	if err := w.stop(ctx); err != nil {
		return results, err
	}
	if _, err := w.Run.Run(ctx, "systemctl", append([]string{"mask", "--runtime"}, w.services()...)...); err != nil {
		return results, err
	}
	call.Progress("installing packages")
	installed := apt.InstallReplacing(ctx, w.Run, "option source is "+f.Config.Source.String(), node.Replaceable, f.packages()...)
	// Start also does it: an action may be killed here.
	if _, err := w.Run.Run(ctx, "systemctl", append([]string{"unmask", "--runtime"}, w.services()...)...); err != nil {
		return results, err
	}
	f.Packages = apt.Query(ctx, w.Run, f.packages()...)
	results["new-version"] = f.Packages[node.RegionPackage].Version
	if installed != nil {
		return results, fmt.Errorf("cannot refresh MAAS: %w: the next hook goes on", installed)
	}
	if err := w.Tools.RelationSet(ctx, f.Peers, map[string]string{keyVersion: results["new-version"]}); err != nil {
		return results, err
	}
	f.Migrated = f.migrated(w)
	if !f.isDatabaseUnit() && !f.Migrated {
		// Disabled, too: the machine may restart meanwhile.
		if err := (stop{}).Apply(ctx, w); err != nil {
			return results, err
		}
		results["next"] = fmt.Sprintf("this region is stopped until %s has migrated the database: refresh the other regions, and that one last", f.databaseUnit().Unit)
		return results, nil
	}
	if f.isDatabaseUnit() && !f.Migrated {
		call.Progress("migrating the database to MAAS %s", version(results["new-version"]))
		if err := (migrate{f}).Apply(ctx, w); err != nil {
			return results, fmt.Errorf("cannot refresh MAAS: %w", err)
		}
	}
	if err := (start{}).Apply(ctx, w); err != nil {
		return results, fmt.Errorf("cannot refresh MAAS: %w", err)
	}
	return results, nil
}
