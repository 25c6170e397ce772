//go:build !juju4

package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/juju/charm/v12"
	"github.com/juju/cmd/v3"
	"github.com/juju/juju/cmd/juju/application/bundle"
	"github.com/juju/juju/core/assumes"
	"github.com/juju/juju/core/base"
	"github.com/juju/juju/core/lxdprofile"
	jujuversion "github.com/juju/juju/version"
)

// readCharm reads an archive as the controller does when it is uploaded and deployed.
func readCharm(path string) (*Charm, error) {
	archive, err := charm.ReadCharmArchive(path)
	if err != nil {
		return nil, err
	}
	if err := charm.CheckMeta(archive); err != nil {
		return nil, err
	}
	meta := archive.Meta()
	if err := charm.ValidateName(meta.Name); err != nil {
		return nil, err
	}
	if err := lxdprofile.ValidateLXDProfile(profiler{archive}); err != nil {
		return nil, err
	}
	var features assumes.FeatureSet
	features.Add(assumes.JujuFeature(jujuversion.Current))
	if err := features.Satisfies(meta.Assumes); err != nil {
		return nil, err
	}
	c := newCharm(meta.Name, meta.Summary, meta.Subordinate, meta.Assumes != nil)
	for _, side := range []map[string]charm.Relation{meta.Provides, meta.Requires, meta.Peers} {
		for name, r := range side {
			c.Relations[name] = Endpoint{string(r.Role), r.Interface, string(r.Scope), r.Limit, r.Optional}
		}
	}
	c.Bindings = slices.Sorted(maps.Keys(meta.ExtraBindings))
	for name, s := range meta.Storage {
		c.Storage[name] = Store{string(s.Type), s.CountMin, s.CountMax, s.Location}
	}
	for name, o := range archive.Config().Options {
		c.Options[name] = Option{o.Type, o.Default}
	}
	for name, a := range archive.Actions().ActionSpecs {
		c.Actions[name] = Action{a.Description, a.Parallel, a.Params}
	}
	supported, err := base.WorkloadBases(time.Now(), base.Base{}, "")
	if err != nil {
		return nil, err
	}
	for _, b := range archive.Manifest().Bases {
		parsed, err := base.ParseBase(b.Name, b.Channel.String())
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(supported, parsed.IsCompatible) {
			return nil, fmt.Errorf("no machine can have base %s: there are %v", parsed, supported)
		}
		for _, arch := range b.Architectures {
			c.Bases = append(c.Bases, parsed.DisplayString()+":"+arch)
		}
	}
	return c, nil
}

// profiler shows a charm's lxd-profile.yaml to its check.
type profiler struct{ *charm.CharmArchive }

func (p profiler) LXDProfile() lxdprofile.LXDProfile {
	profile := p.CharmArchive.LXDProfile()
	if profile == nil {
		return nil
	}
	return profile
}

// readBundle reads a bundle and its overlays as juju deploy does before it asks the controller.
func readBundle(path string, overlays []string) (*Bundle, error) {
	source, err := charm.LocalBundleDataSource(path)
	if err != nil {
		return nil, err
	}
	context, err := cmd.DefaultContext()
	if err != nil {
		return nil, err
	}
	data, problems, err := bundle.ComposeAndVerifyBundle(context, source, overlays)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Applications: slices.Sorted(maps.Keys(data.Applications))}
	for _, p := range problems {
		b.Problems = append(b.Problems, p.Error())
	}
	return b, nil
}
