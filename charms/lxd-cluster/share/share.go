// Package share keeps on each host what LXD needs there to mount a Ceph file system that an
// application asked for over lxd-profile: monitors and key, in /etc/ceph, where LXD looks
// for them by the names of cluster and user. They come sealed to each unit; every unit does
// this for its own host, whoever leads.
package share

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
	"github.com/dcib/dcib/internal/seal"
)

// Endpoint is the relation to those who ask, in charmcraft.yaml.
const Endpoint = "lxd-profile"

// Folder is where Ceph's clients, LXD among them, look for clusters.
const Folder = "/etc/ceph"

// keyFile is this unit's private sealing key, below StateDir.
const keyFile = "share-key"

// ours is the first line of each file that is ours, with what it was made of.
const ours = "# Written by lxd-cluster for a relation lxd-profile: "

// World is what this room works on.
type World struct {
	Tools    hooktool.Tools
	Folder   string
	StateDir string // readable by root only
}

// Facts are what the unit saw.
type Facts struct {
	Relations []Relation
	SealKey   string            // the public half of this unit's key; "" when it has none
	Has       map[string]string // what the host has of ours: cluster → Of
}

// Relation is one application that asks for a share.
type Relation struct {
	ID, Cluster string
	Ceph        lxdprofile.Ceph
	Access      *lxdprofile.CephAccess // nil until it can be opened
	Err         string                 // why it cannot be used
	Member      map[string]string      // this unit's databag
}

// Observe gathers the facts.
func Observe(ctx context.Context, event hooktool.Event, w World) (Facts, error) {
	f := Facts{Has: map[string]string{}}
	if err := f.observeFiles(w); err != nil {
		return f, err
	}
	key, err := loadKey(w.StateDir)
	if err != nil {
		return f, err
	}
	if key != nil {
		f.SealKey = key.Public()
	}
	ids, err := w.Tools.RelationIDs(ctx, Endpoint)
	if err != nil {
		return f, err
	}
	for _, id := range ids {
		app, err := w.Tools.RelationApp(ctx, id)
		if err != nil {
			return f, err
		}
		bag, err := w.Tools.RelationGet(ctx, id, app)
		if err != nil && !errors.Is(err, hooktool.ErrNotFound) {
			return f, err
		}
		ceph, err := lxdprofile.DecodeCeph(bag)
		if err != nil || ceph == nil {
			continue // the broker tells them what is wrong with the rest
		}
		r := Relation{ID: id, Cluster: lxdprofile.CephCluster(bag["model-uuid"], bag["application"]), Ceph: *ceph}
		if r.Member, err = w.Tools.RelationGet(ctx, id, event.Unit); err != nil {
			return f, err
		}
		if sealed := ceph.Sealed[strconv.Itoa(lxdprofile.UnitNumber(event.Unit))]; sealed != "" && key != nil {
			access, err := open(key, r.Cluster, sealed)
			if err != nil {
				r.Err = err.Error()
			} else {
				r.Access = &access
			}
		}
		f.Relations = append(f.Relations, r)
	}
	return f, nil
}

func (f Facts) observeFiles(w World) error {
	files, err := filepath.Glob(filepath.Join(w.Folder, lxdprofile.CephPrefix+"*.conf"))
	if err != nil {
		return fmt.Errorf("cannot look into %s: %w", w.Folder, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", file, err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		if of, is := strings.CutPrefix(first, ours); is {
			f.Has[strings.TrimSuffix(filepath.Base(file), ".conf")] = of
		}
	}
	return nil
}

// A monitor's address, with or without a port, and a user's name: they become lines and
// names of files.
var (
	monitor = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]{1,5})?$`)
	user    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
)

// open opens and checks what was sealed to this unit.
func open(key *seal.Key, cluster, sealed string) (lxdprofile.CephAccess, error) {
	var access lxdprofile.CephAccess
	text, err := key.Open(lxdprofile.CephPurpose(cluster), sealed)
	if err != nil {
		return access, err
	}
	if err := json.Unmarshal(text, &access); err != nil {
		return access, errors.New("cannot read the access to a share: it is not JSON")
	}
	if len(access.Monitors) == 0 || !user.MatchString(access.User) || slices.ContainsFunc(access.Monitors, func(m string) bool { return !monitor.MatchString(m) }) {
		return access, errors.New("cannot use the access to a share: wanted addresses of monitors, and a name of a user")
	}
	if _, err := base64.StdEncoding.DecodeString(access.Key); err != nil || access.Key == "" {
		return access, errors.New("cannot use the access to a share: the key is not one that Ceph makes")
	}
	return access, nil
}

// Plan says what to put onto the host, what to take off it, and what to tell who asks.
func Plan(f Facts) []charm.Step[World] {
	var steps []charm.Step[World]
	wanted := map[string]bool{}
	for _, r := range f.Relations {
		wanted[r.Cluster] = true
		if f.SealKey == "" {
			steps = append(steps, makeKey{})
			continue
		}
		if r.Access != nil && f.Has[r.Cluster] != r.Ceph.Of {
			steps = append(steps, write{r.Cluster, r.Ceph.Of, *r.Access})
			continue
		}
		member := lxdprofile.Member{SealKey: f.SealKey, Ceph: f.Has[r.Cluster], Problem: r.Err}.Encode()
		if !lxdprofile.Same(r.Member, member) {
			steps = append(steps, tell{r.ID, member})
		}
	}
	for _, cluster := range slices.Sorted(maps.Keys(f.Has)) {
		if !wanted[cluster] {
			steps = append(steps, remove{cluster})
		}
	}
	return steps
}

// Leave says what a unit takes off its host when it goes: everything.
func Leave(f Facts) []charm.Step[World] { return Plan(Facts{Has: f.Has}) }

// loadKey reads this unit's key; nil when there is none.
func loadKey(dir string) (*seal.Key, error) {
	raw, err := os.ReadFile(filepath.Join(dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read this unit's sealing key: %w", err)
	}
	return seal.ParseKey(raw)
}

// makeKey makes this unit's key.
type makeKey struct{}

func (makeKey) Name() string { return "make a key for what is sealed to this unit" }

func (makeKey) Apply(_ context.Context, w World) error {
	if key, err := loadKey(w.StateDir); err != nil || key != nil {
		return err
	}
	key, err := seal.NewKey()
	if err != nil {
		return err
	}
	raw, err := key.Bytes()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(w.StateDir, 0o700); err != nil {
		return err
	}
	return replace(filepath.Join(w.StateDir, keyFile), raw)
}

// write puts monitors and key where LXD looks for them.
type write struct {
	cluster, of string
	access      lxdprofile.CephAccess
}

func (s write) Name() string { return "write the access to Ceph cluster " + s.cluster }

func (s write) Apply(ctx context.Context, w World) error {
	if err := os.MkdirAll(w.Folder, 0o755); err != nil {
		return err
	}
	// Users that it had before go first, and the file that says what is there comes last.
	if err := (remove{s.cluster}).Apply(ctx, w); err != nil {
		return err
	}
	base := filepath.Join(w.Folder, s.cluster)
	keyring := fmt.Sprintf("[client.%s]\n\tkey = %s\n", s.access.User, s.access.Key)
	if err := replace(base+".client."+s.access.User+".keyring", []byte(keyring)); err != nil {
		return err
	}
	conf := fmt.Sprintf("%s%s\n[global]\nmon_host = %s\n", ours, s.of, strings.Join(s.access.Monitors, ","))
	return replace(base+".conf", []byte(conf))
}

// remove takes away what was written for a relation that is gone.
type remove struct{ cluster string }

func (s remove) Name() string { return "take away the access to Ceph cluster " + s.cluster }

func (s remove) Apply(_ context.Context, w World) error {
	base := filepath.Join(w.Folder, s.cluster)
	files, err := filepath.Glob(base + ".client.*.keyring")
	if err != nil {
		return err
	}
	for _, file := range append(files, base+".conf") {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// replace writes a file for root only, whole or not at all.
func replace(path string, text []byte) error {
	part := path + ".part"
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// tell says what this unit is, and has.
type tell struct {
	relation string
	values   map[string]string
}

func (s tell) Name() string { return "say what this host has of a share (" + s.relation + ")" }

func (s tell) Apply(ctx context.Context, w World) error {
	return w.Tools.RelationSet(ctx, s.relation, s.values)
}
