package profile

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// value is a kind of value: what it is called in a refusal, and what fits.
type value struct {
	want string
	fits func(string) bool
}

var (
	text    = value{"text without NUL", func(s string) bool { return !strings.ContainsRune(s, 0) }}
	boolean = value{"true or false", func(s string) bool { return s == "true" || s == "false" }}
	integer = value{"a whole number", func(s string) bool {
		_, err := strconv.ParseInt(s, 10, 64)
		return err == nil
	}}
	priority = value{"a number from 0 to 10", func(s string) bool {
		n, err := strconv.ParseUint(s, 10, 8)
		return err == nil && n <= 10
	}}
	size      = value{"a size such as 512MiB or 2GB", isSize}
	memory    = value{"a size such as 512MiB, or a share of the host such as 50%", func(s string) bool { return isPercent(s) || isSize(s) }}
	allowance = value{"a share such as 50%, or time as in 25ms/100ms", func(s string) bool {
		return isPercent(s) || regexp.MustCompile(`^[1-9][0-9]{0,6}ms/[1-9][0-9]{0,6}ms$`).MatchString(s)
	}}
	nodes = value{"NUMA nodes such as 0, or 0-1,3", func(s string) bool {
		_, err := strconv.ParseUint(s, 10, 16)
		return err == nil || isCPUs(s)
	}}
	cpus = value{"a number of CPUs such as 2, or which ones, such as 0-3,6", isCPUs}
)

func oneOf(words ...string) value {
	return value{"one of " + strings.Join(words, ", "), func(s string) bool {
		for _, word := range words {
			if s == word {
				return true
			}
		}
		return false
	}}
}

func isPercent(s string) bool {
	digits, ok := strings.CutSuffix(s, "%")
	n, err := strconv.ParseUint(digits, 10, 8)
	return ok && err == nil && n >= 1 && n <= 100
}

// units are the suffixes of a size, in bytes.
// https://documentation.ubuntu.com/lxd/en/stable-5.0/reference/instance_units/
var units = map[string]float64{
	"": 1, "B": 1,
	"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15, "EB": 1e18,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50, "EiB": 1 << 60,
}

func isSize(s string) bool {
	digits := strings.TrimRight(s, "BEGKMPTik")
	n, err := strconv.ParseUint(digits, 10, 63)
	unit, known := units[s[len(digits):]]
	return err == nil && known && n > 0 && float64(n)*unit < math.MaxInt64
}

// isCPUs takes a count ("4") or a set ("0-3,6", and "2-2" for CPU 2 alone), in which no
// CPU is named twice.
func isCPUs(s string) bool {
	const most = 1 << 16
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return n >= 1 && n < most
	}
	seen := map[uint64]bool{}
	for chunk := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(chunk, "-")
		if !isRange {
			last = first
		}
		low, err := strconv.ParseUint(first, 10, 32)
		high, err2 := strconv.ParseUint(last, 10, 32)
		if err != nil || err2 != nil || low > high || high >= most {
			return false
		}
		for cpu := low; cpu <= high; cpu++ {
			if seen[cpu] {
				return false
			}
			seen[cpu] = true
		}
	}
	return true
}
