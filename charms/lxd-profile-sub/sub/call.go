package sub

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// Datagram calls by UDP; what is in it does not matter. The address has to be numeric: nobody
// is asked for a name that the other side of a relation came up with.
func Datagram(ctx context.Context, address string) error {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return fmt.Errorf("cannot call the broker at %q, wanted address:port: %w", address, err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", address)
	if err != nil {
		return fmt.Errorf("cannot call the broker at %s: %w", address, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{0}); err != nil {
		return fmt.Errorf("cannot call the broker at %s: %w", address, err)
	}
	return nil
}
