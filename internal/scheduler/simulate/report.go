package simulate

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Total sums a result up.
type Total struct {
	Pets, Windows, Drains, Moves, Failures int
	Late, Unexplained                      int
	Missed                                 int     // windows in which the pet was never empty
	Shared, Reserved, Underway             float64 // hours; a Duration holds 292 years only
}

// Total counts.
func (r Result) Total() Total {
	t := Total{Pets: len(r.Pets)}
	for _, p := range r.Pets {
		t.Shared, t.Reserved, t.Underway = t.Shared+p.Shared.Hours(), t.Reserved+p.Reserved.Hours(), t.Underway+p.Underway.Hours()
		t.Moves, t.Failures, t.Windows = t.Moves+p.Moves, t.Failures+p.Failures, t.Windows+len(p.Returns)
		for _, w := range p.Returns {
			t.Drains += w.Drains
			if w.Late > 0 {
				t.Late++
				if w.Empty.IsZero() {
					t.Missed++
				}
				if w.Why == "" {
					t.Unexplained++
				}
			}
		}
	}
	return t
}

// Late returns the late returns, the latest first.
func (r Result) Late() []Return {
	var late []Return
	for _, p := range r.Pets {
		for _, w := range p.Returns {
			if w.Late > 0 {
				late = append(late, w)
			}
		}
	}
	slices.SortStableFunc(late, func(a, b Return) int { return int(min(1, max(-1, b.Late-a.Late))) })
	return late
}

// Write prints a result for a person: sums, then pets, then at most so many late returns.
func (r Result) Write(out io.Writer, most int) error {
	t := r.Total()
	share := func(hours float64) string {
		all := t.Shared + t.Reserved + t.Underway
		if all == 0 {
			return "0%"
		}
		return fmt.Sprintf("%.1f%%", 100*hours/all)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "pets\t%d\n", t.Pets)
	fmt.Fprintf(w, "windows\t%d\n", t.Windows)
	fmt.Fprintf(w, "shared\t%.1f h\t%s\n", t.Shared, share(t.Shared))
	fmt.Fprintf(w, "empty\t%.1f h\t%s\n", t.Reserved, share(t.Reserved))
	fmt.Fprintf(w, "draining and returning\t%.1f h\t%s\n", t.Underway, share(t.Underway))
	fmt.Fprintf(w, "drains\t%d\n", t.Drains)
	fmt.Fprintf(w, "moves\t%d\n", t.Moves)
	fmt.Fprintf(w, "failed tries\t%d\n", t.Failures)
	fmt.Fprintf(w, "late returns\t%d\n", t.Late)
	fmt.Fprintf(w, "never returned\t%d\n", t.Missed)
	if len(r.Pets) > 0 && len(r.Pets) <= most {
		fmt.Fprintf(w, "\npet\tlent\tempty\twindows\tlate\tmoves\n")
		for _, p := range r.Pets {
			late := 0
			for _, ret := range p.Returns {
				if ret.Late > 0 {
					late++
				}
			}
			fmt.Fprintf(w, "%s\t%.1f h\t%.1f h\t%d\t%d\t%d\n", p.Name, p.Shared.Hours(), p.Reserved.Hours(), len(p.Returns), late, p.Moves)
		}
	}
	if late := r.Late(); len(late) > 0 && most > 0 {
		fmt.Fprintf(w, "\nlate\tby\tpet\twhy\n")
		for i, l := range late {
			if i == most {
				fmt.Fprintf(w, "and %d more\n", len(late)-most)
				break
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.Window.EmptyBy.Format("2006-01-02 15:04 -0700"), l.Late.Round(time.Second), l.Pet, l.Why)
		}
	}
	return w.Flush()
}
