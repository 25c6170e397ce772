// Package cephconf checks the texts of which files of Ceph's clients are made: /etc/ceph/*.conf
// and keyrings. They come from other applications, root's programs read the files, and a line
// break in one would be another option there.
package cephconf

import (
	"encoding/base64"
	"net/netip"
	"regexp"
)

var (
	monitor = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252})(:[0-9]{1,5})?$`)
	user    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	key     = regexp.MustCompile(`^[A-Za-z0-9+/]{1,128}={0,2}$`)
)

// Monitor reports whether text is one monitor's address as mon_host has it: a name, an IPv4
// address or an IPv6 address in brackets, with or without a port.
func Monitor(text string) bool { return monitor.MatchString(text) }

// Bracketed returns an IPv6 address in the brackets that Monitor wants; any other text is
// returned unchanged.
func Bracketed(text string) string {
	if a, err := netip.ParseAddr(text); err == nil && a.Is6() && a.Zone() == "" {
		return "[" + text + "]"
	}
	return text
}

// User reports whether text is the name of a cephx user, without "client.", that is also safe
// in the name of a file.
func User(text string) bool { return user.MatchString(text) }

// Key reports whether text is a cephx key: base64 on one line. encoding/base64 passes over
// line breaks, so the characters are checked, too.
func Key(text string) bool {
	_, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil && key.MatchString(text)
}
