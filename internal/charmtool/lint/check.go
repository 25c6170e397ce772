package lint

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/juju/charm/v12"
	"gopkg.in/yaml.v3"
)

// names of applications, offers and models, as Juju takes them.
var nameRE = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]*[a-z][a-z0-9]*)*$`)

// checkTop checks what belongs to no application.
func (b *bundle) checkTop() {
	b.series(b.m.top, "series", "default-base")
	if e, ok := b.m.top["bundle"]; ok && e.value.text() != "kubernetes" {
		b.at(e.value, "bundle").say("expected kubernetes, or no such field, got %q", e.value.text())
	}
	if e, ok := b.m.top["default-base"]; ok {
		b.base(e, "default-base", nil)
	}
	if len(b.m.apps) == 0 {
		b.looksLikeOverlay = true
		b.at(b.m.whole, "applications").say("expected at least one application")
	}
	for _, id := range b.m.machines.names() {
		e, at := b.m.machines[id], "machines."+id
		if strings.Trim(id, "0123456789") != "" {
			b.at(e.key, at).say("expected a number as a machine's id")
		}
		t := e.value.table()
		b.series(t, at+".series", "base")
		if s, ok := t["base"]; ok {
			b.base(s, at+".base", nil)
		}
		b.constraints(t["constraints"], at)
	}
	for _, name := range slices.Sorted(maps.Keys(b.m.saas)) {
		e, at := b.m.saas[name], "saas."+name
		if !nameRE.MatchString(name) {
			b.at(e.key, at).say("expected a name of lower-case letters, digits and hyphens")
		}
		if b.m.apps[name] != nil {
			b.at(e.key, at).say("there is an application of that name")
		}
		url, ok := e.value.table()["url"]
		if !ok {
			b.at(e.key, at).near("url", e.value.table().names()).say("expected a field url, as [controller:][user/]model.offer")
			continue
		}
		if u, err := charm.ParseOfferURL(url.value.text()); err != nil || u.HasEndpoint() || !nameRE.MatchString(u.ModelName) || !nameRE.MatchString(u.ApplicationName) {
			b.at(url.value, at+".url").say("expected [controller:][user/]model.offer, got %q", url.value.text())
		}
	}
}

// series notes a series without a base beside it. Juju 3 takes it; Juju 4 warns, and goes on without.
func (b *bundle) series(t table, field, base string) {
	e, ok := t["series"]
	if _, here := t[base]; ok && !here {
		b.at(e.key, field).note().say("Juju 4 ignores it: expected %s instead", base)
	}
}

// base checks a base, and that the charm, where it is known, runs on it.
func (b *bundle) base(e entry, field string, ch charm.Charm) {
	want, err := charm.ParseBase(e.value.text())
	if err != nil {
		b.at(e.value, field).say("expected a base such as ubuntu@24.04/stable, got %q", e.value.text())
		return
	}
	if ch == nil || ch.Manifest() == nil {
		return
	}
	var has []string
	for _, have := range ch.Manifest().Bases {
		if have.Name == want.Name && have.Channel.Track == want.Channel.Track {
			return
		}
		has = append(has, have.Name+"@"+have.Channel.Track)
	}
	got := want.Name + "@" + want.Channel.Track
	b.at(e.value, field).near(got, has).say("expected a base of charm %s (%s), got %s", ch.Meta().Name, strings.Join(has, ", "), got)
}

func (b *bundle) constraints(e entry, at string) {
	if !e.value.is() {
		return
	}
	if err := verifyConstraints(e.value.text()); err != nil {
		f := b.at(e.value, at+".constraints")
		for c := range strings.FieldsSeq(e.value.text()) {
			if key, _, _ := strings.Cut(c, "="); constraintShapes[key] == nil && constraintAliases[key] == "" {
				f = f.near(key, slices.Collect(maps.Keys(constraintShapes)))
			}
		}
		f.say("%v", err)
	}
}

func (b *bundle) checkApplications() {
	offers := map[string]place{}
	for _, name := range b.appNames() {
		app, at := b.m.apps[name], "applications."+name
		if !nameRE.MatchString(name) {
			b.at(app.key, at).say("expected a name of lower-case letters, digits and hyphens")
		}
		b.series(app.fields, at+".series", "base")
		for _, f := range []string{"trust", "expose"} {
			if e, ok := app.fields[f]; ok {
				if _, is := e.value.value().(bool); !is {
					b.at(e.value, at+"."+f).say("expected true or false, got %q", e.value.text())
				}
			}
		}
		for _, f := range []string{"num_units", "scale", "revision"} {
			if e, ok := app.fields[f]; ok {
				if n, is := e.value.value().(int); !is || n < 0 {
					b.at(e.value, at+"."+f).say("expected a number, 0 or more, got %q", e.value.text())
				}
			}
		}
		b.constraints(app.fields["constraints"], at)
		for _, s := range app.maps["storage"].names() {
			e := app.maps["storage"][s]
			if err := verifyStorage(e.value.text()); err != nil {
				b.at(e.value, at+".storage."+s).say("%v", err)
			}
		}
		for _, d := range app.maps["devices"].names() {
			e := app.maps["devices"][d]
			if err := verifyDevices(e.value.text()); err != nil {
				b.at(e.value, at+".devices."+d).say("%v", err)
			}
		}
		for _, o := range app.maps["offers"].names() {
			e := app.maps["offers"][o]
			if !nameRE.MatchString(o) {
				b.at(e.key, at+".offers."+o).say("expected a name of lower-case letters, digits and hyphens")
			}
			if other, ok := offers[o]; ok {
				b.at(e.key, at+".offers."+o).say("there is an offer of that name already, in %s:%d", other.file, other.Line)
			}
			offers[o] = e.key
			b.checkOffer(e.value, at+".offers."+o)
		}
		for _, ep := range app.maps["exposed-endpoints"].names() {
			b.fields(app.maps["exposed-endpoints"][ep].value.table(), at+".exposed-endpoints."+ep, expFields)
		}
		if f, ok := b.known[name]; ok {
			b.checkAgainst(app, f, at)
		}
	}
}

// accesses are what an offer's user may do with it.
var accesses = []string{"read", "consume", "admin"}

func (b *bundle) checkOffer(offer place, at string) {
	t := offer.table()
	b.fields(t, at, offFields)
	if len(t["endpoints"].value.items()) == 0 {
		b.at(offer, at).say("expected a list endpoints")
	}
	acl := t["acl"].value.table()
	for _, user := range acl.names() {
		if v := acl[user].value; !slices.Contains(accesses, v.text()) {
			b.at(v, at+".acl."+user).near(v.text(), accesses).say("expected read, consume or admin, got %q", v.text())
		}
	}
}

// checkAgainst checks an application against what is known of its charm.
func (b *bundle) checkAgainst(app *application, f facts, at string) {
	meta := f.Meta()
	if e, ok := app.fields["base"]; ok && e.value.is() {
		b.base(e, at+".base", f)
	} else if e, ok := b.m.top["default-base"]; ok && !b.runsOn(f, e.value.text()) {
		b.at(app.key, at+".base").say("default-base is %s, on which charm %s does not run: expected a base of its own", e.value.text(), meta.Name)
	}
	for _, o := range app.maps["options"].names() {
		e, field := app.maps["options"][o], at+".options."+o
		option, ok := f.Config().Options[o]
		if !ok {
			b.at(e.key, field).near(o, slices.Collect(maps.Keys(f.Config().Options))).say("charm %s has no such option", meta.Name)
			continue
		}
		v := e.value.value()
		if s, is := v.(string); is && strings.HasPrefix(s, "include-") {
			continue
		}
		if _, err := f.Config().ValidateSettings(charm.Settings{o: v}); err != nil {
			hint := ""
			if option.Type == "string" {
				hint = ": put it in quotes"
			}
			b.at(e.value, field).say("expected %s, got %s%s", option.Type, shown(e.value), hint)
		}
	}
	b.checkNames(app, "storage", at, slices.Collect(maps.Keys(meta.Storage)), meta.Name)
	b.checkNames(app, "resources", at, slices.Collect(maps.Keys(meta.Resources)), meta.Name)
	b.checkNames(app, "devices", at, slices.Collect(maps.Keys(meta.Devices)), meta.Name)
	bindable := append(slices.Collect(maps.Keys(meta.CombinedRelations())), slices.Collect(maps.Keys(meta.ExtraBindings))...)
	b.checkNames(app, "bindings", at, append(bindable, "", infoEndpoint), meta.Name)
	b.checkNames(app, "exposed-endpoints", at, append(bindable, ""), meta.Name)
	for _, o := range app.maps["offers"].names() {
		for _, ep := range app.maps["offers"][o].value.table()["endpoints"].value.items() {
			r, ok := f.relation(ep.text())
			switch {
			case !ok:
				b.at(ep, at+".offers."+o).near(ep.text(), f.endpoints()).say("charm %s has no endpoint %q", meta.Name, ep.text())
			case r.Role == charm.RolePeer || r.Scope == charm.ScopeContainer:
				b.at(ep, at+".offers."+o).say("%s cannot be offered: it stays within the model", ep.text())
			}
		}
	}
}

func (b *bundle) runsOn(ch charm.Charm, base string) bool {
	want, err := charm.ParseBase(base)
	return err != nil || ch.Manifest() == nil || slices.ContainsFunc(ch.Manifest().Bases, func(have charm.Base) bool {
		return have.Name == want.Name && have.Channel.Track == want.Channel.Track
	})
}

// shown is a value for a message.
func shown(p place) string {
	if p.Kind == yaml.ScalarNode && p.Style != 0 || p.Tag == "!!str" {
		return fmt.Sprintf("%q", p.Value)
	}
	if p.Kind != yaml.ScalarNode {
		return "a list or a mapping"
	}
	return p.Value
}

func (b *bundle) checkNames(app *application, what, at string, known []string, name string) {
	for _, n := range app.maps[what].names() {
		if !slices.Contains(known, n) {
			b.at(app.maps[what][n].key, at+"."+what+"."+n).near(n, known).say("charm %s knows no such name under %s", name, what)
		}
	}
}

// end is one side of a relation.
type end struct {
	at            place
	app, endpoint string
	facts         *facts // nil where the charm is unknown, or in another model
	relation      *charm.Relation
}

// related is what the relations have said so far.
type related struct {
	pairs map[string]bool
	used  map[string]int      // application:endpoint
	lives map[string][]string // subordinate to its principals
	// Applications with a relation that could not be read: what they lack cannot be told.
	unclear map[string]bool
}

func (b *bundle) checkRelations() {
	rel := related{pairs: map[string]bool{}, used: map[string]int{}, lives: map[string][]string{}, unclear: map[string]bool{}}
	for i, r := range b.m.relations {
		if !b.checkRelation(r, fmt.Sprintf("relations[%d]", i), &rel) {
			for _, item := range r.items() {
				app, _, _ := strings.Cut(item.text(), ":")
				rel.unclear[app] = true
			}
		}
	}
	for _, name := range b.appNames() {
		f, ok := b.known[name]
		if !ok {
			continue
		}
		app := b.m.apps[name]
		for _, ep := range f.required {
			if rel.used[name+":"+ep] == 0 && !rel.unclear[name] {
				r, _ := f.relation(ep)
				b.at(app.key, "applications."+name).is(b.partner(name, r)).say("expected a relation of its endpoint %s (%s): charm %s does not come up without", ep, r.Interface, f.Meta().Name)
			}
		}
		for _, ep := range f.endpoints() {
			if r, _ := f.relation(ep); r.Role == charm.RoleRequirer && r.Limit > 0 && rel.used[name+":"+ep] > r.Limit {
				b.at(app.key, "applications."+name).say("endpoint %s has %d relations: charm %s takes %d", ep, rel.used[name+":"+ep], f.Meta().Name, r.Limit)
			}
		}
		if f.Meta().Subordinate && len(rel.lives[name]) == 0 && !rel.unclear[name] {
			b.at(app.key, "applications."+name).say("charm %s is a subordinate: expected a relation to the application that it lives on", f.Meta().Name)
		}
		for _, p := range rel.lives[name] {
			b.sameBase(name, p)
		}
	}
}

// partner finds an endpoint in the bundle that r could be related with.
func (b *bundle) partner(app string, r charm.Relation) string {
	for _, name := range b.appNames() {
		f, ok := b.known[name]
		if !ok || name == app {
			continue
		}
		for _, ep := range f.endpoints() {
			if other, _ := f.relation(ep); fit(r, other) {
				return name + ":" + ep
			}
		}
	}
	return ""
}

func fit(a, b charm.Relation) bool {
	return a.Interface == b.Interface && (a.Role == charm.RoleProvider && b.Role == charm.RoleRequirer || a.Role == charm.RoleRequirer && b.Role == charm.RoleProvider)
}

// checkRelation checks a relation and reports whether it is sound.
func (b *bundle) checkRelation(r place, field string, rel *related) bool {
	items := r.items()
	if len(items) != 2 || items[0].text() == "" || items[1].text() == "" {
		b.at(r, field).say("expected two ends, as [application:endpoint, application:endpoint]")
		return false
	}
	ends := [2]end{}
	for i, item := range items {
		e, ok := b.end(item, field)
		if !ok {
			return false
		}
		ends[i] = e
	}
	x, y := ends[0], ends[1]
	if x.app == y.app {
		b.at(r, field).say("an application cannot be related with itself")
		return false
	}
	key := strings.Join(slices.Sorted(slices.Values([]string{x.app + ":" + x.endpoint, y.app + ":" + y.endpoint})), " ")
	if rel.pairs[key] {
		b.at(r, field).say("%s and %s are related twice", items[0].text(), items[1].text())
		return false
	}
	rel.pairs[key] = true
	sound := true
	for i := range ends {
		e, other := &ends[i], &ends[1-i]
		if e.facts == nil {
			continue
		}
		ep, ok := e.facts.relation(e.endpoint)
		if !ok || ep.Role == charm.RolePeer {
			f := b.at(e.at, field).near(e.endpoint, e.facts.endpoints()).is(b.fitting(e, other))
			if e.endpoint == "" {
				f.say("expected %s:endpoint: a guess is not the same in every release", e.app)
			} else if ok {
				f.say("%s relates the units of %s with each other, and with nothing else", e.endpoint, e.app)
			} else {
				f.say("charm %s has no endpoint %q", e.facts.Meta().Name, e.endpoint)
			}
			sound = false
			continue
		}
		e.relation = &ep
		rel.used[e.app+":"+e.endpoint]++
	}
	x, y = ends[0], ends[1]
	if !sound || b.m.saas[x.app] != nil && b.m.saas[y.app] != nil {
		if sound {
			b.at(r, field).say("both ends are in other models: expected an application of this one")
		}
		return false
	}
	if x.relation != nil && y.relation != nil {
		switch p, q := x.relation, y.relation; {
		case p.Interface != q.Interface:
			b.at(r, field).is(b.suggest(x, y)).say("%s is %s, %s is %s: expected the same interface", items[0].text(), p.Interface, items[1].text(), q.Interface)
			return false
		case p.Role == q.Role:
			b.at(r, field).is(b.suggest(x, y)).say("both ends %s %s: expected one that provides it and one that requires it", roleVerb[p.Role], p.Interface)
			return false
		}
	}
	return b.checkScope(r, field, x, y, rel)
}

var roleVerb = map[charm.RelationRole]string{charm.RoleProvider: "provide", charm.RoleRequirer: "require"}

// checkScope checks a relation that may be between units of one machine, and reports whether
// it is sound.
func (b *bundle) checkScope(r place, field string, x, y end, rel *related) bool {
	container := func(e end) bool { return e.relation != nil && e.relation.Scope == charm.ScopeContainer }
	if !container(x) && !container(y) {
		return true
	}
	if b.m.saas[x.app] != nil || b.m.saas[y.app] != nil {
		b.at(r, field).say("it is between units of one machine, so both have to be in this model")
		return false
	}
	subordinate := func(e end) bool { return e.facts != nil && e.facts.Meta().Subordinate }
	switch {
	case subordinate(x):
		rel.lives[x.app] = append(rel.lives[x.app], y.app)
	case subordinate(y):
		rel.lives[y.app] = append(rel.lives[y.app], x.app)
	case x.facts != nil && y.facts != nil:
		b.at(r, field).say("it is between units of one machine: expected one end to be a subordinate")
		return false
	}
	return true
}

// end reads one end of a relation.
func (b *bundle) end(p place, field string) (end, bool) {
	app, endpoint, has := strings.Cut(p.text(), ":")
	e := end{at: p, app: app, endpoint: endpoint}
	if b.m.saas[app] != nil {
		return e, true
	}
	if b.m.apps[app] == nil {
		words := append(b.appNames(), slices.Collect(maps.Keys(b.m.saas))...)
		b.noApplication(p, field, app, words)
		return e, false
	}
	if f, ok := b.known[app]; ok {
		e.facts = &f
	} else if !has && !b.alone {
		b.at(p, field).say("expected %s:endpoint: a guess is not the same in every release", app)
	}
	return e, true
}

// noApplication notes a name that no application has. One that is no slip either is what overlays have.
func (b *bundle) noApplication(at place, field, name string, words []string) {
	f := b.at(at, field).near(name, words)
	b.looksLikeOverlay = b.looksLikeOverlay || f.p.Near == ""
	f.say("there is no application %q", name)
}

// fitting finds the one endpoint of e's charm that the other end can be related with.
func (b *bundle) fitting(e, other *end) string {
	if other.facts == nil {
		return ""
	}
	want, ok := other.facts.relation(other.endpoint)
	if !ok {
		return ""
	}
	var all []string
	for _, name := range e.facts.endpoints() {
		if r, _ := e.facts.relation(name); fit(r, want) {
			all = append(all, name)
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return ""
}

// suggest finds for one of two ends an endpoint that the other can be related with.
func (b *bundle) suggest(x, y end) string {
	if w := b.fitting(&x, &y); w != "" {
		return x.app + ":" + w
	}
	if w := b.fitting(&y, &x); w != "" {
		return y.app + ":" + w
	}
	return ""
}

// sameBase wants a subordinate on the base of what it lives on, as Juju does.
func (b *bundle) sameBase(sub, principal string) {
	of := func(name string) (string, bool) {
		app := b.m.apps[name]
		if app == nil {
			return "", false
		}
		e, ok := app.fields["base"]
		if !ok {
			e, ok = b.m.top["default-base"]
		}
		base, err := charm.ParseBase(e.value.text())
		return base.Name + "@" + base.Channel.Track, ok && err == nil
	}
	s, ok := of(sub)
	p, is := of(principal)
	if ok && is && s != p {
		app := b.m.apps[sub]
		at := app.key
		if e, has := app.fields["base"]; has {
			at = e.value
		}
		b.at(at, "applications."+sub+".base").is(p).say("it lives on %s, whose base is %s: expected the same, got %s", principal, p, s)
	}
}

// checkSubordinates wants neither units nor places of them.
func (b *bundle) checkSubordinates() {
	for _, name := range b.appNames() {
		f, ok := b.known[name]
		if !ok || !f.Meta().Subordinate {
			continue
		}
		app := b.m.apps[name]
		if e, ok := app.fields["num_units"]; ok && e.value.text() != "0" {
			b.at(e.value, "applications."+name+".num_units").say("charm %s is a subordinate: it has a unit wherever what it is related with has one", f.Meta().Name)
		}
		if e, ok := app.fields["to"]; ok && len(e.value.items()) > 0 {
			b.at(e.value, "applications."+name+".to").say("charm %s is a subordinate: it has no place of its own", f.Meta().Name)
		}
	}
}

// checkPlacement checks where units are to be.
func (b *bundle) checkPlacement() {
	if e, ok := b.m.top["bundle"]; ok && e.value.text() == "kubernetes" {
		return
	}
	used, on := map[string]bool{}, map[string][]string{}
	for _, name := range b.appNames() {
		app, field := b.m.apps[name], "applications."+name+".to"
		to := app.fields["to"].value
		places := to.items()
		if to.is() && to.Kind == yaml.ScalarNode {
			places = []place{to}
		}
		units := b.units(name)
		if f, ok := b.known[name]; len(places) > units && !(ok && f.Meta().Subordinate) {
			b.at(to, field).say("expected no more places than units, %d, got %d", units, len(places))
		}
		for _, p := range places {
			up, err := charm.ParsePlacement(p.text())
			if id := p.text()[strings.LastIndex(p.text(), ":")+1:]; err != nil || up.Machine != "" {
				used[id] = true // also where the container is none that Juju makes
			}
			switch {
			case err != nil:
				b.at(p, field).say("expected a machine, lxd:machine, an application or application/unit, got %q", p.text())
			case up.ContainerType != "" && up.ContainerType != "lxd":
				b.at(p, field).is("lxd").say("Juju 4 makes no containers of type %s", up.ContainerType)
			case up.Machine == "new":
			case up.Application != "":
				if b.m.apps[up.Application] == nil {
					b.noApplication(p, field, up.Application, b.appNames())
					continue
				}
				if f, ok := b.known[up.Application]; ok && f.Meta().Subordinate {
					b.at(p, field).say("%s is a subordinate: expected the application that it lives on", up.Application)
				}
				if n := b.units(up.Application); up.Unit >= n {
					b.at(p, field).say("%s has %d units: expected one below %d", up.Application, n, n)
				}
				on[name] = append(on[name], up.Application)
			default:
				if _, ok := b.m.machines[up.Machine]; !ok {
					b.looksLikeOverlay = b.looksLikeOverlay || len(b.m.machines) == 0
					b.at(p, field).say("there is no machine %s: the bundle has %s", up.Machine, list(b.m.machines.names()))
				}
			}
		}
	}
	for _, id := range b.m.machines.names() {
		if !used[id] {
			b.at(b.m.machines[id].key, "machines."+id).say("nothing is placed on it")
		}
	}
	b.checkCycles(on)
}

// units returns how many units the application is to have; none where it does not say.
func (b *bundle) units(app string) int {
	for _, f := range []string{"num_units", "scale"} {
		if e, ok := b.m.apps[app].fields[f]; ok {
			n, _ := e.value.value().(int)
			return n
		}
	}
	return 0
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// checkCycles refuses applications each of which waits for the place of another.
func (b *bundle) checkCycles(on map[string][]string) {
	done := map[string]bool{}
	var walk func(path []string)
	walk = func(path []string) {
		last := path[len(path)-1]
		if i := slices.Index(path, last); i < len(path)-1 {
			b.at(b.m.apps[last].fields["to"].value, "applications."+last+".to").say("a circle of places: %s", strings.Join(path[i:], " on "))
			return
		}
		if done[last] {
			return
		}
		for _, next := range on[last] {
			walk(append(slices.Clone(path), next))
		}
		done[last] = true
	}
	for _, name := range b.appNames() {
		if !done[name] {
			walk([]string{name})
		}
	}
}
