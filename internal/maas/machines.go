package maas

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
)

// Machine is a machine as MAAS lists it, as far as we look at it.
type Machine struct {
	SystemID string   `json:"system_id"`
	Hostname string   `json:"hostname"`
	FQDN     string   `json:"fqdn"`
	Status   string   `json:"status_name"` // Ready, Deployed, …
	Tags     []string `json:"tag_names"`
	CPUs     int      `json:"cpu_count"`
	MemoryMB int      `json:"memory"` // MiB
}

// Machines lists the machines.
func (c *Client) Machines(ctx context.Context) ([]Machine, error) {
	var all []Machine
	return all, c.do(ctx, http.MethodGet, "machines/", nil, nil, &all)
}

// tagName is what MAAS takes for the name of a tag (src/maasserver/models/tag.py).
var tagName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,256}$`)

// CreateTag makes a tag; one that is there stays as it is.
func (c *Client) CreateTag(ctx context.Context, name, comment string) error {
	if !tagName.MatchString(name) {
		return fmt.Errorf("cannot make tag %q in MAAS: wanted letters, digits, _ and -", name)
	}
	err := c.do(ctx, http.MethodGet, "tags/"+name+"/", nil, nil, nil)
	if !IsStatus(err, http.StatusNotFound) {
		return err
	}
	return c.do(ctx, http.MethodPost, "tags/", nil, url.Values{"name": {name}, "comment": {comment}}, nil)
}

// Tag gives a tag to the machines (or controllers) add, by system id, and takes it from
// remove. An id that MAAS does not know is an error: MAAS itself would say nothing.
func (c *Client) Tag(ctx context.Context, name string, add, remove []string) error {
	if !tagName.MatchString(name) {
		return fmt.Errorf("cannot tag in MAAS: %q is no tag: wanted letters, digits, _ and -", name)
	}
	var counts struct {
		Added   int `json:"added"`
		Removed int `json:"removed"`
	}
	form := url.Values{"add": add, "remove": remove}
	if err := c.do(ctx, http.MethodPost, "tags/"+name+"/", op("update_nodes"), form, &counts); err != nil {
		return err
	}
	// They count the nodes that MAAS knows, changed or not.
	if counts.Added < len(add) || counts.Removed < len(remove) {
		return fmt.Errorf("cannot tag all with %s in MAAS: it knows %d of %d to be tagged and %d of %d to lose it: look for their ids in its list of machines", name, counts.Added, len(add), counts.Removed, len(remove))
	}
	return nil
}
