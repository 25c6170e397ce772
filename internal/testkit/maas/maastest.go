// Package maastest is a stand-in for a MAAS region: an HTTP server that answers what package
// maas asks of API 2.0, in MAAS's shapes, and refuses what MAAS refuses. It is held against
// another client, gomaasclient, by the tests of package maas.
package maastest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Controller is a rack or a region.
type Controller struct {
	SystemID, Hostname string
	Dead               bool
	OnlyDHCP           bool // the only rack that serves DHCP on some VLAN
	// Services are those of a rack whose status is not the usual one, by name.
	Services map[string]string
}

// Selection is an image that is to be imported.
type Selection struct {
	ID          int      `json:"id"`
	OS          string   `json:"os"`
	Release     string   `json:"release"`
	Arches      []string `json:"arches"`
	Subarches   []string `json:"subarches"`
	Labels      []string `json:"labels"`
	ResourceURI string   `json:"resource_uri"`
}

// Region is what there is in a MAAS. The zero value has nothing, and no one may in. Fields
// are to be read and written between requests only.
type Region struct {
	Version    string
	Keys       []string // that are valid, consumer:token:secret
	Racks      []*Controller
	Regions    []*Controller
	Machines   []Machine
	Subnets    []Subnet
	Tags       map[string][]string // system ids by name
	TagInfo    map[string]Tag      // what else they have, by name
	Config     map[string]string
	Selections []Selection
	Uploaded   []string        // images that were uploaded, as name/architecture
	NoSources  bool            // no source of images
	Unread     bool            // the source's stream was not read yet: no image is known
	Refuses    map[string]bool // settings that are refused, by name
	Imports    int
	Synced     int // imports that reached all regions: a dead one that is listed ends them
	// Deleted, if set, is told of a rack that was connected when it was deleted: such a
	// rack forgets the secret and restarts.
	Deleted func(systemID string) `json:"-"`
	// Changes are the requests that changed something, in order.
	Changes []string
	// IDs is the last id that was given to something new.
	IDs int

	mu sync.Mutex
}

// Between runs do while no request is answered: for who reads or writes fields beside a
// client in another process.
func (r *Region) Between(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
}

const root = "/MAAS/api/2.0/"

var tagName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,256}$`)

// ServeHTTP implements http.Handler.
func (r *Region) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.URL.Path == "/MAAS/rpc/" && req.Method == http.MethodGet { // for racks (src/maasserver/views/rpc.py)
		loops := map[string]any{}
		for _, c := range r.Regions {
			if !c.Dead {
				loops[c.Hostname+":pid=1"] = []any{[]any{"127.0.0.1", 5250}}
			}
		}
		answer(w, map[string]any{"eventloops": loops})
		return
	}
	path, ok := strings.CutPrefix(req.URL.Path, root)
	// Django's URLs end in a slash.
	if !ok || !strings.HasSuffix(path, "/") {
		refuse(w, http.StatusNotFound, "Not Found")
		return
	}
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	if parts[0] == "version" && req.Method == http.MethodGet {
		answer(w, map[string]any{"version": r.Version, "subversion": "", "capabilities": []string{"networks-management"}})
		return
	}
	if !r.knows(req.Header.Get("Authorization")) {
		refuse(w, http.StatusUnauthorized, "Authorization Error: Invalid API key.")
		return
	}
	if err := req.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if req.Method != http.MethodGet {
		r.Changes = append(r.Changes, req.Method+" "+req.URL.RequestURI())
	}
	op, id := req.URL.Query().Get("op"), ""
	if len(parts) > 1 {
		id = parts[1]
	}
	switch request := req.Method + " " + parts[0]; {
	case request == "GET rackcontrollers" && id == "":
		answer(w, r.controllers(r.Racks, true))
	case request == "GET regioncontrollers" && id == "":
		answer(w, r.controllers(r.Regions, false))
	case request == "DELETE rackcontrollers":
		r.deleteRack(w, id, req.Form.Get("force") == "true")
	case request == "DELETE regioncontrollers":
		r.deleteRegion(w, id)
	case request == "GET machines" && id == "":
		answer(w, r.machines())
	case parts[0] == "machines" && id != "" && len(parts) == 2:
		r.ofMachine(w, req, id, op)
	case parts[0] == "nodes" && id != "":
		r.ofNode(w, req, parts[1:], op)
	case request == "GET users" && op == "whoami":
		answer(w, map[string]any{"username": user, "email": user + "@maas", "is_superuser": true, "is_local": true, "resource_uri": root + "users/" + user + "/"})
	case request == "GET subnets" && id == "":
		all := []any{}
		for _, s := range r.Subnets {
			all = append(all, s.shown())
		}
		answer(w, all)
	case parts[0] == "tags":
		r.tags(w, req, id, op)
	case request == "POST maas" && op == "set_config":
		if name := req.Form.Get("name"); r.Refuses[name] {
			refuse(w, http.StatusBadRequest, `{"value": ["Enter a valid value."]}`)
			return
		}
		if r.Config == nil {
			r.Config = map[string]string{}
		}
		r.Config[req.Form.Get("name")] = req.Form.Get("value")
		text(w, "OK")
	case request == "GET maas" && op == "get_config":
		value, set := r.Config[req.Form.Get("name")]
		if !set {
			answer(w, nil)
			return
		}
		answer(w, value)
	case request == "POST boot-resources" && op == "import":
		r.Imports++
		if !slices.ContainsFunc(r.Regions, func(c *Controller) bool { return c.Dead }) {
			r.Synced++
		}
		text(w, "Import of boot resources started")
	case request == "GET boot-resources" && op == "" && id == "":
		r.resources(w, req.URL.Query().Get("type"))
	case request == "GET boot-resources" && op == "is_importing":
		answer(w, r.Imports > 0)
	case request == "GET boot-sources" && id == "":
		sources := []any{}
		if !r.NoSources {
			sources = append(sources, map[string]any{"id": 1, "url": "http://images.example/", "resource_uri": root + "boot-sources/1/"})
		}
		answer(w, sources)
	case parts[0] == "boot-sources" && id == "1" && len(parts) > 2 && parts[2] == "selections":
		r.selections(w, req, parts[3:])
	default:
		refuse(w, http.StatusNotFound, "Not Found")
	}
}

// field is one of an OAuth header.
var field = regexp.MustCompile(`^([a-z_]+)="([^"]*)"$`)

// knows checks a header as MAAS does (src/maasserver/api/auth.py): OAuth 1.0a, PLAINTEXT,
// the consumer's secret empty.
func (r *Region) knows(header string) bool {
	list, ok := strings.CutPrefix(header, "OAuth ")
	if !ok {
		return false
	}
	has := map[string]string{}
	for one := range strings.SplitSeq(list, ",") {
		m := field.FindStringSubmatch(strings.TrimSpace(one))
		if m == nil {
			return false
		}
		has[m[1]] = m[2]
	}
	if has["oauth_signature_method"] != "PLAINTEXT" || has["oauth_timestamp"] == "" || has["oauth_nonce"] == "" {
		return false
	}
	secret, ok := strings.CutPrefix(has["oauth_signature"], "%26")
	return ok && slices.Contains(r.Keys, has["oauth_consumer_key"]+":"+has["oauth_token"]+":"+secret)
}

func (r *Region) tagsOf(systemID string) []string {
	names := []string{}
	for _, name := range slices.Sorted(maps.Keys(r.Tags)) {
		if slices.Contains(r.Tags[name], systemID) {
			names = append(names, name)
		}
	}
	return names
}

// rackServices are what MAAS lists of a rack (src/maasserver/models/service.py), with the status
// that each has on a rack without DHCP.
var rackServices = [][2]string{
	{"agent", "running"}, {"dhcpd", "off"}, {"dhcpd6", "off"}, {"dns_rack", "off"}, {"http", "running"}, {"ntp_rack", "running"},
	{"proxy_rack", "running"}, {"rackd", "running"}, {"syslog_rack", "running"}, {"tftp", "running"},
}

func (r *Region) controllers(list []*Controller, racks bool) []any {
	all := []any{}
	for _, c := range list {
		kind, kindName, uri := 3, "Region controller", "regioncontrollers/"
		if racks {
			kind, kindName, uri = 2, "Rack controller", "rackcontrollers/"
		}
		both := slices.ContainsFunc(r.Racks, func(o *Controller) bool { return o.SystemID == c.SystemID }) &&
			slices.ContainsFunc(r.Regions, func(o *Controller) bool { return o.SystemID == c.SystemID })
		if both {
			kind, kindName = 4, "Region and rack controller"
		}
		one := map[string]any{
			"system_id": c.SystemID, "hostname": c.Hostname, "fqdn": c.Hostname + ".maas", "version": r.Version,
			"node_type": kind, "node_type_name": kindName, "ip_addresses": []string{}, "tag_names": r.tagsOf(c.SystemID),
			"zone":         map[string]any{"id": 1, "name": "default", "description": "", "resource_uri": root + "zones/default/"},
			"resource_uri": root + uri + c.SystemID + "/",
		}
		if racks { // a region alone lists no services
			services := []any{}
			for _, name := range rackServices {
				status := cmp.Or(c.Services[name[0]], name[1])
				switch {
				case name[0] == "rackd" && c.Dead:
					status = "dead"
				case c.Dead:
					status = "unknown" // MAAS hears of them from rackd
				}
				services = append(services, map[string]any{"name": name[0], "status": status, "status_info": ""})
			}
			one["service_set"] = services
		}
		all = append(all, one)
	}
	return all
}

func (r *Region) deleteRack(w http.ResponseWriter, id string, force bool) {
	at := slices.IndexFunc(r.Racks, func(c *Controller) bool { return c.SystemID == id })
	if at < 0 {
		refuse(w, http.StatusNotFound, "No RackController matches the given query.")
		return
	}
	rack := r.Racks[at]
	if rack.OnlyDHCP && !force {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("Unable to delete '%s'; it is currently set as a primary rack controller on VLANs untagged and no other rack controller can provide DHCP.", rack.Hostname))
		return
	}
	r.Racks = slices.Delete(r.Racks, at, at+1)
	if !rack.Dead && r.Deleted != nil {
		r.Deleted(id)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *Region) deleteRegion(w http.ResponseWriter, id string) {
	at := slices.IndexFunc(r.Regions, func(c *Controller) bool { return c.SystemID == id })
	switch {
	case at < 0:
		refuse(w, http.StatusNotFound, "No RegionController matches the given query.")
	case !r.Regions[at].Dead:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("Unable to delete %s as it's currently running.", r.Regions[at].Hostname))
	default:
		r.Regions = slices.Delete(r.Regions, at, at+1)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (r *Region) machines() []any {
	all := []any{}
	for k := range r.Machines {
		all = append(all, r.machine(&r.Machines[k]))
	}
	return all
}

func (r *Region) tags(w http.ResponseWriter, req *http.Request, name, op string) {
	shown := func(name string) any {
		t := r.TagInfo[name]
		return map[string]any{"name": name, "definition": t.Definition, "comment": t.Comment, "kernel_opts": t.KernelOpts, "resource_uri": root + "tags/" + name + "/"}
	}
	_, there := r.Tags[name]
	switch {
	case name == "" && req.Method == http.MethodGet:
		all := []any{}
		for _, name := range slices.Sorted(maps.Keys(r.Tags)) {
			all = append(all, shown(name))
		}
		answer(w, all)
	case name == "" && req.Method == http.MethodPost:
		name = req.Form.Get("name")
		if _, there := r.Tags[name]; there || !tagName.MatchString(name) {
			why := "Invalid tag name: " + name + "."
			if there {
				why = "Tag with this Name already exists."
			}
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string][]string{"name": {why}})
			return
		}
		if r.Tags == nil {
			r.Tags = map[string][]string{}
		}
		r.Tags[name] = nil
		r.describe(name, req)
		answer(w, shown(name))
	case !there:
		refuse(w, http.StatusNotFound, "No Tag matches the given query.")
	case req.Method == http.MethodGet && op == "":
		answer(w, shown(name))
	case req.Method == http.MethodPut && op == "":
		r.describe(name, req)
		answer(w, shown(name))
	case req.Method == http.MethodPost && op == "update_nodes":
		// Ids that are not known are passed over in silence.
		add, remove := r.known(req.Form["add"]), r.known(req.Form["remove"])
		tagged := slices.Concat(r.Tags[name], add)
		tagged = slices.DeleteFunc(tagged, func(id string) bool { return slices.Contains(remove, id) })
		slices.Sort(tagged)
		r.Tags[name] = slices.Compact(tagged)
		answer(w, map[string]int{"added": len(add), "removed": len(remove)})
	default:
		refuse(w, http.StatusBadRequest, "Unrecognised signature: method="+req.Method+" op="+op)
	}
}

// describe sets the fields of a tag that a form has; the others stay.
func (r *Region) describe(name string, req *http.Request) {
	if r.TagInfo == nil {
		r.TagInfo = map[string]Tag{}
	}
	t := r.TagInfo[name]
	for field, into := range map[string]*string{"comment": &t.Comment, "definition": &t.Definition, "kernel_opts": &t.KernelOpts} {
		if req.Form.Has(field) {
			*into = req.Form.Get(field)
		}
	}
	r.TagInfo[name] = t
}

// known keeps the ids of nodes that there are, each once.
func (r *Region) known(ids []string) []string {
	var all []string
	for _, id := range ids {
		there := slices.ContainsFunc(r.Machines, func(m Machine) bool { return m.SystemID == id }) ||
			slices.ContainsFunc(slices.Concat(r.Racks, r.Regions), func(c *Controller) bool { return c.SystemID == id })
		if there && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

func (r *Region) selections(w http.ResponseWriter, req *http.Request, rest []string) {
	var one *Selection
	for n := range r.Selections {
		if len(rest) > 0 && strconv.Itoa(r.Selections[n].ID) == rest[0] {
			one = &r.Selections[n]
		}
	}
	switch {
	case r.Unread && req.Method != http.MethodGet:
		// BootSourceSelectionForm.clean in MAAS's source.
		refuse(w, http.StatusBadRequest, fmt.Sprintf(`{"__all__": ["OS %s with release %s has no available images for download"]}`, req.Form.Get("os"), req.Form.Get("release")))
	case len(rest) == 0 && req.Method == http.MethodGet:
		answer(w, slices.Concat([]Selection{}, r.Selections))
	case len(rest) == 0 && req.Method == http.MethodPost:
		if slices.ContainsFunc(r.Selections, func(s Selection) bool {
			return s.OS == req.Form.Get("os") && s.Release == req.Form.Get("release")
		}) {
			refuse(w, http.StatusBadRequest, `{"__all__": ["Boot source selection with this Boot source, Os and Release already exists."]}`)
			return
		}
		id := len(r.Selections) + 1
		r.Selections = append(r.Selections, Selection{
			id, req.Form.Get("os"), req.Form.Get("release"), req.Form["arches"], req.Form["subarches"], req.Form["labels"],
			fmt.Sprintf("%sboot-sources/1/selections/%d/", root, id),
		})
		answer(w, r.Selections[id-1])
	case one != nil && req.Method == http.MethodPut:
		one.Arches = req.Form["arches"]
		answer(w, *one)
	default:
		refuse(w, http.StatusNotFound, "Not Found")
	}
}

// resources lists the images that MAAS has, selected or uploaded (src/maasserver/api/boot_resources.py).
func (r *Region) resources(w http.ResponseWriter, kind string) {
	all := []any{}
	add := func(kind, name, arch string) {
		id := len(all) + 1
		all = append(all, map[string]any{
			"id": id, "type": kind, "name": name, "architecture": arch, "last_deployed": nil, "subarches": "generic",
			"resource_uri": fmt.Sprintf("%sboot-resources/%d/", root, id),
		})
	}
	if kind != "" && kind != "all" && kind != "synced" && kind != "uploaded" {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("'%s' is not a valid boot resource type. Available types: ['synced', 'uploaded']", kind))
		return
	}
	if kind != "uploaded" {
		for _, s := range r.Selections {
			for _, arch := range s.Arches {
				add("Synced", s.OS+"/"+s.Release, arch+"/generic")
			}
		}
	}
	if kind != "synced" {
		for _, image := range r.Uploaded {
			name, arch, _ := strings.Cut(image, "/")
			add("Uploaded", name, arch+"/generic")
		}
	}
	answer(w, all)
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(value)
}

func text(w http.ResponseWriter, said string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(said))
}

func refuse(w http.ResponseWriter, status int, said string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(said))
}
