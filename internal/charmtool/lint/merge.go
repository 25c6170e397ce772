package lint

import (
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// merged is a bundle with its overlays laid over it, by Juju's rules
// (github.com/juju/charm, ReadAndMergeBundleData), where each piece still knows its place.
type merged struct {
	whole     place // the first document
	top       table
	apps      map[string]*application
	machines  table
	saas      map[string]*entry
	relations []place
}

// application is one of a bundle's, put together.
type application struct {
	name   string
	key    place            // where it is first named
	fields table            // what is no mapping
	maps   map[string]table // what is
}

// The fields that a bundle has, of which those that are mappings.
var (
	topFields = []string{"bundle", "applications", "machines", "saas", "series", "default-base", "relations", "tags", "description"}
	// What charmcraft, Charmhub and the tests of OpenStack's charms want in a bundle, and
	// variables, a place for YAML anchors. Juju ignores them.
	otherFields = []string{"name", "title", "summary", "docs", "issues", "source", "website", "contact", "maintainers", "variables", "local_overlay_enabled"}
	appFields   = append([]string{"charm", "channel", "revision", "series", "base", "num_units", "scale", "to", "placement", "expose", "constraints", "plan", "trust"}, appMaps...)
	appMaps     = []string{"resources", "exposed-endpoints", "options", "annotations", "storage", "devices", "bindings", "offers"}
	machFields  = []string{"constraints", "annotations", "series", "base"}
	saasFields  = []string{"url"}
	offFields   = []string{"endpoints", "acl"}
	expFields   = []string{"expose-to-spaces", "expose-to-cidrs"}
)

// The shapes that Juju wants of fields; it leaves out a field with another one. Those of
// appMaps are checked where they are merged.
var (
	topShapes = map[string]yaml.Kind{
		"bundle": yaml.ScalarNode, "default-base": yaml.ScalarNode, "description": yaml.ScalarNode, "applications": yaml.MappingNode,
		"machines": yaml.MappingNode, "saas": yaml.MappingNode, "relations": yaml.SequenceNode, "tags": yaml.SequenceNode,
	}
	appShapes = map[string]yaml.Kind{
		"to": yaml.SequenceNode, "charm": yaml.ScalarNode, "channel": yaml.ScalarNode, "base": yaml.ScalarNode,
		"placement": yaml.ScalarNode, "constraints": yaml.ScalarNode, "plan": yaml.ScalarNode,
	}
	shapeNames = map[yaml.Kind]string{yaml.ScalarNode: "a plain value", yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list"}
)

// shapes notes the fields of t that have another shape than Juju wants.
func (b *bundle) shapes(t table, at string, want map[string]yaml.Kind) {
	for _, name := range t.names() {
		kind, ok := want[name]
		if v := t[name].value; ok && v.is() && v.Kind != kind {
			b.at(v, strings.TrimPrefix(at+"."+name, ".")).say("expected %s, got %s", shapeNames[kind], shown(v))
		}
	}
}

// merge lays the documents over each other. It notes what is wrong with each.
func (b *bundle) merge(docs []place) {
	b.m = merged{whole: docs[0], top: table{}, apps: map[string]*application{}, machines: table{}, saas: map[string]*entry{}}
	for i, doc := range docs {
		b.twice(doc)
		if doc.is() && doc.Kind != yaml.MappingNode {
			b.at(doc, "").say("expected a bundle's fields (applications, relations, …)")
			continue
		}
		top := doc.table()
		b.topFields(top)
		b.shapes(top, "", topShapes)
		for _, name := range top.names() {
			e := top[name]
			if i > 0 && slices.Contains([]string{"default-base", "tags", "description"}, name) {
				if name == "default-base" {
					b.at(e.key, name).say("Juju ignores it in an overlay: expected base at each application")
				}
				continue
			}
			b.m.top[name] = e
		}
		b.mergeApps(top["applications"].value, i == 0)
		b.mergeSaas(top["saas"].value)
		if e, ok := top["machines"]; ok && e.value.is() {
			b.m.machines = e.value.table()
			for _, id := range b.m.machines.names() {
				b.fields(b.m.machines[id].value.table(), "machines."+id, machFields)
			}
		}
		b.m.relations = append(b.m.relations, top["relations"].value.items()...)
	}
}

func (b *bundle) mergeApps(apps place, first bool) {
	all := apps.table()
	for _, name := range all.names() {
		e, at := all[name], "applications."+name
		old := b.m.apps[name]
		if !e.value.is() {
			switch {
			case first:
				b.looksLikeOverlay = true
				b.at(e.key, at).say("has no body")
			case old == nil:
				b.at(e.key, at).near(name, slices.Collect(maps.Keys(b.m.apps))).say("is taken out, but there is none of that name below this overlay")
			default:
				delete(b.m.apps, name)
				b.unrelate(name)
			}
			continue
		}
		fields := e.value.table()
		b.fields(fields, at, appFields)
		b.shapes(fields, at, appShapes)
		if old == nil {
			old = &application{name: name, key: e.key, fields: table{}, maps: map[string]table{}}
			b.m.apps[name] = old
		}
		for _, f := range fields.names() {
			field := fields[f]
			if !slices.Contains(appMaps, f) {
				old.fields[f] = field
				continue
			}
			if first && (f == "offers" || f == "exposed-endpoints") {
				b.at(field.key, at+"."+f).say("Juju takes it in an overlay only: expected it in one, or below a line --- of this file")
			}
			if field.value.is() && field.value.Kind != yaml.MappingNode {
				b.at(field.value, at+"."+f).say("expected a mapping of names to values")
				continue
			}
			entries := field.value.table()
			if len(entries) == 0 {
				old.maps[f] = table{}
				continue
			}
			if old.maps[f] == nil {
				old.maps[f] = table{}
			}
			for _, k := range entries.names() {
				if (f == "offers" || f == "exposed-endpoints") && !entries[k].value.is() {
					delete(old.maps[f], k)
					continue
				}
				old.maps[f][k] = entries[k]
			}
		}
	}
}

func (b *bundle) mergeSaas(saas place) {
	all := saas.table()
	for _, name := range all.names() {
		e := all[name]
		if !e.value.is() {
			delete(b.m.saas, name)
			b.unrelate(name)
			continue
		}
		b.fields(e.value.table(), "saas."+name, saasFields)
		b.m.saas[name] = &e
	}
}

// unrelate takes out the relations of an application that was taken out.
func (b *bundle) unrelate(name string) {
	b.m.relations = slices.DeleteFunc(b.m.relations, func(r place) bool {
		return slices.ContainsFunc(r.items(), func(end place) bool {
			app, _, _ := strings.Cut(end.text(), ":")
			return app == name
		})
	})
}

// topFields is fields for a bundle's own. A note says which others Juju ignores, unless one is
// a slip of the pen.
func (b *bundle) topFields(top table) {
	known := slices.Concat(topFields, otherFields)
	for _, name := range top.names() {
		switch f := b.at(top[name].key, name).near(name, known); {
		case slices.Contains(known, name) || strings.HasPrefix(name, "_"):
		case name == "services":
			f.is("applications").say("Juju knows no such field any more")
		case f.p.Near != "":
			f.say("Juju knows no such field")
		default:
			f.note().say("Juju ignores this field")
		}
	}
}

// fields notes those of t that Juju does not know. A name that begins with _ is the writer's own.
func (b *bundle) fields(t table, at string, known []string) {
	for _, name := range t.names() {
		if !slices.Contains(known, name) && !strings.HasPrefix(name, "_") {
			b.at(t[name].key, strings.TrimPrefix(at+"."+name, ".")).near(name, known).say("Juju knows no such field")
		}
	}
}

// twice notes keys that a mapping has twice, wherever it is.
func (b *bundle) twice(p place) {
	if p.Node == nil {
		return
	}
	seen := map[string]bool{}
	for i, n := range p.Content {
		if p.Kind == yaml.MappingNode && i%2 == 0 {
			if seen[n.Value] {
				b.at(place{p.file, n}, "").say("%s stands here for the second time", n.Value)
			}
			seen[n.Value] = true
		}
		b.twice(place{p.file, n})
	}
}
