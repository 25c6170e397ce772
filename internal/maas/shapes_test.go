package maas_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/maas/inventory"
)

// samples returns the answers of a MAAS that gomaasclient's own tests read.
func samples(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/canonical/gomaasclient").Output()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "test/testdata/maas", name+".json"))
	require.NoError(t, err)
	return text
}

// differs lists where a stand-in's answer has another shape than a MAAS's: what is missing in
// it, and what is of another kind. Nothing on either side may be anything.
func differs(at string, real, ours any) []string {
	if real == nil || ours == nil {
		return nil
	}
	switch real := real.(type) {
	case map[string]any:
		ours, ok := ours.(map[string]any)
		if !ok {
			return []string{at + " is no object"}
		}
		var all []string
		for key, value := range real {
			if key == "params" {
				continue // of an interface: {} in one sample, "" in another
			}
			has, there := ours[key]
			if !there {
				all = append(all, at+"."+key+" is missing")
				continue
			}
			all = append(all, differs(at+"."+key, value, has)...)
		}
		slices.Sort(all)
		return all
	case []any:
		ours, ok := ours.([]any)
		if !ok {
			return []string{at + " is no list"}
		}
		if len(real) == 0 || len(ours) == 0 {
			return nil
		}
		return differs(at+"[]", real[0], ours[0])
	}
	if fmt.Sprintf("%T", real) != fmt.Sprintf("%T", ours) {
		return []string{fmt.Sprintf("%s is a %T, not a %T", at, ours, real)}
	}
	return nil
}

// The stand-in's machines have the shape of a MAAS's, field by field.
func TestTheStandInHasMAASsShapes(t *testing.T) {
	r := ready()
	r.Tags = map[string][]string{"pet": {"m1"}}
	address := serve(t, r)
	c := connect(t, r)
	require.NoError(t, c.SetStorageLayout(t.Context(), "m1", "flat", nil))
	get := func(path string) any {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/api/2.0/"+path, nil)
		require.NoError(t, err)
		request.Header.Set("Authorization", fmt.Sprintf(`OAuth oauth_version="1.0", oauth_signature_method="PLAINTEXT", oauth_consumer_key="consumer1", oauth_token="token2", oauth_signature="%%26secret3", oauth_timestamp="%d", oauth_nonce="1"`, time.Now().Unix()))
		answer, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer answer.Body.Close()
		require.Equal(t, http.StatusOK, answer.StatusCode)
		var value any
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&value))
		return value
	}
	for name, path := range map[string]string{
		"machine": "machines/m1/", "interface": "nodes/m1/interfaces/11/", "interfaces": "nodes/m1/interfaces/", "subnets": "subnets/",
	} {
		var real any
		require.NoError(t, json.Unmarshal(samples(t, name), &real))
		require.Empty(t, differs(name, real, get(path)))
	}
}

// What a MAAS answered is read: each interface, link, disk and partition.
func TestRealAnswersAreRead(t *testing.T) {
	// Its list of machines is of another kind of node.
	machines := slices.Concat([]byte("["), samples(t, "machine"), []byte("]"))
	server := answers{"/MAAS/api/2.0/machines/": machines, "/MAAS/api/2.0/nodes/g8xyqs/bcaches/": []byte("[]"), "/MAAS/api/2.0/subnets/": samples(t, "subnets"), "/MAAS/api/2.0/tags/": []byte("[]")}
	c := connectTo(t, server)
	s, err := c.Fleet(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, s.Machines)
	require.NotEmpty(t, s.Subnets)
	for _, n := range s.Subnets {
		require.NotZero(t, n.ID)
		require.NotEmpty(t, n.CIDR)
		require.NotZero(t, n.VLAN)
	}
	interfaces, links, disks := 0, 0, 0
	for _, m := range s.Machines {
		require.NotEmpty(t, m.ID)
		require.NotEmpty(t, m.Hostname)
		require.NotEmpty(t, m.Pool)
		require.Positive(t, m.CPUs)
		for _, i := range m.Interfaces {
			interfaces++
			require.NotZero(t, i.ID)
			require.NotEmpty(t, i.Type)
			for _, l := range i.Links {
				links++
				require.Contains(t, []string{"auto", "dhcp", "static", "link_up"}, l.Mode)
			}
		}
		for _, d := range m.Disks {
			disks++
			require.NotEmpty(t, d.Name)
			require.Positive(t, d.Size)
		}
	}
	require.Positive(t, interfaces)
	require.Positive(t, disks)
	t.Logf("%d machines with %d interfaces, %d links and %d disks; %d subnets", len(s.Machines), interfaces, links, disks, len(s.Subnets))
	require.NotEmpty(t, inventory.Table(s.Machines))
}

// answers are what a server says, by path.
type answers map[string][]byte

func (a answers) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	text, ok := a[request.URL.Path]
	if !ok {
		http.NotFound(w, request)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}
