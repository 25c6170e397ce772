package grafanadashboard

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
	"pgregory.net/rapid"
)

func decompress(t require.TestingT, text string) string {
	r, err := xz.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text)))
	require.NoError(t, err)
	dashboard, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(dashboard)
}

func TestEncode(t *testing.T) {
	bag := Encode("lxd-cluster", Dashboard{"lxd", []byte(`{"title":"LXD"}`)})
	var got struct {
		UUID      string
		Templates map[string]map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(bag["dashboards"]), &got))
	require.Len(t, got.UUID, 32)
	one := got.Templates["file:lxd"]
	require.JSONEq(t, `{"title":"LXD"}`, decompress(t, one["content"].(string)))
	delete(one, "content")
	require.Len(t, one["dashboard_alt_uid"], 16)
	delete(one, "dashboard_alt_uid")
	require.Equal(t, map[string]any{"charm": "lxd-cluster", "juju_topology": map[string]any{}, "inject_dropdowns": false}, one)

	again := Encode("lxd-cluster", Dashboard{"lxd", []byte(`{"title":"LXD"}`)})
	require.Equal(t, bag, again)
	other := Encode("lxd-cluster", Dashboard{"lxd", []byte(`{"title":"other"}`)})
	require.NotEqual(t, bag, other)
}

func TestCompress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dashboard := rapid.SliceOfN(rapid.Byte(), 1, 5000).Draw(t, "dashboard")
		text := Compress(dashboard)
		require.Equal(t, string(dashboard), decompress(t, text))
	})
}

// What reads it in Grafana's charm is Python's lzma module.
func TestPythonReadsIt(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here")
	}
	text := Compress([]byte(strings.Repeat(`{"title":"LXD"}`, 1000)))
	read := exec.Command(python, "-c", "import sys, base64, lzma; sys.stdout.write(lzma.decompress(base64.b64decode(sys.stdin.read())).decode())")
	read.Stdin = strings.NewReader(text)
	out, err := read.Output()
	require.NoError(t, err)
	require.Equal(t, strings.Repeat(`{"title":"LXD"}`, 1000), string(out))
}
