package lint

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/juju/charm/v12"
)

// leftOut notes what Juju does not read because it is of another type than expected. With
// --force and without, Juju goes on without such a field. Fields that it does not know are
// checked elsewhere.
func (b *bundle) leftOut(file string, err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimSpace(line)
		m := errorLine.FindStringSubmatch(line)
		if m == nil || strings.Contains(line, " not found in ") {
			continue
		}
		p := Problem{File: file, Says: "Juju leaves this out: " + strings.TrimPrefix(line, m[0])}
		p.Line, _ = strconv.Atoi(m[1])
		b.problems = append(b.problems, p)
	}
}

// askJuju lets Juju's library merge and verify the files, for what the checks above leave
// out. It names no lines.
func (b *bundle) askJuju(files []string) {
	say := func(format string, args ...any) {
		b.problems = append(b.problems, Problem{File: b.file, Says: fmt.Sprintf(format, args...)})
	}
	var sources []charm.BundleDataSource
	for _, file := range files {
		text, err := b.files.read(file)
		if err != nil {
			say("cannot read bundle %s: %v", file, err)
			return
		}
		folder, err := filepath.Abs(filepath.Dir(file))
		if err != nil {
			say("cannot read bundle %s: %v", file, err)
			return
		}
		src, err := charm.StreamBundleDataSource(bytes.NewReader(text), folder)
		if err != nil {
			say("cannot read bundle %s: %v", file, err)
			return
		}
		for _, part := range src.Parts() {
			b.leftOut(file, part.UnmarshallError)
		}
		sources = append(sources, src)
	}
	if slices.ContainsFunc(b.problems, func(p Problem) bool { return !p.Note }) {
		return // the rest would follow from what Juju leaves out
	}
	data, err := charm.ReadAndMergeBundleData(sources...)
	if err != nil {
		say("Juju cannot merge it: %v", err)
		return
	}
	// The library asks for charms by the text of the field charm, which can be a path.
	charms := map[string]charm.Charm{}
	for name, app := range data.Applications {
		app.Charm, app.Revision = name, nil
		if f, ok := b.known[name]; ok {
			charms[name] = f.Charm
		} else {
			charms[name] = newStandIn(name)
		}
	}
	addStandIns(data, charms)
	if b.alone {
		charms = nil // as Juju does it at this point
	}
	err = data.VerifyWithCharms(verifyConstraints, verifyStorage, verifyDevices, charms)
	var many *charm.VerificationError
	switch {
	case errors.As(err, &many):
		for _, e := range many.Errors {
			say("%v", e)
		}
	case err != nil:
		say("%v", err)
	}
}
