package lxd

import (
	"fmt"
	"regexp"
	"strconv"
)

// fixed are the first releases of each series in which LXD refuses line breaks in environment.*
// (CVE-2026-23953, canonical/lxd#17549). A snap of an earlier release may have the fix, which its version
// does not show. The series between 5.0 and 5.21 have none, those after 6.7 all have it.
var fixed = map[[2]int]int{{5, 0}: 6, {5, 21}: 5}

var (
	release = regexp.MustCompile(`^(\d+)\.(\d+)(?:\.(\d+))?`)
	// debian finds the revision of a Debian package with security updates: 5.0.2-5+deb12u3.
	debian = regexp.MustCompile(`\+deb(\d+)u(\d+)$`)
	// debianFixed are the revisions by release of Debian that have the fix (DSA-6153-1, DSA-6373-1).
	debianFixed = map[int]int{12: 3, 13: 7}
)

// Advisory returns what an operator has to know about the security of an LXD, as a clause of a status; ""
// if nothing. version is the server's or, better, the package's: Debian keeps the server's version when it
// fixes a fault.
func Advisory(version string) string {
	parts := release.FindStringSubmatch(version)
	if parts == nil {
		return ""
	}
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	major, minor, patch := number(parts[1]), number(parts[2]), number(parts[3])
	least, series := fixed[[2]int{major, minor}]
	switch {
	case major > 6 || major == 6 && minor >= 7 || series && patch >= least:
		return ""
	}
	if d := debian.FindStringSubmatch(version); d != nil {
		if least, known := debianFixed[number(d[1])]; number(d[1]) > 13 || known && number(d[2]) >= least {
			return ""
		}
	}
	return fmt.Sprintf("LXD %s may lack the fix of CVE-2026-23953 (a container can run programs on its host): upgrade LXD to 5.0.6, 5.21.5, 6.7 or later", version)
}
