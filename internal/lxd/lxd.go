// Package lxd finds and opens the LXD of this machine, and has the operations that take more than one call
// of LXD's own client.
package lxd

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared"
	"github.com/canonical/lxd/shared/api"
)

// ErrAbsent is returned (wrapped) by Open when this machine has no LXD.
var ErrAbsent = errors.New("no LXD on this machine")

// Port is the default port of LXD's API.
const Port = "8443"

// Sockets returns the paths of LXD's unix socket, in this order: the snap's, then the Debian package's.
func Sockets() []string {
	if dir := os.Getenv("LXD_DIR"); dir != "" {
		return []string{filepath.Join(dir, "unix.socket")}
	}
	return []string{"/var/snap/lxd/common/lxd/unix.socket", "/var/lib/lxd/unix.socket"}
}

// Open connects to this machine's LXD over its unix socket; ctx bounds all requests. The error wraps
// ErrAbsent if there is no socket.
func Open(ctx context.Context) (lxdclient.InstanceServer, error) {
	return OpenWithin(ctx, &Limits{})
}

// OpenWithin is Open with limits whose context can be changed.
func OpenWithin(ctx context.Context, limits *Limits) (lxdclient.InstanceServer, error) {
	socket, err := socket()
	if err != nil {
		return nil, err
	}
	server, err := lxdclient.ConnectLXDUnixWithContext(ctx, socket, &lxdclient.ConnectionArgs{
		UserAgent:        "dcib",
		SkipGetServer:    true,
		TransportWrapper: limits.Wrap,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot reach this machine's LXD at %s: %w", socket, err)
	}
	return server, nil
}

// socket returns the path of the existing socket.
func socket() (string, error) {
	for _, socket := range Sockets() {
		if _, err := os.Stat(socket); err == nil {
			return socket, nil
		}
	}
	return "", fmt.Errorf("cannot reach this machine's LXD: no socket at %v: %w", Sockets(), ErrAbsent)
}

// Token requests a join token for a member of that name, and returns the encoded token and when it expires.
// LXD invalidates an older token for the same name.
func Token(server lxdclient.InstanceServer, member string) (string, time.Time, error) {
	op, err := server.CreateClusterMember(api.ClusterMembersPost{ServerName: member})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("cannot get a join token from LXD for %s: %w", member, err)
	}
	described := op.Get()
	token, err := described.ToClusterJoinToken()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("cannot read LXD's join token for %s: %w", member, err)
	}
	return token.String(), token.ExpiresAt, nil
}

// Bootstrap makes this machine's LXD the first member of a cluster, under that name. It keeps its
// instances, pools, networks and profiles.
func Bootstrap(ctx context.Context, server lxdclient.InstanceServer, member string) error {
	put := api.ClusterPut{}
	put.ServerName, put.Enabled = member, true
	if err := Await(ctx, server)(server.UpdateCluster(put, "")); err != nil {
		return fmt.Errorf("cannot make this LXD a cluster: %w", err)
	}
	return nil
}

// joinRequest is api.ClusterPut with the field that LXD before API extension explicit_trust_token reads the
// join token from; the client library has dropped it.
type joinRequest struct {
	api.ClusterPut
	ClusterPassword string `json:"cluster_password,omitempty"`
}

// Join makes this machine's LXD a member of the cluster that issued the token. address is the host:port on
// which it will listen. It uses the first of the token's addresses that shows the certificate in the token.
func Join(ctx context.Context, server lxdclient.InstanceServer, token, address string, config []api.ClusterMemberConfigKey) error {
	// The client knows the server's extensions only after GetServer.
	info, _, err := server.GetServer()
	if err != nil {
		return fmt.Errorf("cannot read the state of this machine's LXD: %w", err)
	}
	decoded, err := shared.JoinTokenDecode(token)
	if err != nil {
		return fmt.Errorf("cannot read the join token: %w", err)
	}
	var problems []error
	for _, target := range decoded.Addresses {
		certificate, err := shared.GetRemoteCertificate(ctx, "https://"+target, "dcib")
		if err != nil {
			problems = append(problems, fmt.Errorf("cannot reach %s: %w", target, err))
			continue
		}
		if shared.CertFingerprint(certificate) != decoded.Fingerprint {
			problems = append(problems, fmt.Errorf("cannot trust %s: its certificate is not the one that the join token names", target))
			continue
		}
		put := joinRequest{}
		put.ServerName, put.Enabled, put.MemberConfig = decoded.ServerName, true, config
		put.ServerAddress, put.ClusterAddress = address, target
		put.ClusterCertificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
		if FeaturesOf(info).TokenField {
			put.ClusterToken = token
		} else {
			put.ClusterPassword = token
		}
		if err := Operate(ctx, server, "PUT", "/1.0/cluster", put, ""); err != nil {
			return fmt.Errorf("cannot join the cluster at %s: %w", target, err)
		}
		return nil
	}
	return fmt.Errorf("cannot join the cluster: no member answers: %w", errors.Join(problems...))
}
