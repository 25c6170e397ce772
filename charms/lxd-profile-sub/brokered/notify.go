package brokered

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// maxWord bounds what the other side of a relation has sent to an address that it names.
const maxWord = 64

// NotifyUDP notifyAddress by UDP: notifyAddress is address:port, and after a blank the word that the broker wants in
// a call. The address has to be numeric: no name that the other side of a relation wrote is looked
// up.
func NotifyUDP(ctx context.Context, notifyAddress string) error {
	address, word, _ := strings.Cut(notifyAddress, " ")
	if _, err := netip.ParseAddrPort(address); err != nil {
		return fmt.Errorf("cannot call the broker at %.60q, wanted address:port: %w", address, err)
	}
	if len(word) > maxWord {
		return fmt.Errorf("cannot call the broker at %s: its word has %d characters, wanted at most %d", address, len(word), maxWord)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", address)
	if err != nil {
		return fmt.Errorf("cannot call the broker at %s: %w", address, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(word)); err != nil {
		return fmt.Errorf("cannot call the broker at %s: %w", address, err)
	}
	return nil
}
