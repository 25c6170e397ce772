package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// Bundle is what is to be deployed.
type Bundle struct {
	Dir      string            // the project's folder, in which juju deploy is run
	File     string            // the bundle, relative to Dir
	Overlays []string          // what is laid over it, relative to Dir
	Charms   map[string]string // for each application, the path of its charm archive; "" if it is no local one
	Text     string            // hash of the bundle's and the overlays' text
}

// ReadBundle reads the bundle and its overlays.
func ReadBundle(dir, file string, overlays ...string) (Bundle, error) {
	b := Bundle{Dir: dir, File: file, Overlays: overlays, Charms: map[string]string{}}
	h := sha256.New()
	for _, name := range append([]string{file}, overlays...) {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			return b, fmt.Errorf("cannot read the bundle: %w", err)
		}
		fmt.Fprintln(h, len(data))
		h.Write(data)
		var parsed struct {
			Applications map[string]*struct {
				Charm string `yaml:"charm"`
			} `yaml:"applications"`
		}
		if err := yaml.Unmarshal(data, &parsed); err != nil {
			return b, fmt.Errorf("cannot read the bundle %s: %w", path, err)
		}
		for app, a := range parsed.Applications {
			switch {
			case a == nil: // an overlay takes the application out
				delete(b.Charms, app)
			case strings.HasPrefix(a.Charm, "."):
				b.Charms[app] = filepath.Join(filepath.Dir(path), a.Charm)
			case a.Charm != "":
				b.Charms[app] = ""
			}
		}
	}
	b.Text = hex.EncodeToString(h.Sum(nil))
	return b, nil
}

// Missing returns the charm archives that are not there.
func (b Bundle) Missing() []string {
	var missing []string
	for _, path := range b.Charms {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, path)
		}
	}
	return missing
}

// Applications returns the applications' names.
func (b Bundle) Applications() []string {
	var names []string
	for name := range b.Charms {
		names = append(names, name)
	}
	return names
}

// hashes returns the hash of each application's charm archive.
func (b Bundle) hashes() (map[string]string, error) {
	sums := map[string]string{}
	for app, path := range b.Charms {
		if path == "" {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the charm of %s: %w: run make charms", app, err)
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("cannot read the charm of %s: %w", app, err)
		}
		sums[app] = hex.EncodeToString(h.Sum(nil))
	}
	return sums, nil
}
