package drain

import (
	"fmt"
	"strings"
)

// Verdict is what a plan says of one instance.
type Verdict string

// The verdicts, from harmless to fatal.
const (
	Okay    Verdict = "okay"    // will be done
	Skip    Verdict = "skip"    // nothing will be done to it
	Warning Verdict = "warning" // will be done, and its owner may not like it
	Error   Verdict = "error"   // keeps the whole plan from being applied
)

// Item is what would happen to one instance.
type Item struct {
	Ref
	Verdict Verdict
	// Reason says what would happen, or why nothing, and what overrides an error.
	Reason string
	// Method is how the instance would move, and MethodReason why that way; both are empty where it
	// would not move.
	Method       Method
	MethodReason string
}

// String returns the item as a line for an operator.
func (i Item) String() string { return fmt.Sprintf("%-7s %s: %s", i.Verdict, i.Ref, i.Reason) }

// Plan is what a drain or an undrain would do.
type Plan struct {
	Member string
	// Done reports that nothing is left to do.
	Done bool
	// Note says what the plan is about, in a line.
	Note string
	// Refusal is why the member as a whole cannot be drained or undrained; empty when it can.
	Refusal string
	Items   []Item

	verb   string  // "drain", "undrain" or "evacuate"
	record *Record // what is to be written before anything is changed
}

// Err returns the reason why the plan must not be applied, nil when it may be.
func (p Plan) Err() error {
	if p.Refusal != "" {
		return fmt.Errorf("cannot %s %s: %s", p.verb, p.Member, p.Refusal)
	}
	var bad []string
	for _, i := range p.Items {
		if i.Verdict == Error {
			bad = append(bad, i.Ref.String()+": "+i.Reason)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("cannot %s %s: nothing was changed, because of\n%s", p.verb, p.Member, strings.Join(bad, "\n"))
	}
	return nil
}

// String returns the plan as lines for an operator.
func (p Plan) String() string {
	lines := []string{p.Note}
	if p.Refusal != "" {
		lines = []string{"cannot " + p.verb + " " + p.Member + ": " + p.Refusal}
	}
	for _, i := range p.Items {
		lines = append(lines, i.String())
	}
	return strings.Join(lines, "\n")
}

// refused returns a plan for a member that cannot be drained or undrained.
func refused(verb, member, format string, args ...any) Plan {
	return Plan{verb: verb, Member: member, Refusal: fmt.Sprintf(format, args...)}
}

// memberBlocker returns why a member cannot be drained or undrained at all; empty when it can.
func memberBlocker(view View, name string) string {
	member, ok := view.Member(name)
	switch {
	case !ok:
		return fmt.Sprintf("LXD has no member of that name: its members are %s", view.memberNames())
	case member.Status == Offline:
		return "it is Offline: bring its LXD back first (its instances can be seen, not moved)"
	case member.Status != Online && member.Status != Evacuated:
		return fmt.Sprintf("it is %s: see `lxc cluster show %s`", member.Status, name)
	}
	for _, i := range view.instancesOn(name) {
		if i.Unobserved {
			return fmt.Sprintf("its LXD does not report the state of %s: wait until it answers, or see `systemctl status lxd` there", i.Ref)
		}
	}
	return ""
}

// count returns "1 instance", "2 instances".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
