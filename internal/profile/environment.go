package profile

import (
	"slices"
	"strings"
)

// liblxc sets a container's environment before it runs the hooks of the host, such as lxcfs's and NVIDIA's,
// which still see the host's files (start.c, do_start). A variable that these programs follow could make
// them run what the container chooses. The list is glibc's for privileged programs
// (sysdeps/generic/unsecvars.h), what shells follow, and what liblxc and NVIDIA's hook read.
var (
	hookVariables = []string{
		"BASHOPTS", "BASH_ENV", "CDPATH", "ENV", "GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "IFS",
		"LOCALDOMAIN", "LOCPATH", "MALLOC_TRACE", "NIS_PATH", "NLSPATH", "PATH", "PS4", "RESOLV_HOST_CONF", "RES_OPTIONS",
		"SHELLOPTS", "TMPDIR", "TZDIR",
	}
	hookPrefixes = []string{"LD_", "LXC_", "LXD_", "NVIDIA_"}
)

// reservedVariable returns why an environment variable is not allowed in a profile; "" if it is, or if the
// key is not in environment.
func reservedVariable(key string) string {
	name, ok := strings.CutPrefix(key, "environment.")
	if !ok {
		return ""
	}
	if slices.Contains(hookVariables, name) || slices.ContainsFunc(hookPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
		return "hooks that run on the host before the container starts follow it"
	}
	return ""
}
