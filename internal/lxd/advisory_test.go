package lxd_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dcib/dcib/internal/lxd"
)

func TestAdvisory(t *testing.T) {
	for version, fixed := range map[string]bool{
		"5.0.0": false, "5.0.2": false, "5.0.5": false, "5.0.6": true, "5.0.9": true, "5.0.10": true,
		"5.1": false, "5.20": false, "5.21.0": false, "5.21.4": false, "5.21.4-1374f39": false, "5.21.5": true, "5.21.10": true,
		"6.0": false, "6.1": false, "6.6": false, "6.7": true, "6.10": true, "7.0": true, "4.0.10": false,
		"5.0.2-5": false, "5.0.2-5+deb12u2": false, "5.0.2-5+deb12u3": true, "5.0.2-5+deb12u6": true,
		"5.0.2+git20231211.1364ae4-9": false, "5.0.2+git20231211.1364ae4-9+deb13u7": true, "5.0.2-5+deb14u1": true,
		"": true, "unknown": true,
	} {
		says := lxd.Advisory(version)
		assert.Equal(t, fixed, says == "", "%s: %s", version, says)
		if !fixed {
			assert.Contains(t, says, "LXD "+version+" may lack the fix of CVE-2026-23953")
		}
	}
}
