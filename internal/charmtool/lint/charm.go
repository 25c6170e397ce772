package lint

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/juju/charm/v12"
	"github.com/juju/charm/v12/assumes"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/charmtool/pack"
)

// requiredBases are the bases that each of our charms is for.
var requiredBases = []string{"22.04", "24.04"}

// maxSummary is charmcraft's limit, in characters.
const maxSummary = 78

// reader is one charm under check: its files, and how to name them in a problem.
type reader struct {
	file     string // the charm, as the user named it
	unified  bool   // the documents come out of one charmcraft.yaml
	files    map[string]pack.File
	problems []Problem
}

// Folder checks the charm folder dir, without building it. It returns the charm as Juju
// would read it (nil when Juju could not), and what is wrong with it.
func Folder(dir string) (charm.Charm, []Problem) {
	r := &reader{file: filepath.Join(dir, pack.SourceFile), unified: true, files: map[string]pack.File{}}
	src, err := pack.ReadSource(dir)
	if err != nil {
		return nil, []Problem{{File: dir, Says: err.Error()}}
	}
	files, err := pack.Contents(dir, src, runtime.GOARCH)
	if err != nil {
		return nil, []Problem{{File: dir, Says: err.Error()}}
	}
	for _, f := range files {
		r.files[f.Name] = f
	}
	if abs, err := filepath.Abs(dir); err == nil && filepath.Base(abs) != src.Name {
		r.addf("", "name", "expected the folder's name, %q, got %q", filepath.Base(abs), src.Name)
	}
	hasGo := slices.ContainsFunc(slices.Collect(maps.Values(src.Parts)), func(p pack.Part) bool { return p.Plugin == "go" })
	if !hasGo {
		r.addf("", "parts", "expected one with plugin: go, which builds the dispatch")
	}
	if !exists(filepath.Join(dir, "main.go")) {
		r.addf("", "", "expected main.go beside it, the program that becomes the dispatch")
	}
	// Juju reads a charm from an archive, so it gets one; no dispatch is needed for that.
	data, err := pack.Zip(files)
	if err != nil {
		return nil, []Problem{{File: dir, Says: err.Error()}}
	}
	return r.check(data)
}

// Archive checks the charm archive at path. It returns the charm as Juju would read it
// (nil when Juju could not), and what is wrong with it.
func Archive(path string) (charm.Charm, []Problem) {
	r := &reader{file: path, files: map[string]pack.File{}}
	data, err := os.ReadFile(path)
	if err == nil {
		err = r.unzip(data)
	}
	if err != nil {
		return nil, []Problem{{File: path, Says: fmt.Sprintf("cannot read archive: %v", err)}}
	}
	if d, ok := r.files["dispatch"]; !ok {
		r.addf("dispatch", "", "is missing: expected the charm's program")
	} else {
		if d.Mode&0o111 == 0 {
			r.addf("dispatch", "", "expected an executable file, got mode %s", d.Mode)
		}
		if err := pack.CheckStatic(d.Data); err != nil {
			r.addf("dispatch", "", "%v", err)
		}
	}
	c, problems := r.check(data)
	if want := strings.TrimSuffix(filepath.Base(path), ".charm"); c != nil && c.Meta().Name != want {
		problems = append(problems, Problem{File: path + ": metadata.yaml", Field: "name", Says: fmt.Sprintf("expected the archive's name, %q, got %q", want, c.Meta().Name)})
	}
	return c, problems
}

func (r *reader) unzip(data []byte) error {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			return err
		}
		b, err := io.ReadAll(in)
		in.Close()
		if err != nil {
			return err
		}
		r.files[f.Name] = pack.File{Name: f.Name, Mode: f.Mode(), Data: b}
	}
	return nil
}

// unifiedPrefix is where a document of the archive stands in charmcraft.yaml.
var unifiedPrefix = map[string]string{"actions.yaml": "actions", "config.yaml": "config", "manifest.yaml": "platforms"}

// addf notes a problem with a field of one of the archive's documents; doc may be empty.
func (r *reader) addf(doc, field, format string, args ...any) {
	file := r.file
	if r.unified {
		field = strings.Trim(unifiedPrefix[doc]+"."+field, ".")
		if doc == "README.md" || doc == "icon.svg" {
			file = filepath.Join(filepath.Dir(r.file), doc)
		}
	} else if doc != "" {
		file += ": " + doc
	}
	r.problems = append(r.problems, Problem{File: file, Field: field, Says: fmt.Sprintf(format, args...)})
}

// check reads the archive data as Juju does, then applies the house's rules.
func (r *reader) check(data []byte) (charm.Charm, []Problem) {
	var ch charm.Charm
	archive, err := charm.ReadCharmArchiveBytes(data)
	if err == nil {
		err = charm.CheckMeta(archive)
	}
	if err != nil {
		r.addf("", "", "Juju cannot read the charm: %v", err)
	} else {
		ch = archive
		r.checkAssumes(archive.Meta())
		r.checkBases(archive.Manifest())
	}
	r.checkMetadata()
	r.checkConfig()
	r.checkActions()
	r.checkShipped()
	return ch, r.problems
}

// decode reads the named document into v; it reports false where the charm has none.
func (r *reader) decode(name string, v any) bool {
	f, ok := r.files[name]
	if !ok {
		return false
	}
	if err := yaml.Unmarshal(f.Data, v); err != nil {
		r.addf(name, "", "%v", err)
		return false
	}
	return true
}

func (r *reader) checkMetadata() {
	const doc = "metadata.yaml"
	var m struct {
		DisplayName string `yaml:"display-name"`
		Summary     string `yaml:"summary"`
		Description string `yaml:"description"`
		Series      any    `yaml:"series"`
	}
	if !r.decode(doc, &m) {
		return
	}
	title := "display-name"
	if r.unified {
		title = "title"
	}
	if m.DisplayName == "" {
		r.addf(doc, title, "is missing: expected the charm's name for people")
	}
	if n := len([]rune(strings.TrimSpace(m.Summary))); n == 0 || n > maxSummary {
		r.addf(doc, "summary", "expected 1 to %d characters, got %d", maxSummary, n)
	}
	if strings.TrimSpace(m.Description) == "" {
		r.addf(doc, "description", "is missing: expected what the charm does, and for whom")
	}
	if m.Series != nil {
		r.addf(doc, "series", "expected none: Juju 4 knows bases only")
	}
}

// checkAssumes wants Juju 3.6 or later, and nothing that keeps Juju 4 out.
func (r *reader) checkAssumes(m *charm.Meta) {
	const doc = "metadata.yaml"
	var found bool
	if m.Assumes != nil {
		all, _ := m.Assumes.Expression.(assumes.CompositeExpression)
		for _, e := range all.SubExpressions {
			f, ok := e.(assumes.FeatureExpression)
			if !ok || f.Name != "juju" || f.Version == nil {
				continue
			}
			v := *f.Version
			switch {
			case f.Constraint == assumes.VersionGTE && (v.Major > 3 || v.Major == 3 && v.Minor >= 6):
				found = true
			case f.Constraint == assumes.VersionLT && v.Major <= 4:
				r.addf(doc, "assumes", "expected no upper bound below Juju 5, got juju < %s", v)
			}
		}
	}
	if !found {
		r.addf(doc, "assumes", "expected juju >= 3.6")
	}
}

func (r *reader) checkBases(m *charm.Manifest) {
	const doc = "manifest.yaml"
	if m == nil {
		r.addf(doc, "", "is missing: expected the charm's bases")
		return
	}
	for _, want := range requiredBases {
		if !slices.ContainsFunc(m.Bases, func(b charm.Base) bool {
			return b.Name == "ubuntu" && b.Channel.Track == want && len(b.Architectures) > 0
		}) {
			r.addf(doc, "", "expected base ubuntu@%s with its architectures", want)
		}
	}
}

func (r *reader) checkConfig() {
	const doc = "config.yaml"
	var c struct {
		Options map[string]struct {
			Type        string `yaml:"type"`
			Description string `yaml:"description"`
		} `yaml:"options"`
	}
	if !r.decode(doc, &c) {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.Options)) {
		o := c.Options[name]
		if o.Type == "" {
			r.addf(doc, "options."+name+".type", "is missing: expected string, int, float, boolean or secret")
		}
		if strings.TrimSpace(o.Description) == "" {
			r.addf(doc, "options."+name+".description", "is missing: expected what the option does")
		}
	}
}

func (r *reader) checkActions() {
	const doc = "actions.yaml"
	type param struct {
		Type        any    `yaml:"type"`
		Description string `yaml:"description"`
		Enum        []any  `yaml:"enum"`
	}
	var actions map[string]struct {
		Description string           `yaml:"description"`
		Params      map[string]param `yaml:"params"`
		Required    []string         `yaml:"required"`
		Additional  *bool            `yaml:"additionalProperties"`
	}
	if !r.decode(doc, &actions) {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(actions)) {
		a := actions[name]
		if strings.TrimSpace(a.Description) == "" {
			r.addf(doc, name+".description", "is missing: expected what the action does and what it returns")
		}
		if a.Additional == nil || *a.Additional {
			r.addf(doc, name+".additionalProperties", "expected false, so that Juju refuses a misspelt parameter")
		}
		for _, p := range slices.Sorted(maps.Keys(a.Params)) {
			if !charm.GetActionNameRule().MatchString(p) {
				r.addf(doc, name+".params."+p, "expected a name of lower-case letters, digits and hyphens, as juju run takes")
			}
			if a.Params[p].Type == nil && len(a.Params[p].Enum) == 0 {
				r.addf(doc, name+".params."+p+".type", "is missing")
			}
			if strings.TrimSpace(a.Params[p].Description) == "" {
				r.addf(doc, name+".params."+p+".description", "is missing: expected what the parameter means, and its unit")
			}
		}
		for _, p := range a.Required {
			if _, ok := a.Params[p]; !ok {
				r.addf(doc, name+".required", "expected names from params, got %q", p)
			}
		}
	}
}

// checkShipped wants what a user sees of a charm before they deploy it.
func (r *reader) checkShipped() {
	if f, ok := r.files["README.md"]; !ok || len(bytes.TrimSpace(f.Data)) == 0 {
		r.addf("README.md", "", "is missing: expected what the charm is for and how to use it")
	}
	icon, ok := r.files["icon.svg"]
	if !ok {
		r.addf("icon.svg", "", "is missing: expected the charm's icon")
		return
	}
	var root struct {
		XMLName xml.Name
	}
	if err := xml.Unmarshal(icon.Data, &root); err != nil {
		r.addf("icon.svg", "", "expected an SVG image: %v", err)
	} else if root.XMLName.Local != "svg" {
		r.addf("icon.svg", "", "expected an SVG image, got <%s>", root.XMLName.Local)
	}
}
