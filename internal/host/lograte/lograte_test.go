package lograte_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/dcib/dcib/internal/host/lograte"
)

// A condition that lasts a day, and is noted each second, is a few dozen lines.
func TestALastingConditionIsFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		l := lograte.New(func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) })
		for range 24 * 3600 {
			l.Note("lxd", "cannot reach LXD")
			time.Sleep(time.Second)
		}
		assert.Less(t, len(lines), 40)
		assert.Greater(t, len(lines), 20, "it is not forgotten")
	})
}

func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		l := lograte.New(func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) })
		l.Error("a", errors.New("one"))
		l.Error("b", errors.New("other"))
		l.Error("a", errors.New("one"))
		assert.Equal(t, []string{"one", "other"}, lines)
		// A text that differs each time is a line each five seconds at most; the last is not lost.
		for n := range 20 {
			l.Note("a", fmt.Sprint("port ", n))
			time.Sleep(time.Second)
		}
		assert.Len(t, lines, 5)
		// Over, and there again.
		l.Error("b", nil)
		l.Note("b", "other")
		assert.Len(t, lines, 6)
		assert.False(t, lograte.New(nil).Note("b", ""))
		assert.True(t, lograte.New(nil).Note("b", "x"))
	})
}
