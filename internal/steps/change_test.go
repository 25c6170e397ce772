package steps

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// world is something that steps can look at and change.
type env struct {
	made map[string]bool
	did  []string
}

func (w *env) step(name string) Step {
	return Step{
		Name: name,
		Check: func(context.Context) (bool, string, error) {
			if w.made[name] {
				return true, name + " is there", nil
			}
			return false, name + " is missing", nil
		},
		Do: func(context.Context, *Log) error {
			w.did = append(w.did, name)
			w.made[name] = true
			return nil
		},
	}
}

func newRunner(t *testing.T) (*Runner, *bytes.Buffer) {
	var out bytes.Buffer
	dir := t.TempDir()
	return &Runner{Out: &out, LogDir: filepath.Join(dir, "logs"), TimesFile: filepath.Join(dir, "times.json")}, &out
}

func TestRunDoesOnlyWhatIsMissing(t *testing.T) {
	w := &env{made: map[string]bool{"two": true}}
	r, out := newRunner(t)
	steps := []Step{w.step("one"), w.step("two"), w.step("three")}

	times, err := r.Run(t.Context(), steps)
	require.NoError(t, err)
	require.Equal(t, []string{"one", "three"}, w.did)
	require.Equal(t, []State{Done, Kept, Done}, states(times))
	require.Contains(t, out.String(), "1/3 one")
	require.Contains(t, out.String(), "two is there")

	times, err = r.Run(t.Context(), steps)
	require.NoError(t, err)
	require.Equal(t, []string{"one", "three"}, w.did, "a second run has nothing to do")
	require.Equal(t, []State{Kept, Kept, Kept}, states(times))

	data, err := os.ReadFile(r.TimesFile)
	require.NoError(t, err)
	var read []Time
	require.NoError(t, json.Unmarshal(data, &read))
	require.Equal(t, times, read)
}

func TestRunStopsAtTheFirstFailureAndCarriesOn(t *testing.T) {
	w := &env{made: map[string]bool{}}
	r, out := newRunner(t)
	broken := true
	bad := w.step("bad")
	do := bad.Do
	bad.Do = func(ctx context.Context, log *Log) error {
		log.Printf("about to break")
		if broken {
			return errors.New("cannot reach the thing")
		}
		return do(ctx, log)
	}
	steps := []Step{w.step("one"), bad, w.step("three")}

	times, err := r.Run(t.Context(), steps)
	require.ErrorContains(t, err, `cannot finish step "bad": cannot reach the thing`)
	require.ErrorContains(t, err, filepath.Join(r.LogDir, "bad.log"))
	require.Equal(t, []State{Done, Failed}, states(times))
	require.Contains(t, out.String(), filepath.Join(r.LogDir, "bad.log"), "the path is shown whole")
	log, err := os.ReadFile(filepath.Join(r.LogDir, "bad.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "about to break")

	broken = false
	_, err = r.Run(t.Context(), steps)
	require.NoError(t, err)
	require.Equal(t, []string{"one", "bad", "three"}, w.did)
}

func TestRunDoesNotBelieveAStep(t *testing.T) {
	r, _ := newRunner(t)
	_, err := r.Run(t.Context(), []Step{{
		Name:  "liar",
		Check: func(context.Context) (bool, string, error) { return false, "no bridge", nil },
		Do:    func(context.Context, *Log) error { return nil },
	}})
	require.ErrorContains(t, err, "it ran without an error, but no bridge")
}

func TestRunReportsThatItWasStopped(t *testing.T) {
	r, _ := newRunner(t)
	ctx, cancel := context.WithCancel(t.Context())
	times, err := r.Run(ctx, []Step{{Name: "long", Do: func(ctx context.Context, _ *Log) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}}})
	require.ErrorContains(t, err, `stopped in step "long"; run again to carry on`)
	require.Equal(t, []State{Stopped}, states(times))
	_, err = r.Run(ctx, []Step{{Name: "never", Do: func(context.Context, *Log) error { panic("reached") }}})
	require.ErrorContains(t, err, "stopped before")
}

func TestRunRefusesNames(t *testing.T) {
	r, _ := newRunner(t)
	do := func(context.Context, *Log) error { return nil }
	for _, steps := range [][]Step{
		{{Name: "", Do: do}},
		{{Name: "a/b", Do: do}},
		{{Name: "a"}},
		{{Name: "a", Do: do}, {Name: "a", Do: do}},
	} {
		_, err := r.Run(t.Context(), steps)
		require.Error(t, err)
	}
}

func TestHeartbeatOnPlainOutput(t *testing.T) {
	r, out := newRunner(t)
	r.Heartbeat = time.Millisecond
	_, err := r.Run(t.Context(), []Step{{Name: "long", Do: func(_ context.Context, log *Log) error {
		log.Say("unpacking")
		time.Sleep(20 * time.Millisecond)
		return nil
	}}})
	require.NoError(t, err)
	require.Contains(t, out.String(), "unpacking")
	require.NotContains(t, out.String(), "\x1b", "no terminal, no escape sequences")
}

func TestTerminalRewritesItsLine(t *testing.T) {
	r, out := newRunner(t)
	r.Terminal = true
	_, err := r.Run(t.Context(), []Step{{Name: "one", Do: func(_ context.Context, log *Log) error {
		log.Say("unpacking")
		return nil
	}}})
	require.NoError(t, err)
	require.Contains(t, out.String(), "\r\x1b[K")
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
}

func TestFormat(t *testing.T) {
	long := strings.Repeat("x", 200)
	require.Len(t, []rune(format(" 1/12 packages", "...", time.Second, long)), width)
	require.Contains(t, formatEnd("1/1 a", Failed, 0, long), long)
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0.0s"}, {1234 * time.Millisecond, "1.2s"}, {59 * time.Second, "59.0s"},
		{time.Minute, "1m00s"}, {125 * time.Second, "2m05s"}, {61 * time.Minute, "61m00s"},
	} {
		require.Equal(t, c.want, clock(c.d))
	}
}

func TestUntil(t *testing.T) {
	do := func(context.Context, *Log) error { return nil }
	steps := []Step{{Name: "a", Do: do}, {Name: "b", Do: do}}
	got, err := Until(steps, "a")
	require.NoError(t, err)
	require.Len(t, got, 1)
	got, err = Until(steps, "")
	require.NoError(t, err)
	require.Len(t, got, 2)
	_, err = Until(steps, "c")
	require.ErrorContains(t, err, `["a" "b"]`)
}

func TestWait(t *testing.T) {
	n := 0
	err := Wait(t.Context(), Discard(), time.Minute, time.Millisecond, func(context.Context) (bool, string, error) {
		n++
		return n == 3, "two more", nil
	})
	require.NoError(t, err)

	err = Wait(t.Context(), Discard(), 10*time.Millisecond, time.Millisecond, func(context.Context) (bool, string, error) {
		return false, "lxd/0 is waiting", nil
	})
	require.ErrorIs(t, err, ErrTimeout)
	require.ErrorContains(t, err, "lxd/0 is waiting")

	boom := errors.New("boom")
	err = Wait(t.Context(), Discard(), time.Minute, time.Millisecond, func(context.Context) (bool, string, error) {
		return false, "", boom
	})
	require.ErrorIs(t, err, boom)
}

func states(times []Time) []State {
	var s []State
	for _, t := range times {
		s = append(s, t.State)
	}
	return s
}
