package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Windows that start very often are shown for fewer days, so that it takes no minutes.
func TestPetsBoundsDays(t *testing.T) {
	var text strings.Builder
	text.WriteString("pets:\n- {name: rare, windows: [daily 01:00-02:00]}\n- name: often\n  windows:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  - {rrule: 'FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23', dtstart: '2020-01-01 00:%02d', duration: 1m}\n", i%60)
	}
	path := filepath.Join(t.TempDir(), "pets.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
	show := func(days string) error {
		root := newRoot()
		root.SetArgs([]string{"pets", path, "--days", days})
		root.SetOut(io.Discard)
		return root.Execute()
	}
	err := show("105")
	require.EqualError(t, err, "cannot show pets: --days is 105: wanted at most 104, since the windows of pet often start very often")
	require.ErrorAs(t, err, &usageError{})
	require.NoError(t, show("1"))
}
