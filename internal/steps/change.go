// Package change walks a list of named steps towards a wanted state of the world.
//
// It is level-triggered: every run asks each step whether the world is already as the
// step would leave it, and does only what is missing. So a run that was stopped at any
// moment, in whatever way, is carried on by simply running again. What the steps do is no
// business of this package.
package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dcib/dcib/internal/host/atomicfile"
)

// State says how a step ended.
type State string

// The states of a step. A step that was not reached has none.
const (
	Kept   State = "kept"   // the world was already so
	Done   State = "done"   // it was not, and now is
	Failed State = "failed" // it is not

	Stopped State = "stopped" // this run was stopped while the step did its work
)

// Step is one thing that is to be so.
type Step struct {
	// Name is short and unique within a change; the log file is named after it.
	Name string
	// Check reports whether the world is already as Do would leave it, and what it saw: one
	// short phrase. It changes nothing. It is asked before Do, and again after it, so that
	// a Do that believes in its own success is found out. A nil Check means "never so".
	Check func(ctx context.Context) (so bool, saw string, err error)
	// Do makes it so. It may be killed at any point and is then run again from its
	// beginning. Everything it prints goes to log.
	Do func(ctx context.Context, log *Log) error
}

// Time is what is remembered of one step of the last run.
type Time struct {
	Step    string    `json:"step"`
	State   State     `json:"state"`
	Seconds float64   `json:"seconds"`
	Started time.Time `json:"started"`
}

// Runner runs changes.
type Runner struct {
	Out       io.Writer     // where progress is printed
	Terminal  bool          // whether Out is a terminal, whose last line may be rewritten
	LogDir    string        // folder that gets one <step>.log for each step that does work
	TimesFile string        // JSON list of Time, rewritten after each step; "" for none
	Heartbeat time.Duration // how often a long step states that it lives; 0 means 20 s
	Now       func() time.Time
}

// Run walks the steps in their order and stops at the first that fails. It returns the
// times of the steps that it reached; the error names the failed step and its log.
func (r *Runner) Run(ctx context.Context, steps []Step) ([]Time, error) {
	if err := checkNames(steps); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.LogDir, 0o711); err != nil {
		return nil, fmt.Errorf("cannot make the log folder: %w", err)
	}
	var times []Time
	for i, step := range steps {
		if err := ctx.Err(); err != nil {
			return times, fmt.Errorf("stopped before step %q; run again to carry on", step.Name)
		}
		t, err := r.one(ctx, fmt.Sprintf("%*d/%d", len(fmt.Sprint(len(steps))), i+1, len(steps)), step)
		times = append(times, t)
		if werr := r.writeTimes(times); werr != nil && err == nil {
			err = werr
		}
		if err != nil {
			return times, err
		}
	}
	return times, nil
}

func (r *Runner) one(ctx context.Context, number string, step Step) (Time, error) {
	started := r.now()
	line := newLine(r, number+" "+step.Name, started)
	end := func(state State, saw string) Time {
		line.end(state, saw)
		return Time{Step: step.Name, State: state, Seconds: r.now().Sub(started).Seconds(), Started: started.UTC()}
	}

	if step.Check != nil {
		so, saw, err := step.Check(ctx)
		if err != nil && ctx.Err() != nil {
			return end(Stopped, ""), fmt.Errorf("stopped in step %q; run again to carry on", step.Name)
		}
		if err != nil {
			return end(Failed, "could not be checked"), fmt.Errorf("cannot check step %q: %w", step.Name, err)
		}
		if so {
			return end(Kept, saw), nil
		}
		line.say(saw)
	}

	path := filepath.Join(r.LogDir, step.Name+".log")
	log, err := openLog(path, line)
	if err != nil {
		return end(Failed, "no log"), err
	}
	defer log.file.Close()

	line.beat()
	err = step.Do(ctx, log)
	var saw string
	if err == nil && step.Check != nil {
		var so bool
		if so, saw, err = step.Check(ctx); err == nil && !so {
			err = fmt.Errorf("it ran without an error, but %s", saw)
		}
	}
	if err != nil {
		log.Printf("failed: %v", err)
		if ctx.Err() != nil {
			t := end(Stopped, "log: "+path)
			return t, fmt.Errorf("stopped in step %q; run again to carry on", step.Name)
		}
		t := end(Failed, "log: "+path)
		return t, fmt.Errorf("cannot finish step %q: %w (log: %s)", step.Name, err, path)
	}
	return end(Done, saw), nil
}

func (r *Runner) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *Runner) writeTimes(times []Time) error {
	if r.TimesFile == "" {
		return nil
	}
	data, err := json.MarshalIndent(times, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the times of the steps: %w", err)
	}
	if err := atomicfile.Write(r.TimesFile, append(data, '\n'), atomicfile.Options{Mode: 0o644}); err != nil {
		return fmt.Errorf("cannot write the times of the steps: %w", err)
	}
	return nil
}

func checkNames(steps []Step) error {
	seen := map[string]bool{}
	for _, s := range steps {
		if s.Name == "" || s.Name != filepath.Base(s.Name) || s.Do == nil {
			return fmt.Errorf("cannot run step %q: it needs a plain name and a Do", s.Name)
		}
		if seen[s.Name] {
			return fmt.Errorf("cannot run step %q: there are two of that name", s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

// Until returns the steps up to and including the one named last; all of them when last
// is "". An unknown name is an error that lists the known ones.
func Until(steps []Step, last string) ([]Step, error) {
	if last == "" {
		return steps, nil
	}
	var names []string
	for i, s := range steps {
		if s.Name == last {
			return steps[:i+1], nil
		}
		names = append(names, s.Name)
	}
	return nil, fmt.Errorf("cannot stop after step %q: there are %q", last, names)
}

// Log is what a step writes to: a file, with one line of progress shown on the screen. It
// may be used by several goroutines.
type Log struct {
	mu   sync.Mutex
	file *os.File
	line *line
}

func openLog(path string, l *line) (*Log, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log of a step: %w", err)
	}
	log := &Log{file: f, line: l}
	log.Printf("---- %s", time.Now().UTC().Format(time.RFC3339))
	return log, nil
}

// Discard returns a Log that keeps nothing, for tests of what steps do.
func Discard() *Log { return &Log{} }

// Write appends raw output, of a command for example, to the log file only.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return len(p), nil
	}
	return l.file.Write(p)
}

// Printf appends one line to the log file only.
func (l *Log) Printf(format string, args ...any) {
	fmt.Fprintf(l, format+"\n", args...)
}

// Say appends one line to the log file and shows it as what the step is busy with. Keep
// it short: it stands behind the step's name on an 80 column screen.
func (l *Log) Say(format string, args ...any) {
	l.Printf(format, args...)
	if l.line != nil {
		l.line.say(fmt.Sprintf(format, args...))
	}
}

// Path returns where the log file is, or "".
func (l *Log) Path() string {
	if l.file == nil {
		return ""
	}
	return l.file.Name()
}

// ErrTimeout is in the chain of what Wait returns when the time is up.
var ErrTimeout = errors.New("time is up")

// Wait asks fact every interval until it holds, for at most limit. The fact's own words
// are shown while it waits, and are in the error when the time is up. An error from fact
// ends the wait.
func Wait(ctx context.Context, log *Log, limit, interval time.Duration, fact func(context.Context) (so bool, saw string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := ""
	for {
		so, saw, err := fact(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil && so:
			return nil
		}
		if err == nil && saw != last {
			log.Say("%s", saw)
			last = saw
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("%w after %s: %s", ErrTimeout, limit, last)
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
}
