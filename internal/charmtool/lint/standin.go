package lint

import (
	"strings"

	"github.com/juju/charm/v12"
)

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

// addStandIns has each stand-in agree to all that the bundle says of it, so that the rest of
// the bundle, and the known side of its relations, is verified. Charms are by application.
func addStandIns(data *charm.BundleData, charms map[string]charm.Charm) {
	for name, app := range data.Applications {
		s, ok := charms[name].(*standIn)
		if !ok {
			continue
		}
		for option, value := range app.Options {
			s.config.Options[option] = charm.Option{Type: optionType(value)}
		}
		for ep := range app.EndpointBindings {
			s.meta.ExtraBindings[ep] = charm.ExtraBinding{Name: ep}
		}
	}
	for _, rel := range data.Relations {
		if len(rel) == 2 {
			standInFor(charms, rel[0], rel[1], charm.RoleProvider)
			standInFor(charms, rel[1], rel[0], charm.RoleRequirer)
		}
	}
}

// standInFor returns the stand-in behind the endpoint ep what fits its other side; between
// two stand-ins ep gets the role.
func standInFor(charms map[string]charm.Charm, ep, other string, role charm.RelationRole) {
	app, name, _ := strings.Cut(ep, ":")
	mine, ok := charms[app].(*standIn)
	if !ok || name == "" {
		return
	}
	rel := charm.Relation{Name: name, Role: role, Interface: "unknown", Scope: charm.ScopeGlobal}
	otherApp, otherName, _ := strings.Cut(other, ":")
	if theirs := charms[otherApp]; theirs != nil {
		if r, ok := (facts{Charm: theirs}).relation(otherName); ok {
			rel.Interface, rel.Role = r.Interface, charm.RoleProvider
			if r.Role == charm.RoleProvider {
				rel.Role = charm.RoleRequirer
			}
		}
	}
	switch {
	case rel.Role == charm.RoleRequirer && (name != infoEndpoint || otherName == infoEndpoint):
		mine.meta.Requires[name] = rel
	case name != infoEndpoint:
		mine.meta.Provides[name] = rel
	}
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
