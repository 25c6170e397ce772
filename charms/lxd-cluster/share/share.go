// Package share keeps on each host what LXD needs to mount a Ceph file system that an application requested
// over lxd-profile: monitors and key, in /etc/ceph, where LXD reads them by the names of cluster and user.
// They come sealed to each unit, and each unit writes them for its own host.
//
// The requirer is not trusted. The name of the cluster is made from the provider's id of the relation.
// Nothing is written before a unit of the relation has proven its instance, and so its model, or that the
// operator's policy does not allow. Each value that becomes part of a file or of its name is checked.
package share

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dcib/dcib/internal/cephconf"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/profile/policy"
	"github.com/dcib/dcib/internal/relation"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
	"github.com/dcib/dcib/internal/seal"
)

// Folder is where Ceph's clients, such as LXD, look for clusters.
const Folder = "/etc/ceph"

// keyFile is this unit's private sealing key, in StateDir.
const keyFile = "share-key"

// ours is the first line of each file of the charm, with the digest of its source.
const ours = "# Written by lxd-cluster for a relation lxd-profile: "

// Env is what this package works on.
type Env struct {
	Tools    hooktool.Tools
	LXD      Instances // nil if there is no LXD: then no claim is proven
	Folder   string
	StateDir string // readable by root only
}

// Facts are what this package observed.
type Facts struct {
	Relations []Relation        // in the order of their numbers
	SealKey   string            // the public half of this unit's key; "" when it has none
	Has       map[string]string // what the host has of the charm: cluster → digest of the access
}

// Relation is one application that requests a share.
type Relation struct {
	ID, Cluster string
	Access      *lxdprofile.CephAccess // nil before it can be opened
	Model       string                 // that a unit has proven; "" while none has
	Err         string                 // why it cannot be used
	Refused     bool                   // by the policy; Err names the reason
	Member      map[string]string      // this unit's databag

	source string // of the disk that will be requested
}

// Observe gathers the facts.
func Observe(ctx context.Context, event hooktool.Event, w Env) (Facts, error) {
	f := Facts{Has: map[string]string{}}
	if err := f.observeFiles(w); err != nil {
		return f, err
	}
	key, err := seal.Load(filepath.Join(w.StateDir, keyFile))
	if err != nil {
		return f, err
	}
	if key != nil {
		f.SealKey = key.Public()
	}
	for _, endpoint := range policy.Endpoints() {
		ids, err := w.Tools.RelationIDs(ctx, endpoint)
		if err != nil {
			return f, err
		}
		for _, id := range ids {
			r, err := observeRelation(ctx, event, w, id, key)
			if err != nil {
				return f, err
			}
			if r == nil {
				continue
			}
			if err := r.observePolicy(ctx, w, endpoint); err != nil {
				return f, err
			}
			f.Relations = append(f.Relations, *r)
		}
	}
	slices.SortFunc(f.Relations, func(a, b Relation) int {
		return lxdprofile.RelationNumber(a.ID) - lxdprofile.RelationNumber(b.ID)
	})
	return f, nil
}

// observeRelation returns nil for a relation that requests no share.
func observeRelation(ctx context.Context, event hooktool.Event, w Env, id string, key *seal.Key) (*Relation, error) {
	app, err := w.Tools.RelationApp(ctx, id)
	if err != nil {
		return nil, err
	}
	bag, err := w.Tools.RelationGet(ctx, id, app)
	if err != nil && !errors.Is(err, hooktool.ErrNotFound) {
		return nil, err
	}
	ceph, err := lxdprofile.DecodeCeph(bag)
	if err != nil || ceph == nil {
		return nil, nil // the broker reports what is wrong with the rest
	}
	r := &Relation{ID: id, Cluster: lxdprofile.CephCluster(event.ModelUUID, id), source: ceph.Source}
	if r.Member, err = w.Tools.RelationGet(ctx, id, event.Unit); err != nil {
		return nil, err
	}
	if sealed := ceph.Sealed[strconv.Itoa(lxdprofile.UnitNumber(event.Unit))]; sealed != "" && key != nil {
		access, err := open(key, r.Cluster, sealed)
		if err != nil {
			r.Err = err.Error()
		} else {
			r.Access = &access
		}
	}
	if r.Access == nil {
		return r, nil
	}
	r.Model, err = proven(ctx, w, id)
	if !strings.HasPrefix(app, "remote-") && r.Model != event.ModelUUID {
		r.Model = "" // within a model Juju knows the other side
	}
	return r, err
}

func (f Facts) observeFiles(w Env) error {
	files, err := filepath.Glob(filepath.Join(w.Folder, lxdprofile.CephPrefix+"*.conf"))
	if err != nil {
		return fmt.Errorf("cannot look into %s: %w", w.Folder, err)
	}
	for _, file := range files {
		text, err := atomicfile.Read(file)
		switch {
		case errors.Is(err, atomicfile.ErrUnreadable):
			// An empty file is the charm's, lost in a crash: it is written again or removed.
			if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
				f.Has[strings.TrimSuffix(filepath.Base(file), ".conf")] = ""
			}
			continue
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		}
		first, _, _ := strings.Cut(string(text), "\n")
		if of, is := strings.CutPrefix(first, ours); is {
			f.Has[strings.TrimSuffix(filepath.Base(file), ".conf")] = of
		}
	}
	return nil
}

// maxMonitors is how many monitors an access may have; Ceph's documentation advises three to seven.
const maxMonitors = 32

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
	if len(access.Monitors) == 0 || len(access.Monitors) > maxMonitors || !cephconf.User(access.User) || slices.ContainsFunc(access.Monitors, func(m string) bool { return !cephconf.Monitor(m) }) {
		return access, fmt.Errorf("cannot use the access to a share: wanted addresses of 1 to %d monitors, and the name of a user", maxMonitors)
	}
	if !cephconf.Key(access.Key) {
		return access, errors.New("cannot use the access to a share: the key is not one that Ceph makes")
	}
	return access, nil
}

// Plan returns what to write to the host, what to remove from it, and what to publish to the requirers.
func Plan(f Facts) charm.Plan[Env] {
	var steps []charm.Step[Env]
	wanted := map[string]bool{}
	for _, r := range f.Relations {
		if f.SealKey == "" {
			wanted[r.Cluster] = true
			steps = append(steps, createKey{})
			continue
		}
		member := lxdprofile.Member{SealKey: f.SealKey, Ceph: f.Has[r.Cluster], Problem: r.Err}
		if wanted[r.Cluster] {
			// The names are 64 bits of a hash. One that is in use stays its owner's.
			member.Ceph, member.Problem = "", "cannot keep the access to a share: another relation has the name "+r.Cluster+" on the hosts: remove this relation and make it again"
		} else if r.Refused {
			// What the policy no longer allows is removed, too.
			member.Ceph = ""
			if _, has := f.Has[r.Cluster]; has {
				steps = append(steps, remove{r.Cluster})
			}
		} else if r.Access != nil && r.Model != "" && r.Err == "" && f.Has[r.Cluster] != r.Access.Digest() {
			wanted[r.Cluster] = true
			steps = append(steps, write{r.Cluster, *r.Access})
			continue
		}
		wanted[r.Cluster] = true
		if values := member.Encode(); !relation.Contains(r.Member, values) {
			steps = append(steps, publish{r.ID, values})
		}
	}
	for _, cluster := range slices.Sorted(maps.Keys(f.Has)) {
		if !wanted[cluster] {
			steps = append(steps, remove{cluster})
		}
	}
	return charm.Plan[Env]{Steps: steps}
}

// Leave plans to remove everything from the host of a unit that leaves.
func Leave(f Facts) charm.Plan[Env] { return Plan(Facts{Has: f.Has}) }

// createKey creates this unit's key.
type createKey struct{}

func (createKey) Name() string { return "create this unit's sealing key" }

func (createKey) Apply(_ context.Context, w Env) error {
	_, err := seal.LoadOrCreate(filepath.Join(w.StateDir, keyFile))
	return err
}

// write writes monitors and key where LXD reads them.
type write struct {
	cluster string
	access  lxdprofile.CephAccess
}

func (s write) Name() string { return "write the access to Ceph cluster " + s.cluster }

func (s write) Apply(ctx context.Context, w Env) error {
	if err := os.MkdirAll(w.Folder, 0o755); err != nil {
		return err
	}
	// Former users are removed first, and the file that shows what is there is written last.
	if err := (remove{s.cluster}).Apply(ctx, w); err != nil {
		return err
	}
	base := filepath.Join(w.Folder, s.cluster)
	keyring := fmt.Sprintf("[client.%s]\n\tkey = %s\n", s.access.User, s.access.Key)
	if err := atomicfile.Write(base+".client."+s.access.User+".keyring", []byte(keyring), atomicfile.Options{}); err != nil {
		return err
	}
	conf := fmt.Sprintf("%s%s\n[global]\nmon_host = %s\n", ours, s.access.Digest(), strings.Join(s.access.Monitors, ","))
	return atomicfile.Write(base+".conf", []byte(conf), atomicfile.Options{})
}

// remove removes what was written for a relation that is gone.
type remove struct{ cluster string }

func (s remove) Name() string { return "take away the access to Ceph cluster " + s.cluster }

func (s remove) Apply(_ context.Context, w Env) error {
	base := filepath.Join(w.Folder, s.cluster)
	files, err := filepath.Glob(base + ".client.*.keyring")
	if err != nil {
		return err
	}
	for _, file := range append(files, base+".conf") {
		if err := atomicfile.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// publish publishes this unit's key and what its host has.
type publish struct {
	relation string
	values   map[string]string
}

func (s publish) Name() string { return "publish what this host has of a share (" + s.relation + ")" }

func (s publish) Apply(ctx context.Context, w Env) error {
	return w.Tools.RelationSet(ctx, s.relation, s.values)
}
