package lxd

import (
	"cmp"
	"strconv"
	"strings"
)

// Older reports whether LXD version a is older than b. Of a package's or a snap's version only LXD's own
// part counts: 5.0.2 in 5.0.2-5+deb12u1. It reports false unless both are versions.
func Older(a, b string) bool {
	x, y := numbers(a), numbers(b)
	if len(x) == 0 || len(y) == 0 {
		return false
	}
	for n := range max(len(x), len(y)) {
		if order := cmp.Compare(at(x, n), at(y, n)); order != 0 {
			return order < 0
		}
	}
	return false
}

// SnapChannel returns the snap channel that has an LXD of that version: 5.21/stable for 5.21.3, 6/stable
// for 6.5; empty for an invalid version. LXD's tracks are named by long-term releases, and from 6 on by the
// major version.
func SnapChannel(version string) string {
	n := numbers(version)
	switch {
	case len(n) < 2:
		return ""
	case n[0] >= 6:
		return strconv.Itoa(n[0]) + "/stable"
	}
	return strconv.Itoa(n[0]) + "." + strconv.Itoa(n[1]) + "/stable"
}

func at(numbers []int, n int) int {
	if n < len(numbers) {
		return numbers[n]
	}
	return 0
}

// numbers returns the numbers of LXD's own version; nil for an invalid one.
func numbers(version string) []int {
	end := strings.IndexFunc(version, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end >= 0 {
		version = version[:end]
	}
	var all []int
	for part := range strings.SplitSeq(strings.TrimSuffix(version, "."), ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		all = append(all, n)
	}
	return all
}
