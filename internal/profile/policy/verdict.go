package policy

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/document"
	"github.com/dcib/dcib/internal/profile"
)

// Verdict is the result for one key or device of a profile.
type Verdict struct {
	Path    string         // config.limits.memory, devices.gpu0; "" for the profile as a whole
	Effect  profile.Effect // Refused with Reasons
	Ignored bool           // a virtual machine ignores it
	Reasons []string       // why it is refused
}

// Target is the LXD and the kind of instance of a profile.
type Target struct {
	Has func(extension string) bool // whether LXD has an API extension
	VM  bool                        // the instance is a virtual machine, and runs
	// Strict is an LXD that refuses keys for containers on a running virtual machine.
	Strict bool
}

// Evaluate returns a verdict on each key and device of a profile, sorted by path, config first. It applies
// the rules of the charms: what no profile may contain (lxd-profile-sub and lxd-cluster), then what the
// server does not support and what the operator's policy does not allow (lxd-cluster).
func Evaluate(p profile.Profile, allowed Policy, on Target) []Verdict {
	verdicts := map[string]*Verdict{}
	for path, effect := range profile.Classify(p) {
		verdicts[path] = &Verdict{Path: path, Effect: effect}
	}
	refuse := func(at, why string) {
		path := partOf(verdicts, at)
		if verdicts[path] == nil {
			verdicts[path] = &Verdict{Path: path}
		}
		verdicts[path].Effect = profile.Refused
		verdicts[path].Reasons = append(verdicts[path].Reasons, why)
	}
	problems := func(err error) {
		var all document.Problems
		if errors.As(err, &all) {
			for _, problem := range all {
				refuse(problem.Path, problem.String())
			}
		}
	}
	problems(profile.Validate(p))
	// An invalid part has no other verdict.
	rest := p.Without(slices.Collect(func(yield func(string) bool) {
		for path, v := range verdicts {
			if v.Effect == profile.Refused && !yield(path) {
				return
			}
		}
	}))
	problems(profile.Unsupported(rest, on.Has))
	for _, why := range allowed.Refuse(rest) {
		at, _, _ := strings.Cut(why, ": ")
		refuse(at, why)
	}
	if on.VM {
		ignored, refused := profile.ForContainers(rest)
		for _, path := range refused {
			refuse(path, path+": LXD refuses it to a virtual machine, and the profile with it")
		}
		for _, path := range profile.ForStopped(rest, !on.Strict) {
			refuse(path, path+": LXD does not change it while a virtual machine runs, and refuses the profile with it: stop the machine first")
		}
		for _, path := range ignored {
			verdicts[path].Ignored = verdicts[path].Effect != profile.Refused
		}
	}
	sorted := slices.SortedFunc(maps.Values(verdicts), func(a, b *Verdict) int { return cmp.Compare(a.Path, b.Path) })
	all := make([]Verdict, len(sorted))
	for i, v := range sorted {
		slices.Sort(v.Reasons)
		all[i] = *v
	}
	return all
}

// partOf returns the key or device of a path in a profile: devices.d for devices.d.source. Names may
// contain dots, so the longest match counts.
func partOf(verdicts map[string]*Verdict, at string) string {
	if verdicts[at] != nil {
		return at
	}
	found := ""
	for path := range verdicts {
		if strings.HasPrefix(at, path+".") && len(path) > len(found) {
			found = path
		}
	}
	return found
}
