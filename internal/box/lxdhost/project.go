package lxdhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	lxd "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/steps"
)

// What is here is for the machine's own LXD, in which the box has a project. It was tried
// against an LXD of Debian's in the place of the snap's.

func (h Host) makeProject(c lxd.InstanceServer, log *steps.Log) error {
	if h.Place.Snap == nil {
		return nil
	}
	if _, _, err := c.GetProject(h.Place.Project()); !missing(err) {
		return err
	}
	log.Say("project %s", h.Place.Project())
	post := api.ProjectsPost{Name: h.Place.Project()}
	// Instances and profiles are the project's own; images, of which Juju's are the
	// machine's, and networks are shared.
	post.Config = map[string]string{"features.images": "false", "features.profiles": "true", "features.storage.volumes": "true"}
	if err := c.CreateProject(post); err != nil {
		return fmt.Errorf("cannot make the project %s: %w", h.Place.Project(), err)
	}
	return nil
}

// Ours returns what the box has in the machine's LXD beside its instances: nothing where
// the LXD is its own.
func Ours(ctx context.Context, p place.Place) ([]string, error) {
	if p.Snap == nil {
		return nil, nil
	}
	c, err := Connect(ctx, p)
	if err != nil {
		return nil, err
	}
	c = c.UseProject("default") // the box's own may be gone
	var ours []string
	pools, err := c.GetStoragePoolNames()
	if err == nil && slices.Contains(pools, p.Pool()) {
		ours = append(ours, "pool "+p.Pool())
	}
	networks, nerr := c.GetNetworkNames()
	if nerr == nil && slices.Contains(networks, p.Bridge()) {
		ours = append(ours, "network "+p.Bridge())
	}
	projects, perr := c.GetProjectNames()
	if perr == nil && slices.Contains(projects, p.Project()) {
		ours = append(ours, "project "+p.Project())
	}
	certificates, cerr := c.GetCertificates()
	for _, cert := range certificates {
		if cert.Name == p.Bridge() {
			ours = append(ours, "certificate "+cert.Fingerprint)
		}
	}
	return ours, errors.Join(err, nerr, perr, cerr)
}

// RemoveOurs removes it. The instances must be gone.
func RemoveOurs(ctx context.Context, p place.Place, log *steps.Log) error {
	c, err := Connect(ctx, p)
	if err != nil {
		return err
	}
	profiles, err := c.GetProfiles()
	if err != nil && !missing(err) {
		return fmt.Errorf("cannot list the profiles of project %s: %w", p.Project(), err)
	}
	for _, profile := range profiles {
		if profile.Name != "default" {
			err = c.DeleteProfile(profile.Name)
		} else {
			var op lxd.Operation
			if op, err = c.UpdateProfile("default", api.ProfilePut{}, ""); err == nil {
				err = op.WaitContext(ctx)
			}
		}
		if err != nil {
			return fmt.Errorf("cannot clear project %s of profile %s: %w", p.Project(), profile.Name, err)
		}
	}
	ours, err := Ours(ctx, p)
	if err != nil {
		return err
	}
	c = c.UseProject("default")
	server, etag, err := c.GetServer()
	if err != nil {
		return fmt.Errorf("cannot read LXD's settings: %w", err)
	}
	network, _, nerr := c.GetNetwork(p.Bridge())
	for _, o := range ours {
		log.Printf("remove %s", o)
		kind, name, _ := strings.Cut(o, " ")
		switch kind {
		case "pool":
			err = c.DeleteStoragePool(name)
		case "network":
			// The API listens at the bridge only if the box made it so.
			address, _ := server.Config["core.https_address"].(string)
			if nerr == nil && address == apiAddress(network.Config["ipv4.address"]) {
				put := server.Writable()
				put.Config["core.https_address"] = ""
				if err = c.UpdateServer(put, etag); err != nil {
					return fmt.Errorf("cannot close LXD's API at %s: %w", address, err)
				}
			}
			err = c.DeleteNetwork(name)
		case "project":
			err = c.DeleteProject(name, false)
		case "certificate":
			err = c.DeleteCertificate(name)
		}
		if err != nil {
			return fmt.Errorf("cannot remove %s: %w", o, err)
		}
	}
	return nil
}

// apiAddress is the address at which Host.listen makes an API listen on a bridge with this
// address ("10.0.0.1/24").
func apiAddress(cidr string) string {
	host, _, _ := strings.Cut(cidr, "/")
	return net.JoinHostPort(host, fmt.Sprint(port))
}
