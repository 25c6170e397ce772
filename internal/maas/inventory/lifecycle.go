package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// CommissionOptions are how machines are commissioned.
type CommissionOptions struct {
	// Force commissions machines that are Ready again; MAAS then resets their network and
	// storage.
	Force bool
	SSH   bool // leave them on, for an operator to log in
}

// DeployOptions are how machines are deployed.
type DeployOptions struct {
	Series   string // noble, ubuntu/noble; empty for MAAS's own default
	Kernel   string // like ga-24.04; empty for the series' own
	UserData []byte // for cloud-init
	Comment  string
}

// Verdict is what a plan says of one machine.
type Verdict string

// The verdicts.
const (
	Okay  Verdict = "okay"  // it will be done
	Skip  Verdict = "skip"  // there is nothing to do
	Error Verdict = "error" // it cannot be done
)

// Decision is what is to happen to one machine, and why.
type Decision struct {
	Machine Machine
	Verdict Verdict
	Why     string
}

// Select finds machines by host name, full name or system id; * and ? are patterns over host
// names. It is an error when one of the names means none.
func Select(all []Machine, names []string) ([]Machine, error) {
	var found []Machine
	for _, name := range names {
		matched := false
		for _, m := range all {
			if m.ID != name && m.FQDN != name && !glob(name, m.Hostname) {
				continue
			}
			matched = true
			if !slices.ContainsFunc(found, func(o Machine) bool { return o.ID == m.ID }) {
				found = append(found, m)
			}
		}
		if _, err := path.Match(name, ""); !matched || err != nil {
			return nil, fmt.Errorf("cannot find machine %q in MAAS: pass a host name, a pattern like node*, or a system id", name)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("cannot determine which machines are meant: pass host names")
	}
	return found, nil
}

// advice says what to do first with a machine that can be neither commissioned nor deployed, by
// status: what MAAS's actions take (src/maasserver/node_action.py), and where a test leads to
// (src/maasserver/node_status.py).
var advice = func() map[string]string {
	of := map[string]string{"Exiting rescue mode": "wait until it has left rescue mode"}
	for text, statuses := range map[string][]string{
		"release it first":                                                 {FailedDeployment, "Releasing failed", "Failed disk erasing"},
		"wait until it is released":                                        {"Releasing", "Disk erasing"},
		"end its rescue mode in MAAS first":                                {"Rescue mode", "Entering rescue mode", "Failed to enter rescue mode", "Failed to exit rescue mode"},
		"test it in MAAS first: it is Ready when it passes":                {"Missing", "Retired"},
		"test it again in MAAS, or override its failed tests there, first": {"Failed testing"},
	} {
		for _, status := range statuses {
			of[status] = text
		}
	}
	return of
}()

// Commissionable decides who of some machines is commissioned. MAAS takes what is New, Failed
// commissioning, Ready or Broken (src/maasserver/node_action.py in its source).
func Commissionable(machines []Machine, o CommissionOptions) []Decision {
	var all []Decision
	for _, m := range machines {
		d := Decision{m, Okay, "is " + m.Status}
		switch m.Status {
		case New, FailedCommissioning, Broken:
		case Ready:
			if !o.Force {
				d.Verdict, d.Why = Skip, "is Ready: to commission it again resets its network and storage, and wants force"
			}
		case Commissioning, Testing:
			d.Verdict = Skip
		case Allocated, Deployed:
			d.Verdict, d.Why = Error, d.Why+": release it first"
		case Deploying:
			d.Verdict, d.Why = Error, d.Why+": wait until it is Deployed, or abort that in MAAS, and release it first"
		default:
			d.Verdict, d.Why = Error, d.Why+": "+cmp.Or(advice[m.Status], "it has to be New, Failed commissioning, Ready or Broken")
		}
		all = append(all, d)
	}
	return all
}

// Deployable decides who of some machines is deployed: who is Ready, and who is Allocated to
// the user that asks. MAAS would let an administrator deploy what another client has taken.
func Deployable(machines []Machine, user string) []Decision {
	var all []Decision
	for _, m := range machines {
		d := Decision{m, Okay, "is " + m.Status}
		switch m.Status {
		case Ready:
		case Allocated:
			if m.Owner != user {
				d.Verdict, d.Why = Error, d.Why+" to "+cmp.Or(m.Owner, "an operator")+": it is theirs"
			}
		case Deploying, Deployed:
			d.Verdict = Skip
			if m.Series != "" {
				d.Why += " with " + m.Series
			}
		case New, FailedCommissioning, Broken:
			d.Verdict, d.Why = Error, d.Why+": commission it first"
		default:
			d.Verdict, d.Why = Error, d.Why+": "+cmp.Or(advice[m.Status], "it has to be Ready")
		}
		all = append(all, d)
	}
	return all
}

// Act does to each machine that is okay what do does, and reports done. The error has all that
// failed, and all that could not be done to begin with; then nothing is done at all.
func Act(ctx context.Context, decisions []Decision, do func(ctx context.Context, id string) error, done func(d Decision, err error)) error {
	var failures []error
	for _, d := range decisions {
		if d.Verdict == Error {
			failures = append(failures, fmt.Errorf("%s %s", d.Machine.Hostname, d.Why))
		}
	}
	if len(failures) > 0 {
		return fmt.Errorf("cannot begin, and nothing was done: %w", errors.Join(failures...))
	}
	for _, d := range decisions {
		if d.Verdict != Okay {
			continue
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(append(failures, fmt.Errorf("stopped before %s: run again to carry on", d.Machine.Hostname))...)
		}
		err := do(ctx, d.Machine.ID)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", d.Machine.Hostname, err))
		}
		done(d, err)
	}
	return errors.Join(failures...)
}

// patience is how often in a row MAAS may fail to answer while it is waited for: a region
// that restarts is no reason to give up.
const patience = 5

// Await waits until all of some machines have a status, and asks every interval. It ends
// early, with an error, when one is neither there nor on its way.
func Await(ctx context.Context, status func(ctx context.Context, id string) (string, error), machines []Machine, want string, onTheWay []string, every time.Duration) error {
	left := slices.Clone(machines)
	failures := 0
	for {
		var still []Machine
		for _, m := range left {
			now, err := status(ctx, m.ID)
			switch {
			case err != nil && ctx.Err() == nil && failures >= patience:
				return err
			case err != nil:
				failures++
				still = append(still, m)
				continue
			case now == want:
			case slices.Contains(onTheWay, now):
				m.Status = now
				still = append(still, m)
			default:
				return fmt.Errorf("%s is %s, and not on its way to %s: look at its events in MAAS", m.Hostname, now, want)
			}
			failures = 0
		}
		if left = still; len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			var names []string
			for _, m := range left {
				names = append(names, m.Hostname+" ("+m.Status+")")
			}
			return fmt.Errorf("gave up waiting for %s to be %s: %w", strings.Join(names, ", "), want, context.Cause(ctx))
		case <-time.After(every):
		}
	}
}
