package install

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

type dpkg string

func (d dpkg) Run(_ context.Context, name string, _ ...string) (string, error) {
	if name != "dpkg-query" {
		return "", assert.AnError
	}
	return "lxd installed " + string(d) + "\n", nil
}

func TestAdvisoryGoesByTheDebianPackage(t *testing.T) {
	for _, c := range []struct{ source, server, installed, says string }{
		{Snap, "5.21.4", "", "LXD 5.21.4 may lack the fix of CVE-2026-23953"},
		{Snap, "5.21.5", "", ""},
		{Apt, "5.0.2", "5.0.2-5+deb12u6", ""},
		{Apt, "5.0.2", "5.0.2-5", "LXD 5.0.2-5 may lack the fix of CVE-2026-23953"},
	} {
		says := Advisory(context.Background(), Env{Commands: dpkg(c.installed)}, Facts{Source: c.source}, c.server)
		assert.True(t, strings.HasPrefix(says, c.says) && (says == "") == (c.says == ""), "%v: %s", c, says)
	}
}
