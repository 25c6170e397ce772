package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The scripts run this binary under the name pet-scheduler.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pet-scheduler": main})
}

// TestScripts runs testdata/script/*.txtar: the verbs as a user types them.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

// The reference's command works on the reference's pets.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../../../docs/reference/pets.md")
	require.NoError(t, err)
	pets := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	command := regexp.MustCompile(`(?m)^\$ pet-scheduler simulate (.*)$`).FindSubmatch(text)
	require.NotNil(t, pets)
	require.NotNil(t, command)
	file := filepath.Join(t.TempDir(), "pets.yaml")
	require.NoError(t, os.WriteFile(file, pets[1], 0o600))
	args := strings.Fields(string(command[1]))
	for i := range args {
		if args[i] == "pets.yaml" {
			args[i] = file
		}
	}
	var out, messages bytes.Buffer
	require.NoError(t, runSimulate(args, &out, &messages))
	assert.Regexp(t, `never returned +0\n`, out.String())
	assert.Empty(t, messages.String())
}
