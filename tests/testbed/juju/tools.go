//go:build tools

// Package tools pins the Juju commands that the box builds, with everything they need.
// The module stands outside go.work: Juju's versions must not rule those of dcib.
package tools

import (
	_ "github.com/juju/juju/cmd/juju"
	_ "github.com/juju/juju/cmd/jujuagentd"
	_ "github.com/juju/juju/cmd/jujuc"
	_ "github.com/juju/juju/cmd/plugins/juju-metadata"
)
