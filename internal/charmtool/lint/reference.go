package lint

import (
	"slices"
	"strings"

	"github.com/juju/charm/v12"

	"github.com/dcib/dcib/internal/charmtool/catalog"
)

// reference checks the text of a field charm that is no path, as Juju reads it, and returns
// the charm's name on Charmhub; false where Juju refuses it.
func (b *bundle) reference(ref string, at place, field string) (string, bool) {
	if old, ok := strings.CutPrefix(ref, "cs:"); ok {
		name := old[strings.LastIndex(old, "/")+1:]
		if i := strings.LastIndex(name, "-"); i > 0 && strings.Trim(name[i+1:], "0123456789") == "" {
			name = name[:i]
		}
		b.at(at, field).is(name).say("expected the charm's name on Charmhub: Juju 3 and later know no charm store (cs:)")
		return "", false
	}
	url, err := charm.ParseURL(ref)
	if err != nil {
		b.at(at, field).say("expected the charm's name on Charmhub, or the path of an archive: %s", oneLine(err))
		return "", false
	}
	if charm.CharmHub.Matches(url.Schema) && url.Revision != -1 {
		b.at(at, field).is(url.Name).say("expected the name alone, and a field revision: %d beside it", url.Revision)
		return "", false
	}
	return url.Name, true
}

// checkChannel checks a channel of Charmhub, [track/]risk[/branch] or track alone, as Juju
// reads it, and reports whether it is one.
func (b *bundle) checkChannel(at place, field string) bool {
	words := strings.Split(at.text(), "/")
	risk := ""
	switch {
	case slices.Contains(words, "") || len(words) > 3:
		b.at(at, field).say("expected [track/]risk[/branch], got %s", at.text())
		return false
	case len(words) == 3, len(words) == 2 && !slices.Contains(catalog.Risks, words[0]):
		risk = words[1]
	}
	if risk != "" && !slices.Contains(catalog.Risks, risk) {
		b.at(at, field).near(risk, catalog.Risks).say("expected a risk of %s, got %s", strings.Join(catalog.Risks, ", "), at.text())
		return false
	}
	return true
}
