//go:build tools

// Package tools pins the LXD commands that the box builds, with everything they need.
// The module stands outside go.work: LXD's versions must not rule those of dcib.
package tools

import (
	_ "github.com/canonical/lxd/lxc"
	_ "github.com/canonical/lxd/lxd"
)
