package profile

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// value is a type of value: its name in a refusal, what is valid, whether it is free text, which may be a
// secret and is not shown, and which control characters it may have.
type value struct {
	want   string
	fits   func(string) bool
	free   bool
	allows string
}

// text and lines are free text. LXD and liblxc write most values into files that are read line by line, so
// only a value with the meaning of lines may contain line breaks.
// https://github.com/advisories/GHSA-x6jc-phwx-hp32
var (
	text  = value{"text without control characters such as line breaks", func(s string) bool { return controlIn(s, "") == "" }, true, ""}
	lines = value{"text without control characters but line breaks and tabs", func(s string) bool { return controlIn(s, lineBreaks) == "" }, true, lineBreaks}
)

const lineBreaks = "\n\t"

// controlIn returns the name of the first control character (C0, DEL, C1) of s that is not in allowed,
// without the text around it; "" if there is none.
func controlIn(s, allowed string) string {
	for at, r := range s {
		if unicode.IsControl(r) && !strings.ContainsRune(allowed, r) {
			return fmt.Sprintf("the control character %U at byte %d", r, at+1)
		}
	}
	return ""
}

// number is a whole decimal number in a range.
func number(least, most int64) value {
	return value{want: fmt.Sprintf("a number from %d to %d", least, most), fits: func(s string) bool {
		n, err := strconv.ParseInt(s, 10, 64)
		return err == nil && n >= least && n <= most
	}}
}

// matching is text that a regular expression matches as a whole.
func matching(want, expression string) value {
	compiled := regexp.MustCompile("^(?:" + expression + ")$")
	return value{want: want, fits: compiled.MatchString}
}

// Limits of numbers, and of how long one container may delay a host.
const (
	maxPIDs         = 1 << 22 // Linux's PID_MAX_LIMIT
	maxStartDelay   = 60      // seconds; LXD waits as long after the start of an instance before it starts the next
	maxStopTimeout  = 600     // seconds; LXD waits as long for an instance to stop when the host shuts down
	maxBootPriority = 100     // instances of one stop priority are stopped together, and each group after the other
)

var (
	boolean = value{want: "true or false", fits: func(s string) bool { return s == "true" || s == "false" }}
	integer = value{want: "a whole number", fits: func(s string) bool {
		_, err := strconv.ParseInt(s, 10, 64)
		return err == nil
	}}
	priority      = number(0, 10)
	startDelay    = number(0, maxStartDelay)
	stopTimeout   = number(0, maxStopTimeout)
	startPriority = number(0, maxBootPriority)
	processes     = number(1, maxPIDs)

	// modprobe reads what begins with a hyphen as an option.
	modules = matching("names of kernel modules such as overlay,br_netfilter", `[A-Za-z0-9][A-Za-z0-9_-]*(, ?[A-Za-z0-9][A-Za-z0-9_-]*)*`)
	group   = matching("the name of a placement group", `[A-Za-z0-9][A-Za-z0-9._-]*`)
	words   = matching("words such as compute,utility", `([A-Za-z0-9_-]+(,[A-Za-z0-9_-]+)*)?`)
	// LXD renders a pattern as a template, whose tags can read and include files of the host.
	// https://documentation.ubuntu.com/lxd/latest/reference/instance_options/#instance-snapshots:snapshots.pattern
	pattern = matching("a name such as snap%d or {{ creation_date|date:'2006-01-02' }}",
		`([A-Za-z0-9._%-]|\{\{ ?creation_date ?(\| ?date: ?('[^'{}[:cntrl:]/]*'|"[^"{}[:cntrl:]/]*") ?)?\}\})*`)

	// rlimit is what prlimit takes: one limit, or the soft and the hard one.
	// https://linuxcontainers.org/lxc/manpages/man5/lxc.container.conf.5.html, "RESOURCE LIMITS"
	rlimit = value{want: `a number, "unlimited", or two of them as soft:hard`, fits: isRlimit}

	size      = value{want: "a size such as 512MiB or 2GB", fits: isSize}
	memory    = value{want: "a size such as 512MiB, or a share of the host such as 50%", fits: func(s string) bool { return isPercent(s) || isSize(s) }}
	allowance = value{want: "a share such as 50%, or time as in 25ms/100ms", fits: func(s string) bool {
		return isPercent(s) || regexp.MustCompile(`^[1-9][0-9]{0,6}ms/[1-9][0-9]{0,6}ms$`).MatchString(s)
	}}
	nodes = value{want: "NUMA nodes such as 0, or 0-1,3", fits: func(s string) bool {
		_, err := strconv.ParseUint(s, 10, 16)
		return err == nil || isCPUs(s)
	}}
	cpus = value{want: "a number of CPUs such as 2, or which ones, such as 0-3,6", fits: isCPUs}
)

func oneOf(words ...string) value {
	return value{want: "one of " + strings.Join(words, ", "), fits: func(s string) bool { return slices.Contains(words, s) }}
}

// isRlimit reports whether s is a limit, or a soft one that is no higher than the hard one after it. Linux
// refuses others when the container starts.
func isRlimit(s string) bool {
	soft, hard, both := strings.Cut(s, ":")
	if !both {
		hard = soft
	}
	low, ok := limitOf(soft)
	high, ok2 := limitOf(hard)
	return ok && ok2 && low <= high
}

// limitOf returns a limit; unlimited is the highest.
func limitOf(s string) (uint64, bool) {
	if s == "unlimited" {
		return math.MaxUint64, true
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
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
