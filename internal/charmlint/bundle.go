package charmlint

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/juju/charm/v12"
)

// Bundle checks the bundle at path with the overlays laid over it in their order, as juju
// deploy --overlay does. Charms are ours, by name: an application that uses one of them
// (by name, or by a path that ends in <name>.charm) is checked against its endpoints and
// options. A path to any other archive is read from there; a charm from Charmhub is taken
// at its word.
func Bundle(path string, overlays []string, ours map[string]charm.Charm) []Problem {
	b := &bundle{file: strings.Join(append([]string{path}, overlays...), " + ")}
	var sources []charm.BundleDataSource
	var unreadable bool
	for _, file := range append([]string{path}, overlays...) {
		src, err := charm.LocalBundleDataSource(file)
		if err != nil {
			b.problems = append(b.problems, Problem{File: file, Says: fmt.Sprintf("cannot read bundle: %v", err)})
			unreadable = true
			continue
		}
		for _, part := range src.Parts() {
			if part.UnmarshallError != nil {
				b.problems = append(b.problems, Problem{File: file, Says: "Juju takes it with --force only: " + oneLine(part.UnmarshallError)})
			}
		}
		sources = append(sources, src)
	}
	if unreadable {
		return b.problems
	}
	data, err := charm.ReadAndMergeBundleData(sources...)
	if err != nil {
		b.addf("", "cannot merge: %v", err)
		return b.problems
	}
	b.data = data
	b.resolve(ours)
	b.checkRules()
	b.addStandIns()
	b.verify()
	return b.problems
}

// oneLine returns an error's text without the decoder's line breaks.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

type bundle struct {
	file     string
	data     *charm.BundleData
	known    map[string]charm.Charm // by application.charm: those whose metadata we have
	all      map[string]charm.Charm // known, and stand-ins for the rest
	problems []Problem
}

func (b *bundle) addf(field, format string, args ...any) {
	b.problems = append(b.problems, Problem{b.file, field, fmt.Sprintf(format, args...)})
}

// apps returns the names of the applications that have a body, sorted.
func (b *bundle) apps() []string {
	var names []string
	for name, app := range b.data.Applications {
		if app != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// resolve finds the charm of each application. One of ours is known whether its archive
// was built yet or not, so its path is replaced by its name.
func (b *bundle) resolve(ours map[string]charm.Charm) {
	b.known = map[string]charm.Charm{}
	for _, name := range b.apps() {
		app := b.data.Applications[name]
		local := filepath.IsAbs(app.Charm)
		key := app.Charm
		if local {
			key = strings.TrimSuffix(filepath.Base(app.Charm), ".charm")
		}
		if ch, ok := ours[key]; ok {
			app.Charm = key
			b.known[key] = ch
			continue
		}
		if !local {
			continue
		}
		ch, err := charm.ReadCharmArchive(app.Charm)
		if errors.Is(err, os.ErrNotExist) {
			b.addf("applications."+name+".charm", "expected an archive at %s, or the charm %q among those to check", app.Charm, key)
			app.Charm = key
			continue
		}
		if err != nil {
			b.addf("applications."+name+".charm", "Juju cannot read %s: %v", app.Charm, err)
			app.Charm = key
			continue
		}
		b.known[app.Charm] = ch
	}
}

// checkRules applies what the library leaves open.
func (b *bundle) checkRules() {
	const noSeries = "expected base instead: Juju 4 knows no series"
	if b.data.Series != "" {
		b.addf("series", noSeries)
	}
	for _, id := range slices.Sorted(maps.Keys(b.data.Machines)) {
		if m := b.data.Machines[id]; m != nil && m.Series != "" {
			b.addf("machines."+id+".series", noSeries)
		}
	}
	for _, name := range b.apps() {
		app := b.data.Applications[name]
		at := "applications." + name
		if app.Series != "" {
			b.addf(at+".series", noSeries)
		}
		ch := b.known[app.Charm]
		if ch == nil {
			continue
		}
		base, field := app.Base, at+".base"
		if base == "" {
			base, field = b.data.DefaultBase, "default-base"
		}
		if base != "" && !supports(ch, base) {
			b.addf(field, "expected a base of charm %s, got %s", ch.Meta().Name, base)
		}
		relations := ch.Meta().CombinedRelations()
		for _, offer := range slices.Sorted(maps.Keys(app.Offers)) {
			for _, ep := range app.Offers[offer].Endpoints {
				if _, ok := relations[ep]; !ok {
					b.addf(at+".offers."+offer, "charm %s has no endpoint %q", ch.Meta().Name, ep)
				}
			}
		}
		for _, s := range slices.Sorted(maps.Keys(app.Storage)) {
			if _, ok := ch.Meta().Storage[s]; !ok {
				b.addf(at+".storage."+s, "charm %s has no such storage", ch.Meta().Name)
			}
		}
		for _, res := range slices.Sorted(maps.Keys(app.Resources)) {
			if _, ok := ch.Meta().Resources[res]; !ok {
				b.addf(at+".resources."+res, "charm %s has no such resource", ch.Meta().Name)
			}
		}
	}
	for i, rel := range b.data.Relations {
		for _, ep := range rel {
			if !strings.Contains(ep, ":") {
				b.addf(fmt.Sprintf("relations[%d]", i), "expected application:endpoint, got %q: a guess is not the same in every release", ep)
			}
		}
	}
}

// supports tells whether the charm says that it runs on base ("ubuntu@24.04").
func supports(ch charm.Charm, base string) bool {
	want, err := charm.ParseBase(base)
	if err != nil {
		return true // the library reports it
	}
	m := ch.Manifest()
	return m == nil || slices.ContainsFunc(m.Bases, func(have charm.Base) bool {
		return have.Name == want.Name && have.Channel.Track == want.Channel.Track
	})
}

// addStandIns gives each charm that we cannot read one that agrees to all the bundle says
// of it, so that the rest of the bundle, and our side of its relations, is verified.
func (b *bundle) addStandIns() {
	b.all = maps.Clone(b.known)
	for _, name := range b.apps() {
		app := b.data.Applications[name]
		if b.known[app.Charm] != nil {
			continue
		}
		s, ok := b.all[app.Charm].(*standIn)
		if !ok {
			s = newStandIn(app.Charm)
			b.all[app.Charm] = s
		}
		for option, value := range app.Options {
			s.config.Options[option] = charm.Option{Type: optionType(value)}
		}
		for ep := range app.EndpointBindings {
			s.meta.ExtraBindings[ep] = charm.ExtraBinding{Name: ep}
		}
	}
	for _, rel := range b.data.Relations {
		if len(rel) == 2 {
			b.standInFor(rel[0], rel[1], charm.RoleProvider)
			b.standInFor(rel[1], rel[0], charm.RoleRequirer)
		}
	}
}

// standInFor gives the stand-in behind the endpoint ep what fits its other side; between
// two stand-ins ep gets the role.
func (b *bundle) standInFor(ep, other string, role charm.RelationRole) {
	ch, name := b.endpoint(ep)
	mine, ok := ch.(*standIn)
	if !ok || name == "" {
		return
	}
	rel := charm.Relation{Name: name, Role: role, Interface: "unknown", Scope: charm.ScopeGlobal}
	theirs, otherName := b.endpoint(other)
	if theirs != nil {
		if r, ok := theirs.Meta().CombinedRelations()[otherName]; ok {
			rel.Interface = r.Interface
			rel.Role = counterpart(r.Role)
		} else if otherName == infoEndpoint {
			rel.Interface = infoEndpoint
			rel.Role = charm.RoleRequirer
		}
	}
	switch {
	case rel.Role == charm.RoleRequirer && (name != infoEndpoint || otherName == infoEndpoint):
		mine.meta.Requires[name] = rel
	case name != infoEndpoint:
		mine.meta.Provides[name] = rel
	}
}

// infoEndpoint is the endpoint, and the interface, that every application provides without
// a word. Subordinates often require it under the same name.
const infoEndpoint = "juju-info"

func counterpart(r charm.RelationRole) charm.RelationRole {
	if r == charm.RoleProvider {
		return charm.RoleRequirer
	}
	return charm.RoleProvider
}

// endpoint returns the charm and the endpoint's name of "application:endpoint".
func (b *bundle) endpoint(ep string) (charm.Charm, string) {
	name, endpoint, _ := strings.Cut(ep, ":")
	app := b.data.Applications[name]
	if app == nil {
		return nil, endpoint
	}
	return b.all[app.Charm], endpoint
}

// optionType is the type of option that would accept value.
func optionType(value any) string {
	switch value.(type) {
	case bool:
		return "boolean"
	case int, int64, uint64:
		return "int"
	case float64:
		return "float"
	}
	return "string"
}

// verify lets the library check the merged bundle.
func (b *bundle) verify() {
	err := b.data.VerifyWithCharms(verifyConstraints, verifyStorage, verifyDevices, b.all)
	var many *charm.VerificationError
	switch {
	case errors.As(err, &many):
		var says []string
		for _, e := range many.Errors {
			says = append(says, e.Error())
		}
		slices.Sort(says) // the library walks maps
		for _, s := range slices.Compact(says) {
			b.addf("", "%s", s)
		}
	case err != nil:
		b.addf("", "%v", err)
	}
}

// standIn is a charm of which nothing is known but what a bundle says.
type standIn struct {
	meta   *charm.Meta
	config *charm.Config
}

func newStandIn(name string) *standIn {
	return &standIn{
		meta: &charm.Meta{
			Name:          name,
			Provides:      map[string]charm.Relation{},
			Requires:      map[string]charm.Relation{},
			ExtraBindings: map[string]charm.ExtraBinding{},
		},
		config: charm.NewConfig(),
	}
}

func (s *standIn) Meta() *charm.Meta         { return s.meta }
func (s *standIn) Manifest() *charm.Manifest { return nil }
func (s *standIn) Config() *charm.Config     { return s.config }
func (s *standIn) Metrics() *charm.Metrics   { return nil }
func (s *standIn) Actions() *charm.Actions   { return charm.NewActions() }
func (s *standIn) Revision() int             { return 0 }
