package cluster

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answers is an LXD that answers each path, with its project and target, by some JSON.
func answers(t *testing.T, by map[string]string) *LocalLXD {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("LXD_DIR", dir)
	listener, err := net.Listen("unix", filepath.Join(dir, "unix.socket"))
	require.NoError(t, err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if project := r.URL.Query().Get("project"); project != "" {
			path += " " + project
		}
		metadata, ok := by[path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprintf(w, `{"type":"error","error":"no %s","error_code":404}`, path)
			return
		}
		_, _ = fmt.Fprintf(w, `{"type":"sync","status_code":200,"metadata":%s}`, metadata)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return &LocalLXD{}
}

func TestWhatIsLocatedOnAMember(t *testing.T) {
	by := map[string]string{
		"/1.0":               `{"api_extensions":["projects","storage","storage_buckets"],"environment":{"server_clustered":true}}`,
		"/1.0/projects":      `["/1.0/projects/default","/1.0/projects/lab","/1.0/projects/shared"]`,
		"/1.0/storage-pools": `[{"name":"local","driver":"zfs"},{"name":"remote","driver":"ceph"},{"name":"objects","driver":"cephobject"}]`,
		"/1.0/storage-pools/local/volumes default": `[
			{"name":"data","type":"custom","location":"m1","content_type":"filesystem"},{"name":"data/snap0","type":"custom","location":"m1"},
			{"name":"setup.iso","type":"custom","location":"m1","content_type":"iso"},
			{"name":"web","type":"container","location":"m1"},{"name":"else","type":"custom","location":"m2"}]`,
		"/1.0/storage-pools/local/volumes lab":    `[{"name":"data","type":"custom","location":"m1","project":"lab"}]`,
		"/1.0/storage-pools/local/volumes shared": `[{"name":"data","type":"custom","location":"m1","project":"default"}]`,
		"/1.0/storage-pools/local/buckets default": `[
			{"name":"photos","location":"m1","project":"default"},{"name":"films","location":"m2","project":"default"}]`,
		"/1.0/storage-pools/local/buckets lab":      `[{"name":"photos","location":"m1"}]`,
		"/1.0/storage-pools/local/buckets shared":   `[{"name":"photos","location":"m1","project":"default"}]`,
		"/1.0/storage-pools/objects/buckets shared": `[{"name":"everywhere","location":""}]`,
	}
	for _, project := range []string{"default", "lab", "shared"} {
		by["/1.0/storage-pools/remote/volumes "+project] = `[{"name":"disk","type":"custom","location":""}]`
		by["/1.0/storage-pools/objects/volumes "+project] = `[]`
		by["/1.0/storage-pools/objects/buckets "+project] = `[{"name":"everywhere","location":""}]`
	}
	volumes := []string{"volume data (pool local, project default)", "volume data (pool local, project lab)", "volume setup.iso (pool local, project default)"}
	client, err := answers(t, by).ClusterClient(t.Context())
	require.NoError(t, err)
	there, err := client.Volumes(t.Context(), "m1")
	require.NoError(t, err)
	require.Equal(t, append([]string{"bucket photos (pool local, project default)", "bucket photos (pool local, project lab)"}, volumes...), there)

	// LXD before buckets is not asked for them.
	by["/1.0"] = `{"api_extensions":["projects","storage"],"environment":{"server_clustered":true}}`
	client, err = answers(t, by).ClusterClient(t.Context())
	require.NoError(t, err)
	there, err = client.Volumes(t.Context(), "m1")
	require.NoError(t, err)
	require.Equal(t, volumes, there)
}

// LXD lets a member go that has buckets, and they are gone with it.
func TestABucketKeepsTheUnit(t *testing.T) {
	m := formed(t, 3)
	m.w.volumes = map[string][]string{hostOf(1): {"bucket photos (pool local, project default)"}}
	err := m.leave("lxd-cluster/1")
	require.ErrorContains(t, err, "still has bucket photos (pool local, project default)")
	require.ErrorContains(t, err, "lxc storage bucket export POOL NAME FILE")
	require.Len(t, *m.lxds["lxd-cluster/0"].members, 3)
}
