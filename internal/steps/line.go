package steps

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// width is the columns that a line may take: a terminal of 80, less one, so that no
// terminal wraps it.
const width = 79

// line shows one step: on a terminal a line that is rewritten until the step ends,
// elsewhere a plain line when it ends and one per heartbeat while it runs.
type line struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	label    string
	started  time.Time
	now      func() time.Time
	every    time.Duration
	note     string
	stop     chan struct{}
	stopped  sync.WaitGroup
}

func newLine(r *Runner, label string, started time.Time) *line {
	every := r.Heartbeat
	if every == 0 {
		every = 20 * time.Second
	}
	return &line{out: r.Out, terminal: r.Terminal, label: label, started: started, now: r.now, every: every}
}

// say sets what the step is busy with.
func (l *line) say(note string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note = note
	if l.terminal {
		l.draw()
	}
}

// beat starts the heartbeat of a step that does work.
func (l *line) beat() {
	every := l.every
	if l.terminal {
		every = min(every, time.Second)
	}
	l.stop = make(chan struct{})
	l.stopped.Add(1)
	go func() {
		defer l.stopped.Done()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
				l.mu.Lock()
				l.draw()
				l.mu.Unlock()
			}
		}
	}()
}

func (l *line) draw() {
	text := format(l.label, "...", l.now().Sub(l.started), l.note)
	if l.terminal {
		fmt.Fprintf(l.out, "\r\x1b[K%s", text)
		return
	}
	fmt.Fprintln(l.out, text)
}

// end stops the heartbeat and prints the line for good.
func (l *line) end(state State, saw string) {
	if l.stop != nil {
		close(l.stop)
		l.stopped.Wait()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.terminal {
		fmt.Fprint(l.out, "\r\x1b[K")
	}
	fmt.Fprintln(l.out, formatEnd(l.label, state, l.now().Sub(l.started), saw))
}

// format lays out one line and cuts the note where the columns end.
func format(label, state string, elapsed time.Duration, note string) string {
	s := fmt.Sprintf("%-18s %-7s %7s  %s", label, state, clock(elapsed), note)
	return cut(s, width)
}

// formatEnd is format for a step that ended; what one that failed or was stopped names, its log, is never cut.
func formatEnd(label string, state State, elapsed time.Duration, note string) string {
	if state == Failed || state == Stopped {
		return fmt.Sprintf("%-18s %-7s %7s  %s", label, state, clock(elapsed), note)
	}
	return format(label, string(state), elapsed, note)
}

// clock shows seconds with one decimal below a minute and m:ss above it.
func clock(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}

func cut(s string, columns int) string {
	r := []rune(s)
	for len(r) > 0 && r[len(r)-1] == ' ' {
		r = r[:len(r)-1]
	}
	if len(r) <= columns {
		return string(r)
	}
	return string(r[:columns-1]) + "…"
}
