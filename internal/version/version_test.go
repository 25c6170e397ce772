package version

import (
	"bytes"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestOfCommit(t *testing.T) {
	assert.Equal(t, "unknown", ofCommit(nil))
	assert.Equal(t, "0123456789ab-dirty", ofCommit([]debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}))
	assert.Equal(t, "0123", ofCommit([]debug.BuildSetting{{Key: "vcs.revision", Value: "0123"}, {Key: "vcs.modified", Value: "false"}}))
}

func TestAsked(t *testing.T) {
	var out bytes.Buffer
	for _, args := range [][]string{nil, {"daemon"}, {"--version", "x"}} {
		assert.False(t, Asked(&out, "p", args), args)
	}
	assert.Empty(t, out.String())
	assert.True(t, Asked(&out, "p", []string{"--version"}))
	assert.Equal(t, "p version "+String()+"\n", out.String())
}
