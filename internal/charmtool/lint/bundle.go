package lint

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/juju/charm/v12"

	"github.com/dcib/dcib/internal/charmtool/catalog"
	"github.com/dcib/dcib/internal/charmtool/pack"
)

// Bundle checks the bundle at path with the overlays laid over it in their order, as juju
// deploy --overlay does, and says of each problem in which file and line it is.
//
// Charms are ours, by name: an application that uses one of them (by name, or by a path that
// ends in <name>.charm) is checked against it. For another path that is so with the charm
// folder ../charms/<name> beside the archive's, or else with the archive itself. A charm from
// Charmhub is checked against the catalogue; what that does not know is taken at its word,
// and a note says so.
func (fs *Files) Bundle(path string, overlays []string, ours map[string]charm.Charm) []Problem {
	b := &bundle{file: strings.Join(append([]string{path}, overlays...), " + "), files: fs, ours: ours}
	var docs, base []place
	for i, file := range append([]string{path}, overlays...) {
		text, err := fs.read(file)
		if err != nil {
			b.problems = append(b.problems, Problem{File: file, Says: "cannot read bundle: " + oneLine(err)})
			continue
		}
		more, err := documents(file, text)
		if err != nil {
			b.problems = append(b.problems, notYAML(file, text, err))
		}
		docs = append(docs, more...)
		if i == 0 {
			base = more
		}
	}
	if len(b.problems) > 0 {
		return b.problems
	}
	if len(docs) == 0 {
		return []Problem{{File: path, Says: "cannot read bundle: it is empty"}}
	}
	b.merge(docs)
	if len(overlays) == 0 && b.isOverlay() || b.isOld() {
		return b.problems
	}
	b.resolve()
	b.checkTop()
	b.checkApplications()
	b.checkRelations()
	b.checkSubordinates()
	b.checkPlacement()
	if !slices.ContainsFunc(b.problems, func(p Problem) bool { return !p.Note }) {
		b.askJuju(append([]string{path}, overlays...))
	}
	if len(overlays) > 0 && len(base) > 0 {
		b.checkAlone(path, base)
	}
	if len(overlays) == 0 && b.looksLikeOverlay {
		b.problems = append(b.problems, Problem{File: path, Note: true, Says: "if this is an overlay, " + nameOverlay})
	}
	slices.SortStableFunc(b.problems, func(p, q Problem) int {
		return cmp.Or(strings.Compare(p.File, q.File), p.Line-q.Line)
	})
	return slices.Compact(b.problems)
}

// checkAlone checks the bundle without its overlays, as Juju verifies it before it reads them:
// each application has a charm, and nothing refers to what is in an overlay only.
func (b *bundle) checkAlone(path string, docs []place) {
	alone := &bundle{file: path, files: b.files, ours: b.ours, known: map[string]facts{}, alone: true}
	alone.merge(docs)
	for _, name := range alone.appNames() {
		if app := alone.m.apps[name]; app.fields["charm"].value.text() == "" {
			alone.at(app.key, "applications."+name).say("expected a field charm")
		}
	}
	alone.checkTop()
	alone.checkApplications()
	alone.checkRelations()
	alone.checkPlacement()
	if len(alone.problems) == 0 {
		alone.askJuju([]string{path})
	}
	type spot struct {
		file, field string
		line        int
	}
	said := map[spot]bool{}
	for _, p := range b.problems {
		said[spot{p.File, p.Field, p.Line}] = true
	}
	for _, p := range alone.problems {
		if !p.Note && !said[spot{p.File, p.Field, p.Line}] {
			p.Says += ": Juju verifies the bundle without its overlays first"
			b.problems = append(b.problems, p)
		}
	}
}

// nameOverlay says how an overlay is checked.
const nameOverlay = "name it with --overlay, or name what it is laid over in a comment at its beginning (# over: BUNDLE)"

// isOld reports whether the bundle has its applications under the name that they had once. Then
// nothing else of it can be checked.
func (b *bundle) isOld() bool {
	top := b.m.whole.table()
	_, old := top["services"]
	_, now := top["applications"]
	return old && !now
}

// isOverlay reports whether most applications have no charm, so that this is an overlay that
// was named without its bundle, and says what to do.
func (b *bundle) isOverlay() bool {
	missing := 0
	for _, app := range b.m.apps {
		if app.fields["charm"].value.text() == "" {
			missing++
		}
	}
	if missing < 2 || 2*missing <= len(b.m.apps) {
		return false
	}
	b.problems = []Problem{{File: b.file, Says: fmt.Sprintf("expected a bundle, but %d of %d applications have no charm: if this is an overlay, %s", missing, len(b.m.apps), nameOverlay)}}
	return true
}

// oneLine returns an error's text without the decoder's line breaks.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

type bundle struct {
	file     string // all of them
	files    *Files
	ours     map[string]charm.Charm
	m        merged
	known    map[string]facts // by application: those whose charm we know
	read     map[string]facts // from the catalogue, by name and track
	problems []Problem
	alone    bool // without its overlays, and without what is known of charms
	// It refers to what only a bundle below it can have.
	looksLikeOverlay bool
}

// facts are what is known of an application's charm.
type facts struct {
	charm.Charm
	required []string // endpoints that have to be related
}

// relation returns an endpoint of the charm; juju-info is one that each provides.
func (f facts) relation(name string) (charm.Relation, bool) {
	r, ok := f.Meta().CombinedRelations()[name]
	if !ok && name == infoEndpoint {
		return charm.Relation{Name: name, Interface: infoEndpoint, Role: charm.RoleProvider, Scope: charm.ScopeGlobal}, true
	}
	return r, ok
}

// endpoints returns the names of those that can be related.
func (f facts) endpoints() []string {
	return slices.Sorted(maps.Keys(func() map[string]charm.Relation {
		all := maps.Clone(f.Meta().CombinedRelations())
		maps.DeleteFunc(all, func(_ string, r charm.Relation) bool { return r.Role == charm.RolePeer })
		return all
	}()))
}

// infoEndpoint is the endpoint, and the interface, that every application provides without
// a word. Subordinates often require it under the same name.
const infoEndpoint = "juju-info"

// finding is a problem that is being written.
type finding struct {
	b *bundle
	p Problem
}

// at begins a problem with a piece of the text.
func (b *bundle) at(p place, field string) *finding {
	f := &finding{b, Problem{File: p.file, Field: field}}
	if p.Node != nil {
		f.p.Line = p.Line
	}
	return f
}

// near adds the word that is nearest to got.
func (f *finding) near(got string, words []string) *finding {
	f.p.Near = nearest(got, words)
	return f
}

// is adds a right word that was found otherwise.
func (f *finding) is(word string) *finding {
	f.p.Near = cmp.Or(word, f.p.Near)
	return f
}

func (f *finding) note() *finding {
	f.p.Note = true
	return f
}

func (f *finding) say(format string, args ...any) {
	f.p.Says = fmt.Sprintf(format, args...)
	f.b.problems = append(f.b.problems, f.p)
}

func (b *bundle) appNames() []string { return slices.Sorted(maps.Keys(b.m.apps)) }

// resolve finds what is known of each application's charm.
func (b *bundle) resolve() {
	b.known = map[string]facts{}
	for _, name := range b.appNames() {
		app := b.m.apps[name]
		at := "applications." + name
		e, ok := app.fields["charm"]
		if !ok || e.value.text() == "" {
			b.looksLikeOverlay = true
			b.at(app.key, at).say("expected a field charm")
			continue
		}
		ref, where := e.value.text(), at+".charm"
		local := strings.HasPrefix(ref, ".") || filepath.IsAbs(ref)
		short := strings.TrimSuffix(filepath.Base(ref), ".charm")
		if c, ok := app.fields["channel"]; ok && local && c.value.text() != "" {
			b.at(c.value, at+".channel").say("expected none (or \"\", in an overlay): the charm is a local archive")
		}
		if ch, ok := b.ours[short]; ok && (local || short == ref) {
			b.known[name] = own(ch)
			continue
		}
		if local {
			b.readLocal(name, short, ref, e.value)
			continue
		}
		if charmName, ok := b.reference(ref, e.value, where); ok {
			b.lookUp(name, charmName, e.value, where)
		}
	}
}

// readLocal takes the charm from its folder, where that is beside the archive's, or from the
// archive.
func (b *bundle) readLocal(app, short, ref string, at place) {
	path := ref
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(at.file), path)
	}
	charms := filepath.Join(filepath.Dir(path), "..", "charms")
	if src := filepath.Join(charms, short); exists(filepath.Join(src, pack.SourceFile)) {
		if ch, problems := Folder(src); ch != nil {
			b.known[app] = own(ch)
			return
		} else if len(problems) > 0 {
			b.at(at, "applications."+app+".charm").say("cannot read its folder %s: %s", src, problems[0].Says)
			return
		}
	}
	ch, err := charm.ReadCharmArchive(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		var there []string
		for _, pattern := range []string{filepath.Join(filepath.Dir(path), "*.charm"), filepath.Join(charms, "*", pack.SourceFile)} {
			found, _ := filepath.Glob(pattern)
			for _, f := range found {
				if filepath.Base(f) == pack.SourceFile {
					f = filepath.Dir(f)
				}
				there = append(there, strings.TrimSuffix(filepath.Base(f), ".charm"))
			}
		}
		there = append(there, slices.Collect(maps.Keys(b.ours))...)
		b.at(at, "applications."+app+".charm").near(short, there).say("expected an archive at %s, or the charm %q among those to check", path, short)
	case err != nil:
		b.at(at, "applications."+app+".charm").say("Juju cannot read %s: %v", path, err)
	default:
		b.known[app] = facts{Charm: ch}
	}
}

// own returns what is known of one of our charms. They say of each endpoint that they can do
// without that it is optional.
func own(ch charm.Charm) facts {
	f := facts{Charm: ch}
	for name, r := range ch.Meta().Requires {
		if !r.Optional && r.Scope != charm.ScopeContainer {
			f.required = append(f.required, name)
		}
	}
	slices.Sort(f.required)
	return f
}

// lookUp takes the charm from the catalogue. Of a charm or a track that the catalogue does not
// have nothing is known, which a note says.
func (b *bundle) lookUp(app, name string, at place, field string) {
	channel := b.m.apps[app].fields["channel"].value
	words := channel.text()
	if words == "" {
		// Its facts are those of a track, and which one that will be is not known.
		b.at(at, field).say("expected a channel beside it: another day's default is another charm")
		return
	}
	if !b.checkChannel(channel, "applications."+app+".channel") {
		return
	}
	c, tracks, ok := catalog.Find(name, words)
	if len(tracks) == 0 {
		names, err := catalog.Names()
		if err != nil {
			b.at(at, field).say("%v", err)
			return
		}
		names = append(names, slices.Collect(maps.Keys(b.ours))...)
		b.at(at, field).near(name, names).note().say("the catalogue has no charm %s", name)
		return
	}
	known := strings.Join(slices.Sorted(slices.Values(tracks)), ", ")
	if !ok && catalog.Track(words) == "" {
		b.at(channel, "applications."+app+".channel").note().say("the channel names no track: the catalogue has %s of charm %s", known, name)
		return
	}
	if !ok {
		b.at(channel, "applications."+app+".channel").near(catalog.Track(words), tracks).note().
			say("the catalogue has no such track of charm %s (it has %s)", name, known)
		return
	}
	key := name + " " + catalog.Track(words)
	if _, ok := b.read[key]; !ok {
		ch, err := c.Juju()
		if err != nil {
			b.at(at, field).say("%v", err)
			return
		}
		if b.read == nil {
			b.read = map[string]facts{}
		}
		b.read[key] = facts{Charm: ch, required: c.Required}
	}
	b.known[app] = b.read[key]
}
