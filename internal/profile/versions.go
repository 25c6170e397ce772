package profile

import (
	"fmt"
	"regexp"
	"strconv"
)

// since has the first releases with an API extension, of the supported series: the patch of 5.0 and of
// 5.21, the minor version of 6. never means none so far.
type since struct{ v50, v521, v6 int }

const never = 1 << 16

// releases has the releases of the extensions in table extensions, by LXD's shared/version/api.go of each
// tag.
var releases = map[string]since{
	"container_bpf_delegation":                 {never, 4, 4},
	"container_syscall_intercept_finit_module": {never, 2, 1},
	"devlxd_volume_management":                 {never, never, 6},
	"instance_placement_groups":                {never, never, 6},
	"instance_protection_start":                {never, 3, 2},
	"numa_cpu_placement":                       {3, 0, 1},
	"ubuntu_pro_guest_attach":                  {never, 4, 3},
}

// Server is an LXD, by its version.
type Server struct{ major, minor, patch int }

var serverVersion = regexp.MustCompile(`^([0-9]{1,3})\.([0-9]{1,3})(?:\.([0-9]{1,3}))?$`)

// ParseServer reads a version such as 5.0.2 or 6.6. LXD before 5.0 is refused.
func ParseServer(version string) (Server, error) {
	parts := serverVersion.FindStringSubmatch(version)
	number := func(i int) int { n, _ := strconv.Atoi(parts[i]); return n }
	if parts == nil || number(1) < 5 {
		return Server{}, fmt.Errorf("cannot use LXD version %.40q: wanted one from 5.0 on, such as 5.0.2, 5.21.4 or 6.6", version)
	}
	return Server{number(1), number(2), number(3)}, nil
}

// TakesContainerKeys reports whether the server accepts keys for containers in the profile of a running
// virtual machine, which ignores them.
func (s Server) TakesContainerKeys() bool { return s.major > 5 || s.minor > 0 || s.patch >= 3 }

// Has reports whether the server has an API extension of a key. A release between two series has what the
// earlier one had at first.
func (s Server) Has(extension string) bool {
	first, known := releases[extension]
	switch {
	case !known:
		return false
	case s.major > 6:
		return first.v6 < never
	case s.major == 6:
		return s.minor >= first.v6
	case s.minor >= 21:
		return s.patch >= first.v521
	case s.minor == 0:
		return s.patch >= first.v50
	}
	return first.v50 == 0
}
