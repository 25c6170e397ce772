package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The library leaves constraints, storage and devices to its caller, and Juju's own
// parsers of them live in a module that is larger than all of this project. These are the
// same shapes, as its documentation has them.

var (
	sizeRE       = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?[MGTP]?$`)
	numberRE     = regexp.MustCompile(`^[0-9]+$`)
	architecture = regexp.MustCompile(`^(amd64|arm64|ppc64el|s390x|riscv64)$`)
	container    = regexp.MustCompile(`^(none|lxd)$`)
	boolean      = regexp.MustCompile(`^(true|false)$`)
	anything     = regexp.MustCompile(`^.*$`)
)

// constraintShapes are the constraints that both Juju 3.6 and 4 know. An empty value
// always stands for "none".
var constraintShapes = map[string]*regexp.Regexp{
	"allocate-public-ip": boolean,
	"arch":               architecture,
	"container":          container,
	"cores":              numberRE,
	"cpu-power":          numberRE,
	"image-id":           anything,
	"instance-role":      anything,
	"instance-type":      anything,
	"mem":                sizeRE,
	"root-disk":          sizeRE,
	"root-disk-source":   anything,
	"spaces":             anything,
	"tags":               anything,
	"virt-type":          anything,
	"zones":              anything,
}

// constraintAliases are older names that Juju still takes, with those that it has now.
var constraintAliases = map[string]string{"cpu-cores": "cores"}

// verifyConstraints checks a machine's constraints, such as "cores=4 mem=8G".
func verifyConstraints(s string) error {
	seen := map[string]bool{}
	for _, f := range strings.Fields(s) {
		key, value, ok := strings.Cut(f, "=")
		given := key
		if name, ok := constraintAliases[key]; ok {
			key = name
		}
		shape := constraintShapes[key]
		switch {
		case !ok:
			return fmt.Errorf("expected key=value, got %q", f)
		case shape == nil:
			return fmt.Errorf("unknown constraint %q", key)
		case seen[key]:
			return fmt.Errorf("constraint %q is given twice", key)
		case value != "" && !shape.MatchString(value):
			return fmt.Errorf("bad value %q for constraint %q", value, given)
		}
		seen[key] = true
	}
	return nil
}

var (
	poolRE        = regexp.MustCompile(`^[a-zA-Z]+[-?a-zA-Z0-9]*$`)
	countRE       = regexp.MustCompile(`^[1-9][0-9]*$`)
	storageSizeRE = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?[MGTPEZY](i?B)?$`)
)

// verifyStorage checks a storage directive: pool, count and size in any order, separated
// by commas, at least one of them, such as "ebs,100G,2".
func verifyStorage(s string) error {
	var seen []string
	for f := range strings.SplitSeq(s, ",") {
		var kind string
		switch {
		case countRE.MatchString(f):
			kind = "count"
		case storageSizeRE.MatchString(f):
			kind = "size"
		case poolRE.MatchString(f):
			kind = "pool"
		default:
			return fmt.Errorf("expected pool, size (such as 10G) or count, got %q", f)
		}
		if slices.Contains(seen, kind) {
			return fmt.Errorf("%s is given twice", kind)
		}
		seen = append(seen, kind)
	}
	return nil
}

// verifyDevices checks a device directive: [count,]type[,attribute=value;…].
func verifyDevices(s string) error {
	fields := strings.Split(s, ",")
	if n, err := strconv.Atoi(fields[0]); err == nil {
		if n < 1 {
			return fmt.Errorf("expected a count of at least 1, got %d", n)
		}
		fields = fields[1:]
	}
	if len(fields) == 0 || fields[0] == "" || strings.Contains(fields[0], "=") {
		return fmt.Errorf("expected [count,]type[,attribute=value], got %q", s)
	}
	if len(fields) > 2 {
		return fmt.Errorf("expected at most count, type and attributes, got %q", s)
	}
	if len(fields) == 2 {
		for a := range strings.SplitSeq(fields[1], ";") {
			if k, v, ok := strings.Cut(a, "="); !ok || k == "" || v == "" {
				return fmt.Errorf("expected attribute=value, got %q", a)
			}
		}
	}
	return nil
}
