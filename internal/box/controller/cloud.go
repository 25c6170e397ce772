package controller

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/box/lxdhost"
	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/host/atomicfile"
)

// WriteCloud adds to the box's juju client a cloud that is an LXD, and of the credential
// for it; the credential has the cloud's name. Other clouds of the client stay.
func WriteCloud(p place.Place, name string, c lxdhost.Credential) error {
	type m = map[string]any
	if err := merge(filepath.Join(p.Juju(), "clouds.yaml"), "clouds", name, m{
		"type":       "lxd",
		"auth-types": []string{"certificate"},
		"endpoint":   c.Endpoint,
		"regions":    m{"default": m{"endpoint": c.Endpoint}},
	}); err != nil {
		return err
	}
	return merge(filepath.Join(p.Juju(), "credentials.yaml"), "credentials", name, m{
		name: m{
			"auth-type":   "certificate",
			"client-cert": c.Certificate,
			"client-key":  c.Key,
			"server-cert": c.Server,
		},
	})
}

// merge sets one entry of one of the client's files.
func merge(path, section, name string, entry any) error {
	doc := map[string]map[string]any{}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read what juju's client knows: %w", err)
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	if doc[section] == nil {
		doc[section] = map[string]any{}
	}
	doc[section][name] = entry
	if text, err = yaml.Marshal(doc); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return atomicfile.Write(path, text, atomicfile.Options{Mode: 0o600})
}
