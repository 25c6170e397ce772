package brokered

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// maxToken limits what is sent to an address that the other side of a relation names.
const maxToken = 64

// NotifyUDP sends a datagram: notifyAddress is address:port, a space, and the token that the broker
// requires. The address has to be numeric: no name from the other side of a relation is resolved.
func NotifyUDP(ctx context.Context, notifyAddress string) error {
	address, token, _ := strings.Cut(notifyAddress, " ")
	if _, err := netip.ParseAddrPort(address); err != nil {
		return fmt.Errorf("cannot notify the broker at %.60q, wanted address:port: %w", address, err)
	}
	if len(token) > maxToken {
		return fmt.Errorf("cannot notify the broker at %s: its token has %d characters, wanted at most %d", address, len(token), maxToken)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", address)
	if err != nil {
		return fmt.Errorf("cannot notify the broker at %s: %w", address, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(token)); err != nil {
		return fmt.Errorf("cannot notify the broker at %s: %w", address, err)
	}
	return nil
}
