// Package cloud makes the LXD cluster that stands in the box's machines the second cloud
// of its controller, with a model on it.
package cloud

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	lxd "github.com/canonical/lxd/client"

	"github.com/dcib/dcib/internal/box/controller"
	"github.com/dcib/dcib/internal/box/deploy"
	"github.com/dcib/dcib/internal/box/image"
	"github.com/dcib/dcib/internal/box/lxdhost"
	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/steps"
)

const (
	// Name is the name of the cloud, and of the model on it.
	Name = "machines"
	// Application is the one whose units are the cluster's members.
	Application = "lxd-cluster"

	client = "dcib" // as which the cluster knows us
	port   = "8443"

	dialLimit = 5 * time.Second
)

// offers are what the model of the cluster's machines offers to the model on the cluster, with
// the endpoints. They are no offers of the bundle's: Juju 4.1-beta2 deploys no bundle twice that
// has one.
var offers = []struct{ name, endpoint string }{
	{"lxd-profiles", "lxd-profile"},
	{"lxd-profiles-trusted", "lxd-profile-trusted"},
}

// Cloud is the cluster of a box as a cloud.
type Cloud struct {
	Place place.Place
	Model string // the model in which the cluster's machines stand
	Image image.Image
	Files image.Files // of Image; none where Juju finds one automatically
}

func (c Cloud) hasImage(server lxd.InstanceServer) (bool, string, error) {
	if c.Files == (image.Files{}) {
		return true, "", nil
	}
	return lxdhost.HasImage(server, c.Image)
}

// Up reports whether the cluster trusts us and has the image, and the model is there.
func (c Cloud) Up(ctx context.Context) (bool, string, error) {
	keys, err := c.keys()
	if err != nil {
		return false, "", err
	}
	address, err := c.endpoint(ctx)
	if err != nil {
		return false, "", err
	}
	server, err := c.connect(ctx, address, &keys)
	if err != nil {
		return false, "the cluster does not let us in", nil
	}
	if has, saw, err := c.hasImage(server); err != nil || !has {
		return false, "in the cluster: " + saw, err
	}
	names, err := controller.Models(ctx, c.Place)
	if err != nil {
		return false, "", err
	}
	if !slices.Contains(names, Name) {
		return false, "no model " + Name, nil
	}
	status, err := deploy.Read(ctx, c.Place, c.Model)
	if err != nil {
		return false, "", err
	}
	for _, o := range offers {
		if _, ok := status.Offers[o.name]; !ok {
			return false, "no offer " + o.name, nil
		}
	}
	return true, fmt.Sprintf("cloud and model %s at %s", Name, address), nil
}

// Make makes it so.
func (c Cloud) Make(ctx context.Context, log *steps.Log) error {
	keys, err := c.keys()
	if err != nil {
		return err
	}
	juju := func(args ...string) error {
		_, err := controller.Juju(ctx, c.Place, log, args...)
		return err
	}
	address, err := c.endpoint(ctx)
	if err != nil {
		return err
	}
	server, err := c.connect(ctx, address, &keys)
	if errors.Is(err, errUntrusted) {
		log.Say("add-trusted-client")
		if err := juju("run", "--model", controller.Name+":"+c.Model, "--wait", "2m", Application+"/leader", "add-trusted-client", "name="+client, "certificate="+keys.Certificate); err != nil {
			return err
		}
		server, err = c.connect(ctx, address, &keys)
	}
	if err != nil {
		return err
	}
	if has, _, err := c.hasImage(server); err != nil {
		return err
	} else if !has {
		log.Say("machine image for the cluster")
		if err := lxdhost.AddImage(ctx, server, c.Image, c.Files, log); err != nil {
			return err
		}
	}
	if err := c.register(ctx, log, juju, address, keys); err != nil {
		return err
	}
	status, err := deploy.Read(ctx, c.Place, c.Model)
	if err != nil {
		return err
	}
	for _, o := range offers {
		if _, ok := status.Offers[o.name]; ok {
			continue
		}
		log.Say("offer %s", o.name)
		if err := juju("offer", "--controller", controller.Name, c.Model+"."+Application+":"+o.endpoint, o.name); err != nil {
			return err
		}
	}
	return nil
}

func (c Cloud) register(ctx context.Context, log *steps.Log, juju func(args ...string) error, address string, keys lxdhost.Credential) error {
	if err := controller.WriteCloud(c.Place, Name, keys); err != nil {
		return err
	}
	known, err := clouds(ctx, c.Place)
	if err != nil {
		return err
	}
	log.Say("cloud %s at %s", Name, address)
	if slices.Contains(known, Name) {
		err = juju("update-cloud", Name, "--controller", controller.Name)
	} else {
		err = juju("add-cloud", Name, "--controller", controller.Name, "--force")
	}
	if err != nil {
		return err
	}
	if err := juju("update-credential", Name, Name, "--controller", controller.Name); err != nil {
		return err
	}
	names, err := controller.Models(ctx, c.Place)
	if err != nil || slices.Contains(names, Name) {
		return err
	}
	args := []string{"add-model", "--controller", controller.Name, "--no-switch", Name, Name, "--credential", Name}
	for _, kv := range controller.Config {
		args = append(args, "--config", kv)
	}
	if err := juju(args...); err != nil {
		return err
	}
	return controller.AwaitProvisioner(ctx, c.Place, log, Name)
}

// endpoint returns the address of the cluster's first member: of the machine of the lowest
// numbered unit, as the machine's LXD knows it. Juju may take the address of a bridge
// inside the machine for its own, and that bridge has the same one on all of them.
func (c Cloud) endpoint(ctx context.Context) (string, error) {
	status, err := deploy.Read(ctx, c.Place, c.Model)
	if err != nil {
		return "", err
	}
	instance, err := first(status)
	if err != nil {
		return "", err
	}
	return lxdhost.Address(ctx, c.Place, instance)
}

// first returns the instance in which the lowest numbered unit is.
func first(status deploy.Status) (string, error) {
	units := status.Applications[Application].Units
	var names []string
	for name, u := range units {
		if status.Machines[u.Machine].InstanceID != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", fmt.Errorf("cannot find the cluster: no unit of %s has a machine: look at `./box juju status`", Application)
	}
	lowest := slices.MinFunc(names, func(a, b string) int { return cmp.Compare(number(a), number(b)) })
	return status.Machines[units[lowest].Machine].InstanceID, nil
}

func number(unit string) int {
	_, n, _ := strings.Cut(unit, "/")
	i, err := strconv.Atoi(n)
	if err != nil {
		return -1
	}
	return i
}

var errUntrusted = errors.New("the cluster does not trust this client")

// connect connects to the cluster, and completes the credential with its address and
// certificate. That is believed as it comes: it comes over the box's own bridge, from the
// box's own machine.
func (c Cloud) connect(ctx context.Context, address string, keys *lxdhost.Credential) (lxd.InstanceServer, error) {
	fail := func(err error) (lxd.InstanceServer, error) {
		return nil, fmt.Errorf("cannot reach the cluster at %s: %w", address, err)
	}
	host := net.JoinHostPort(address, port)
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialLimit}, Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return fail(err)
	}
	peer := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	_ = conn.Close()
	keys.Endpoint = "https://" + host
	keys.Server = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: peer.Raw}))
	server, err := lxd.ConnectLXDWithContext(ctx, keys.Endpoint, &lxd.ConnectionArgs{
		TLSClientCert: keys.Certificate, TLSClientKey: keys.Key, TLSServerCert: keys.Server,
	})
	if err != nil {
		return fail(err)
	}
	info, _, err := server.GetServer()
	if err != nil {
		return fail(err)
	}
	if info.Auth != "trusted" {
		return fail(errUntrusted)
	}
	return server, nil
}

// keys returns the box's client certificate, yet without the cluster's address.
func (c Cloud) keys() (lxdhost.Credential, error) {
	certificate, key, err := lxdhost.Certificate(c.Place)
	return lxdhost.Credential{Certificate: certificate, Key: key}, err
}

// clouds returns the names of the controller's clouds.
func clouds(ctx context.Context, p place.Place) ([]string, error) {
	out, err := controller.Juju(ctx, p, nil, "clouds", "--controller", controller.Name, "--format", "json")
	if err != nil {
		return nil, err
	}
	var byName map[string]json.RawMessage
	if err := json.Unmarshal([]byte(out), &byName); err != nil {
		return nil, fmt.Errorf("cannot read juju's list of clouds: %w", err)
	}
	var names []string
	for name := range byName {
		names = append(names, name)
	}
	return names, nil
}
