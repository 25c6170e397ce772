package hooktool

import (
	"context"
	"errors"
	"slices"
)

// SetPorts opens the ports of want ("80/tcp", "8080-8088/udp") that are not open yet, and closes the
// unit's other ports. Where all is so already, it only reads.
//
// The error joins those of all ports; each port is tried. A unit on the same machine that has a
// port open which overlaps is such an error, also where both mean the same port
// (internal/worker/uniter/runner/context/ports.go in Juju's source).
func SetPorts(ctx context.Context, tools Tools, want []string) error {
	open, err := tools.OpenedPorts(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, port := range open {
		if !slices.Contains(want, port) { // first: an old range may overlap with a new one
			failed = append(failed, tools.ClosePort(ctx, port))
		}
	}
	for _, port := range want {
		if !slices.Contains(open, port) {
			failed = append(failed, tools.OpenPort(ctx, port))
		}
	}
	return errors.Join(failed...)
}
