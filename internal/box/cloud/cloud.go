// Package cloud makes the LXD cluster that stands in the box's machines the second cloud
// of its controller, with a model on it.
package cloud

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	lxd "github.com/canonical/lxd/client"
	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/box/controller"
	"github.com/dcib/dcib/internal/box/deploy"
	"github.com/dcib/dcib/internal/box/image"
	"github.com/dcib/dcib/internal/box/lxdhost"
	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/change"
)

const (
	// Name is the name of the cloud, and of the model on it.
	Name = "machines"
	// Application is the one whose units are the cluster's members.
	Application = "lxd-cluster"

	client     = "dcib" // as which the cluster trusts us
	credential = "dcib"
	port       = "8443"
	dialLimit  = 5 * time.Second
)

// Cloud is the cluster of a box as a cloud.
type Cloud struct {
	Place place.Place
	Model string // the model in which the cluster's machines stand
	Base  image.Base
	Files image.Files
}

func (c Cloud) file(name string) string { return filepath.Join(c.Place.Dir(), "cloud", name) }

// Up says whether the cluster trusts us and has the image, and the model is there.
func (c Cloud) Up(ctx context.Context) (bool, string, error) {
	cert, key, err := c.keys()
	if err != nil {
		return false, "no client certificate", nil
	}
	address, err := c.endpoint(ctx)
	if err != nil {
		return false, "", err
	}
	server, _, err := c.connect(ctx, address, cert, key)
	if err != nil {
		return false, "the cluster does not let us in", nil
	}
	has, saw, err := lxdhost.HasImage(server, c.Base)
	if err != nil || !has {
		return false, "in the cluster: " + saw, err
	}
	names, err := controller.Models(ctx, c.Place)
	if err != nil {
		return false, "", err
	}
	if !slices.Contains(names, Name) {
		return false, "no model " + Name, nil
	}
	return true, fmt.Sprintf("cloud and model %s at %s", Name, address), nil
}

// Make makes it so.
func (c Cloud) Make(ctx context.Context, log *change.Log) error {
	if err := os.MkdirAll(c.file(""), 0o700); err != nil {
		return fmt.Errorf("cannot keep the client certificate: %w", err)
	}
	cert, key, err := c.keys()
	if err != nil {
		if cert, key, err = makeKeys(time.Now()); err != nil {
			return fmt.Errorf("cannot make a client certificate: %w", err)
		}
		if err := errors.Join(place.WriteFile(c.file("client.key"), key, 0o600), place.WriteFile(c.file("client.crt"), cert, 0o600)); err != nil {
			return err
		}
	}
	juju := func(args ...string) error {
		_, err := controller.Juju(ctx, c.Place, log, args...)
		return err
	}
	address, err := c.endpoint(ctx)
	if err != nil {
		return err
	}
	server, serverCert, err := c.connect(ctx, address, cert, key)
	if errors.Is(err, errUntrusted) {
		log.Say("add-trusted-client")
		if err := juju("run", "--model", controller.Name+":"+c.Model, "--wait", "2m", Application+"/leader", "add-trusted-client", "name="+client, "certificate="+string(cert)); err != nil {
			return err
		}
		server, serverCert, err = c.connect(ctx, address, cert, key)
	}
	if err != nil {
		return err
	}
	if has, _, err := lxdhost.HasImage(server, c.Base); err != nil {
		return err
	} else if !has {
		log.Say("machine image for the cluster")
		if err := lxdhost.AddImage(ctx, server, c.Base, c.Files, log); err != nil {
			return err
		}
	}
	return c.register(ctx, log, juju, address, cert, key, serverCert)
}

func (c Cloud) register(ctx context.Context, log *change.Log, juju func(args ...string) error, address string, cert, key []byte, serverCert string) error {
	files := map[string]any{
		"cloud.yaml": map[string]any{"clouds": map[string]any{Name: map[string]any{
			"type": "lxd", "auth-types": []string{"certificate"}, "endpoint": "https://" + net.JoinHostPort(address, port),
		}}},
		"credential.yaml": map[string]any{"credentials": map[string]any{Name: map[string]any{credential: map[string]any{
			"auth-type": "certificate", "client-cert": string(cert), "client-key": string(key), "server-cert": serverCert,
		}}}},
	}
	for name, content := range files {
		data, err := yaml.Marshal(content)
		if err != nil {
			return fmt.Errorf("cannot write %s: %w", name, err)
		}
		if err := place.WriteFile(c.file(name), data, 0o600); err != nil {
			return err
		}
	}
	known, err := clouds(ctx, c.Place)
	if err != nil {
		return err
	}
	log.Say("cloud %s at %s", Name, address)
	if slices.Contains(known, Name) {
		err = juju("update-cloud", Name, "-f", c.file("cloud.yaml"), "--controller", controller.Name)
	} else {
		err = juju("add-cloud", Name, c.file("cloud.yaml"), "--controller", controller.Name, "--force")
	}
	if err != nil {
		return err
	}
	if err := juju("update-credential", Name, credential, "-f", c.file("credential.yaml"), "--controller", controller.Name); err != nil {
		return err
	}
	names, err := controller.Models(ctx, c.Place)
	if err != nil || slices.Contains(names, Name) {
		return err
	}
	args := []string{"add-model", "--controller", controller.Name, "--no-switch", Name, Name, "--credential", credential}
	for _, kv := range controller.Config {
		args = append(args, "--config", kv)
	}
	return juju(args...)
}

// endpoint returns the address of the cluster's first member: the lowest numbered unit.
func (c Cloud) endpoint(ctx context.Context) (string, error) {
	status, err := deploy.Read(ctx, c.Place, c.Model)
	if err != nil {
		return "", err
	}
	return first(status)
}

func first(status deploy.Status) (string, error) {
	units := status.Applications[Application].Units
	var names []string
	for name, u := range units {
		if u.Address != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", fmt.Errorf("cannot find the cluster: no unit of %s has an address: look at `./box juju status`", Application)
	}
	lowest := slices.MinFunc(names, func(a, b string) int { return cmp.Compare(number(a), number(b)) })
	return units[lowest].Address, nil
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

// connect connects to the cluster and returns its certificate, PEM. The certificate is
// believed as it comes: it comes over the box's own bridge, from the box's own machine.
func (c Cloud) connect(ctx context.Context, address string, cert, key []byte) (lxd.InstanceServer, string, error) {
	fail := func(err error) (lxd.InstanceServer, string, error) {
		return nil, "", fmt.Errorf("cannot reach the cluster at %s: %w", address, err)
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialLimit}, Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address, port))
	if err != nil {
		return fail(err)
	}
	peer := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	conn.Close()
	serverCert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: peer.Raw}))
	server, err := lxd.ConnectLXDWithContext(ctx, "https://"+net.JoinHostPort(address, port), &lxd.ConnectionArgs{
		TLSClientCert: string(cert), TLSClientKey: string(key), TLSServerCert: serverCert,
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
	return server, serverCert, nil
}

func (c Cloud) keys() (cert, key []byte, err error) {
	cert, err = os.ReadFile(c.file("client.crt"))
	if err != nil {
		return nil, nil, err
	}
	key, err = os.ReadFile(c.file("client.key"))
	return cert, key, err
}

// makeKeys makes a client certificate for ten years, as LXD's own clients do.
func makeKeys(now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"dcib"}, CommonName: client},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), nil
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
