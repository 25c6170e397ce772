package control

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// Kinds of alerts that are the daemon's own, beside those of package schedule.
const (
	NoStore = "store" // no majority of the units answers: nothing is decided
	NoLXD   = "lxd"   // LXD does not answer: nothing is seen
	Clock   = "clock" // the machine's clock cannot be right: this unit does not act
	Trouble = "other"
)

// maxAlerts is how many bytes of alerts a hook reads.
const maxAlerts = 1 << 20

// Alerts returns the path of the file that holds the alerts that are on as the daemon knows
// them, for the unit's state directory. The daemon replaces it when they change.
func Alerts(dir string) string { return filepath.Join(RunDir(dir), alertsFile) }

// WriteAlerts replaces the alerts that are on.
func WriteAlerts(dir string, list []store.Alert) error {
	if list == nil {
		list = []store.Alert{}
	}
	text, err := json.Marshal(list)
	if err == nil {
		err = atomicfile.Write(Alerts(dir), append(text, '\n'), atomicfile.Options{})
	}
	if err != nil {
		return fmt.Errorf("cannot keep the alerts: %w", err)
	}
	return nil
}

// ReadAlerts returns the alerts that are on; none when the daemon has not written any, or
// something else than alerts. The folder is the daemon's, and the caller mostly root.
func ReadAlerts(dir string) ([]store.Alert, error) {
	text, err := atomicfile.Read(Alerts(dir))
	if atomicfile.Unusable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the alerts: %w", err)
	}
	var list []store.Alert
	if len(text) > maxAlerts || json.Unmarshal(text, &list) != nil {
		return nil, nil
	}
	return list, nil
}
