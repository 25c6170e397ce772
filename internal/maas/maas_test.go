package maas_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/canonical/gomaasclient/client"
	"github.com/canonical/gomaasclient/entity"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/inventory"
	"github.com/dcib/dcib/internal/testkit/maas"
)

const key = "consumer1:token2:secret3"

func serve(t *testing.T, r *maastest.Region) (address string) {
	t.Helper()
	if r.Version == "" {
		r.Version = "3.7.3"
	}
	r.Keys = []string{key}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return server.URL + "/MAAS"
}

func connect(t *testing.T, r *maastest.Region) *maas.Client {
	t.Helper()
	c, err := maas.New(serve(t, r), key)
	require.NoError(t, err)
	return c
}

func TestKeys(t *testing.T) {
	address := serve(t, &maastest.Region{})
	none, err := maas.New(address+"/", "")
	require.NoError(t, err)
	version, err := none.Version(t.Context())
	require.NoError(t, err)
	require.Equal(t, "3.7.3", version)
	_, err = none.Racks(t.Context())
	require.True(t, maas.IsStatus(err, 401), err)

	other, err := maas.New(address, "consumer1:token2:wrong")
	require.NoError(t, err)
	_, err = other.Racks(t.Context())
	require.True(t, maas.IsStatus(err, 401), err)
	require.NotContains(t, err.Error(), "wrong")

	for _, bad := range []string{"a:b", "a:b:c:d", "a::c", `a:b:c"`, "a:b:c\n"} {
		_, err = maas.New(address, bad)
		require.ErrorContains(t, err, "three parts", bad)
		require.NotContains(t, err.Error(), bad)
	}
	for _, bad := range []string{"", "10.0.0.1", "ftp://a", "http://["} {
		_, err = maas.New(bad, key)
		require.ErrorContains(t, err, "wanted a URL", bad)
	}
}

func TestControllers(t *testing.T) {
	told := ""
	r := &maastest.Region{
		Racks: []*maastest.Controller{
			{SystemID: "aaa111", Hostname: "rack0"}, {SystemID: "bbb222", Hostname: "rack1", Dead: true},
			{SystemID: "ccc333", Hostname: "region0", OnlyDHCP: true},
		},
		Regions: []*maastest.Controller{{SystemID: "ccc333", Hostname: "region0"}},
		Deleted: func(id string) { told += id },
	}
	c := connect(t, r)
	racks, err := c.Racks(t.Context())
	require.NoError(t, err)
	require.Len(t, racks, 3)
	require.Equal(t, "running dead", racks[0].State()+" "+racks[1].State())
	require.Equal(t, 4, racks[2].NodeType)
	regions, err := c.Regions(t.Context())
	require.NoError(t, err)
	require.Equal(t, "ccc333", regions[0].SystemID)
	require.Empty(t, regions[0].State())

	require.NoError(t, c.DeleteRack(t.Context(), "bbb222", false))
	require.NoError(t, c.DeleteRack(t.Context(), "bbb222", false), "it is gone already")
	require.Empty(t, told)
	require.NoError(t, c.DeleteRack(t.Context(), "aaa111", false))
	require.Equal(t, "aaa111", told, "a rack that is connected forgets its secret")
	err = c.DeleteRack(t.Context(), "ccc333", false)
	require.True(t, maas.IsStatus(err, 400), err)
	require.ErrorContains(t, err, "no other rack controller can provide DHCP")
	require.NoError(t, c.DeleteRack(t.Context(), "ccc333", true))
	require.True(t, maas.IsStatus(c.DeleteRegion(t.Context(), "ccc333"), 400), "it runs")
	r.Regions[0].Dead = true
	require.NoError(t, c.DeleteRegion(t.Context(), "ccc333"))
}

func TestConfig(t *testing.T) {
	c := connect(t, &maastest.Region{})
	value, err := c.Config(t.Context(), "ntp_servers")
	require.NoError(t, err)
	require.Empty(t, value)
	require.NoError(t, c.SetConfig(t.Context(), "ntp_servers", "a b"))
	value, err = c.Config(t.Context(), "ntp_servers")
	require.NoError(t, err)
	require.Equal(t, "a b", value)
}

func TestImages(t *testing.T) {
	r := &maastest.Region{Selections: []maastest.Selection{{ID: 1, OS: "ubuntu", Release: "noble", Arches: []string{"amd64"}}}}
	c := connect(t, r)
	var want []maas.Selection
	for _, text := range []string{"ubuntu/noble/arm64", "ubuntu/jammy/amd64+arm64"} {
		s, err := maas.ParseSelection(text)
		require.NoError(t, err)
		require.Equal(t, text, s.String())
		want = append(want, s)
	}
	changed, err := c.Select(t.Context(), want)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, []string{"amd64", "arm64"}, r.Selections[0].Arches, "what was there stays")
	require.Equal(t, []string{"amd64", "arm64"}, r.Selections[1].Arches)
	changed, err = c.Select(t.Context(), want)
	require.NoError(t, err)
	require.False(t, changed)
	r.Selections[0].Arches = []string{"*"}
	changed, err = c.Select(t.Context(), want)
	require.NoError(t, err)
	require.False(t, changed, "it has all of them")

	now, err := c.Importing(t.Context())
	require.NoError(t, err)
	require.False(t, now)
	require.NoError(t, c.Import(t.Context()))
	now, err = c.Importing(t.Context())
	require.NoError(t, err)
	require.True(t, now)

	uploaded, err := c.UploadedImages(t.Context())
	require.NoError(t, err)
	require.Empty(t, uploaded, "those that MAAS fetched can be fetched again")
	r.Uploaded = []string{"rocky9/amd64", "custom/arm64"}
	uploaded, err = c.UploadedImages(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"custom/arm64", "rocky9/amd64"}, uploaded)

	r.NoSources = true
	_, err = c.Select(t.Context(), want)
	require.ErrorContains(t, err, "no source of images")
	for _, bad := range []string{"", "ubuntu", "ubuntu/noble", "ubuntu/noble/", "a/b/c/d", "ubuntu/noble/amd64,arm64", "Ubuntu/noble/amd64"} {
		_, err = maas.ParseSelection(bad)
		require.ErrorContains(t, err, "wanted os/release/architecture", bad)
	}
}

func TestTags(t *testing.T) {
	r := &maastest.Region{Machines: []maastest.Machine{{SystemID: "m1", Hostname: "node1", Status: "Ready"}, {SystemID: "m2", Hostname: "node2", Status: "Deployed"}}}
	c := connect(t, r)
	require.NoError(t, c.CreateTag(t.Context(), inventory.Tag{Name: "pet", Comment: "a pet"}))
	require.NoError(t, c.CreateTag(t.Context(), inventory.Tag{Name: "pet", Comment: "again"}))
	require.Equal(t, "a pet", r.TagInfo["pet"].Comment, "what is there stays")
	require.ErrorContains(t, c.CreateTag(t.Context(), inventory.Tag{Name: "a/b"}), "wanted letters")
	require.NoError(t, c.ChangeTag(t.Context(), "pet", map[string]string{"comment": "", "kernel_opts": "quiet"}))
	require.Equal(t, maastest.Tag{KernelOpts: "quiet"}, r.TagInfo["pet"])
	require.ErrorContains(t, c.ChangeTag(t.Context(), "../machines", nil), "wanted letters")
	require.NoError(t, c.Tag(t.Context(), "pet", []string{"m1", "m2"}, nil))
	require.NoError(t, c.Tag(t.Context(), "pet", nil, []string{"m2"}))
	machines, err := c.Machines(t.Context())
	require.NoError(t, err)
	require.Equal(t, inventory.Machine{
		ID: "m1", Hostname: "node1", FQDN: "node1.maas", Status: "Ready", Tags: []string{"pet"}, CPUs: 4, MemoryMiB: 8192,
		Pool: "default", Zone: "default", Architecture: "amd64/generic",
	}, machines[0])
	require.Empty(t, machines[1].Tags)
	require.ErrorContains(t, c.Tag(t.Context(), "pet", []string{"m1", "typo"}, nil), "knows 1 of 2")
	require.True(t, maas.IsStatus(c.Tag(t.Context(), "none", []string{"m1"}, nil), 404))
	require.ErrorContains(t, c.Tag(t.Context(), "../machines", nil, nil), "is no tag")
}

// connectTo returns a client of any server.
func connectTo(t *testing.T, h http.Handler) *maas.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := maas.New(server.URL+"/MAAS", key)
	require.NoError(t, err)
	return c
}

// The stand-in answers another client of MAAS's API, one that it was not written for.
func TestTheStandInAnswersGomaasclient(t *testing.T) {
	r := &maastest.Region{
		Racks:    []*maastest.Controller{{SystemID: "aaa111", Hostname: "rack0"}},
		Machines: []maastest.Machine{{SystemID: "m1", Hostname: "node1", Status: "Ready"}},
	}
	c, err := client.GetClient(serve(t, r), key, "2.0")
	require.NoError(t, err)
	racks, err := c.RackControllers.Get(&entity.RackControllersGetParams{})
	require.NoError(t, err)
	require.Equal(t, "aaa111", racks[0].SystemID)
	var services []string
	for _, service := range racks[0].ServiceSet {
		services = append(services, service.Name)
	}
	require.Contains(t, services, "rackd")
	machines, err := c.Machines.Get(&entity.MachinesParams{})
	require.NoError(t, err)
	require.Equal(t, "Ready", machines[0].StatusName)
	_, err = c.Tags.Create(&entity.TagParams{Name: "pet"})
	require.NoError(t, err)
	require.NoError(t, c.Tag.AddMachines("pet", []string{"m1"}))
	require.Equal(t, []string{"m1"}, r.Tags["pet"])
	require.NoError(t, c.MAASServer.Post("ntp_servers", "a"))
	require.Equal(t, "a", r.Config["ntp_servers"])
	require.NoError(t, c.RackController.Delete("aaa111"))
	require.Empty(t, r.Racks)
}

func FuzzParseSelection(f *testing.F) {
	f.Add("ubuntu/noble/amd64+arm64")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := maas.ParseSelection(text); err == nil {
			require.Equal(t, text, s.String())
			require.False(t, strings.ContainsAny(text, " \n&?"))
		}
	})
}

// With TLS MAAS redirects its old port. A redirected POST would become a GET, so none is followed.
func TestARedirectionToTLSIsSaid(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, "https://maas.example:5443"+req.URL.RequestURI(), http.StatusMovedPermanently)
	}))
	t.Cleanup(server.Close)
	c, err := maas.New(server.URL+"/MAAS", "a:b:c")
	require.NoError(t, err)
	require.ErrorContains(t, c.SetConfig(t.Context(), "ntp_servers", "x"), "MAAS answers 301: it has TLS: use https://maas.example:5443/MAAS as its address")
	_, err = c.Racks(t.Context())
	require.ErrorContains(t, err, "use https://maas.example:5443/MAAS")
	require.Equal(t, "https://maas.example:5443/MAAS", c.Secure(t.Context()))
	require.False(t, c.Lives(t.Context()))
}
