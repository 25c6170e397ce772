// Package subnet picks a private IPv4 subnet that no one on the machine uses.
package subnet

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Candidates are tried in this order when the user sets none.
var Candidates = func() []netip.Prefix {
	var all []netip.Prefix
	for _, second := range []byte{178, 179, 211, 233} {
		for third := byte(64); third < 72; third++ {
			all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, second, third, 0}), 24))
		}
	}
	return all
}()

// Parse checks a subnet that the user gave: private IPv4, from /16 to /26.
func Parse(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() || !p.Addr().IsPrivate() || p.Bits() < 16 || p.Bits() > 26 || p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("cannot use subnet %q: use a private IPv4 one between /16 and /26, such as %s", s, Candidates[0])
	}
	return p, nil
}

// Gateway is the first address of a subnet: the bridge's own.
func Gateway(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// Used is a subnet that is taken, and by what.
type Used struct {
	Prefix netip.Prefix
	By     string
}

// Pick returns the wanted subnet, or the first candidate when wanted is the zero Prefix,
// that overlaps with none that is used.
func Pick(wanted netip.Prefix, used []Used) (netip.Prefix, error) {
	candidates := Candidates
	if wanted.IsValid() {
		candidates = []netip.Prefix{wanted}
	}
	var why []string
	for _, c := range candidates {
		i := slices.IndexFunc(used, func(u Used) bool { return u.Prefix.Overlaps(c) })
		if i < 0 {
			return c, nil
		}
		why = append(why, fmt.Sprintf("%s is in use by %s (%s)", c, used[i].By, used[i].Prefix))
	}
	if len(why) > 1 {
		why = append(why[:1], fmt.Sprintf("and so on for all %d candidates", len(candidates)))
	}
	return netip.Prefix{}, fmt.Errorf("cannot find a free subnet: %s: pass a free one with --subnet", strings.Join(why, ", "))
}

// Machine returns the subnets of the machine's interfaces and routes, without those of
// the interface named except (the box's own bridge).
func Machine(except string) ([]Used, error) {
	var used []Used
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("cannot list the network interfaces: %w", err)
	}
	for _, i := range interfaces {
		if i.Name == except {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				used = append(used, Used{p.Masked(), "interface " + i.Name})
			}
		}
	}
	data, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil, fmt.Errorf("cannot list the routes: %w", err)
	}
	return append(used, routes(string(data), except)...), nil
}

// routes reads /proc/net/route, whose addresses are hexadecimal, last byte first. The
// default route takes no subnet.
func routes(table, except string) []Used {
	var used []Used
	lines := bufio.NewScanner(strings.NewReader(table))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[0] == except {
			continue
		}
		dst, err1 := hex.DecodeString(f[1])
		mask, err2 := hex.DecodeString(f[7])
		if err1 != nil || err2 != nil || len(dst) != 4 || len(mask) != 4 {
			continue
		}
		slices.Reverse(dst)
		slices.Reverse(mask)
		bits, _ := net.IPMask(mask).Size()
		if bits == 0 {
			continue
		}
		used = append(used, Used{netip.PrefixFrom(netip.AddrFrom4([4]byte(dst)), bits), "a route through " + f[0]})
	}
	return used
}
